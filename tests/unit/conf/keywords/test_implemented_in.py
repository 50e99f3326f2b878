# SPDX-License-Identifier: Apache-2.0
"""Every honoured word names a module that there is."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pointsman.conf.keywords.implemented_in import implemented_in
from pointsman.conf.keywords.keyword import Keyword, Status
from pointsman.conf.keywords.reference import explain
from pointsman.conf.keywords.table import TABLE

HONOURED = [row for rows in TABLE.values() for row in rows.values() if row.status is Status.HONOURED]


@pytest.mark.parametrize("row", HONOURED, ids=lambda row: f"{row.block}-{row.name}")
def test_a_honoured_word_names_the_module_that_implements_it(row: Keyword) -> None:
    assert find_spec(implemented_in(row)) is not None


@pytest.mark.parametrize(
    ("word", "modules"),
    [
        ("quorum", ["pointsman.daemon.scripts.trackers", "pointsman.lvs.desired"]),
        ("no_accept", ["pointsman.daemon.vrrp.no_accept"]),
        ("virtual_server_group", ["pointsman.dataplane.xdp.marks"]),
        ("vrrp_instance", ["pointsman.vrrp.machine"]),
        ("global_defs", ["pointsman.conf.build.config"]),
        ("lvs_timeouts", ["pointsman.daemon.director.table_sync"]),
        ("uthreshold", ["pointsman.dataplane.xdp.servers"]),
    ],
)
def test_help_names_it(word: str, modules: list[str]) -> None:
    told = [line for line in explain(word, source=True).splitlines() if "source:" in line]
    assert told == [f"    source:    {module}" for module in modules]
    assert "source:" not in explain(word)
