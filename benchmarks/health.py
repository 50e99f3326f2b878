# SPDX-License-Identifier: Apache-2.0
"""Measure delay and cost of up to 10,000 TCP checks at delay_loop 1 s against a real listener.

They run in a separate network namespace. Each check has its own target address (127.0.0.0/8).
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pointsman.daemon.checker import process as checker
from pointsman.daemon.checker.privileges import NICE
from pointsman.daemon.checker.runner import Runner
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.model.checks import TcpCheck
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

RESULT = Path("build/bench/health.json")
SIZES = (1_000, 5_000, 10_000)
BUSY = ((10_000, 0), (10_000, NICE))
"""Sizes and niceness of the runs with a busy loop on each CPU."""
WARMUP, SECONDS = 3.0, 10.0
"""Seconds before the measurement (the first round of checks is spread over 1 s), and of the measurement."""
PORT = 8080
POOL = 100
"""Real servers of one service."""

LISTENER = """
import socket
listener = socket.create_server(("0.0.0.0", 8080), backlog=4096)
print("on", flush=True)
while True:
    listener.accept()[0].close()
"""


def services(number: int) -> list[VirtualServer]:
    """Return services that have `number` real servers in all."""
    targets = [IPv4Address("127.1.0.1") + index for index in range(number)]
    return [
        VirtualServer(
            service=VirtualService(
                key=ServiceKey.of(Transport.TCP, IPv4Address("192.0.2.0") + first // POOL, 80)
            ),
            members=tuple(
                PoolMember(
                    server=RealServer(key=ServerKey(address, PORT)),
                    checks=(
                        TcpCheck(connect_address=address, connect_port=PORT, delay_loop=1.0, warmup=1.0),
                    ),
                )
                for address in targets[first : first + POOL]
            ),
        )
        for first in range(0, number, POOL)
    ]


async def measure(number: int) -> dict[str, Any]:
    """Run the checks. Return the row of the result."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    loop.add_reader(ours, lambda: ours.recv(65536))
    running = checker.Checker(services(number), DirectorChannel(theirs, loop), loop)
    late: list[float] = []
    for runner in running.runners.values():
        _watch(runner, late, loop)
    running.start()
    await asyncio.sleep(WARMUP)
    late.clear()
    before, began = resource.getrusage(resource.RUSAGE_SELF), loop.time()
    await asyncio.sleep(SECONDS)
    took, after = loop.time() - began, resource.getrusage(resource.RUSAGE_SELF)
    up = sum(runner._schedule.up is True for runner in running.runners.values())
    running.stop()
    late.sort()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "case": "tcp_checks",
        "checks": number,
        "up": up,
        "probes_per_s": round(len(late) / took),
        "late_p50_ms": round(late[len(late) // 2] * 1000, 2),
        "late_p99_ms": round(late[len(late) * 99 // 100] * 1000, 2),
        "late_max_ms": round(late[-1] * 1000, 2),
        "cpu": round(used / took, 3),
        "us_per_probe": round(used / len(late) * 1e6, 1),
        "rss_mib": round(after.ru_maxrss / 1024, 1),
    }


def _watch(runner: Runner, late: list[float], loop: asyncio.AbstractEventLoop) -> None:
    """Record the delay of each probe of this runner after its deadline."""
    due: Callable[[float], None] = runner._due

    def noting(now: float) -> None:
        late.append(loop.time() - (runner._schedule.deadline or 0.0))
        due(now)

    runner._due = noting  # type: ignore[method-assign]


def inside(number: int, nice: int | None) -> None:
    """Measure inside the namespace: one size per process, so that its memory can be measured."""
    loops: list[subprocess.Popen[bytes]] = []
    if nice is not None:
        loops = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)
        ]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
    try:
        assert listener.stdout is not None
        listener.stdout.readline()
        if nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        print(json.dumps(asyncio.run(measure(number)) | {"busy": nice is not None, "nice": nice or 0}))
    finally:
        for child in (listener, *loops):
            child.kill()
            child.wait()


def main() -> None:
    """Measure every size, print the table, write the JSON."""
    rows = []
    print("CPUs  nice  checks      up  probes/s  late p50   p99   max ms   CPU  us/probe  RSS MiB")
    for number, nice in (*((size, None) for size in SIZES), *BUSY):
        words = f"{number}" if nice is None else f"{number} {nice}"
        command = f"ip link set lo up; exec {sys.executable} -m benchmarks.health {words}"
        done = subprocess.run(
            ["unshare", "-n", "sh", "-c", command], check=True, capture_output=True, text=True
        )
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{'busy' if row['busy'] else 'idle'} {row['nice']:5} {row['checks']:7} "
            f"{row['up']:7} {row['probes_per_s']:9} {row['late_p50_ms']:9} "
            f"{row['late_p99_ms']:5} {row['late_max_ms']:8} {row['cpu']:5} {row['us_per_probe']:9} "
            f"{row['rss_mib']:8}"
        )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    machine = f"{platform.machine()} {platform.release()} {os.cpu_count()} CPUs, load {load:.1f} at the end"
    RESULT.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"written to {RESULT}; {machine}")


if __name__ == "__main__":
    inside(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
