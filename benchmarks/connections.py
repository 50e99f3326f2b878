# SPDX-License-Identifier: Apache-2.0
"""Count the established connections that an event ends, stalls or damages.

COUNT TCP connections go through the VIP of the lab `ha-pair`: half of them ask for an echo every 100 ms, a
tenth gets a stream, the others are idle for longer than any grace period and ask once afterwards. Every event
has directors and connections of its own. KIND=rr, EVENT=text: only this kind, only events with this text.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from tests.support.connections.pair import (
    KINDS,
    THIRD,
    Outcome,
    Pair,
    other_abi,
    pair,
    route_vip,
)

from pointsman.lab.topologies import ha_pair

QUIET = 8.0
"""Seconds between the event and the question of the idle connections; grace is shorter."""


class Event(NamedTuple):
    """Something that happens to directors under connections."""

    name: str
    happen: Callable[[Pair], object]
    alone: bool = False
    """Only lb-01 runs."""
    preempt: bool = False
    prepare: Callable[[Pair], object] = lambda _: None
    """Done before the connections are opened."""


def switch_over(made: Pair) -> None:
    made.ask("lb-01", "switchover")


def stop_master(made: Pair) -> None:
    made.stop("lb-01")
    made.wait_for_master("lb-02")


def upgrade(made: Pair) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made.source = other_abi(Path(folder))
        made.restart("lb-01")


def enlarge(made: Pair) -> None:
    made.more = ("--connections", str(1 << 17))
    made.restart("lb-01")


def kill_each(made: Pair) -> None:
    for process in ("director", "vrrp", "checker"):
        made.kill("lb-01", process)
        time.sleep(1.0)  # until it has begun its work
    made.wait_for_master()


def kill_all_of_master(made: Pair) -> None:
    """As a host that hangs: its link goes down, so that its addresses are nowhere else."""
    made.kill_all("lb-01")
    made.lab.node("lb-01").set_link("ens224", up=False)
    made.wait_for_other()


def reload(made: Pair) -> None:
    made.ask("lb-01", "reload")


def power_off(made: Pair) -> None:
    made.power_off("lb-01")
    made.wait_for_other()


def come_back(made: Pair) -> None:
    """Connections are made on lb-02; then lb-01 starts and preempts."""
    made.start("lb-01")
    made.wait_for_master("lb-01")


def join(made: Pair) -> None:
    made.start(THIRD)
    made.wait_for_master(THIRD)


def spread(made: Pair) -> None:
    """The router sends half of the flows to lb-02."""
    route_vip(made.lab, ha_pair.DIRECTORS.values())


EVENTS = (
    Event("planned switch-over", switch_over),
    Event("SIGTERM of the master", stop_master),
    Event("stop and start, alone", lambda made: made.restart("lb-01"), alone=True),
    Event("upgrade to another ABI, alone", upgrade, alone=True),
    Event("larger tables, alone", enlarge, alone=True),
    Event("SIGKILL of each process", kill_each),
    Event("SIGKILL of all, alone", lambda made: made.kill_all_and_start("lb-01"), alone=True),
    Event("SIGKILL of all, link down", kill_all_of_master),
    Event("reload", reload),
    Event("power-off of the master", power_off),
    Event("power cycle of both", lambda made: made.power_cycle("lb-01", "lb-02")),
    Event(
        "the former master comes back",
        come_back,
        preempt=True,
        prepare=stop_master,
    ),
    Event("a third director takes over", join),
    Event(
        "ECMP sends half to the other",
        spread,
        prepare=lambda made: route_vip(made.lab, [ha_pair.DIRECTORS["lb-01"]]),
    ),
)


def measure(event: Event, kind: str, count: int) -> Outcome:
    """Return what the connections of a new lab see of an event."""
    with pair(f"pmb-{os.getpid()}", KINDS[kind], event.preempt) as made:
        if event.alone:
            made.start("lb-01")
            made.wait_for_master("lb-01")
        else:
            made.start_both()
        event.prepare(made)
        made.connect(count)
        return made.outcome(lambda: event.happen(made), QUIET)


def main() -> None:
    count = int(os.environ.get("COUNT", "1000"))
    kinds = [os.environ["KIND"]] if os.environ.get("KIND") else list(KINDS)
    part = os.environ.get("EVENT", "")
    console = Console(highlight=False, width=120)
    for kind in kinds:
        title = f"{count} connections, {kind}: what an event does to them"
        table = Table(
            "event", "reset", "stalled > 1 s", "longest wait, s", "bytes lost / doubled", title=title
        )
        for event in EVENTS:
            if part in event.name:
                found = measure(event, kind, count)
                console.print(f"{kind}: {event.name}: {found}")
                table.add_row(event.name, *_cells(found))
        console.print(table)


def _cells(found: Outcome) -> tuple[str, ...]:
    silent = f" ({found.waiting} without an answer)" if found.waiting else ""
    return (
        str(found.reset),
        f"{found.stalled}{silent}",
        f"{found.longest:.2f}",
        f"{found.lost} / {found.doubled}",
    )
