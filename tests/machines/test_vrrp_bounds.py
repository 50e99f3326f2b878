# SPDX-License-Identifier: Apache-2.0
"""Never two masters, and never none, for longer than the protocol's own bounds: days of disturbed segments.

Losses, copies, packets that overtake each other, clocks that run apart, partitions, deaths, stalls, planned
switches. Everything follows from what hypothesis draws, the seed of the losses included.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.machines.segment import (
    DAY,
    DELAY,
    FASTEST,
    MASTER,
    MOST_LOST_IN_A_ROW,
    SLOWEST,
    Segment,
    disturb,
    routers,
)

from pointsman.model.vrrp import VrrpInstance, VrrpState
from pointsman.vrrp.yielding import GRACE

JITTER = 0.1
"""The largest delay of a packet, as a fraction of the interval."""
KINDS = ["split", "heal", "kill", "stop", "start", "stall", "wake", "hand over"]


def longest_several(interval: float) -> float:
    """Until the worse of two masters has heard the better one: as many adverts as can be lost, and one more.

    A master that hands over may be the better one. It keeps its state for a moment after it has heard.
    """
    return ((MOST_LOST_IN_A_ROW + 1) * interval + GRACE) / SLOWEST + DELAY + JITTER * interval


def longest_none(instances: list[VrrpInstance], interval: float) -> float:
    """The master-down interval of the worst backup, by the slowest clock, from the last advert it has heard.

    A master that has just handed over in vain may be killed by the next disturbance: the wait begins there.
    """
    scale = 1.0 if instances[0].version == 2 else interval
    lowest = min(instance.priority for instance in instances)
    skew = (256 - lowest) / 256 * scale
    return (3 * interval + skew) / SLOWEST + DELAY + JITTER * interval


def run(
    instances: list[VrrpInstance],
    story: list[tuple[str, int, float]],
    seed: int,
    rates: list[float],
    trouble: tuple[float, float, float],
    length: float,
) -> Segment:
    """The whole of `length` seconds: the story, spread over it, and quiet to its end."""
    interval = instances[0].advert_interval
    segment = Segment(instances, seed)
    segment.loss, segment.duplication, jitter = trouble
    segment.jitter, segment.bounded = jitter * JITTER * interval, True
    for number, station in enumerate(segment.stations):
        station.rate = rates[number % len(rates)]
    segment.start(*range(len(instances)))
    share = length / (sum(pause for _, _, pause in story) + 1.0)
    for what, number, pause in story:
        segment.run_until(segment.now + pause * share)
        disturb(segment, what, number % len(instances))
    segment.run_until(length)
    segment.watch.disturbed()  # what still lasts, counts too
    return segment


def stories(most: int) -> st.SearchStrategy[list[tuple[str, int, float]]]:
    """Short pauses among long ones: most of what goes wrong, goes wrong while something else does."""
    pause = st.one_of(st.floats(0.0, 0.001), st.floats(0.0, 1.0))
    return st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 254), pause), max_size=most)


trouble = st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 0.5), st.floats(0.0, 1.0))
rates = st.lists(st.floats(SLOWEST, FASTEST), min_size=1, max_size=5)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), trouble=trouble, rates=rates, story=stories(60), data=st.data())
def test_a_day_of_three_routers(
    seed: int,
    trouble: tuple[float, float, float],
    rates: list[float],
    story: list[tuple[str, int, float]],
    data: st.DataObject,
) -> None:
    priorities = data.draw(st.lists(st.integers(1, 254), min_size=3, max_size=3))
    interval = 2.0
    instances = routers(*priorities, advert_interval=interval, nopreempt=data.draw(st.booleans()))
    segment = run(instances, story, seed, rates, trouble, DAY)
    assert segment.watch.longest["several"] <= longest_several(interval)
    assert segment.watch.longest["none"] <= longest_none(instances, interval)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    trouble=trouble,
    rates=rates,
    story=stories(40),
    priorities=st.lists(st.integers(1, 254), min_size=2, max_size=6),
    version=st.sampled_from([2, 3]),
    nopreempt=st.booleans(),
)
def test_five_eventful_minutes(
    seed: int,
    trouble: tuple[float, float, float],
    rates: list[float],
    story: list[tuple[str, int, float]],
    priorities: list[int],
    version: int,
    nopreempt: bool,
) -> None:
    instances = routers(*priorities, version=version, nopreempt=nopreempt)
    segment = run(instances, story, seed, rates, trouble, 300.0)
    assert segment.watch.longest["several"] <= longest_several(1.0)
    assert segment.watch.longest["none"] <= longest_none(instances, 1.0)


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), rates=rates, story=stories(20))
def test_a_day_of_255_routers(seed: int, rates: list[float], story: list[tuple[str, int, float]]) -> None:
    interval = 40.0
    instances = routers(*(1 + number % 254 for number in range(255)), version=3, advert_interval=interval)
    segment = run(instances, story, seed, rates, (0.0, 0.0, 0.0), DAY)
    assert segment.watch.longest["several"] <= longest_several(interval)
    assert segment.watch.longest["none"] <= longest_none(instances, interval)


def test_a_minute_of_255_routers_with_losses() -> None:
    instances = routers(*(1 + number % 254 for number in range(255)))
    story = [("split", number, 1.0) for number in range(254, 100, -8)] + [
        ("heal", 254, 2.0),
        ("kill", 253, 1.0),
    ]
    segment = run(instances, story, 7, [SLOWEST, 1.0, FASTEST], (0.3, 0.2, 1.0), 60.0)
    assert segment.watch.longest["several"] <= longest_several(1.0)
    assert segment.watch.longest["none"] <= longest_none(instances, 1.0)


def test_a_disturbed_day_follows_from_its_seed() -> None:
    story = [(KINDS[number % 8], number, 0.5 + number % 3) for number in range(40)]
    records = []
    for _ in range(2):
        segment = run(routers(200, 199, 100), story, 11, [0.99, 1.01], (0.3, 0.3, 1.0), 5000.0)
        records.append(segment.changes)
    assert records[0] == records[1]
    assert len(records[0]) > 12


@pytest.mark.parametrize("kind", ["several", "none"])
def test_the_watch_itself_sees_what_is_wrong(kind: str) -> None:
    """Masters that are deaf, and backups that never wake: both bounds are broken, and it is seen."""
    segment = Segment(routers(200, 100))
    segment.start(0, 1)
    segment.run_until(10.0)
    if kind == "several":
        segment.loss = 1.0
    else:
        segment.stations[0].machine.state = VrrpState.BACKUP
        for station in segment.stations:
            station.machine._down.at = station.machine._advertising.at = None
        segment.watch.look()
    segment.run_until(100.0)
    segment.watch.disturbed()
    assert segment.watch.longest[kind] > 80.0
    assert (len(segment.masters()) == 2) is (kind == "several")
    assert segment.stations[0].machine.state is (MASTER if kind == "several" else VrrpState.BACKUP)
