"""Keeps a real server right: looks now and then, tells what has drifted, and puts it back."""

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
    """Set up, then look again each time `wait` returns, until it returns False.

    What cannot be put back (the VIP is on a network card, say) is told once, and tried again in silence.
    Raises SetupError only at the start.
    """
    for step in setup.up(directory, vips, interfaces, method, device):
        if step.outcome is Outcome.CHANGED:
            tell(f"{step.setting}: {step.detail}")
    tell(f"watching {', '.join(map(str, vips))}")
    told: set[str] = set()
    while wait():
        left = set()
        for text, mended in _round(directory, vips, interfaces):
            if mended or text not in told:
                tell(text)
            if not mended:
                left.add(text)
        told = left


def _round(
    directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None
) -> list[tuple[str, bool]]:
    """Put back what has drifted; what there is to tell of it, and whether it is right again."""
    try:
        drifted = _wrong(directory, vips, interfaces)
        if not drifted:
            return []
        setup.up(directory, vips, interfaces)
        still = {row.setting for row in _wrong(directory, vips, interfaces)}
    except SetupError as error:
        return [(f"cannot be put back: {error}", False)]
    return [
        (f"drifted: {row.setting} is {row.effective}, wanted {row.wanted}; run up with its interface", False)
        if row.setting in still
        else (f"drifted: {row.setting} was {row.effective}, wanted {row.wanted}; put back", True)
        for row in drifted
    ]


def _wrong(directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None) -> list[Row]:
    return [row for row in look(directory, vips, interfaces).settings if not row.ok]


def look(directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None) -> Report:
    """How the settings stand now. Raises SetupError."""
    facts = host.read_facts()
    known = state.load(directory, host.namespace_identity())
    named = interfaces or known.interfaces or list(setup.choose_interfaces(facts, vips))
    rules = nft.listing() if known.method in (setup.NFT, setup.REDIRECT) else ""
    return status.report(facts, known, vips, named, sysctl.file_that_sets, rules)
