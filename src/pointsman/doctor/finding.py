# SPDX-License-Identifier: Apache-2.0
"""Findings of the doctor: a verdict, the facts, the consequence and the remedy.

Pure. The checks are in doctor/rules, the facts that they examine in doctor/facts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Verdict(enum.Enum):
    """Verdict of a check."""

    RIGHT = "right"
    NOTE = "note"
    """Useful to know. Nothing is wrong."""
    WARNING = "warning"
    """Something will go wrong, or goes wrong for some clients."""
    FAULT = "fault"
    """Packets are lost or reach the wrong host."""
    UNKNOWN = "unknown"
    """The check was not possible. The text says why."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one check of one object."""

    check: str
    """Short name for programs and for the table in docs/doctor.md: arp-ignore, vip-unique ..."""
    verdict: Verdict
    found: str
    """The facts in one sentence."""
    why: str = ""
    """The consequence for packets."""
    remedy: tuple[str, ...] = ()
    """Shell commands for this host, in order. Empty if no command of this host is a remedy."""
    advice: str = ""
    """Advice for a problem that no command of this host can solve."""
    safe: bool = False
    """The commands change only what direct routing needs, so `--fix` may run them without asking."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All findings about one host in one role."""

    role: str
    """`director`, `real server` or `peer NAME`."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True if there is no fault. Warnings do not count."""
        return not self.having(Verdict.FAULT)

    def having(self, *verdicts: Verdict) -> list[Finding]:
        """Return the findings with one of these verdicts, in order."""
        return [finding for finding in self.findings if finding.verdict in verdicts]


def right(check: str, found: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, verdict=Verdict.RIGHT, found=found)


def note(check: str, found: str) -> Finding:
    """Return a finding that is useful to know."""
    return Finding(check=check, verdict=Verdict.NOTE, found=found)


def unknown(check: str, found: str) -> Finding:
    """Return a finding that the check was not possible."""
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
    """Return a finding that something will go wrong, or goes wrong for some clients."""
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
    """Return a finding that packets are lost or reach the wrong host."""
    return Finding(
        check=check,
        verdict=Verdict.FAULT,
        found=found,
        why=why,
        remedy=tuple(remedy),
        advice=advice,
        safe=safe,
    )
