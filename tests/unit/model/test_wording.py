# SPDX-License-Identifier: Apache-2.0
"""Numbers and times in words."""

from __future__ import annotations

import pytest

from pointsman.model.wording import count, duration


def test_one_is_singular_and_zero_is_no() -> None:
    assert [count(n, "error") for n in (0, 1, 2)] == ["no errors", "1 error", "2 errors"]
    assert count(2, "reply", "replies") == "2 replies"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *(
            (-1, "0 s"),
            (0, "0 s"),
            (0.04, "0 s"),
            (0.42, "0.4 s"),
            (3.0, "3 s"),
            (9.97, "9 s"),
            (45.9, "45 s"),
        ),
        *((99.9, "99 s"), (100, "1 min"), (1799.5, "29 min"), (1800, "30 min"), (5999, "99 min")),
        *((6000, "1 h 40 min"), (7200, "2 h"), (18720, "5 h 12 min"), (2 * 86400, "2 d")),
        *((86400 * 3 + 4 * 3600 + 59, "3 d 4 h"), (86400 * 400, "400 d")),
    ],
)
def test_a_time_is_said_in_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
