# SPDX-License-Identifier: Apache-2.0
"""The table of transitions in docs/vrrp.md is the one of the code."""

from __future__ import annotations

from pathlib import Path

from pointsman.vrrp.transitions import TRANSITIONS

PAGE = Path(__file__).parents[3] / "docs" / "vrrp.md"


def table() -> str:
    rows = ["| state | what happens | next state | what is done, in order |", "|---|---|---|---|"]
    for (state, event), (following, actions) in TRANSITIONS.items():
        done = "; ".join(action.value for action in actions) or "nothing"
        rows.append(f"| {state.value} | {event.value} | {following.value} | {done} |")
    return "\n".join(rows)


def test_the_page_shows_the_machine_s_own_table() -> None:
    assert table() in PAGE.read_text(), f"put this into {PAGE.name}:\n{table()}"
