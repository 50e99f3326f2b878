# SPDX-License-Identifier: Apache-2.0
"""BFD's state machine: RFC 5880 section 6, on a virtual clock."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.bfd.machine import BfdMachine, Changed, Transmit
from pointsman.bfd.wire import Packet, State
from pointsman.model.bfd import BfdSession

SESSION = BfdSession(
    name="far", neighbour=ipaddress.ip_address("10.9.0.2"), min_rx=0.05, min_tx=0.05, multiplier=3
)


def machine(session: BfdSession = SESSION) -> BfdMachine:
    made = BfdMachine(session, 7, lambda: 0.0)
    made.start(0.0)
    return made


def packet(state: State, **changes: object) -> Packet:
    usual = Packet(state=state, multiplier=4, own=9, yours=7, min_tx=60_000, min_rx=50_000)
    return msgspec.structs.replace(usual, **changes)


def sent(made: BfdMachine) -> list[Packet]:
    return [effect.packet for effect in made.effects() if isinstance(effect, Transmit)]


def brought_up(session: BfdSession = SESSION) -> BfdMachine:
    made = machine(session)
    made.on_packet(1.0, packet(State.DOWN))
    made.on_packet(1.1, packet(State.UP))
    assert made.up
    made.on_packet(1.1, packet(State.UP, final=True))
    made.effects()
    return made


@pytest.mark.parametrize(
    ("state", "heard", "after"),
    [
        (State.DOWN, State.DOWN, State.INIT),
        (State.DOWN, State.INIT, State.UP),
        (State.DOWN, State.UP, State.DOWN),
        (State.DOWN, State.ADMIN_DOWN, State.DOWN),
        (State.INIT, State.DOWN, State.INIT),
        (State.INIT, State.INIT, State.UP),
        (State.INIT, State.UP, State.UP),
        (State.INIT, State.ADMIN_DOWN, State.DOWN),
        (State.UP, State.DOWN, State.DOWN),
        (State.UP, State.INIT, State.UP),
        (State.UP, State.UP, State.UP),
        (State.UP, State.ADMIN_DOWN, State.DOWN),
    ],
)
def test_the_table_of_section_6_2(state: State, heard: State, after: State) -> None:
    made = machine()
    for way in {State.DOWN: (), State.INIT: (State.DOWN,), State.UP: (State.INIT,)}[state]:
        made.on_packet(0.5, packet(way))
    assert made.state is state
    made.on_packet(0.6, packet(heard))
    assert made.state is after


def test_a_silent_neighbour_is_gone_after_its_multiplier_times_the_slower_interval() -> None:
    made = brought_up()
    made.on_packet(2.0, packet(State.UP))
    assert made.detection_time == pytest.approx(4 * 0.06)
    made.advance(2.239)
    assert made.up
    made.effects()
    made.advance(2.241)
    (changed,) = [effect for effect in made.effects() if isinstance(effect, Changed)]
    assert changed == Changed(False, "no packet for 240 ms")
    assert made.diagnostic == 1


def test_it_is_slow_until_it_is_up_and_no_faster_than_the_neighbour_wants() -> None:
    made = machine()
    made.advance(0.0)
    assert [each.min_tx for each in sent(made)] == [1_000_000]
    assert made.deadline == 1.0
    made.on_packet(0.5, packet(State.INIT, min_rx=200_000))
    first = sent(made)[0]
    assert (first.state, first.min_tx, first.poll) == (State.UP, 50_000, True)
    assert made.transmit_interval == 0.2


def test_jitter_is_a_quarter_and_never_the_whole_interval_with_multiplier_1() -> None:
    for multiplier, chance, expected in [(3, 1.0, 0.75), (3, 0.0, 1.0), (1, 1.0, 0.75), (1, 0.0, 0.9)]:
        made = BfdMachine(msgspec.structs.replace(SESSION, multiplier=multiplier), 7, lambda c=chance: c)  # type: ignore[misc]
        made.start(0.0)
        made.advance(0.0)
        assert made.deadline == pytest.approx(expected)


def test_a_poll_is_answered_at_once_and_final_ends_our_own() -> None:
    made = machine()
    made.on_packet(0.5, packet(State.INIT))
    assert sent(made)[-1].poll
    made.on_packet(0.6, packet(State.UP, poll=True))
    (answer,) = sent(made)
    assert (answer.final, answer.poll) == (True, False)
    made.advance(made.deadline or 0)
    assert sent(made)[0].poll, "nobody has answered ours yet"
    made.on_packet(0.7, packet(State.UP, final=True))
    made.advance(made.deadline or 0)
    assert not sent(made)[0].poll


def test_a_passive_one_waits_and_falls_silent_again() -> None:
    made = machine(msgspec.structs.replace(SESSION, passive=True))
    assert made.deadline is None
    made.on_packet(5.0, packet(State.DOWN, yours=0))
    assert [each.state for each in sent(made)] == [State.INIT]
    made.advance(5.0 + 4 * 0.06 + 0.01)
    assert made.state is State.DOWN
    assert sent(made) == []
    assert made.deadline is None


def test_a_neighbour_that_wants_none_gets_none() -> None:
    made = brought_up()
    made.on_packet(2.0, packet(State.UP, min_rx=0))
    assert made.transmit_interval is None
    made.on_packet(2.1, packet(State.UP))
    assert made.deadline == 2.1


def test_demand_mode_of_the_neighbour_ends_our_periodic_packets_but_not_the_detection() -> None:
    made = brought_up()
    made.on_packet(2.0, packet(State.UP, demand=True))
    assert made.transmit_interval is None
    made.advance(2.0 + 4 * 0.06)
    assert not made.up


def test_other_intervals_while_up_wait_for_the_neighbour_where_they_must() -> None:
    """Section 6.8.3: slower sending and faster detection only when the neighbour has answered the poll."""
    made = brought_up()
    made.reconfigure(2.0, msgspec.structs.replace(SESSION, min_tx=0.5, min_rx=0.01))
    (poll,) = sent(made)
    assert (poll.poll, poll.min_tx, poll.min_rx) == (True, 500_000, 10_000)
    assert made.transmit_interval == 0.05
    assert made.detection_time == pytest.approx(4 * 0.06)
    made.on_packet(2.1, packet(State.UP, final=True, min_tx=20_000))
    assert made.transmit_interval == 0.5
    assert made.detection_time == pytest.approx(4 * 0.02)


def test_a_stop_says_so_and_nothing_moves_it_any_more() -> None:
    made = brought_up()
    made.stop(3.0)
    effects = made.effects()
    assert [each.packet.state for each in effects if isinstance(each, Transmit)] == [State.ADMIN_DOWN]
    assert made.deadline is None
    made.on_packet(3.1, packet(State.UP, poll=True))
    assert made.effects() == []


@settings(max_examples=200, deadline=None)
@given(
    lost=st.lists(st.booleans(), max_size=200),
    multipliers=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    intervals=st.tuples(st.integers(10, 300), st.integers(10, 300)),
    jitter=st.floats(0, 1),
)
def test_two_of_them_agree_soon_after_the_loss_has_ended_and_find_a_death_in_time(
    lost: list[bool], multipliers: tuple[int, int], intervals: tuple[int, int], jitter: float
) -> None:
    ends = [
        BfdMachine(
            msgspec.structs.replace(SESSION, multiplier=m, min_tx=i / 1000, min_rx=i / 1000),
            7 + n,
            lambda: jitter,
        )
        for n, (m, i) in enumerate(zip(multipliers, intervals, strict=True))
    ]
    now, way = 1.0, list(lost)

    def run_until(end: float, alive: tuple[int, ...] = (0, 1)) -> None:
        nonlocal now
        while True:
            due = min((ends[n].deadline or end + 1, n) for n in alive)
            if due[0] > end:
                now = end
                return
            now = max(now, due[0])
            ends[due[1]].advance(now)
            for _ in range(8):  # an answer may bring an answer
                for n in alive:
                    for each in sent(ends[n]):
                        if 1 - n in alive and not (way and way.pop(0)):
                            ends[1 - n].on_packet(now, each)

    for end in ends:
        end.start(now)
    while way and now < 60.0:  # a steady stream has nothing more to show
        run_until(now + 1.0)
    way.clear()
    run_until(now + 10.0)
    assert all(end.up for end in ends)
    detection = ends[0].detection_time
    assert detection == pytest.approx(multipliers[1] * max(intervals) / 1000)
    run_until(now + detection + 1e-6, alive=(0,))
    assert not ends[0].up
