# SPDX-License-Identifier: Apache-2.0
"""Golden 1: whom the kernel's IPVS chose, connection by connection, and what it counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.support.golden_schedulers import (
    CASES,
    HASHED,
    HASHED_IN_SCOPE,
    MARKED,
    ROOMY,
    replay,
    replay_marked,
)
from tests.support.program_run import Director

pytestmark = pytest.mark.root


def test_every_case_is_replayed() -> None:
    assert Counter(case["scheduler"] for case in CASES) == {
        "rr": 35, "wrr": 31, "lc": 33, "wlc": 33, "sed": 33, "nq": 32, "fo": 14, "ovf": 33,
        "sh": 3, "mh": 2,
    }  # fmt: skip


def test_what_is_left_out_of_the_hashing_schedulers() -> None:
    assert [case["name"] for case in HASHED if "virtual" not in case] == ["twos"]  # not in that kernel
    assert Counter(case["scheduler"] for case in MARKED) == {"dh": 7, "lblc": 6, "lblcr": 7}
    assert Counter(case["scheduler"] for case in HASHED_IN_SCOPE) == {"sh": 35, "mh": 38, "dh": 1}


@pytest.mark.parametrize("case", CASES + HASHED_IN_SCOPE + MARKED, ids=lambda case: case["name"])
def test_every_choice_and_every_count(case: dict[str, Any]) -> None:
    with Director(ROOMY) as director:
        replay(director, case)


@pytest.mark.parametrize("case", MARKED, ids=lambda case: case["name"])
def test_the_same_of_packets_that_bear_the_mark(case: dict[str, Any]) -> None:
    with Director(ROOMY) as director:
        replay_marked(director, case, borne=True)
