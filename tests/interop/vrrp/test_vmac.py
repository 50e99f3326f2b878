# SPDX-License-Identifier: Apache-2.0
"""The virtual router's own MAC address (use_vmac), alone and with Debian's keepalived as the other half."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived, needs_keepalived
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.vrrp import VirtualAddress, VirtualInterface, VrrpInstance
from pointsman.packets.arp import gratuitous_arp

pytestmark = [pytest.mark.root, pytest.mark.slow, needs_keepalived]

VIP = {4: "10.9.0.100/24", 6: "fe80::100/64"}
VMAC = {4: bytes.fromhex("00005e000133"), 6: bytes.fromhex("00005e000233")}
NAME = {4: "vrrp.51", 6: "vrrp6.51"}
BASE = ("arp_ignore", "arp_announce", "arp_filter", "rp_filter")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host, Host]]:
    with switch(tmp_path) as made:
        hosts = [made.host(name, f"10.9.0.{number}/24") for name, number in (("a", 1), ("b", 2), ("c", 50))]
        until("link-local addresses", lambda: all(link_local(host) for host in hosts))
        yield made, hosts[0], hosts[1], hosts[2]


def link_local(host: Host) -> str:
    lines = host.ip("-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").splitlines()
    return next((line.split()[3] for line in lines if "tentative" not in line), "")


def instance(family: int, priority: int, by_base: bool = False) -> VrrpInstance:
    address = ipaddress.ip_interface(VIP[family])
    return VrrpInstance(
        name=f"V{family}",
        interface="eth0",
        virtual_router_id=51,
        version=3,
        advert_interval=0.2,
        priority=priority,
        own_interface=VirtualInterface(name=NAME[family], base="eth0", mac=VMAC[family]),
        advertises_by_base=by_base,
        addresses=(
            VirtualAddress(address=address.ip, prefix_length=address.network.prefixlen, device=NAME[family]),
        ),
    )


def keepalived(made: Switch, host: Host, priority: int) -> Keepalived:
    blocks = [
        f"""
        vrrp_instance V{family} {{
            interface eth0
            virtual_router_id 51
            version 3
            advert_int 0.2
            priority {priority}
            use_vmac
            virtual_ipaddress {{
                {VIP[family]}
            }}
        }}
        """
        for family in (4, 6)
    ]
    return Keepalived(host, made.directory, "".join(blocks))


def learned(made: Switch, family: int) -> str:
    """The port at which the switch sees the virtual MAC address."""
    with namespace.entered(made.namespace):
        lines = subprocess.run(
            ["bridge", "fdb", "show", "br", "br0"], check=True, capture_output=True, text=True
        ).stdout.splitlines()
    return next((line.split()[2] for line in lines if line.startswith(VMAC[family].hex(":"))), "")


def has(host: Host, family: int) -> bool:
    return VIP[family] in host.ip("-o", "addr", "show")


def sysctls(host: Host) -> dict[str, str]:
    with namespace.entered(host.namespace):
        return {name: Path(f"/proc/sys/net/ipv4/conf/eth0/{name}").read_text().strip() for name in BASE}


def neighbour(host: Host, family: int) -> bytes | None:
    """The MAC address by which this host reaches the virtual address, asked anew."""
    address = VIP[family].partition("/")[0]
    target = address if family == 4 else f"{address}%eth0"
    with namespace.entered(host.namespace):
        subprocess.run(["ip", "neigh", "flush", "dev", "eth0"], check=True)
        subprocess.run(["ping", "-c", "1", "-W", "1", target], check=False, capture_output=True)
    return host.neighbour(address)


def test_the_mac_address_moves_with_the_mastership(pair: tuple[Switch, Host, Host, Host]) -> None:
    """Ours, keepalived, ours again: the switch and a client always see the master at the same MAC address."""
    made, a, b, c = pair
    before = sysctls(a)
    captures = {host.name: Capture(made, host) for host in (a, b)}
    first = Ours(a, made.directory, instance(4, 200), instance(6, 200))
    until("ours is master", lambda: (first.state("V4"), first.state("V6")) == ("MASTER", "MASTER"))
    for family in (4, 6):
        assert has(a, family)
        assert neighbour(c, family) == VMAC[family]
        assert learned(made, family) == a.port
    assert "224.0.0.18 lladdr 01:00:5e:00:00:12" in a.ip("neigh", "show", "nud", "permanent", "dev", NAME[4])
    assert first.stop() == 0
    assert ": vrrp" not in a.ip("link", "show")
    assert sysctls(a) == before

    other = keepalived(made, b, 100)
    until("keepalived is master", lambda: all(has(b, family) for family in (4, 6)))
    until("the switch sees it", lambda: all(learned(made, family) == b.port for family in (4, 6)))
    again = Ours(a, made.directory, instance(4, 200), instance(6, 200))
    until("ours is master again", lambda: (again.state("V4"), again.state("V6")) == ("MASTER", "MASTER"))
    until("keepalived has given way", lambda: not has(b, 4) and not has(b, 6))
    until("the switch sees ours", lambda: all(learned(made, family) == a.port for family in (4, 6)))
    for family in (4, 6):
        assert neighbour(c, family) == VMAC[family]
    assert other.state() == "BACKUP"
    assert (
        frames_from_virtual(captures["a"]) == frames_from_virtual(captures["b"]) == {"0800", "0806", "86dd"}
    )


def frames_from_virtual(capture: Capture) -> set[str]:
    """The types of the frames that came from a virtual MAC address."""
    frames = [frame for frame in capture.all_frames() if frame[6:12] in VMAC.values()]
    # Adverts, and the kernel's report (IGMP) that a master listens for them there.
    assert {frame[23] for frame in frames if frame[12:14] == b"\x08\x00"} <= {112, 2}
    return {frame[12:14].hex() for frame in frames}


def test_a_backup_is_silent_and_its_own_address_stays_its_own(
    pair: tuple[Switch, Host, Host, Host],
) -> None:
    made, a, b, c = pair
    master = Ours(a, made.directory, instance(4, 200), instance(6, 200))
    until("ours is master", lambda: (master.state("V4"), master.state("V6")) == ("MASTER", "MASTER"))
    capture = Capture(made, b)
    backup = Ours(b, made.directory, instance(4, 100), instance(6, 100))
    until("the other is backup", lambda: (backup.state("V4"), backup.state("V6")) == ("BACKUP", "BACKUP"))
    answers = who_has(c, "10.9.0.1")
    assert answers == {a.mac().hex(":")}
    assert who_has(c, "10.9.0.100") == {VMAC[4].hex(":")}
    a.ip("route", "flush", "cache")
    with namespace.entered(a.namespace):
        subprocess.run(["ip", "neigh", "flush", "dev", "eth0"], check=True)
        ping = ["ping", "-c", "1", "-W", "1", "-I", "10.9.0.100", "10.9.0.50"]
        assert subprocess.run(ping, check=False, capture_output=True).returncode == 0
    assert c.neighbour("10.9.0.100") in (None, VMAC[4]), "the master's own questions do not betray its MAC"
    assert not [frame for frame in capture.all_frames() if frame[6:12] in VMAC.values()], (
        "not from the backup"
    )
    master.stop()
    until("the other is master", lambda: (backup.state("V4"), backup.state("V6")) == ("MASTER", "MASTER"))
    capture.close()


def who_has(host: Host, address: str) -> set[str]:
    with namespace.entered(host.namespace):
        done = subprocess.run(
            ["arping", "-c", "2", "-w", "2", "-I", "eth0", address],
            capture_output=True,
            text=True,
            check=False,
        )
    return {line.split("[")[1].split("]")[0].lower() for line in done.stdout.splitlines() if "[" in line}


def test_after_a_crash_the_interface_is_adopted_and_a_stranger_is_not(
    pair: tuple[Switch, Host, Host, Host],
) -> None:
    made, a, _b, _c = pair
    before = sysctls(a)
    doomed = Ours(a, made.directory, instance(4, 200))
    until("ours is master", lambda: doomed.state("V4") == "MASTER")
    index = a.ip("-o", "link", "show", "vrrp.51").split(":")[0]
    doomed.kill()
    heir = Ours(a, made.directory, instance(4, 200))
    until("the next one goes on", lambda: heir.state("V4") == "MASTER")
    assert a.ip("-o", "link", "show", "vrrp.51").split(":")[0] == index
    a.ip("link", "del", "vrrp.51")
    until("what somebody has deleted is made again", lambda: "vrrp.51" in a.ip("link", "show") and has(a, 4))
    heir.kill()
    # Another configuration: what the former one has left goes, and the host is as it was.
    plain = Ours(a, made.directory, plain_instance())
    until("the next one is there", lambda: plain.state("V4") == "MASTER")
    assert ": vrrp" not in a.ip("link", "show")
    assert sysctls(a) == before
    plain.stop()
    a.ip("link", "add", "vrrp.51", "type", "bridge")
    wrong = Ours(a, made.directory, instance(4, 200))
    until("it says so", lambda: "no virtual interface on eth0" in wrong.log.read_text())
    wrong.stop()
    assert "vrrp.51" in a.ip("link", "show")


def plain_instance() -> VrrpInstance:
    return VrrpInstance(
        name="V4", interface="eth0", virtual_router_id=51, version=3, advert_interval=0.2, priority=200
    )


def test_adverts_by_the_base_interface(pair: tuple[Switch, Host, Host, Host]) -> None:
    """vmac_xmit_base: the adverts have the base's MAC address, the announcements the virtual one."""
    made, a, _b, c = pair
    capture = Capture(made, a)
    extra = msgspec.structs.replace(
        instance(4, 200, by_base=True), extra_announcements=1, garp_master_delay=0.0
    )
    first = Ours(a, made.directory, extra)
    until("ours is master", lambda: first.state("V4") == "MASTER")
    assert neighbour(c, 4) == VMAC[4]
    frames = capture.all_frames()
    adverts = {frame[6:12] for frame in frames if frame[12:14] == b"\x08\x00" and frame[23] == 112}
    assert adverts == {a.mac()}
    assert VMAC[4] in {frame[6:12] for frame in frames if frame[12:14] == b"\x08\x06"}
    frame = gratuitous_arp(VMAC[4], ipaddress.IPv4Address("10.9.0.100").packed)
    until("it is announced again and again", lambda: capture.all_frames().count(frame) >= 5 + 2)


DIRECTOR = """
vrrp_instance V4 {
    interface eth0
    virtual_router_id 51
    version 3
    advert_int 0.2
    priority 200
    use_vmac
    virtual_ipaddress {
        10.9.0.100/24
    }
}
virtual_server 10.9.0.100 8000 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 10.9.0.2 8000 {
    }
}
"""


def test_the_data_plane_takes_what_is_sent_to_the_virtual_mac_address(
    pair: tuple[Switch, Host, Host, Host],
) -> None:
    made, a, b, c = pair
    b.ip("addr", "add", "10.9.0.100/32", "dev", "lo")
    with namespace.entered(b.namespace):
        Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("1")
        Path("/proc/sys/net/ipv4/conf/all/arp_announce").write_text("2")
    b.start(sys.executable, "-m", "http.server", "8000", "--bind", "0.0.0.0", cwd=made.directory)
    conf, log = made.directory / "director.conf", made.directory / "director.log"
    conf.write_text(DIRECTOR)
    program = (sys.executable, "-m", "pointsman.cli.main", "run", "-f", str(conf))
    before = sysctls(a)
    director = a.start(*program, log=log)
    until("the director is master", lambda: has(a, 4))
    until("the client is served", lambda: answered(c))
    assert c.neighbour("10.9.0.100") == VMAC[4]
    with namespace.entered(a.namespace):
        shown = subprocess.run([*program[:3], "status"], capture_output=True, text=True, check=False).stdout
    assert "other_host" not in shown
    os.killpg(director.pid, signal.SIGKILL)
    director.wait()
    assert ": vrrp" in a.ip("link", "show")
    with namespace.entered(a.namespace):
        subprocess.run([*program[:3], "detach"], capture_output=True, check=True)
    assert ": vrrp" not in a.ip("link", "show")
    assert sysctls(a) == before


def answered(client: Host) -> bool:
    """True if a real server answers for the virtual service. The director itself has no such port."""
    with namespace.entered(client.namespace):
        try:
            with socket.create_connection(("10.9.0.100", 8000), 1.0) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.0 200")
        except OSError:
            return False


def states(process: Ours) -> tuple[str, str]:
    return process.state("V4"), process.state("V6")


@pytest.mark.parametrize("rival", ["ours", "keepalived"])
@pytest.mark.parametrize("better", [True, False], ids=["better", "worse"])
def test_a_split_between_two_masters_with_one_mac_address_heals(
    pair: tuple[Switch, Host, Host, Host], rival: str, better: bool
) -> None:
    """An advert of one then arrives at the macvlan of the other, not at the base interface."""
    made, a, b, c = pair
    ours = Ours(a, made.directory, instance(4, 200 if better else 50), instance(6, 200 if better else 50))
    if rival == "ours":
        other: Ours | Keepalived = Ours(b, made.directory, instance(4, 100), instance(6, 100))
    else:
        other = keepalived(made, b, 100)
    winner, loser = (a, b) if better else (b, a)
    until("one is master", lambda: all(has(winner, f) and not has(loser, f) for f in (4, 6)))
    b.isolate(True)
    until("both are master", lambda: all(has(host, f) for host in (a, b) for f in (4, 6)))
    b.isolate(False)
    until("one has given way", lambda: all(has(winner, f) and not has(loser, f) for f in (4, 6)))
    until("ours has told so", lambda: states(ours) == (("MASTER",) * 2 if better else ("BACKUP",) * 2))
    until("the switch sees the winner", lambda: all(learned(made, f) == winner.port for f in (4, 6)))
    if better or rival == "ours":  # keepalived's base may answer for the address, too
        assert [neighbour(c, family) for family in (4, 6)] == [VMAC[4], VMAC[6]]
    assert ours.stop() == 0
    other.stop()
