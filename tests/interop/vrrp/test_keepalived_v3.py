# SPDX-License-Identifier: Apache-2.0
"""Version 3 and IPv6 with Debian's keepalived as the other half, and what hurts there."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import DEADLINE, until
from tests.support.vrrp.keepalived import Keepalived, needs_keepalived
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.tracking import Tracked, TrackKind
from pointsman.model.vrrp import VirtualAddress, VrrpInstance
from pointsman.net.addresses import addresses
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.wire import Advert, decode

pytestmark = [pytest.mark.root, pytest.mark.slow, needs_keepalived]

VIPS = {4: "10.9.0.100/24", 6: "fd00::100/64"}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
        for number, host in enumerate((a, b), 1):
            host.ip("addr", "add", f"fd00::{number}/64", "dev", "eth0", "nodad")
        until("the link-local addresses can be used", lambda: all(link_local(host) for host in (a, b)))
        yield made, a, b


def link_local(host: Host) -> str:
    """The link-local address of eth0, once duplicate detection is over."""
    lines = host.ip("-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").splitlines()
    ready = [line for line in lines if "tentative" not in line]
    return ready[0].split()[3].partition("/")[0] if ready else ""


def vip(family: int) -> VirtualAddress:
    network = ipaddress.ip_interface(VIPS[family])
    return VirtualAddress(address=network.ip, prefix_length=network.network.prefixlen, device="eth0")


def ours(made: Switch, host: Host, peer: Host, priority: int, family: int, unicast: bool) -> Ours:
    source, other = (own_address(each, family) if unicast else None for each in (host, peer))
    instance = VrrpInstance(
        name="VI_1",
        interface="eth0",
        virtual_router_id=51,
        version=3,
        advert_interval=0.2,
        priority=priority,
        addresses=(vip(family),),
        unicast_source=source,
        unicast_peers=(other,) if other else (),
    )
    return Ours(host, made.directory, instance)


def own_address(host: Host, family: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return host.address if family == 4 else ipaddress.IPv6Address(link_local(host))


def keepalived(
    made: Switch, host: Host, peer: Host, priority: int, family: int, unicast: bool, more: str = ""
) -> Keepalived:
    pair = f"""
        unicast_src_ip {own_address(host, family)}
        unicast_peer {{
            {own_address(peer, family)}
        }}
    """
    return Keepalived(
        host,
        made.directory,
        f"""
        vrrp_instance VI_1 {{
            state BACKUP
            interface eth0
            virtual_router_id 51
            version 3
            priority {priority}
            advert_int 0.2
            {pair if unicast else ""}
            {more}
            virtual_ipaddress {{
                {VIPS[family]} dev eth0
            }}
        }}
        """,
    )


def holds(host: Host, family: int) -> bool:
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        return vip(family).address in {found.address for found in addresses(netlink)}


def adverts(capture: Capture, family: int) -> list[Advert]:
    if family == 4:
        packets = [packet[20:] for packet in capture.adverts()]
    else:
        frames = [f[14:] for f in capture.frames() if f[12:14] == b"\x86\xdd" and f[20] == 112]
        packets = [frame[40:] for frame in frames]
    sources = [packet[12:16] for packet in capture.adverts()] if family == 4 else [f[8:24] for f in frames]
    targets = [packet[16:20] for packet in capture.adverts()] if family == 4 else [f[24:40] for f in frames]
    return [
        decode(payload, ipaddress.ip_address(source), ipaddress.ip_address(target))
        for payload, source, target in zip(packets, sources, targets, strict=True)
    ]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("unicast", [False, True], ids=["multicast", "unicast"])
def test_either_may_be_master_in_version_3(
    pair: tuple[Switch, Host, Host], family: int, unicast: bool
) -> None:
    made, a, b = pair
    captures = Capture(made, a), Capture(made, b)
    first = ours(made, a, b, 200, family, unicast)
    other = keepalived(made, b, a, 100, family, unicast)
    until("ours is master", lambda: first.state() == "MASTER")
    until("keepalived is backup", lambda: other.state() == "BACKUP")
    assert first.stop() == 0
    until("keepalived has taken over", lambda: holds(b, family))
    assert not holds(a, family)
    again = ours(made, a, b, 200, family, unicast)
    until("ours is master again", lambda: again.state() == "MASTER" and holds(a, family))
    until("keepalived has given way", lambda: other.state() == "BACKUP" and not holds(b, family))
    mine, its = (adverts(capture, family) for capture in captures)
    shape = {(each.version, each.virtual_router_id, each.interval, each.addresses) for each in (*mine, *its)}
    assert shape == {(3, 51, 20, (vip(family).address,))}
    assert {each.priority for each in mine} == {200, 0}
    assert {each.priority for each in its} == {100}


def test_a_stop_waits_for_keepalived_and_leaves_nobody_without_the_address(
    pair: tuple[Switch, Host, Host],
) -> None:
    """keepalived's own stop costs the skew of the backup: 122 ms here, 610 ms at one advert per second."""
    made, a, b = pair
    first = ours(made, a, b, 200, 4, unicast=False)
    other = keepalived(made, b, a, 100, 4, unicast=False)
    until("ours is master", lambda: first.state() == "MASTER")
    until("keepalived is the backup", lambda: other.state() == "BACKUP")
    client = made.host("c", "10.9.0.50/24")
    log = made.directory / "ping.log"
    ping = client.start("ping", "-i", "0.01", "-c", "200", VIPS[4].partition("/")[0], log=log)
    until("the client is answered", lambda: "icmp_seq=20" in log.read_text())
    first.stop()
    assert ping.wait(DEADLINE) == 0
    assert " 200 received, 0% packet loss" in log.read_text()
    assert holds(b, 4)


def test_unicast_ttl_without_peers_makes_no_second_master(pair: tuple[Switch, Host, Host]) -> None:
    """keepalived then sends its multicast adverts with TTL 0, so that both become master; ours has 255."""
    made, a, b = pair
    instance = VrrpInstance(
        name="VI_1",
        interface="eth0",
        virtual_router_id=51,
        version=3,
        advert_interval=0.2,
        priority=200,
        addresses=(vip(4),),
        unicast_ttl=5,
    )
    first = Ours(a, made.directory, instance)
    until("ours is master", lambda: first.state() == "MASTER")
    other = keepalived(made, b, a, 100, 4, unicast=False)
    until("keepalived is backup", lambda: other.state() == "BACKUP")
    time.sleep(1.5)  # longer than its master-down interval: time in which nothing may happen
    assert other.entered("MASTER") == 0


def test_a_weight_that_makes_the_master_worse_hands_over_to_keepalived_at_once(
    pair: tuple[Switch, Host, Host],
) -> None:
    """It has been master before, so ours knows that it is better than what is left of its own priority."""
    made, a, b = pair
    a.ip("link", "add", "watched", "type", "veth", "peer", "name", "far")
    a.ip("link", "set", "far", "up")
    a.ip("link", "set", "watched", "up")
    other = keepalived(made, b, a, 100, 4, unicast=False)
    until("keepalived is master", lambda: other.state() == "MASTER")
    instance = VrrpInstance(
        name="VI_1",
        interface="eth0",
        virtual_router_id=51,
        version=3,
        advert_interval=0.2,
        priority=200,
        addresses=(vip(4),),
        tracked=(Tracked(kind=TrackKind.INTERFACE, name="watched", weight=-150),),
    )
    first = Ours(a, made.directory, instance)
    until("ours is master", lambda: first.state() == "MASTER")
    until("keepalived is backup", lambda: other.state() == "BACKUP")
    capture = Capture(made, a)
    a.ip("link", "set", "watched", "down")
    until("keepalived has taken over", lambda: holds(b, 4))
    until("ours is backup", lambda: first.state() == "BACKUP")
    priorities = [each.priority for each in adverts(capture, 4)]
    assert 50 not in priorities, "it did not wait three intervals with its lower priority"
    assert 0 in priorities
