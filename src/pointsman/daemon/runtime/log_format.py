# SPDX-License-Identifier: Apache-2.0
"""Log lines on standard error: with priorities for the systemd journal, else with date and severity.

What outsiders send can become part of a message. So a message is one line of limited length.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

MAX_MESSAGE = 4000
"""Characters of a message. The rest is left out."""

PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Priorities of the journal (sd-daemon(3)) by Python's levels."""
SEVERITIES = {
    logging.DEBUG: "debug: ",
    logging.WARNING: "warning: ",
    logging.ERROR: "error: ",
    logging.CRITICAL: "critical: ",
}
"""Words before messages outside of the journal. Information has none."""


def is_journal(descriptor: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Return True if this descriptor leads to the systemd journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def for_journal(text: str, level: int) -> str:
    """Return text with a priority before each line: the journal reads standard error line by line."""
    mark = f"<{PRIORITIES.get(level, PRIORITIES[logging.INFO])}>"
    return "\n".join(mark + line for line in text.splitlines() or [""])


class LogFormat(logging.Formatter):
    """Format of all processes: `director: warning: message`."""

    def __init__(self, journal: bool) -> None:
        super().__init__("%(name)s: %(message)s" if journal else "%(asctime)s %(name)s: %(message)s")
        self._journal = journal

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line without a traceback. `record.message` is set by `format`."""
        severity = "" if self._journal else SEVERITIES.get(record.levelno, "")
        record.message = severity + _one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return for_journal(text, record.levelno) if self._journal else text


def _one_line(message: str) -> str:
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]} ... ({len(message) - MAX_MESSAGE} more characters)"
    if message.isprintable():
        return message
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
