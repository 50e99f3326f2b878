# SPDX-License-Identifier: Apache-2.0
"""Settings by the names of IPVS's sysctls."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pointsman.cli.run import run
from pointsman.model.tunables import TUNABLES, parse


def test_words_become_numbers() -> None:
    assert parse(["sloppy_tcp=1", "secure_tcp=3", "sloppy_tcp=0"]) == {"sloppy_tcp": 0, "secure_tcp": 3}


def test_every_default_is_a_value() -> None:
    assert all(tunable.default in tunable.values for tunable in TUNABLES.values())


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("sloppy=1", "no setting sloppy; choose from conn_reuse_mode, "),
        ("secure_tcp=4", "secure_tcp must be one of 0, 1, 2, 3"),
        ("am_droprate=0", "am_droprate must be one of 1 to 1000"),
        ("sloppy_tcp", "sloppy_tcp must be one of 0, 1"),
        ("sloppy_tcp= 1", "sloppy_tcp must be one of 0, 1"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(word: str, wrong: str) -> None:
    result = CliRunner().invoke(run, ["--sysctl", word])
    assert result.exit_code == 2
    assert wrong in result.output
