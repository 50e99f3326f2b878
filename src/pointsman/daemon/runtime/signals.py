# SPDX-License-Identifier: Apache-2.0
"""Signals that would end a process by default, although nobody means that."""

from __future__ import annotations

import signal

DUMP = (signal.SIGUSR1, signal.SIGUSR2)
"""keepalived writes its data and its statistics into files at these. Exporters send them again and again."""
STRAY = (
    *(signal.SIGHUP, *DUMP, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
    *(signal.SIGPWR, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)),
)


def survive_stray_signals() -> None:
    """Do nothing at signals that do not mean a stop, in this process and those that it forks.

    They are handled, not ignored: programs that are run would inherit an ignored signal.
    """
    for number in STRAY:
        signal.signal(number, _do_nothing)


def _do_nothing(_number: int, _frame: object) -> None:
    pass
