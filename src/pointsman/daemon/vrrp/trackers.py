# SPDX-License-Identifier: Apache-2.0
"""Values of all trackers, as the VRRP process knows them, and their effect on an instance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from pointsman.control.vrrp_messages import TrackerValue
from pointsman.model.tracking import TrackKind, VrrpSurroundings
from pointsman.model.vrrp import VrrpInstance
from pointsman.net.links import Link
from pointsman.vrrp.first_results import FirstResults
from pointsman.vrrp.tracking import Judgement, judge

TABLE_WAIT = 60.0
"""Seconds after which instances may become master without the service table."""

log = logging.getLogger("vrrp")


class Trackers:
    """Values of interfaces, and those that pm-scripts and pm-bfd have reported."""

    def __init__(self, links: Mapping[str, Link], clock: Callable[[], float]) -> None:
        self._links = links
        self._clock = clock
        self._values: dict[tuple[TrackKind, str], int | None] = {}
        self._first_results = FirstResults()
        self._table_due: float | None = None

    @property
    def deadline(self) -> float | None:
        first, table = self._first_results.deadline, self._table_due
        return table if first is None or (table is not None and table < first) else first

    @property
    def is_table_awaited(self) -> bool:
        """True if no instance may become master yet, because there is no service table."""
        return self._table_due is not None

    def expect_table(self) -> None:
        """Expect the service table. A master without one would drop what another router could serve."""
        self._table_due = self._clock() + TABLE_WAIT

    def on_table(self) -> None:
        """Record that the service table is in force."""
        self._table_due = None

    def reconfigure(self, surroundings: VrrpSurroundings) -> None:
        """Use the trackers of a configuration. A new script with init_fail is bad."""
        for script in surroundings.scripts:
            if script.init_fail:
                self._values.setdefault((TrackKind.SCRIPT, script.name), 0)
        self._first_results.expect(self._clock(), surroundings, self._values)

    def read_interfaces(self, instances: Iterable[VrrpInstance]) -> None:
        """Read the states of the tracked interfaces. One that does not exist is down."""
        for instance in instances:
            for tracked in instance.tracked:
                if tracked.kind is TrackKind.INTERFACE:
                    link = self._links.get(tracked.name)
                    self._values[tracked.kind, tracked.name] = int(link is not None and link.running)

    def on_value(self, received: TrackerValue) -> None:
        self._values[received.kind, received.name] = received.value
        self._first_results.on_value((received.kind, received.name))

    def advance(self, now: float) -> bool:
        """Give up waiting for first results and for a table that are overdue. Return True if one was."""
        overdue = self._first_results.give_up(now)
        for kind, name in overdue:
            log.warning("no result of tracked %s %s: it has no effect until there is one", kind.value, name)
        if no_table := self._table_due is not None and self._table_due <= now:
            log.warning("going on without the service table: it is not in force after %.0f s", TABLE_WAIT)
            self._table_due = None
        return no_table or bool(overdue)

    def judge(self, instance: VrrpInstance) -> Judgement:
        """Return the effect of all trackers on an instance."""
        return judge(instance, self._values, self._first_results.missing)
