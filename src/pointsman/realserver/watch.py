# SPDX-License-Identifier: Apache-2.0
"""Keep a real server right: check the settings repeatedly, report drift, and correct it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pointsman.model.address import Address
from pointsman.realserver import host, nft, setup, state, status, sysctl
from pointsman.realserver.facts import SetupError
from pointsman.realserver.setup import Outcome
from pointsman.realserver.status import Report, Row


def watch(
    directory: Path,
    vips: Sequence[Address],
    interfaces: Sequence[str] | None,
    tell: Callable[[str], None],
    wait: Callable[[], bool],
    method: str = "",
    device: str = "",
) -> None:
    """Set up, then check after each `wait` until it returns False.

    A problem that cannot be corrected (for example the VIP on an Ethernet interface) is reported once and
    tried again silently. Raises SetupError only at the start.
    """
    for step in setup.up(directory, vips, interfaces, method, device):
        if step.outcome is Outcome.CHANGED:
            tell(f"{step.setting}: {step.detail}")
    tell(f"watching {', '.join(map(str, vips))}")
    told: set[str] = set()
    while wait():
        left = set()
        for text, mended in _check_once(directory, vips, interfaces):
            if mended or text not in told:
                tell(text)
            if not mended:
                left.add(text)
        told = left


def _check_once(
    directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None
) -> list[tuple[str, bool]]:
    """Correct the drift. Return the texts to report, each with True if the setting is right again."""
    try:
        drifted = _drifted_rows(directory, vips, interfaces)
        if not drifted:
            return []
        setup.up(directory, vips, interfaces)
        still = {row.setting for row in _drifted_rows(directory, vips, interfaces)}
    except SetupError as error:
        return [(f"cannot be corrected: {error}", False)]
    return [
        (f"drifted: {row.setting} is {row.effective}, wanted {row.wanted}; run up with this interface", False)
        if row.setting in still
        else (f"drifted: {row.setting} was {row.effective}, wanted {row.wanted}; corrected", True)
        for row in drifted
    ]


def _drifted_rows(directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None) -> list[Row]:
    return [row for row in read_report(directory, vips, interfaces).settings if not row.ok]


def read_report(directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None) -> Report:
    """Return the present report. Raises SetupError."""
    facts = host.read_facts()
    known = state.load(directory, host.namespace_identity())
    named = interfaces or known.interfaces or list(setup.choose_interfaces(facts, vips))
    rules = nft.list_tables() if known.method in (setup.NFT, setup.REDIRECT) else ""
    return status.build_report(facts, known, vips, named, sysctl.file_that_sets, rules)
