# SPDX-License-Identifier: Apache-2.0
"""Each way in which a real server fails is found by the checks that can see it, in time."""

from __future__ import annotations

import os

import pytest

from pointsman.lab.faults import check_timing
from pointsman.lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

BUSY = 5.0
"""Seconds that a busy machine may add."""


def test_every_failure_is_found_by_the_checks_that_can_see_it() -> None:
    with Lab("ha-pair", prefix=f"pmt-verdict-{os.getpid()}") as lab:
        check_timing.configure(lab)
        findings = list(check_timing.run(lab))
    table = check_timing.table(findings)
    print(table)
    assert all(finding.right for finding in findings), table
    for finding in findings:
        if finding.seconds is not None and finding.bound is not None:
            assert finding.seconds < finding.bound + BUSY, table
