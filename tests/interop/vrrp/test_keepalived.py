# SPDX-License-Identifier: Apache-2.0
"""Debian's keepalived as the other half of the pair, either way round."""

from __future__ import annotations

import ipaddress
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived, needs_keepalived
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.vrrp import PassAuthentication, VirtualAddress, VrrpInstance
from pointsman.net.addresses import RTM_DELADDR
from pointsman.net.netlink import NetlinkMonitor
from pointsman.packets.arp import gratuitous_arp
from pointsman.vrrp.wire import Advert, decode, decode_ipv4

pytestmark = [pytest.mark.root, pytest.mark.slow, needs_keepalived]

VIP = "10.9.0.100"
VIP_ADDRESS = ipaddress.IPv4Address(VIP)
MODES = ["unicast", "multicast"]
AT_ONCE = 15.0
"""Seconds, on a busy machine; a client that nobody tells keeps the loser's MAC address for 26 to 43."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    """Host a with the lower and host b with the higher address."""
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


def ours(
    made: Switch, host: Host, peer: Host, priority: int, mode: str = "unicast", patience: int = 3
) -> Ours:
    unicast = mode == "unicast"
    instance = VrrpInstance(
        name="VI_1",
        interface="eth0",
        virtual_router_id=51,
        priority=priority,
        addresses=(VirtualAddress(address=VIP_ADDRESS, prefix_length=24, device="eth0"),),
        unicast_source=host.address if unicast else None,
        unicast_peers=(peer.address,) if unicast else (),
        authentication=PassAuthentication("generate-a-pasword"),
        down_timer_adverts=patience,
    )
    return Ours(host, made.directory, instance)


def keepalived(
    made: Switch, host: Host, peer: Host, priority: int, mode: str = "unicast", patience: int = 3
) -> Keepalived:
    unicast = f"unicast_src_ip {host.address}\n unicast_peer {{\n {peer.address}\n }}\n"
    return Keepalived(
        host,
        made.directory,
        f"""global_defs {{
            router_id {host.name}
        }}
        vrrp_instance VI_1 {{
            state BACKUP
            interface eth0
            virtual_router_id 51
            priority {priority}
            advert_int 1
            down_timer_adverts {patience}
            {unicast if mode == "unicast" else ""}
            authentication {{
                auth_type PASS
                auth_pass generate-a-pasword
            }}
            virtual_ipaddress {{
                {VIP}/24 dev eth0
            }}
        }}
        """,
    )


def holds(host: Host) -> bool:
    return f"{VIP}/24" in host.addresses()


def who_has_vip(host: Host) -> set[str]:
    """The MAC addresses that answer when this host asks for the VIP."""
    with namespace.entered(host.namespace):
        done = subprocess.run(
            ["arping", "-c", "3", "-w", "3", "-I", "eth0", VIP], capture_output=True, text=True, check=False
        )
    return {line.split("[")[1].split("]")[0].lower() for line in done.stdout.splitlines() if "[" in line}


def plain(mac: bytes) -> str:
    return mac.hex(":")


@pytest.mark.parametrize("mode", MODES)
def test_ours_as_master_hands_over_to_keepalived_and_preempts_it(
    pair: tuple[Switch, Host, Host], mode: str
) -> None:
    made, a, b = pair
    captures = Capture(made, a), Capture(made, b)
    first = ours(made, a, b, 200, mode)
    other = keepalived(made, b, a, 100, mode)
    until("ours is master", lambda: first.state() == "MASTER")
    assert holds(a)
    until("keepalived is backup", lambda: other.state() == "BACKUP")

    assert first.stop() == 0
    assert not holds(a)
    assert _decoded(captures[0].adverts()[-1]).priority == 0
    until("keepalived has taken over", lambda: holds(b))
    # Skew of priority 100: 0.61 s. Had priority 0 not been understood, it would be more than 2.6 s.
    assert captures[1].timed_adverts()[0][0] - captures[0].timed_adverts()[-1][0] < 2.0

    again = ours(made, a, b, 200, mode)
    until("ours is master again", lambda: again.state() == "MASTER")
    until("keepalived has given way", lambda: other.state() == "BACKUP" and not holds(b))
    assert holds(a)
    assert_same_on_the_wire(captures, (a, b))


@pytest.mark.parametrize("mode", MODES)
def test_ours_as_backup_takes_over_from_a_dead_keepalived(pair: tuple[Switch, Host, Host], mode: str) -> None:
    made, a, b = pair
    client = made.host("c", "10.9.0.50/24")
    master = keepalived(made, b, a, 200, mode)
    until("keepalived is master", lambda: holds(b))
    captures = Capture(made, a), Capture(made, b)
    backup = ours(made, a, b, 100, mode)
    until("ours is backup", lambda: backup.state() == "BACKUP")
    assert who_has_vip(client) == {plain(b.mac())}

    master.kill()
    b.plug(False)  # the kernel of b goes on answering for the address; a dead host does not
    until("ours has taken over", lambda: holds(a))
    until("it has said so", captures[0].adverts)
    silence = captures[0].timed_adverts()[0][0] - captures[1].timed_adverts()[-1][0]
    assert 3.0 < silence < 4.5, "three intervals and the skew of priority 100: 3.6 s"
    assert who_has_vip(client) == {plain(a.mac())}


@pytest.mark.parametrize("first", ["ours", "keepalived"])
def test_an_equal_router_that_comes_later_stays_backup(pair: tuple[Switch, Host, Host], first: str) -> None:
    """The document's pair: both have priority 200."""
    made, a, b = pair
    if first == "ours":
        early = ours(made, a, b, 200)
        until("ours is master", lambda: early.state() == "MASTER")
        late = keepalived(made, b, a, 200)
        until("keepalived is backup", lambda: late.state() == "BACKUP")
        time.sleep(4.5)  # longer than the master-down interval: time in which nothing may happen
        assert (early.state(), late.entered("MASTER")) == ("MASTER", 0)
        return
    master = keepalived(made, a, b, 200)
    until("keepalived is master", lambda: holds(a))
    backup = ours(made, b, a, 200)
    until("ours is backup", lambda: backup.state() == "BACKUP")
    time.sleep(4.5)
    assert (master.state(), [report.state for report in backup.heard]) == ("MASTER", ["BACKUP"])


@pytest.mark.parametrize("ours_wins", [True, False])
def test_a_healed_split_of_equal_routers_is_won_by_the_higher_address(
    pair: tuple[Switch, Host, Host], ours_wins: bool
) -> None:
    made, a, b = pair
    client = made.host("c", "10.9.0.50/24")
    mine, its = (b, a) if ours_wins else (a, b)
    router = ours(made, mine, its, 200)
    until("ours is master", lambda: router.state() == "MASTER")
    its.isolate(True)
    other = keepalived(made, its, mine, 200)
    until("keepalived is master too", lambda: holds(its))
    until("the client has an entry for the VIP", lambda: _ping(client))

    its.isolate(False)
    winner, loser = (mine, its) if ours_wins else (its, mine)
    until("one has given way", lambda: holds(winner) and not holds(loser))
    expected = ("MASTER", "BACKUP") if ours_wins else ("BACKUP", "MASTER")
    until("both know it", lambda: (router.state(), other.state()) == expected)
    until("the client uses the winner", lambda: client.neighbour(VIP) == winner.mac(), AT_ONCE)


def _ping(client: Host) -> bool:
    with namespace.entered(client.namespace):
        done = subprocess.run(["ping", "-c", "1", "-W", "1", VIP], capture_output=True, check=False)
    return done.returncode == 0


def assert_same_on_the_wire(captures: tuple[Capture, Capture], hosts: tuple[Host, Host]) -> None:
    """Both became master in the same way, and their adverts differ in nothing but the priority."""
    for capture, host in zip(captures, hosts, strict=True):
        announcement = gratuitous_arp(host.mac(), VIP_ADDRESS.packed)
        story = [
            "advert" if frame[23] == 112 else "announcement"
            for frame in capture.frames()
            if frame == announcement or (frame[12:14] == b"\x08\x00" and frame[23] == 112)
        ]
        assert story[:7] == ["advert", *["announcement"] * 5, "advert"], host.name
    first, second = (capture.adverts()[0] for capture in captures)
    for part, what in ((1, "TOS"), (slice(2, 4), "length"), (slice(6, 8), "fragment flags"), (8, "TTL")):
        assert first[part] == second[part], what
    adverts = [_decoded(packet) for packet in (first, second)]
    assert msgspec.structs.replace(adverts[0], priority=100) == adverts[1]


def _decoded(packet: bytes) -> Advert:
    datagram = decode_ipv4(packet)
    return decode(datagram.payload, datagram.source, datagram.destination)


def test_a_killed_process_goes_on_before_keepalived_notices(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    patience = 30  # adverts: whoever waits for the start waits longer than any machine needs for it
    doomed = ours(made, a, b, 200)
    until("ours is master", lambda: doomed.state() == "MASTER")
    other = keepalived(made, b, a, 100, patience=patience)
    until("keepalived is backup", lambda: other.state() == "BACKUP")
    with namespace.entered(a.namespace):
        monitor = NetlinkMonitor(NetlinkMonitor.IPV4_ADDRESS)
    doomed.kill()
    capture = Capture(made, a)
    assert holds(a)
    heir = ours(made, a, b, 200, patience=patience)
    until("the new process is master", lambda: heir.state() == "MASTER")
    assert [report.state for report in heir.heard] == ["MASTER"]
    until("it has said so to keepalived, again and again", lambda: len(capture.adverts()) >= 3)
    assert capture.longest_pause() < 1.5
    assert other.entered("MASTER") == 0
    assert RTM_DELADDR not in {message.type for message in monitor.read()}
    monitor.close()
