# SPDX-License-Identifier: Apache-2.0
"""Derive an instance's fault and priority from its trackers (keepalived's vrrp_track.c)."""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

from pointsman.model.tracking import Tracked, TrackKind
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance

HIGHEST, LOWEST = 254, 1
FATAL_SUM = -254
"""A file whose value times weight is this or lower is a fault."""

TrackerValues = Mapping[tuple[TrackKind, str], int | None]
"""Values of tracked objects: 1 good, 0 bad, or the number in a file.

Missing: unknown. None: disabled. Such a tracker has no effect.
"""


class Judgement(msgspec.Struct, frozen=True):
    """Fault from the trackers (empty: none), and effective priority."""

    fault: str
    priority: int
    awaited: tuple[str, ...] = ()
    """Trackers without a first value that could still cause a fault or lower the priority."""


def judge(
    instance: VrrpInstance, values: TrackerValues, missing: Set[tuple[TrackKind, str]] = frozenset()
) -> Judgement:
    """Return the effect of the tracker values on this instance. `missing`: those that will have a value soon.

    Weight 0: bad is a fault. A positive weight is added while good, a negative one while bad; `reverse`
    swaps good and bad. The priority is limited to 1 to 254. An address owner keeps its 255.
    """
    fault, total = "", 0
    for tracked in instance.tracked:
        value = values.get((tracked.kind, tracked.name))
        if value is None:
            continue
        if tracked.kind is TrackKind.FILE:
            problem, weight = _of_file(tracked, value)
        else:
            problem, weight = _of_condition(tracked, bool(value))
        fault = fault or problem
        total += weight
    is_owner = instance.priority == OWNER_PRIORITY
    awaited = tuple(
        f"{each.kind.value} {each.name}"
        for each in instance.tracked
        if (each.kind, each.name) in missing and (_may_be_fatal(each) or (_may_lower(each) and not is_owner))
    )
    priority = OWNER_PRIORITY if is_owner else max(LOWEST, min(HIGHEST, instance.priority + total))
    return Judgement(fault, priority, awaited)


def _may_be_fatal(tracked: Tracked) -> bool:
    return tracked.weight == 0 or tracked.kind is TrackKind.FILE


def _may_lower(tracked: Tracked) -> bool:
    return (tracked.weight < 0) is not tracked.reverse


def _of_condition(tracked: Tracked, good: bool) -> tuple[str, int]:
    if tracked.weight == 0:
        return (
            (f"{tracked.kind.value} {tracked.name} {_STATES[good]}", 0)
            if good is tracked.reverse
            else ("", 0)
        )
    counts = good if tracked.weight > 0 else not good
    return "", (-tracked.weight if tracked.reverse else tracked.weight) if counts else 0


def _of_file(tracked: Tracked, value: int) -> tuple[str, int]:
    weighted = value * (-tracked.weight if tracked.reverse else tracked.weight)
    if (tracked.weight == 0 and (value != 0) is not tracked.reverse) or weighted <= FATAL_SUM:
        return f"tracked file {tracked.name} contains {value}", 0
    return "", weighted


_STATES = {True: "is up", False: "is down"}
