# SPDX-License-Identifier: Apache-2.0
"""The test bed of `failover`: two directors of the same program, and a client that probes them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Host, Switch

from pointsman.control.messages import YieldMaster, encode
from pointsman.lab import namespace
from pointsman.model.vrrp import VirtualAddress, VrrpInstance
from pointsman.net import virtual_links
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.wire import PROTOCOL

VIP = ipaddress.IPv4Address("10.9.1.1")
PREFIX = 16
PORT = 9999
PRIORITIES = {"a": 150, "b": 100}
_ETH_P_ALL, _ETH_P_IP = 0x0003, 0x0800

ECHO = f"""
import os, socket, sys
try: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
except OSError: pass
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", {PORT}))
while True:
    data, sender = s.recvfrom(64)
    try: s.sendto(data, sender)
    except OSError: pass
"""

PROBE = f"""
import os, socket, struct, sys, time
try: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
except OSError: pass
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
out = open(sys.argv[1], "wb", buffering=0)
next_at = time.monotonic()
while True:
    now = time.monotonic()
    try:
        while True: out.write(b"r" + s.recv(64))
    except OSError: pass
    if now >= next_at:
        stamp = struct.pack("=d", now)
        try: s.sendto(stamp, ("{VIP}", {PORT}))
        except OSError: pass
        out.write(b"s" + stamp)
        next_at = max(next_at + 0.001, now - 0.01)
    time.sleep(max(0.0, min(0.0005, next_at - time.monotonic())))
"""


class Mode(NamedTuple):
    """Version, interval and kind of adverts."""

    version: int
    interval: float
    unicast: bool = False

    @property
    def down(self) -> float:
        """Seconds that a backup waits at most for a dead master, and a margin."""
        return 4 * self.interval + (1.0 if self.version == 2 else 0.0) + 0.5

    def __str__(self) -> str:
        return f"version {self.version}, {self.interval:g} s, {'unicast' if self.unicast else 'multicast'}"


Router = Ours | Keepalived
Starter = Callable[[Switch, Host, Host, Mode, int], Router]
"""A function that starts a director with a number of instances on the first host; the second is its peer."""


def start_ours(made: Switch, host: Host, peer: Host, mode: Mode, count: int) -> Router:
    """Start Pointsman's VRRP process."""

    def instance(number: int) -> VrrpInstance:
        address = VirtualAddress(address=VIP + number, prefix_length=PREFIX, device="eth0")
        return VrrpInstance(
            name=f"VI_{number + 1}",
            interface="eth0",
            virtual_router_id=number + 1,
            version=mode.version,
            advert_interval=mode.interval,
            priority=PRIORITIES[host.name],
            addresses=(address,),
            unicast_source=host.address if mode.unicast else None,
            unicast_peers=(peer.address,) if mode.unicast else (),
        )

    return Ours(host, made.directory, *map(instance, range(count)))


def start_keepalived(made: Switch, host: Host, peer: Host, mode: Mode, count: int) -> Router:
    """Start keepalived with the same configuration."""
    unicast = f"unicast_src_ip {host.address}\nunicast_peer {{\n{peer.address}\n}}" if mode.unicast else ""
    blocks = [
        f"""vrrp_instance VI_{number + 1} {{
        state BACKUP
        interface eth0
        virtual_router_id {number + 1}
        version {mode.version}
        priority {PRIORITIES[host.name]}
        advert_int {mode.interval}
        {unicast}
        virtual_ipaddress {{
            {VIP + number}/{PREFIX} dev eth0
        }}
    }}
    """
        for number in range(count)
    ]
    return Keepalived(host, made.directory, "".join(blocks), punctual=False)


class Pair:
    """Director a with the higher priority, director b that takes over, and a client."""

    def __init__(self, made: Switch, starter: Starter, mode: Mode, count: int = 1) -> None:
        self._made, self._starter, self.mode, self.count = made, starter, mode, count
        self.a, self.b, self.client = (
            made.host(name, f"10.9.0.{n}/{PREFIX}") for n, name in enumerate("abc", 1)
        )
        self.best = self.start_best()
        self.other = starter(made, self.b, self.a, mode, count)

    def start_best(self) -> Router:
        self.best = self._starter(self._made, self.a, self.b, self.mode, self.count)
        return self.best

    def probe(self) -> None:
        """Start the client's probe, once a has its addresses and b is backup."""
        for host in (self.a, self.b):
            host.start(sys.executable, "-c", ECHO)
        self.wait_for(self.a)
        until("b is backup", lambda: self.other.state() == "BACKUP")
        self._results = self._made.directory / "probes"
        self.client.start(sys.executable, "-c", PROBE, str(self._results))
        until("the probe runs", lambda: self._results.exists() and self._results.stat().st_size > 2000)

    def wait_for(self, host: Host, seconds: float = 30.0) -> None:
        wanted = {f"{VIP + number}/{PREFIX}" for number in range(self.count)}
        until(f"{host.name} has the addresses", lambda: wanted <= set(host.addresses()), seconds)

    def blackout(self, event: Callable[[], object], seconds: float) -> float:
        """Return the longest time without a reply (ms) from just before the event to `seconds` after it."""
        time.sleep(self.mode.interval + 0.3)
        began = time.monotonic()
        event()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        return self.gap(began - 0.1, time.monotonic() - 0.2) * 1000

    def gap(self, began: float, end: float) -> float:
        """Return the longest time without a reply, in seconds."""
        return longest_gap(self._results.read_bytes(), began, end)

    # Events

    def stop(self) -> None:
        self.best.process.terminate()

    def restart(self) -> None:
        self.best.process.wait(20)
        self.start_best()

    def switch_over(self) -> None:
        """Order a planned switch; keepalived has no such command."""
        assert isinstance(self.best, Ours)
        self.best.channel.send(encode(YieldMaster("")))

    def kill_and_restart(self, seconds: float) -> None:
        self.best.kill()
        time.sleep(seconds)
        self.start_best()

    def unplug(self, phase: float, power: bool) -> None:
        """Take a's link down at this fraction of an interval after an advert of a. `power`: also kill a.

        It is done in this process, with real-time priority: an interval can be 10 ms, and starting a program
        takes longer.
        """
        with namespace.entered(self._made.namespace):
            port = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            netlink = NetlinkSocket()
        with port, netlink, _punctual():
            index = links(netlink)[self.a.port].index
            port.bind((self.a.port, _ETH_P_ALL))  # a bridge takes frames before sockets of one protocol
            port.settimeout(30.0)
            while not _is_advert(*port.recvfrom(64)):
                pass
            time.sleep(phase * self.mode.interval)
            virtual_links.set_state(netlink, index, up=False)
        if power:
            self.best.kill()

    def as_at_first(self) -> None:
        """Restart the process on a, and wait until it has the addresses."""
        if self.best.process.poll() is None:
            self.best.kill()
        for number in range(self.count):
            if f"{VIP + number}/{PREFIX}" in self.a.addresses():
                self.a.ip("addr", "del", f"{VIP + number}/{PREFIX}", "dev", "eth0")
        self.restart()
        self.wait_for(self.a)
        time.sleep(1.0)


def _is_advert(packet: bytes, sender: tuple[str, int, int]) -> bool:
    """Return True if a packet socket has received a VRRP advert."""
    return sender[1] == _ETH_P_IP and sender[2] != socket.PACKET_OUTGOING and packet[9] == PROTOCOL


@contextlib.contextmanager
def _punctual() -> Iterator[None]:
    """Run with real-time priority, if that is allowed."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(45))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def longest_gap(record: bytes, began: float, end: float) -> float:
    """Return the longest time between two answered probes with lost ones in between, in seconds."""
    size = 9
    usable = len(record) // size * size
    answered: set[bytes] = set()
    sent: list[bytes] = []
    for at in range(0, usable, size):
        (answered.add if record[at : at + 1] == b"r" else sent.append)(record[at + 1 : at + size])
    worst = 0.0
    lost_since: float | None = None
    for stamp in sent:
        when = float(memoryview(stamp).cast("d")[0])
        if not began <= when <= end:
            continue
        if stamp not in answered:
            lost_since = when if lost_since is None else lost_since
        elif lost_since is not None:
            worst, lost_since = max(worst, when - lost_since), None
    return max(worst, end - lost_since) if lost_since is not None else worst


def cpu_and_memory(router: Router) -> tuple[float, float]:
    """Return CPU seconds so far and PSS (MiB) of a router's processes."""
    seconds, memory = 0.0, 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            group = int((entry / "stat").read_text().rpartition(")")[2].split()[2])
            if group != router.process.pid and int(entry.name) != router.process.pid:
                continue
            seconds += sum(int(each.read_text().split()[0]) for each in (entry / "task").glob("*/schedstat"))
            lines = (entry / "smaps_rollup").read_text().splitlines()
        except (OSError, ValueError):
            continue
        memory += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return seconds / 1e9, memory / 1024
