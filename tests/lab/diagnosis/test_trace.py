# SPDX-License-Identifier: Apache-2.0
"""Captures of real frames: what is seen where, and how little of everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.namespaces import Namespace

from pointsman.control.client_messages import ErrorReply, TableRequest
from pointsman.lab import services, tracing
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import dual_homed, ha_pair
from pointsman.lab.tracing import trace
from pointsman.trace.connection import Trace

pytestmark = pytest.mark.root

PREFIX = f"pmt-trace-{os.getpid()}"


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=PREFIX, directors=False) as made:
        yield made


@pytest.fixture(scope="module")
def homes() -> Iterator[Lab]:
    with Lab("dual-homed", prefix=f"{PREFIX}d", directors=False) as made:
        yield made


def places(followed: Trace) -> list[str]:
    return [str(hop.place) for hop in (*followed.request, *followed.answer)]


def test_a_connection_straight_to_a_web_server_returns_through_its_gateway(pair: Lab) -> None:
    traced = trace(pair, ha_pair.WEB_SERVERS["web-02"], 80)
    assert traced.outcome == "HTTP/1.1 200 OK"
    assert places(traced.trace) == [
        "client:ens192 sends", "router:ens192 receives", "router:ens224 sends", "web-02:ens224 receives",
        "web-02:ens224 sends", "gw-02:ens224 receives", "gw-02:ens192 sends", "client:ens192 receives",
    ]  # fmt: skip
    changed = [[change.field for change in hop.changes] for hop in traced.trace.request]
    assert changed == [[], [], ["source_mac", "destination_mac", "ttl"], []]
    assert [hop.elapsed for hop in traced.trace.request] == sorted(
        hop.elapsed for hop in traced.trace.request
    )


def test_a_director_without_a_service_is_seen_refusing(homes: Lab) -> None:
    traced = trace(homes, dual_homed.VIP, dual_homed.PORT)
    assert places(traced.trace) == [
        "client:br_e sends", "lvs:eth7 receives", "lvs:eth7 sends", "client:br_e receives",
    ]  # fmt: skip
    (finding,) = traced.trace.findings
    assert finding.text.startswith("the director lvs itself refused the connection")


def test_a_director_that_answers_itself_is_found_out(homes: Lab) -> None:
    services.start_http_server(homes.node("lvs"), dual_homed.PORT, homes.directory / "lvs")
    try:
        traced = trace(homes, dual_homed.VIP, dual_homed.PORT)
    finally:
        homes.node("lvs").kill()
    assert [finding.text for finding in traced.trace.findings] == [
        "the director lvs answered itself and forwarded nothing"
    ]


def test_the_arp_conflict_of_the_second_document_is_suspected(homes: Lab) -> None:
    """The VIP on lo, arp_ignore 0, and the director silent: the real server takes the request directly."""
    server, director = homes.node("server"), homes.node("lvs")
    server.run(["ip", "address", "add", f"{dual_homed.VIP}/32", "dev", "lo"])
    director.sysctl("net.ipv4.conf.all.arp_ignore", "8")
    homes.node("client").run(["ip", "neigh", "flush", "dev", "br_e"])
    try:
        traced = trace(homes, dual_homed.VIP, dual_homed.PORT)
    finally:
        server.run(["ip", "address", "del", f"{dual_homed.VIP}/32", "dev", "lo"])
        director.sysctl("net.ipv4.conf.all.arp_ignore", "0")
        homes.node("client").run(["ip", "neigh", "flush", "dev", "br_e"])
    assert traced.outcome == "HTTP/1.0 200 OK"
    (finding,) = traced.trace.findings
    assert "went directly to server" in finding.text


def test_a_dead_link_is_named_with_the_last_hop(pair: Lab) -> None:
    pair.node("web-01").set_link("ens224", up=False)
    pair.node("router").run(
        ["ip", "neigh", "replace", "192.168.100.20", "lladdr", "00:50:56:9f:be:d6", "dev", "ens224"]
    )
    try:
        traced = trace(pair, ha_pair.WEB_SERVERS["web-01"], 80)
    finally:
        pair.node("web-01").power_on()
        pair.node("router").run(["ip", "neigh", "flush", "dev", "ens224", "nud", "all"])
    assert traced.outcome == "timed out"
    assert traced.trace.findings[-1].text == (
        "lost after hop 3 (router:ens224 sends, to 00:50:56:9f:be:d6 (web-01)): it did not reach a director"
    )


def test_nobody_who_answers_arp_is_named_with_who_asks(homes: Lab, pair: Lab) -> None:
    direct = trace(homes, "192.168.7.200", 80).trace
    (finding,) = direct.findings
    assert finding.text == "no host answers ARP: client asks for 192.168.7.200 on br_e"
    routed = trace(pair, ha_pair.VIP, 80).trace  # no director runs, so nobody bears the VIP
    assert routed.request[-1].place.host == "router"
    assert routed.findings[-1].text == f"no host answers ARP: router asks for {ha_pair.VIP} on ens224"
    assert not direct.ok
    assert not routed.ok


def test_no_lab_and_no_address_are_said_plainly(homes: Lab) -> None:
    with pytest.raises(LabError, match="'www' is not an IP address"):
        trace(homes, "www", 80)
    with pytest.raises(LabError, match="no node 'nobody'"):
        trace(homes, dual_homed.VIP, 80, client="nobody")
    with pytest.raises(LabError, match="client is not up: the namespace"):
        trace(Lab("dual-homed", prefix=f"{PREFIX}x"), dual_homed.VIP, 80)


def test_a_director_with_too_many_connections_to_list_is_traced_without_its_decision(
    homes: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TableRequest] = []

    def refuse(message: TableRequest, _socket: Path) -> ErrorReply:
        asked.append(message)
        return ErrorReply("more than 10000 connections")

    monkeypatch.setattr(tracing, "request", refuse)
    traced = trace(homes, dual_homed.VIP, dual_homed.PORT)
    assert traced.trace.request and not traced.trace.decisions
    assert [message.connections for message in asked].count(True) == 1


def test_the_command_line_speaks_json_and_its_exit_code_is_the_verdict(homes: Lab) -> None:
    command = [sys.executable, "-m", "pointsman.cli.main", "trace", "--prefix", homes.prefix, "--json"]
    done = subprocess.run([*command, "192.168.7.33:8000"], capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (1, False)
    assert said["trace"]["request"][0]["place"] == {
        "host": "client", "interface": "br_e", "role": "client", "sends": True,
    }  # fmt: skip
    assert said["trace"]["request"][0]["frame"]["flags"] == "S"


def test_on_a_host_that_has_the_vip_the_trace_is_of_this_host() -> None:
    command = [sys.executable, "-m", "pointsman.cli.main", "trace", "--prefix", "pmt-nobody"]
    with Namespace("traced") as made:
        made.sh("ip link set lo up; ip address add 192.0.2.9/32 dev lo")
        done = made.call(*command, "--seconds", "1", "192.0.2.9:80")
    assert "no lab is up and 192.0.2.9 is on this host: tracing on this host" in done.stderr
    assert "no request arrived here" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["192.168.7.33:8000"], "no lab is up; start it: pointsman lab up dual-homed"),
        (["192.0.2.9:80"], "no lab is up; start it: pointsman lab up ha-pair"),
        (["192.168.7.33:8000", "--lab", "ha-pair"], "ha-pair is not up; start it: pointsman lab up ha-pair"),
        (["192.168.7.33"], "'192.168.7.33' is not VIP:PORT"),
        (["192.168.7.33:70000"], "is not VIP:PORT"),
    ],
)
def test_what_cannot_be_traced_is_one_clear_line(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "pointsman.cli.main", "trace", "--prefix", "pmt-nobody"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
