# SPDX-License-Identifier: Apache-2.0
"""connection_sync: the other director carries on every established connection."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from tests.support.connections.pair import KINDS, Pair, pair
from tests.support.until import until

pytestmark = [pytest.mark.root]

COUNT = 100
QUIET, ANSWER = 0.5, 1.0


@pytest.fixture
def both() -> Iterator[Pair]:
    """Two directors with 100 connections through lb-01, of which lb-02 knows."""
    with pair(f"pmt-sync-{os.getpid()}", KINDS["sync"]) as made:
        made.start_both()
        made.connect(COUNT)
        yield made


def test_switchover_and_death_of_the_new_master(both: Pair) -> None:
    def switch_over() -> None:
        both.ask("lb-01", "switchover")
        both.wait_for_master("lb-02")

    assert both.outcome(switch_over, QUIET, ANSWER).is_clean
    status = json.loads(both.ask_anyway("lb-01", "status", "--json"))
    assert status["sync"]["taken"].get("conflict", 0) == 0

    def kill_and_take_over() -> None:
        both.kill_all("lb-02")
        both.wait_for_master("lb-01")

    assert both.outcome(kill_and_take_over, QUIET, ANSWER).is_clean


def test_stop_of_the_master(both: Pair) -> None:
    def stop() -> None:
        both.stop("lb-01")
        both.wait_for_master("lb-02")

    assert both.outcome(stop, QUIET, ANSWER).is_clean


def test_both_directors_lose_their_power_and_the_real_servers_know() -> None:
    with pair(f"pmt-asking-{os.getpid()}", KINDS["sync and asking"]) as made:
        made.start_both()
        made.connect(COUNT)
        found = made.outcome(lambda: made.power_cycle("lb-01", "lb-02"), QUIET, ANSWER)
        assert not (found.reset or found.lost or found.doubled), found

        def has_answers() -> bool:
            return made.outcome(lambda: None, 0.0, ANSWER).is_clean

        # A client that was without a director for seconds waits as long again between two tries.
        until("all connections are served again", has_answers)
