# SPDX-License-Identifier: Apache-2.0
"""Laws of the configuration: any text gives a Config or a ConfError; load undoes show."""

from __future__ import annotations

import string
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.plain_config import plain

from pointsman.conf.keywords.table import TABLE
from pointsman.conf.load import load, load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError, Severity
from pointsman.conf.text.source import TextReader
from pointsman.model.checks import (
    DnsCheck,
    HttpCheck,
    HttpVersion,
    Pattern,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
    Url,
)
from pointsman.model.config import Config, Mail, MailTls
from pointsman.model.health import AnyCheck, PoolMember, VirtualServer
from pointsman.model.routing import VirtualRoute
from pointsman.model.service import SCHEDULERS, RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.tracking import Command, Notify, Tracked, TrackKind
from pointsman.model.vrrp import PassAuthentication, VirtualAddress, VrrpInstance, VrrpState

OPTIONS = [
    "track_group",
    "no_track",
    "use_vmac",
    "scope",
    "dev",
    "label",
    "brd",
    "weight",
    "reverse",
    "via",
    "src",
]
"""Words of lines, which names may be like."""

names = st.text(string.ascii_letters + string.digits + "_-.:", min_size=1, max_size=15).filter(
    lambda name: name not in (".", "..")
) | st.sampled_from(OPTIONS)
texts = st.text(string.ascii_letters + string.digits + "_-.:#!{}' \\;äß$", min_size=1, max_size=30)
seconds = st.integers(1, 10**9).map(lambda micros: micros / 10**6)
unicast = st.integers(0x01000000, 0xDFFFFFFF).map(IPv4Address)


@st.composite
def virtual_addresses(draw: st.DrawFn) -> VirtualAddress:
    address = draw(unicast)
    length = draw(st.integers(0, 32))
    broadcast = draw(
        st.none() | st.just(IPv4Interface((address, length)).network.broadcast_address) | unicast
    )
    return VirtualAddress(
        address=address,
        prefix_length=length,
        device=draw(names),
        broadcast=broadcast,
        scope=draw(st.sampled_from(["global", "link", "host", "site", "nowhere", "7"])),
        label=draw(st.just("") | names),
    )


@st.composite
def routes(draw: st.DrawFn) -> VirtualRoute:
    network = IPv4Interface((draw(unicast), draw(st.integers(0, 32)))).network
    return VirtualRoute(
        kind=draw(st.sampled_from(["unicast", "blackhole", "unreachable", "prohibit"])),
        destination=network.network_address,
        prefix_length=network.prefixlen,
        gateway=draw(st.none() | unicast),
        device=draw(names),
        source=draw(st.none() | unicast),
        table=draw(st.integers(1, 2**32 - 1)),
        metric=draw(st.integers(0, 2**32 - 1)),
        scope=draw(st.sampled_from(["", "link", "7"])),
        on_link=draw(st.booleans()),
    )


words = st.text(string.ascii_letters + string.digits + "_-.:#!{}' \\;äß$", max_size=10)
commands = st.builds(
    Command,
    words=st.lists(words, max_size=3).map(lambda more: ("/bin/program", *more)),
    user=st.just("") | names,
)


@st.composite
def instances(draw: st.DrawFn) -> VrrpInstance:
    priority = draw(st.integers(1, 255))
    state = draw(st.sampled_from([VrrpState.MASTER, VrrpState.BACKUP]))
    backup = state is VrrpState.BACKUP
    nopreempt = backup and priority < 255 and draw(st.booleans())
    version = draw(st.integers(2, 3))
    addresses = draw(
        st.lists(virtual_addresses(), max_size=3, unique_by=lambda each: (each.address, each.device))
    )
    taken = {each.address for each in addresses}
    hosts = draw(st.lists(unicast.filter(lambda host: host not in taken), max_size=4, unique=True))
    return VrrpInstance(
        name=draw(texts),
        interface=draw(names),
        virtual_router_id=draw(st.integers(1, 255)),
        initial_state=state,
        priority=priority,
        version=version,
        advert_interval=draw(
            st.integers(1, 255) if version == 2 else st.integers(1, 4095).map(lambda n: n / 100)
        ),
        addresses=tuple(addresses),
        unicast_source=hosts[0] if hosts else None,
        unicast_peers=tuple(hosts[1:]),
        multicast_source=draw(st.none() | unicast),
        authentication=draw(st.none() | texts.map(PassAuthentication)) if version == 2 else None,
        nopreempt=nopreempt,
        preempt_delay=draw(st.just(0.0) | seconds) if backup and not nopreempt else 0.0,
        garp_master_delay=float(draw(st.integers(0, 3600))),
        garp_master_repeat=draw(st.integers(1, 255)),
        garp_master_refresh=float(draw(st.integers(0, 86400))),
        garp_master_refresh_repeat=draw(st.integers(1, 255)),
        garp_lower_prio_delay=float(draw(st.integers(0, 4294))),
        garp_lower_prio_repeat=draw(st.integers(0, 1000)),
        lower_prio_no_advert=draw(st.booleans()),
        down_timer_adverts=draw(st.integers(1, 100)),
        unicast_ttl=draw(st.integers(1, 255)),
        check_unicast_source=draw(st.booleans()),
        checksum_without_pseudo_header=draw(st.booleans()),
        excluded_addresses=tuple(
            draw(
                st.lists(virtual_addresses(), max_size=2, unique_by=lambda each: (each.address, each.device))
            )
        ),
        routes=tuple(draw(st.lists(routes(), max_size=2))),
        tracked=tuple(
            draw(
                st.lists(
                    st.builds(
                        Tracked,
                        kind=st.just(TrackKind.INTERFACE),
                        name=names,
                        weight=st.integers(-253, 253),
                        reverse=st.booleans(),
                    ),
                    max_size=2,
                    unique_by=lambda each: each.name,
                )
            )
        ),
        notify=draw(st.builds(Notify, every=st.none() | commands, fault=st.none() | commands)),
        notify_priority_changes=draw(st.booleans()),
        smtp_alert=draw(st.booleans()),
    )


TIMING: dict[str, Any] = {
    "retry": st.integers(0, 2**31 - 1),
    "delay_before_retry": st.just(0.0) | seconds,
    "delay_loop": seconds,
    "rise": st.integers(1, 1000),
    "warmup": st.just(0.0) | seconds,
    "log_all_failures": st.booleans(),
}
CONNECTION: dict[str, Any] = {
    "connect_address": unicast,
    "connect_port": st.integers(1, 65535),
    "bind_address": st.none() | unicast,
    "bind_port": st.integers(0, 65535),
    "bind_interface": st.just("") | names,
    "fwmark": st.integers(0, 2**32 - 1),
    "connect_timeout": seconds,
    **TIMING,
}
tcp_checks = st.builds(TcpCheck, **CONNECTION)
hosts = st.text(string.ascii_lowercase + ".:", min_size=1, max_size=20)
patterns = st.builds(
    Pattern,
    text=st.text(string.ascii_letters + ".#! $^", min_size=1, max_size=10),
    options=st.lists(st.sampled_from(["caseless", "dotall"]), unique=True).map(tuple),
    wanted=st.booleans(),
    min_offset=st.integers(0, 1 << 20),
    max_offset=st.integers(0, 1 << 20),
)
ranges = st.tuples(st.integers(100, 500), st.integers(500, 599))
urls = st.builds(
    Url,
    path=st.text(string.ascii_letters + "/?&=#!%;{}", max_size=20).map("/".__add__),
    virtualhost=st.just("") | hosts,
    status=st.lists(ranges, min_size=1, max_size=3).map(tuple),
    digest=st.just("") | st.text("0123456789abcdef", min_size=32, max_size=32),
    pattern=st.none() | patterns,
)
http_checks = st.booleans().flatmap(
    lambda tls: st.builds(
        HttpCheck,
        urls=st.lists(urls, min_size=1, max_size=3).map(tuple),
        version=st.sampled_from(HttpVersion),
        tls=st.just(tls),
        server_name=st.just("") | hosts if tls else st.just(""),
        sni_from_host=st.booleans() if tls else st.just(False),
        fast_recovery=st.booleans(),
        verify=st.booleans() if tls else st.just(False),
        authority=st.sampled_from(["", "/etc/ssl/own.pem"]) if tls else st.just(""),
        **CONNECTION,
    )
)
other_checks = (
    st.builds(SmtpCheck, helo_name=hosts, **CONNECTION)
    | st.builds(
        DnsCheck,
        name=st.sampled_from([".", "web.example.org", "a.b."]),
        record=st.sampled_from(["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"]),
        **CONNECTION,
    )
    | st.builds(
        UdpCheck,
        payload=st.none() | st.binary(min_size=1, max_size=20),
        min_reply_length=st.integers(0, 200),
        max_reply_length=st.integers(200, 65535),
        **CONNECTION,
    )
    | st.builds(PingCheck, **CONNECTION)
    | st.lists(st.tuples(st.integers(0, 255), st.sampled_from([0, 15, 240, 255])), max_size=9).flatmap(
        lambda pairs: st.builds(
            UdpCheck,
            require_reply=st.just(True),
            reply=st.just(bytes(value & mask for value, mask in pairs)),
            reply_mask=st.just(bytes(mask for _, mask in pairs)),
            **CONNECTION,
        )
    )
)
"""Kinds of which a real server has at most one here: checks are sorted by keyword, not as in the file."""


@st.composite
def pool_members(draw: st.DrawFn, key: ServerKey) -> PoolMember:
    upper = draw(st.integers(0, 1000))
    checks: tuple[AnyCheck, ...] = (
        *draw(st.lists(tcp_checks, max_size=2)),
        *draw(st.lists(http_checks, max_size=1)),
        *draw(st.lists(other_checks, max_size=1)),
    )
    return PoolMember(
        server=RealServer(
            key=key,
            weight=draw(st.integers(0, 1000)),
            upper_threshold=upper,
            lower_threshold=draw(st.integers(0, upper)),
        ),
        checks=checks,
        alpha=bool(checks) and draw(st.booleans()),
        inhibit_on_failure=draw(st.booleans()),
        drain=draw(st.just(0.0) | seconds),
        slow_start=draw(st.just(0.0) | seconds),
        smtp_alert=draw(st.booleans()),
    )


@st.composite
def virtual_servers(draw: st.DrawFn) -> VirtualServer:
    transport = draw(st.sampled_from([Transport.TCP, Transport.UDP]))
    persistence = draw(st.none() | st.integers(1, 31 * 86400))
    port = draw(st.integers(0 if persistence else 1, 65535))
    vip = draw(unicast)
    addresses = draw(st.lists(unicast.filter(lambda each: each != vip), max_size=4, unique=True))
    members = tuple(draw(pool_members(ServerKey(address, port))) for address in addresses)
    weight = sum(member.server.weight for member in members)
    quorum = draw(st.integers(1, max(weight, 1)))
    sorry = draw(st.none() | unicast.map(lambda address: RealServer(key=ServerKey(address, port))))
    return VirtualServer(
        service=VirtualService(
            key=ServiceKey.of(transport, vip, port),
            scheduler=draw(st.sampled_from(sorted(SCHEDULERS))),
            persistence=persistence,
            persistence_prefix=draw(st.none() | st.integers(1, 32)) if persistence else None,
            one_packet=transport is Transport.UDP and draw(st.booleans()),
            flags=draw(st.frozensets(st.sampled_from(["flag-1", "flag-2", "flag-3"]))),
        ),
        members=members,
        sorry_server=sorry,
        sorry_inhibit=draw(st.booleans()),
        ha_suspend=draw(st.booleans()),
        quorum=quorum,
        hysteresis=draw(st.integers(0, quorum - 1)),
        alpha=draw(st.booleans()),
        omega=draw(st.booleans()),
        smtp_alert=draw(st.booleans()),
    )


mails = st.builds(
    Mail,
    recipients=st.lists(names.map(lambda name: f"{name}@x.org"), max_size=3, unique=True).map(tuple),
    sender=st.just("") | names,
    server=st.sampled_from(["", "mail.x.org", "192.0.2.1"]),
    port=st.integers(1, 65535),
    helo_name=st.just("") | texts,
    timeout=st.integers(1, 3600).map(float),
    tls=st.sampled_from(MailTls),
    tls_verify=st.booleans(),
    tls_authority=st.sampled_from(["", "/etc/ssl/own.pem"]),
    user=st.just("lb"),
    password=texts,
).map(lambda mail: mail if mail.server else msgspec.structs.replace(mail, port=25))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    return Config(
        router_id=draw(texts),
        mail=draw(mails),
        instances=tuple(
            draw(
                st.lists(
                    instances(),
                    max_size=3,
                    unique_by=(lambda each: each.name, lambda each: (each.interface, each.virtual_router_id)),
                )
            )
        ),
        virtual_servers=tuple(
            draw(st.lists(virtual_servers(), max_size=3, unique_by=lambda each: each.service.key))
        ),
    )


@given(configs())
@settings(max_examples=150, deadline=None)
def test_what_is_shown_reads_as_the_same_configuration(config: Config) -> None:
    text = show_config(config)
    loaded = load_text(text).config
    assert plain(loaded) == plain(config)
    assert show_config(loaded) == text


SIGNS = """{ } " # ! $A $A= ${A} @x @^x ~SEQ(i,3) ~LST(i,1,2) $i \\ \t \r"""
VALUES = """10.0.0.1 10.0.0.2/24 ::1 80 0 -1 3.5 99999999999999999999 on DR TCP MASTER PASS fwmark é"""
words = st.sampled_from(
    [
        *sorted({name for rows in TABLE.values() for name in rows}),
        *SIGNS.split(" "),
        *VALUES.split(" "),
        *("{\n", "\n}", "\n", "\\\n", "\0", "x" * 1100, "include f", "include g"),
    ]
)
soups = st.lists(words, max_size=60).map(" ".join)


@given(soups | st.text(max_size=300))
@example("a {\n" * 50)
@example("$A=$A\n$A")
@example("include f\n")
@example(
    "virtual_server 10.0.0.1 80 {\nreal_server\n}\nvirtual_server\nvrrp_instance {\nunicast_peer { { } } }"
)
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    outcome(text)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_configuration_or_a_configuration_error(data: bytes) -> None:
    outcome(data)


def outcome(text: str | bytes) -> None:
    """Load it; every problem has to be printable, and every place has to exist."""
    data = text if isinstance(text, bytes) else text.encode(errors="replace")
    try:
        problems = load(TextReader({"f": data, "g": "a {\n"}), "f").problems
        assert all(problem.severity is not Severity.ERROR for problem in problems)
    except ConfError as error:
        problems = error.problems
        assert error.errors
    lines = data.count(b"\n") + 1
    for problem in problems:
        assert problem.text
        assert problem.location is None or problem.location.file == "g" or problem.location.line <= lines


VALID = """global_defs {
router_id lb
}
vrrp_instance A {
interface eth0
virtual_router_id 1
virtual_ipaddress {
10.0.0.1/24
}
}
virtual_server 10.0.0.1 80 {
protocol TCP
lvs_method DR
real_server 10.0.0.2 80 {
TCP_CHECK {
}
}
}
"""


@given(st.integers(0, len(VALID)), st.integers(0, 8), soups)
@settings(max_examples=300, deadline=None)
def test_a_damaged_configuration_is_one_or_an_error(position: int, gone: int, put: str) -> None:
    outcome(VALID[:position] + put + VALID[position + gone :])
