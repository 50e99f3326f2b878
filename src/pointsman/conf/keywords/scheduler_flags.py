# SPDX-License-Identifier: Apache-2.0
"""Build the flags of a service's scheduler: sh-port, mh-fallback and so on."""

from __future__ import annotations

from pointsman.conf.keywords.settings import Setting, Settings
from pointsman.conf.text.corrections import remove
from pointsman.conf.text.problems import Findings

_FLAGS = {
    "sh-port": ("sh",),
    "sh-fallback": ("sh",),
    "mh-port": ("mh",),
    "mh-fallback": ("mh",),
    "flag-1": (),
    "flag-2": (),
    "flag-3": (),
}
"""Scheduler flags, and the schedulers they belong to; none: all."""


def build_scheduler_flags(block: Settings, findings: Findings) -> frozenset[str]:
    """Return the flags of the scheduler. Warn of those that keepalived ignores, and leave them out.

    keepalived takes a flag of one scheduler only behind the lvs_sched that names it.
    """
    scheduler = block.get("lvs_sched", str) or "wlc"
    flags = {flag: block.all(flag)[0] for flag in _FLAGS if block.has(flag)}
    for flag, setting in list(flags.items()):
        if not _FLAGS[flag]:
            continue
        own = _FLAGS[flag][0]
        if scheduler != own:
            other = f"{scheduler}-{flag.partition('-')[2]}"
            text = f"{flag} has no effect with lvs_sched {scheduler}, as in keepalived"
            remedy = f"remove it, or write {other}" if other in _FLAGS else "remove it"
        elif not _is_behind(setting, block.all("lvs_sched")):
            text = f"{flag} has no effect before lvs_sched {own}, as in keepalived"
            remedy = "move it behind that line, or remove it"
        else:
            continue
        findings.warning(setting.location, text, remedy, len(flag), remove(setting.node.keyword))
        del flags[flag]
    return frozenset(flags)


def _is_behind(setting: Setting, others: list[Setting]) -> bool:
    """True if the last of the other statements is in front of this one."""
    return bool(others) and _position(others[-1]) < _position(setting)


def _position(setting: Setting) -> tuple[int, int]:
    return setting.location.line, setting.location.column
