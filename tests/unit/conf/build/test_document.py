# SPDX-License-Identifier: Apache-2.0
"""The first document's files, word for word, mean exactly this."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from pointsman.conf.load import load_text
from pointsman.conf.text.problems import Severity
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config, Mail
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.location import Location
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.vrrp import PassAuthentication, VirtualAddress, VrrpInstance, VrrpState

EXAMPLES = Path(__file__).parents[4] / "examples"
VIP = IPv4Address("192.168.100.9")
WEB = (IPv4Address("192.168.100.20"), IPv4Address("192.168.100.21"))
LINES = {80: (30, (36, 45)), 443: (55, (61, 70))}


def member(file: str, address: IPv4Address, port: int, line: int) -> PoolMember:
    check = TcpCheck(
        connect_address=address,
        connect_port=port,
        connect_timeout=3.0,
        retry=3,
        delay_before_retry=3.0,
        delay_loop=6.0,
        warmup=6.0,
        location=Location(file, line + 2, 9),
    )
    return PoolMember(
        server=RealServer(key=ServerKey(address, port), weight=1),
        checks=(check,),
        smtp_alert=True,
        location=Location(file, line, 5),
    )


def virtual_server(file: str, port: int) -> VirtualServer:
    line, members = LINES[port]
    return VirtualServer(
        service=VirtualService(key=ServiceKey.of(Transport.TCP, VIP, port), scheduler="rr", persistence=600),
        members=tuple(member(file, address, port, at) for address, at in zip(WEB, members, strict=True)),
        smtp_alert=False,
        location=Location(file, line, 1),
    )


def expected(file: str, router_id: str, state: VrrpState, own: str, peer: str) -> Config:
    instance = VrrpInstance(
        name="VI_1_IPv4",
        interface="ens224",
        virtual_router_id=51,
        initial_state=state,
        priority=200,
        version=2,
        advert_interval=1.0,
        addresses=(VirtualAddress(address=VIP, prefix_length=26, device="ens224"),),
        unicast_source=IPv4Address(own),
        unicast_peers=(IPv4Address(peer),),
        authentication=PassAuthentication("generate-a-pasword"),
        smtp_alert=True,
        location=Location(file, 11, 1),
    )
    mail = Mail(
        recipients=("admin@mydomain.org",),
        sender="dmz-lb-keepalived@mydomain.org",
        server="192.168.100.33",
        timeout=30.0,
    )
    return Config(
        router_id=router_id,
        mail=mail,
        instances=(instance,),
        virtual_servers=(virtual_server(file, 80), virtual_server(file, 443)),
    )


@pytest.mark.parametrize(
    ("file", "state", "own", "peer"),
    [
        ("lb-01", VrrpState.MASTER, "192.168.100.10", "192.168.100.11"),
        ("lb-02", VrrpState.BACKUP, "192.168.100.11", "192.168.100.10"),
    ],
)
def test_lab_variant_is_exactly_this_configuration(file: str, state: VrrpState, own: str, peer: str) -> None:
    loaded = load_text((EXAMPLES / "lab" / f"{file}.conf").read_bytes(), file)
    mail = msgspec.structs.replace(loaded.config.mail, location=None)
    config = msgspec.structs.replace(loaded.config, mail=mail)
    assert config == expected(file, file, state, own, peer)


@pytest.mark.parametrize("file", ["lb-01.conf", "lb-02.conf"])
def test_document_and_lab_variant_differ_in_the_prefix_only(file: str) -> None:
    document = (EXAMPLES / "document" / file).read_text()
    assert document.replace("192.168.100.9/28", "192.168.100.9/26") == (EXAMPLES / "lab" / file).read_text()


@pytest.mark.parametrize("file", ["lb-01.conf", "lb-02.conf"])
def test_slash_28_is_a_warning_with_reason_and_way_out(file: str) -> None:
    problems = load_text((EXAMPLES / "document" / file).read_bytes(), file).problems
    first, second = (each for each in problems if each.location and each.location.line in (36, 45))
    assert (first.location, second.location) == (Location(file, 36, 5), Location(file, 45, 5))
    assert {first.severity, second.severity} == {Severity.WARNING}
    assert first.text.startswith(
        "192.168.100.20 is not in the network of the virtual addresses, 192.168.100.0/28 (also line 61)"
    )
    assert second.text.startswith(
        "192.168.100.21 is not in the network of the virtual addresses, 192.168.100.0/28 (also line 70)"
    )
    assert "MAC" in first.text
    assert "widen the prefix from /28 to /26 (192.168.100.0/26)" in first.remedy
    assert first.excerpt == "    real_server 192.168.100.20 80 {"


def test_words_that_keepalived_treats_otherwise_are_warned_about() -> None:
    loaded = load_text((EXAMPLES / "lab" / "lb-01.conf").read_bytes(), "f")
    warned = [(problem.severity, problem.location, problem.text[:20]) for problem in loaded.problems]
    assert warned == [
        (Severity.WARNING, Location("f", 23, 19), "the password has 18 "),
        *((Severity.WARNING, Location("f", line, 13), "keepalived 2.x does ") for line in (41, 50, 66, 75)),
    ]
