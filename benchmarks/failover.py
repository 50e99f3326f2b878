"""What a client sees when a director goes: ours and Debian's keepalived, same segment, same probe.

A client sends a datagram to the virtual address every millisecond; both directors send it back.
The blackout is the longest time without an answer around an event. RUNS=n changes the number of repetitions.
"""

from __future__ import annotations

import ipaddress
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from tests.interop.switch import Host, Keepalived, Ours, Switch, switch, until

from pointsman.daemon.vrrp_notices import HandOver
from pointsman.model.vrrp import VirtualAddress, VrrpInstance

VIP = "10.9.0.100"
PORT = 9999
RESTART = 0.2
"""Seconds until a service manager has started a killed director again."""

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
    version: int
    interval: float

    @property
    def down(self) -> float:
        """Longest wait for a dead master, and a bit."""
        return 4 * self.interval + (1.0 if self.version == 2 else 0.0) + 0.5


def instance(mode: Mode, priority: int) -> VrrpInstance:
    address = VirtualAddress(address=ipaddress.IPv4Address(VIP), prefix_length=24, device="eth0")
    return VrrpInstance(
        name="VI_1",
        interface="eth0",
        virtual_router_id=51,
        version=mode.version,
        advert_interval=mode.interval,
        priority=priority,
        addresses=(address,),
    )


def configuration(mode: Mode, priority: int) -> str:
    return f"""vrrp_instance VI_1 {{
        state BACKUP
        interface eth0
        virtual_router_id 51
        version {mode.version}
        priority {priority}
        advert_int {mode.interval}
        virtual_ipaddress {{
            {VIP}/24 dev eth0
        }}
    }}
    """


Router = Ours | Keepalived
Starter = Callable[[Switch, Host, Mode, int], Router]


def start_ours(made: Switch, host: Host, mode: Mode, priority: int) -> Router:
    return Ours(host, made.directory, instance(mode, priority))


def start_keepalived(made: Switch, host: Host, mode: Mode, priority: int) -> Router:
    for kind in ("pid", "vrrp"):  # after a SIGKILL it would take them, and zombies, for running daemons
        (made.directory / f"keepalived-{host.name}.{kind}").unlink(missing_ok=True)
    return Keepalived(host, made.directory, configuration(mode, priority))


class Pair:
    """Two directors of one make and a client that probes."""

    def __init__(self, made: Switch, starter: Starter, mode: Mode) -> None:
        self._made, self._starter, self._mode = made, starter, mode
        self.a, self.b, self.client = (made.host(name, f"10.9.0.{n}/24") for n, name in enumerate("abc", 1))
        for host in (self.a, self.b):
            host.start(sys.executable, "-c", ECHO)
        self.best = self.start_best()
        self._starter(made, self.b, mode, 100)
        self.wait_for(self.a)
        self._results = made.directory / "probes"
        self.client.start(sys.executable, "-c", PROBE, str(self._results))
        until("the probe runs", lambda: self._results.exists() and self._results.stat().st_size > 2000)

    def start_best(self) -> Router:
        self.best = self._starter(self._made, self.a, self._mode, 150)
        return self.best

    def wait_for(self, host: Host) -> None:
        until(f"{host.name} has the address", lambda: f"{VIP}/24" in host.addresses(), 30.0)

    def blackout(self, event: Callable[[], None], seconds: float) -> float:
        """Milliseconds without an answer from just before the event until `seconds` after it."""
        time.sleep(self._mode.interval + 0.3)
        began = time.monotonic()
        event()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        end = time.monotonic() - 0.2
        return longest_gap(self._results.read_bytes(), began - 0.1, end) * 1000


def longest_gap(record: bytes, began: float, end: float) -> float:
    """The longest time between the sending of one answered probe and that of the next."""
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


def cycle(starter: Starter, mode: Mode) -> dict[str, float]:
    """Every event once, on fresh hosts."""
    with tempfile.TemporaryDirectory() as directory, switch(Path(directory)) as made:
        pair = Pair(made, starter, mode)
        found: dict[str, float] = {}
        time.sleep(1.0)
        found["stop"] = pair.blackout(lambda: stop(pair.best), mode.down)
        pair.wait_for(pair.b)
        found["return"] = pair.blackout(lambda: restart(pair), mode.down + 1)
        pair.wait_for(pair.a)
        if isinstance(pair.best, Ours):
            channel = pair.best.channel
            order = msgspec.json.encode(HandOver(""))
            found["switch"] = pair.blackout(lambda: ignore(channel.send(order)), mode.down)
            pair.best.kill()
            pair.a.ip("addr", "flush", "dev", "eth0", "to", f"{VIP}/32")
            restart(pair)
            pair.wait_for(pair.a)
            time.sleep(1.0)
        found["killed, restarted"] = pair.blackout(lambda: kill_and_restart(pair), 2 * mode.down + 1)
        until("the restarted one is master", lambda: pair.best.state() == "MASTER", 30.0)
        pair.wait_for(pair.a)
        found["link down"] = pair.blackout(lambda: pair.a.plug(False), mode.down)
        pair.a.plug(True)
        pair.wait_for(pair.a)
        time.sleep(1.0)
        found["power off"] = pair.blackout(lambda: power_off(pair), mode.down)
        return found


def ignore(_: object) -> None:
    """What an event returns is no matter."""


def stop(router: Router) -> None:
    router.process.terminate()


def restart(pair: Pair) -> None:
    pair.best.process.wait(20)
    pair.start_best()


def kill_and_restart(pair: Pair) -> None:
    pair.best.kill()
    time.sleep(RESTART)
    pair.start_best()


def power_off(pair: Pair) -> None:
    pair.best.kill()
    pair.a.isolate(True)


def main() -> None:
    """Print medians and worst cases of the blackouts, ours beside keepalived's."""
    runs = int(os.environ.get("RUNS", "3"))
    version = subprocess.run(["keepalived", "--version"], capture_output=True, text=True, check=False).stderr
    console = Console(highlight=False)
    for mode in (Mode(2, 1), Mode(3, 1), Mode(3, 0.1)):
        title = f"Blackout in ms, median (worst) of {runs}: version {mode.version}, every {mode.interval:g} s"
        table = Table("event", "Pointsman", version.split("\n")[0].split("(")[0].strip(), title=title)
        results = {
            name: [cycle(starter, mode) for _ in range(runs)]
            for name, starter in (("ours", start_ours), ("theirs", start_keepalived))
        }
        for event in results["ours"][0]:
            cells = [_cell([run[event] for run in results[who] if event in run]) for who in results]
            table.add_row(event, *cells)
        console.print(table)


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({max(values):.0f})" if values else "has none"
