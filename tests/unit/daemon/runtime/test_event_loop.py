# SPDX-License-Identifier: Apache-2.0
"""The event loop: what has arrived comes before timers, and one deadline decides how long it waits."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from pointsman.daemon.runtime.event_loop import STALL, EventLoop


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Timer:
    """One timer, and what has happened in which order."""

    def __init__(self, deadline: float | None, events: list[str]) -> None:
        self.deadline = deadline
        self.events = events

    def advance(self, now: float) -> None:
        self.events.append(f"timer at {now:g}")
        self.deadline = None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> EventLoop:
    return EventLoop(clock, logging.getLogger("loop"))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_what_has_arrived_is_read_before_a_timer_that_is_due_fires(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    events: list[str] = []
    loop.watch(ours, lambda: events.append(ours.recv(16).decode()))
    theirs.send(b"advert")
    loop.turn(Timer(99.0, events))
    assert events == ["advert", "timer at 100"]


def test_an_arrival_that_moves_the_deadline_away_keeps_the_timer_from_firing(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    timer = Timer(99.0, [])

    def read() -> None:
        ours.recv(16)
        timer.deadline = 103.0

    loop.watch(ours, read)
    theirs.send(b"advert")
    loop.turn(timer)
    assert timer.events == []


def test_what_arrives_while_another_is_read_comes_before_the_timer_too(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    events: list[str] = []
    first, second = socket.socketpair()

    def read() -> None:
        events.append(first.recv(16).decode())
        theirs.send(b"second")

    with first, second:
        loop.watch(first, read)
        loop.watch(ours, lambda: events.append(ours.recv(16).decode()))
        second.send(b"first")
        loop.turn(Timer(99.0, events))
    assert events == ["first", "second", "timer at 100"]


def test_a_timer_that_is_not_due_does_not_fire(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    timer = Timer(1000.0, [])
    loop.watch(ours, lambda: ours.recv(16))
    theirs.send(b"advert")
    loop.turn(timer)
    assert timer.events == []


def test_nobody_hears_of_what_is_watched_no_more(
    loop: EventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    events: list[str] = []
    loop.watch(ours, lambda: events.append(ours.recv(16).decode()))
    loop.unwatch(ours)
    theirs.send(b"advert")
    loop.turn(Timer(99.0, events))
    assert events == ["timer at 100"]


@pytest.mark.parametrize(("late", "told"), [(STALL + 0.5, True), (STALL / 2, False)])
def test_a_stall_is_told(
    loop: EventLoop, clock: Clock, caplog: pytest.LogCaptureFixture, late: float, told: bool
) -> None:
    timer = Timer(101.0, [])
    clock.now = 101.0 + late
    loop.turn(timer)
    assert timer.events == [f"timer at {clock.now:g}"]
    assert ("stalled" in caplog.text) is told


def test_a_deadline_of_long_ago_is_no_stall_of_this_turn(
    loop: EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.turn(Timer(1.0, []))
    assert "stalled" not in caplog.text


def test_a_signal_stops_it_and_ends_its_waiting(loop: EventLoop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    try:
        loop.stop_on(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.turn(Timer(None, []))  # returns though no timer and no channel would ever end it
        assert loop.stopping
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_is_ignored_stays_so(loop: EventLoop) -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        loop.stop_on(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
