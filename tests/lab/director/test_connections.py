# SPDX-License-Identifier: Apache-2.0
"""Established connections survive what happens to a director (all events: benchmarks/connections.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.support.connections.pair import KINDS, Pair, pair

pytestmark = [pytest.mark.root]

COUNT = 100
QUIET, ANSWER = 0.5, 1.0


@pytest.fixture(scope="module")
def alone() -> Iterator[Pair]:
    """One director with 100 connections."""
    with pair(f"pmt-connections-{os.getpid()}", KINDS["rr"]) as made:
        made.start("lb-01")
        made.wait_for_master("lb-01")
        made.connect(COUNT)
        yield made


def test_reload(alone: Pair) -> None:
    assert alone.outcome(lambda: alone.ask("lb-01", "reload"), QUIET, ANSWER).is_clean


@pytest.mark.parametrize("process", ["director", "vrrp", "checker"])
def test_kill_of_one_process(alone: Pair, process: str) -> None:
    assert alone.outcome(lambda: alone.kill("lb-01", process), QUIET, ANSWER).is_clean


def test_kill_of_all_processes(alone: Pair) -> None:
    assert alone.outcome(lambda: alone.kill_all_and_start("lb-01"), QUIET, ANSWER).is_clean
