# SPDX-License-Identifier: Apache-2.0
"""The form of log lines: priorities for the journal, severities for people, one line whatever is in it."""

from __future__ import annotations

import logging
import os
import sys

import pytest

from pointsman.daemon.runtime.log_format import MAX_MESSAGE, LogFormat, is_journal


def record(message: str, level: int = logging.INFO, trace: bool = False) -> logging.LogRecord:
    info = None
    if trace:
        try:
            raise ValueError("reason")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("director", level, "", 0, "%s", (message,), info)


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.DEBUG, "<7>director: text"),
        (logging.INFO, "<6>director: text"),
        (logging.WARNING, "<4>director: text"),
        (logging.ERROR, "<3>director: text"),
        (logging.CRITICAL, "<2>director: text"),
        (25, "<6>director: text"),
    ],
)
def test_the_journal_gets_priorities(level: int, line: str) -> None:
    assert LogFormat(journal=True).format(record("text", level)) == line


def test_each_line_of_a_traceback_has_its_priority() -> None:
    first, *rest = LogFormat(journal=True).format(record("failed", logging.ERROR, trace=True)).splitlines()
    assert first == "<3>director: failed"
    assert rest[-1] == "<3>ValueError: reason" and all(line.startswith("<3>") for line in rest)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (logging.INFO, "director: text"),
        (logging.WARNING, "director: warning: text"),
        (logging.ERROR, "director: error: text"),
        (logging.DEBUG, "director: debug: text"),
    ],
)
def test_people_get_date_and_severity(level: int, text: str) -> None:
    date, _, rest = LogFormat(journal=False).format(record("text", level)).partition(",")
    assert len(date) == len("2026-12-01 12:00:00") and rest.partition(" ")[2] == text


@pytest.mark.parametrize("journal", [True, False])
def test_what_outsiders_send_cannot_make_a_line_of_its_own(journal: bool) -> None:
    text = LogFormat(journal).format(record("HTTP 200\n<0>kernel: panic\r\x1b[2J\u2028é"))
    assert len(text.splitlines()) == 1 and "\x1b" not in text
    assert text.endswith(r"HTTP 200\n<0>kernel: panic\r\x1b[2J\u2028é")


def test_a_message_has_a_bound() -> None:
    text = LogFormat(journal=True).format(record("x" * (MAX_MESSAGE + 5)))
    assert text.endswith("x ... (5 more characters)") and len(text) < MAX_MESSAGE + 100


def test_only_the_journal_s_own_stream_is_the_journal() -> None:
    read, write = os.pipe()
    found = os.fstat(write)
    stream = f"{found.st_dev}:{found.st_ino}"
    assert is_journal(write, {"JOURNAL_STREAM": stream})
    assert not is_journal(write, {"JOURNAL_STREAM": "1:2"}), "standard error was redirected into a file"
    assert not is_journal(write, {})
    os.close(read)
    os.close(write)
    assert not is_journal(write, {"JOURNAL_STREAM": stream})
