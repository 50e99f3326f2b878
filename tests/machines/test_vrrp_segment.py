# SPDX-License-Identifier: Apache-2.0
"""Many VRRP machines on one simulated segment with a virtual clock: a day takes about a second."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.machines.segment import BACKUP, DAY, MASTER, Segment, disturb, routers

from pointsman.vrrp.reannouncing import REANNOUNCE_REQUESTS


def test_a_quiet_day_has_one_master_and_no_transition_after_the_start() -> None:
    segment = Segment(routers(200, 150, 100))
    segment.start(0, 1, 2)
    segment.run_until(DAY)
    assert segment.changes == [
        (0.0, 0, BACKUP),
        (0.0, 1, BACKUP),
        (0.0, 2, BACKUP),
        (3.0 + 56 / 256, 0, MASTER),
    ]
    assert segment.events > 170_000


def test_the_backups_follow_in_order_of_priority() -> None:
    segment = Segment(routers(200, 150, 100))
    segment.start(0, 1, 2)
    segment.run_until(10.0)
    segment.kill(0)
    segment.run_until(20.0)
    assert segment.masters() == [1]
    segment.stop(1)
    segment.run_until(20.0 + 156 / 256 + 0.01)
    assert segment.masters() == [2]
    segment.start(1)
    segment.run_until(30.0)
    assert segment.masters() == [1]
    assert segment.announced_by == 1


def test_equal_routers_do_not_flap_when_the_first_comes_back() -> None:
    """The document's pair: both 200. Who is master stays it."""
    segment = Segment(routers(200, 200))
    segment.start(0)
    segment.run_until(5.0)
    segment.start(1)
    segment.run_until(20.0)
    assert segment.masters() == [0]
    segment.stop(0)
    segment.run_until(25.0)
    segment.start(0)
    before = len(segment.changes)
    segment.run_until(1000.0)
    assert segment.masters() == [1]
    assert len(segment.changes) == before


def test_equal_routers_started_together_agree_on_the_higher_address() -> None:
    segment = Segment(routers(200, 200))
    segment.start(0, 1)
    segment.run_until(5.0)
    assert segment.masters() == [1]
    assert segment.announced_by == 1


def test_after_a_healed_split_the_winner_has_the_last_word() -> None:
    """Whoever hears the other first: the client's packets go to the winner (keepalived: 14 of 34 do not)."""
    for phase in range(20):
        segment = Segment(routers(200, 100))
        segment.start(0, 1)
        segment.run_until(10.0)
        segment.stations[1].side = 1
        segment.run_until(20.0 + phase * 0.05)
        assert segment.masters() == [0, 1]
        segment.stations[1].side = 0
        segment.run_until(segment.now + 1.01)
        assert segment.masters() == [0]
        assert segment.announced_by == 0


def test_a_stalled_backup_reads_before_its_timers_and_makes_no_false_master() -> None:
    segment = Segment(routers(200, 100))
    segment.start(0, 1)
    segment.run_until(10.0)
    segment.stall(1)
    segment.run_until(60.0)
    segment.wake(1)
    segment.run_until(100.0)
    assert [change for change in segment.changes if change[1] == 1] == [(0.0, 1, BACKUP)]


def test_the_same_stall_makes_a_false_master_when_timers_come_first() -> None:
    """Shows that the test above can fail."""
    segment = Segment(routers(200, 100))
    segment.start(0, 1)
    segment.run_until(10.0)
    segment.stall(1)
    segment.stations[1].drains_first = False
    segment.run_until(60.0)
    segment.wake(1)
    assert (60.0, 1, MASTER) in segment.changes


def test_nopreempt_keeps_the_master_that_is_there() -> None:
    segment = Segment(routers(200, 100, nopreempt=True))
    segment.start(1)
    segment.run_until(10.0)
    segment.start(0)
    segment.run_until(100.0)
    assert segment.masters() == [1]


def test_version_3_at_ten_milliseconds() -> None:
    segment = Segment(routers(200, 100, version=3, advert_interval=0.01))
    segment.start(0, 1)
    segment.run_until(10.0)
    segment.kill(0)
    segment.run_until(10.04)
    assert segment.masters() == [1]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0.0, 0.3),
    priorities=st.lists(st.integers(1, 254), min_size=2, max_size=5),
)
def test_loss_never_leaves_two_masters_or_none_for_long(
    seed: int, loss: float, priorities: list[int]
) -> None:
    """After the loss has ended, one master within the master-down interval and an advert's way."""
    segment = Segment(routers(*priorities), seed, loss)
    segment.start(*range(len(priorities)))
    segment.run_until(300.0)
    segment.loss = 0.0
    segment.run_until(306.0)
    masters = segment.masters()
    assert len(masters) == 1
    segment.run_until(400.0)
    assert segment.masters() == masters
    # A loser sends its farewell and REANNOUNCE_REQUESTS adverts to the winner: one of them must arrive.
    assert segment.announced_by == masters[0] or segment.most_lost > REANNOUNCE_REQUESTS
    assert priorities[masters[0]] == max(priorities)


def test_a_run_follows_from_its_seed() -> None:
    records = []
    for _ in range(2):
        segment = Segment(routers(200, 199, 198), seed=7, loss=0.4)
        segment.start(0, 1, 2)
        segment.run_until(2000.0)
        records.append(segment.changes)
    assert records[0] == records[1]
    assert len(records[0]) > 10


def test_255_routers_follow_the_best_one_and_then_the_next() -> None:
    """With one router for each priority only the skew time decides which one becomes master first."""
    segment = Segment(routers(*range(1, 255)))
    segment.start(*range(254))
    segment.run_until(60.0)
    assert segment.masters() == [253]
    assert [number for _, number, state in segment.changes if state is MASTER] == [253]
    segment.kill(253)
    segment.run_until(80.0)
    assert segment.masters() == [252]
    segment.stop(252)
    segment.run_until(100.0)
    assert [number for _, number, state in segment.changes if state is MASTER] == [253, 252, 251]


def test_a_switchover_has_no_moment_without_addresses_and_is_not_undone() -> None:
    segment = Segment(routers(200, 100))
    segment.start(0, 1)
    segment.run_until(10.0)
    segment.hand_over(0)
    while segment.now < 100.0:
        segment.run_until(segment.now + 0.01)
        assert any(station.machine.holds_addresses for station in segment.stations)
    assert segment.masters() == [1]
    assert segment.announced_by == 1


def test_everybody_retires_in_turn_and_somebody_always_serves() -> None:
    segment = Segment(routers(200, 150, 100))
    segment.start(0, 1, 2)
    segment.run_until(10.0)
    for number in (0, 1):
        segment.stations[number].machine.yield_and_stop(segment.now)
        segment.carry_out(number)
        until = segment.now + 20.0
        while segment.now < until:
            segment.run_until(segment.now + 0.01)
            assert any(station.machine.holds_addresses for station in segment.stations)
        assert segment.masters() == [number + 1]


def test_a_router_that_is_killed_while_it_is_stalled_does_nothing_any_more() -> None:
    """The story that a generated test has found: the dead one woke in the simulation, and announced."""
    segment = Segment(routers(1, 2, 3, 4, 5))
    segment.start(*range(5))
    segment.run_until(10.0)
    for number in (1, 2, 3, 4):
        disturb(segment, "split", number)
    disturb(segment, "stall", 0)
    segment.run_until(20.0)
    disturb(segment, "kill", 0)
    for number, station in enumerate(segment.stations):
        station.side = 0
        if station.stalled:
            segment.wake(number)
    segment.run_until(30.0)
    assert (segment.masters(), segment.announced_by) == ([4], 4)


disturbances = st.lists(
    st.tuples(
        st.sampled_from(["split", "heal", "kill", "start", "stall", "wake", "hand over"]),
        st.integers(0, 4),
        st.floats(0.0, 12.0),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0.0, 0.2),
    duplication=st.floats(0.0, 0.3),
    jitter=st.floats(0.0, 0.2),
    rates=st.lists(st.floats(0.98, 1.02), min_size=5, max_size=5),
    priorities=st.lists(st.integers(1, 254), min_size=5, max_size=5, unique=True),
    story=disturbances,
)
def test_whatever_happens_one_master_is_left_soon_after_it_has_ended(
    seed: int,
    loss: float,
    duplication: float,
    jitter: float,
    rates: list[float],
    priorities: list[int],
    story: list[tuple[str, int, float]],
) -> None:
    """Splits, deaths, stalls, switches, loss, copies, packets out of order, clocks that run apart."""
    segment = Segment(routers(*priorities), seed, loss)
    segment.duplication, segment.jitter = duplication, jitter
    for station, rate in zip(segment.stations, rates, strict=True):
        station.rate = rate
    segment.start(*range(5))
    died_apart: set[int] = set()
    """Beside another master: nobody hears of it who could announce, and clients must ask anew themselves."""
    for what, number, pause in story:
        if what == "kill" and len(segment.masters()) > 1:
            died_apart.add(number)
        disturb(segment, what, number)
        segment.run_until(segment.now + pause)
    segment.loss = segment.duplication = segment.jitter = 0.0
    for number, station in enumerate(segment.stations):
        station.side = 0
        if station.stalled:
            segment.wake(number)
    segment.run_until(segment.now + 10.0)
    alive = [number for number, station in enumerate(segment.stations) if station.alive]
    masters = segment.masters()
    assert len(masters) == min(1, len(alive))
    segment.run_until(segment.now + 100.0)
    assert segment.masters() == masters
    if masters:
        assert segment.announced_by in {masters[0]} | died_apart
