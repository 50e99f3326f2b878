# SPDX-License-Identifier: Apache-2.0
"""Heartbeats: seen across a fork, and silence that counts no stall of the one who watches."""

from __future__ import annotations

import os

import pytest

from pointsman.daemon.runtime.heartbeat import STALL, Heartbeat, SilenceWatch


def test_a_heartbeat_of_a_child_is_seen_by_its_parent() -> None:
    heartbeat = Heartbeat()
    assert heartbeat.last == 0.0
    pid = os.fork()
    if pid == 0:
        heartbeat.beat()
        os._exit(0)
    os.waitpid(pid, 0)
    assert heartbeat.last > 0.0


def test_a_process_without_its_page_cannot_beat() -> None:
    heartbeat = Heartbeat()
    heartbeat.close()
    with pytest.raises(ValueError, match="released"):
        heartbeat.beat()


def test_silence_is_the_age_of_the_last_sign() -> None:
    watch = SilenceWatch()
    watch.on_turn(102.0, 102.0)
    assert watch.silence(103.0, 100.0) == 3.0
    assert watch.overdue_at(100.0, 5.0) == 105.0


def test_a_stall_of_the_watcher_is_nobody_else_s_silence() -> None:
    watch = SilenceWatch()
    watch.on_turn(150.0, 105.0)
    assert watch.silence(150.0, 100.0) == 0.0
    assert watch.silence(153.0, 100.0) == 3.0
    assert watch.overdue_at(100.0, 5.0) == 155.0


def test_a_turn_that_is_a_little_late_excuses_nobody() -> None:
    watch = SilenceWatch()
    watch.on_turn(105.0 + STALL / 2, 105.0)
    assert watch.silence(106.0, 100.0) == 6.0
