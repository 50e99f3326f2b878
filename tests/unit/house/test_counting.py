# SPDX-License-Identifier: Apache-2.0
"""The counting of executed lines depends on the function alone."""

from __future__ import annotations

import gc

from tests.support.counting import lines_run


class Garbage:
    """An object in a cycle: only the collector finds it."""

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        for _ in range(1000):
            pass


def allocate() -> list[list[int]]:
    return [[number] for number in range(100)]


def test_the_lines_of_the_garbage_collector_do_not_count() -> None:
    alone = lines_run(allocate)
    before = gc.get_threshold()
    gc.collect()
    Garbage()
    gc.set_threshold(50)
    try:
        assert lines_run(allocate) == alone
    finally:
        gc.set_threshold(*before)
    assert gc.isenabled()
