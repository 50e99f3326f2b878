# SPDX-License-Identifier: Apache-2.0
"""Measure failover as a client sees it, of Pointsman and of Debian's keepalived, with the same probe.

A client sends a datagram to the virtual address every millisecond; both directors send it back. The blackout
is the longest time without a reply around an event. RUNS=n: repetitions; JOBS=n: pairs that run at once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import switch

from benchmarks.failover_pair import VIP, Mode, Pair, Starter, cpu_and_memory, start_keepalived, start_ours

RESTART = 0.2
"""Seconds until a service manager has started a killed director again."""
MODES = [
    Mode(version, interval, unicast)
    for version, interval in ((2, 1), (3, 1), (3, 0.1), (3, 0.01))
    for unicast in (False, True)
]
STARTERS: dict[str, Starter] = {"ours": start_ours, "theirs": start_keepalived}
HEALED = 50
"""Healed splits of each make."""
LOAD_TIME = 20.0
"""Seconds over which CPU time is taken."""


def cycle(who: str, mode: Mode, phase: float) -> dict[str, float]:
    """Return the blackout of every event in milliseconds, on new hosts. `phase`: see `_unplug`."""
    with tempfile.TemporaryDirectory() as directory, switch(Path(directory)) as made:
        pair = Pair(made, STARTERS[who], mode)
        pair.probe()
        found: dict[str, float] = {}
        time.sleep(1.0)
        found["stop of the master"] = pair.blackout(pair.stop, mode.down)
        pair.wait_for(pair.b)
        found["return of the better one"] = pair.blackout(pair.restart, mode.down + 1)
        pair.wait_for(pair.a)
        if isinstance(pair.best, Ours):
            found["planned switch"] = pair.blackout(pair.switch_over, mode.down)
            pair.as_at_first()
        found["killed"] = pair.blackout(lambda: pair.best.kill(), mode.down)
        pair.as_at_first()
        restart = partial(pair.kill_and_restart, RESTART)
        found["killed, restarted after 0.2 s"] = pair.blackout(restart, 2 * mode.down + 1)
        until("the restarted one is master", lambda: pair.best.state() == "MASTER", 30.0)
        pair.wait_for(pair.a)
        return found | _unplug(pair, phase)


def unplugged(who: str, mode: Mode, phase: float) -> dict[str, float]:
    """Return the blackouts of the events that the master cannot announce."""
    with tempfile.TemporaryDirectory() as directory, switch(Path(directory)) as made:
        pair = Pair(made, STARTERS[who], mode)
        pair.probe()
        time.sleep(1.0)
        return _unplug(pair, phase)


def _unplug(pair: Pair, phase: float) -> dict[str, float]:
    """Return the blackouts of a link that goes down and of a director without power.

    The backup waits from the last advert on, so the blackout depends on the moment of the event. `phase` is
    that moment, as a fraction of the interval after an advert. Runs of both programs have the same phases.
    """
    seconds = pair.mode.down + 2 * pair.mode.interval
    found = {"link down": pair.blackout(partial(pair.unplug, phase, power=False), seconds)}
    pair.a.plug(True)
    pair.wait_for(pair.a)
    time.sleep(1.0)
    found["power off"] = pair.blackout(partial(pair.unplug, phase, power=True), seconds)
    return found


def healing(who: str, mode: Mode, count: int) -> list[float]:
    """Return the blackouts in milliseconds after a healed split, `count` times on the same pair."""
    found = []
    with tempfile.TemporaryDirectory() as directory, switch(Path(directory)) as made:
        pair = Pair(made, STARTERS[who], mode)
        pair.probe()
        for number in range(count):
            pair.a.isolate(True)
            pair.wait_for(pair.b)
            time.sleep(mode.interval * (2 + number / count))  # at every phase of the interval
            began = time.monotonic()
            pair.a.isolate(False)
            until("one of them has given way", partial(_settled, pair), 30.0)
            time.sleep(2 * mode.interval + 0.3)
            while pair.gap(time.monotonic() - 0.3, time.monotonic() - 0.1) > 0.15:
                time.sleep(0.5)  # the client still has the MAC address of the other director
            found.append(pair.gap(began, time.monotonic() - 0.1) * 1000)
    return found


def _settled(pair: Pair) -> bool:
    return f"{VIP}/16" not in pair.b.addresses()


def many(who: str, _run: int = 0) -> dict[str, float]:
    """Measure 100 instances per side (version 3, 1 s): false masters at the start, seconds of a stop."""
    with tempfile.TemporaryDirectory() as directory, switch(Path(directory)) as made:
        pair = Pair(made, STARTERS[who], Mode(3, 1), 100)
        pair.wait_for(pair.a, 90.0)
        time.sleep(4.0)
        found = {"false masters of 100": float(_masters(pair))}
        began = time.monotonic()
        pair.stop()
        pair.wait_for(pair.b)
        found["stop of 100: seconds until b has all"] = time.monotonic() - began
        pair.best.process.wait(30)
        found["stop of 100: seconds until a has ended"] = time.monotonic() - began
        return found


def _masters(pair: Pair) -> int:
    """Return how often an instance of b has become master."""
    other = pair.other
    if isinstance(other, Keepalived):
        return other.entered("MASTER")
    other.state()
    return sum(report.state == "MASTER" for report in other.heard)


def load(who: str, count: int) -> dict[str, tuple[float, float]]:
    """Return CPU ms per minute and PSS (MiB) of master and backup with `count` instances, version 2, 1 s."""
    with tempfile.TemporaryDirectory() as directory, switch(Path(directory)) as made:
        pair = Pair(made, STARTERS[who], Mode(2, 1), count)
        pair.wait_for(pair.a, 90.0)
        time.sleep(8.0)  # the second burst of gratuitous ARP is over
        routers = {"master": pair.best, "backup": pair.other}
        before = {role: cpu_and_memory(router)[0] for role, router in routers.items()}
        time.sleep(LOAD_TIME)
        after = {role: cpu_and_memory(router) for role, router in routers.items()}
        return {
            role: ((seconds - before[role]) * 60_000 / LOAD_TIME, memory)
            for role, (seconds, memory) in after.items()
        }


def main() -> None:
    """Print medians and worst cases. PART=blackouts, unplugged, healing, many or load selects one part."""
    runs, jobs = int(os.environ.get("RUNS", "3")), int(os.environ.get("JOBS", "2"))
    part = os.environ.get("PART", "")
    version = subprocess.run(["keepalived", "--version"], capture_output=True, text=True, check=False).stderr
    keepalived = version.split("\n")[0].split("(")[0].strip()
    console = Console(highlight=False)
    parts: dict[str, Callable[[Console, str, int, ProcessPoolExecutor], None]] = {
        "blackouts": partial(blackouts, cycle),
        "unplugged": partial(blackouts, unplugged),
        "healing": healings,
        "many": hundreds,
        "load": loads,
    }
    for name, work in parts.items():
        if part == name or (not part and name != "unplugged"):
            with ProcessPoolExecutor(1 if name == "load" else jobs) as pool:
                work(console, keepalived, runs, pool)


def blackouts(
    once: Callable[[str, Mode, float], dict[str, float]],
    console: Console,
    keepalived: str,
    runs: int,
    pool: ProcessPoolExecutor,
) -> None:
    """Print a table for each version, interval and kind of adverts. The runs' phases are spread evenly."""
    coming = {
        (who, mode): [pool.submit(once, who, mode, (run + 0.5) / runs) for run in range(runs)]
        for mode in MODES
        for who in STARTERS
    }
    for mode in MODES:
        results = {who: [each.result() for each in coming[who, mode]] for who in STARTERS}
        title = f"Blackout in ms, median (worst) of {runs}: {mode}"
        console.print(_table(title, keepalived, results, _milliseconds))


def healings(console: Console, keepalived: str, _runs: int, pool: ProcessPoolExecutor) -> None:
    """Print the blackouts after healed splits."""
    parts = 10
    for mode in (Mode(3, 1), Mode(3, 0.1)):
        coming = {
            who: [pool.submit(healing, who, mode, HEALED // parts) for _ in range(parts)] for who in STARTERS
        }
        table = Table("", "Pointsman", keepalived, title=f"Blackout after a healed split: {mode}")
        found = {who: [gap for each in coming[who] for gap in each.result()] for who in STARTERS}
        longer = {who: sum(gap > mode.interval * 1000 for gap in found[who]) for who in STARTERS}
        _row(table, "median (worst), ms", (_milliseconds(found[who]) for who in STARTERS))
        _row(table, "longer than one advert", (f"{longer[who]} of {len(found[who])}" for who in STARTERS))
        console.print(table)


def hundreds(console: Console, keepalived: str, runs: int, pool: ProcessPoolExecutor) -> None:
    """Print the results of 100 instances on each side."""
    coming = {who: [pool.submit(many, who, run) for run in range(runs)] for who in STARTERS}
    results = {who: [each.result() for each in coming[who]] for who in STARTERS}
    title = f"100 instances, started together: median (worst) of {runs}"
    console.print(_table(title, keepalived, results, lambda values: _summary(values, ".2f")))


def loads(console: Console, keepalived: str, _runs: int, pool: ProcessPoolExecutor) -> None:
    """Print CPU time and memory. The pairs run one after the other, so they do not disturb each other."""
    title = (
        "CPU ms a minute / PSS in MiB: version 2, 1 s; our VRRP process, keepalived's parent and VRRP child"
    )
    table = Table("instances", "Pointsman", keepalived, title=title)
    for count in (1, 20, 255):
        found = {who: pool.submit(load, who, count).result() for who in STARTERS}
        for role in ("master", "backup"):
            cells = (f"{found[who][role][0]:.0f} / {found[who][role][1]:.1f}" for who in STARTERS)
            _row(table, f"{count}, {role}", cells)
    console.print(table)


def _table(
    title: str,
    keepalived: str,
    results: dict[str, list[dict[str, float]]],
    summary: Callable[[list[float]], str],
) -> Table:
    table = Table("", "Pointsman", keepalived, title=title)
    for event in results["ours"][0]:
        _row(
            table, event, (summary([run[event] for run in results[who] if event in run]) for who in STARTERS)
        )
    return table


def _row(table: Table, name: str, cells: Iterable[str]) -> None:
    table.add_row(name, *cells)


def _milliseconds(values: list[float]) -> str:
    return _summary(values, ".0f")


def _summary(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({max(values):{form}})" if values else "has none"
