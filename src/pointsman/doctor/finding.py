"""What the doctor says: findings, each with its verdict, its reason to matter and its remedy.

Pure. The checks are in doctor_director, doctor_servers and doctor_realserver; what they look at is in
doctor_facts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Verdict(enum.Enum):
    """What became of a check."""

    RIGHT = "right"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    """Will go wrong, or goes wrong for some."""
    FAULT = "fault"
    """Packets are lost or reach the wrong host."""
    UNKNOWN = "unknown"
    """Could not be looked at; the text says why."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check of one thing."""

    check: str
    """A short name, for programs and for the table of docs/doctor.md: arp-ignore, vip-unique ..."""
    verdict: Verdict
    found: str
    """The facts, in one sentence."""
    why: str = ""
    """What happens to packets because of it."""
    remedy: tuple[str, ...] = ()
    """Commands for a shell of this host, in order; empty when the remedy lies elsewhere."""
    advice: str = ""
    """What to do where no command of this host can do it."""
    safe: bool = False
    """The commands change only what direct routing needs: `--fix` may run them unasked."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the doctor found on one host in one role."""

    role: str
    """director or real server"""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """No fault. Warnings leave it true."""
        return not self.having(Verdict.FAULT)

    def having(self, *verdicts: Verdict) -> list[Finding]:
        """The findings with one of these verdicts, in order."""
        return [finding for finding in self.findings if finding.verdict in verdicts]


def right(check: str, found: str) -> Finding:
    """All is well with this."""
    return Finding(check=check, verdict=Verdict.RIGHT, found=found)


def note(check: str, found: str) -> Finding:
    """Nothing wrong, but worth knowing."""
    return Finding(check=check, verdict=Verdict.NOTE, found=found)


def unknown(check: str, found: str) -> Finding:
    """It could not be looked at."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, found=found)


def warning(
    check: str,
    found: str,
    why: str,
    *,
    remedy: Iterable[str] = (),
    advice: str = "",
    safe: bool = False,
) -> Finding:
    """Will go wrong, or goes wrong for some."""
    return Finding(
        check=check,
        verdict=Verdict.WARNING,
        found=found,
        why=why,
        remedy=tuple(remedy),
        advice=advice,
        safe=safe,
    )


def fault(
    check: str,
    found: str,
    why: str,
    *,
    remedy: Iterable[str] = (),
    advice: str = "",
    safe: bool = False,
) -> Finding:
    """Packets are lost or reach the wrong host."""
    return Finding(
        check=check,
        verdict=Verdict.FAULT,
        found=found,
        why=why,
        remedy=tuple(remedy),
        advice=advice,
        safe=safe,
    )
