# SPDX-License-Identifier: Apache-2.0
"""Compare health checks with keepalived's: time from a server's death to its removal, CPU time, memory.

keepalived runs with the IPVS of a guest. Checker and table synchronisation of Pointsman run in one process,
with a data plane in memory. Both check the same real servers on loopback with the same intervals. The guest
is emulated, so CPU times are far longer than on a real machine; only their ratio is meaningful.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.guest import machine

from pointsman.conf.load import load_text
from pointsman.control import messages
from pointsman.daemon.checker import process as checker
from pointsman.daemon.director.table_sync import TableSync
from pointsman.daemon.runtime.director_channel import DirectorChannel
from pointsman.dataplane.memory import MemoryDataPlane

RESULT = Path("build/bench/removal.json")
GUEST_SECONDS = 900
DEATHS, MANY = 8, 200
"""Number of kills of a real server, and number of checks for CPU time and memory."""
SETTLED, MEASURED = 12.0, 20.0
"""Seconds in which all checks run a few times, and of the measurement."""
PORT = 8080
FIRST = IPv4Address("127.1.0.1")
LISTENER = """
import socket
listener = socket.create_server(("0.0.0.0", 8080), backlog=1024)
print("on", flush=True)
while True:
    listener.accept()[0].close()
"""


def configuration(checks: int) -> str:
    """Return the configuration of both programs."""
    servers = "".join(
        f"real_server {FIRST + index} {PORT} {{\nTCP_CHECK {{\nconnect_timeout 1\n}}\n}}\n"
        for index in range(checks)
    )
    times = "delay_loop 1\ndelay_before_retry 0.2\nretry 1\nwarmup 1\n"
    return (
        "global_defs {\nrouter_id bench\nchecker_log_all_failures no\n}\n"
        f"virtual_server 192.0.2.9 {PORT} {{\nprotocol TCP\nlvs_method DR\nlvs_sched rr\n{times}{servers}}}\n"
    )


class Listener:
    """A process that accepts connections for all real servers."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the process and wait until it accepts."""
        self._process = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        """Kill the process, so that connections are refused."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def deaths(listener: Listener, is_present: Callable[[], bool], wait: Callable[[float], None]) -> list[float]:
    """Return the seconds from each death to the removal from the table."""
    found = []
    for _ in range(DEATHS):
        until(is_present, True, wait)
        wait(2.0 + random.random())
        listener.kill()
        began = time.monotonic()
        until(is_present, False, wait)
        found.append(time.monotonic() - began)
        listener.start()
    return found


def until(is_present: Callable[[], bool], wanted: bool, wait: Callable[[float], None]) -> None:
    """Wait until the real server is in the table, or is not in it."""
    latest = time.monotonic() + 120
    while is_present() is not wanted:
        if time.monotonic() > latest:
            raise RuntimeError(f"the real server is still {'missing' if wanted else 'in the table'}")
        wait(0.005)


@contextlib.contextmanager
def keepalived(checks: int) -> Iterator[int]:
    """Run keepalived; yield the pid of its checker process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keepalived.conf"
        file.write_text(configuration(checks))
        words = ["keepalived", "-n", "-C", "-G", "-f", str(file), "-p", f"{folder}/p", "-c", f"{folder}/c"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            latest = time.monotonic() + 60
            while not (
                children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            ):
                if time.monotonic() > latest or process.poll() is not None:
                    raise RuntimeError((Path(folder) / "log").read_text())
                time.sleep(0.1)
            yield int(children[0])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def in_ipvs() -> int:
    """Return the number of real servers in the kernel's table."""
    return Path("/proc/net/ip_vs").read_text().count("  -> 7F01")


def used(pid: int) -> tuple[float, float]:
    """Return CPU seconds and peak resident memory (MiB) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line)
    return ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024


def row(program: str, times: list[float], cpu: float, memory: float) -> dict[str, Any]:
    """Return the row of a program in the table."""
    return {
        "program": program,
        "removal_median_s": round(statistics.median(times), 2),
        "removal_max_s": round(max(times), 2),
        "cpu_ms_per_check": round(cpu / MEASURED / MANY * 1000, 3),
        "rss_mib": round(memory, 1),
    }


def theirs(listener: Listener) -> dict[str, Any]:
    """Measure keepalived."""
    with keepalived(1):
        times = deaths(listener, lambda: in_ipvs() == 1, time.sleep)
    with keepalived(MANY) as pid:
        time.sleep(SETTLED)
        before = used(pid)[0]
        time.sleep(MEASURED)
        after, memory = used(pid)
        if in_ipvs() != MANY:
            raise RuntimeError(f"{in_ipvs()} of {MANY} real servers are in the table")
    return row("keepalived", times, after - before, memory)


class Ours:
    """Checker and table synchronisation on one event loop."""

    def __init__(self, checks: int) -> None:
        self._loop = asyncio.new_event_loop()
        config = load_text(configuration(checks)).config
        self.plane = MemoryDataPlane()
        self._table_sync = TableSync(config, self.plane)
        self._table_sync.sync()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._on_report)
        self._checker = checker.Checker(
            config.virtual_servers, DirectorChannel(theirs, self._loop), self._loop
        )
        self._checker.start()

    def _on_report(self) -> None:
        """Take all reports that are there, and change the table once, as the director does."""
        with contextlib.suppress(BlockingIOError):
            while True:
                report = messages.report_decoder.decode(self._channel.recv(65536))
                assert isinstance(report, messages.CheckResult)
                self._table_sync.on_check_result(report)
        self._table_sync.sync()

    def wait(self, seconds: float) -> None:
        """Run the event loop for some seconds."""
        self._loop.run_until_complete(asyncio.sleep(seconds))

    def servers(self) -> int:
        """Return the number of real servers in the table."""
        return sum(len(entry.servers) for entry in self.plane.read())

    def stop(self) -> None:
        """Stop all checks."""
        self._checker.stop()


def ours(listener: Listener) -> dict[str, Any]:
    """Measure Pointsman."""
    one = Ours(1)
    times = deaths(listener, lambda: one.servers() == 1, one.wait)
    one.stop()
    many = Ours(MANY)
    many.wait(SETTLED)
    before = time.process_time()
    many.wait(MEASURED)
    spent = time.process_time() - before
    if many.servers() != MANY:
        raise RuntimeError(f"{many.servers()} of {MANY} real servers are in the table")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row("pointsman", times, spent, memory)


def main() -> None:
    """Measure in a guest, print the table, write the JSON."""
    reason = machine.missing()
    if reason:
        print(f"no guest, so no keepalived to compare with: {reason}")
        return
    kernel, folder = machine.kernels()[-1], RESULT.parent.absolute() / "removal-guest"
    command = [sys.executable, "-m", "benchmarks.removal", str(folder / "rows.json")]
    outcome = machine.run(kernel, command, folder, GUEST_SECONDS, ["ip_vs", "ip_vs_rr"])
    if outcome.code:
        raise RuntimeError(f"the measurement in the guest failed:\n{outcome.output}")
    rows = json.loads((folder / "rows.json").read_text())
    print(
        f"TCP_CHECK, delay_loop 1, retry 1, delay_before_retry 0.2, in an emulated Linux {kernel.release}:\n"
    )
    print(f"{'':12}{'death to removal':>28}{f'{MANY} checks at 1 s':>34}")
    print(f"{'':12}{'median':>14}{'longest':>14}{'CPU ms a check':>20}{'MiB':>14}")
    for each in rows:
        print(
            f"{each['program']:12}{each['removal_median_s']:>12} s{each['removal_max_s']:>12} s"
            f"{each['cpu_ms_per_check']:>20}{each['rss_mib']:>14}"
        )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    load = round(os.getloadavg()[0], 1)
    RESULT.write_text(json.dumps({"guest": kernel.release, "load": load, "rows": rows}, indent=2) + "\n")
    print(f"\nwritten to {RESULT}; load of the host {load}")


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    real_servers = Listener()
    try:
        found = [theirs(real_servers), ours(real_servers)]
    finally:
        real_servers.kill()
    Path(sys.argv[1]).write_text(json.dumps(found))
