# SPDX-License-Identifier: Apache-2.0
"""Established connections survive what happens to a director (all events: benchmarks/connections.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.support.connections.pair import KINDS, Kind, Pair, pair

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


def test_stop_and_start(alone: Pair) -> None:
    """While no director runs, nothing begins, and what is left says how long."""

    def restart() -> None:
        alone.ask("lb-01", "drain", "192.168.100.20")
        alone.stop("lb-01")
        seen.append(alone.ask("lb-01", "ipvsadm", "-Ln"))
        seen.append(alone.ask("lb-01", "ipvsadm", "-Lnc"))
        seen.append(alone.lab.node("lb-01").run(["pointsman", "status"], check=False).stderr)
        alone.start("lb-01")
        alone.wait_for_master("lb-01")

    seen: list[str] = []
    assert alone.outcome(restart, QUIET, ANSWER).is_clean
    services, connections, status = seen
    assert "TCP" not in services, "as if there were no service"
    assert connections.count("ESTABLISHED") >= COUNT
    assert "still forwarded, for up to" in status and "pointsman detach" in status
    assert "by hand: weight 0" in alone.lab.node("lb-01").run(["pointsman", "status"], check=False).stdout


def test_detach_ends_what_a_stop_has_kept(alone: Pair) -> None:
    alone.stop("lb-01")
    assert "no longer forwards" in alone.ask("lb-01", "detach")
    assert "nothing to remove" in alone.ask("lb-01", "detach")


@pytest.mark.parametrize("kind", [KINDS["mh"], Kind("mh", grace=5)], ids=["sloppy_tcp", "grace"])
def test_switch_over_with_mh(kind: Kind) -> None:
    """Both directors choose the same server; in grace without `sloppy_tcp`, too."""
    with pair(f"pmt-connections-mh-{os.getpid()}", kind) as made:
        made.start_both()
        made.connect(COUNT)
        quiet = 0.0 if kind.grace else QUIET
        assert made.outcome(lambda: made.ask("lb-01", "switchover"), quiet, ANSWER).is_clean
