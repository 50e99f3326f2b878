# SPDX-License-Identifier: Apache-2.0
"""No instance becomes master before the service table is in force, or the wait for it has lasted too long."""

from __future__ import annotations

import pytest

from pointsman.daemon.vrrp.trackers import TABLE_WAIT, Trackers
from pointsman.model.tracking import TrackFile, VrrpSurroundings


def test_the_table_ends_the_wait() -> None:
    trackers = Trackers({}, lambda: 100.0)
    assert not trackers.is_table_awaited and trackers.deadline is None
    trackers.expect_table()
    assert trackers.is_table_awaited and trackers.deadline == 100.0 + TABLE_WAIT
    trackers.on_table()
    assert not trackers.is_table_awaited and trackers.deadline is None


def test_a_table_that_never_comes_is_not_awaited_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    trackers = Trackers({}, lambda: 100.0)
    trackers.expect_table()
    assert not trackers.advance(99.0 + TABLE_WAIT) and trackers.is_table_awaited
    assert trackers.advance(100.0 + TABLE_WAIT) and not trackers.is_table_awaited
    assert "without the service table" in caplog.text
    assert not trackers.advance(101.0 + TABLE_WAIT)


def test_the_first_of_both_deadlines_counts() -> None:
    trackers = Trackers({}, lambda: 100.0)
    trackers.reconfigure(VrrpSurroundings(files=(TrackFile(name="f", path="/f"),)))
    results = trackers.deadline
    assert results is not None and results < 100.0 + TABLE_WAIT
    trackers.expect_table()
    assert trackers.deadline == results
