# SPDX-License-Identifier: Apache-2.0
"""Problems are logged once, until they are over."""

from __future__ import annotations

import logging

import pytest

from pointsman.daemon.runtime.log_once import LogOnce


@pytest.fixture
def once(caplog: pytest.LogCaptureFixture) -> LogOnce:
    caplog.set_level(logging.INFO)
    return LogOnce(logging.getLogger("once"), most=3)


def test_a_complaint_is_logged_once_whatever_its_words(
    once: LogOnce, caplog: pytest.LogCaptureFixture
) -> None:
    once.error("disk", "the disk is %d %% full", 90)
    once.error("disk", "the disk is %d %% full", 91)
    once.warning("fan", "the fan stands still")
    assert caplog.record_tuples == [
        ("once", logging.ERROR, "the disk is 90 % full"),
        ("once", logging.WARNING, "the fan stands still"),
    ]


def test_one_that_was_over_is_logged_again(once: LogOnce, caplog: pytest.LogCaptureFixture) -> None:
    once.error("disk", "full")
    once.forget("disk")
    once.forget("never said")
    once.error("disk", "full again")
    once.clear()
    once.error("disk", "full once more")
    assert caplog.messages == ["full", "full again", "full once more"]


def test_what_is_still_wrong_is_kept_and_the_rest_forgotten(
    once: LogOnce, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("one", "two"):
        once.error(key, key)
    once.keep_only(["two", "three"])
    assert "two" in once
    assert "one" not in once
    assert "three" not in once
    for key in ("one", "two", "three"):
        once.error(key, key)
    assert caplog.messages[:4] == ["one", "two", "one", "three"]


def test_endless_kinds_of_complaints_do_not_fill_the_log(
    once: LogOnce, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(100):
        once.error(number, "%d", number)
    assert caplog.messages == ["0", "1", "2", "3 different problems were logged; others are not logged"]
    once.forget(0)
    once.error(50, "50")
    assert "50" in caplog.messages
