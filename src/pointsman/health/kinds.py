"""One row a kind of check: its keyword, its schedule, and keepalived's words about it in logs and mails."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pointsman.health.schedule import CheckSchedule, Timing, Verdict
from pointsman.health.urls import UrlSchedule
from pointsman.model.checks import Check, HttpCheck, TcpCheck

C = TypeVar("C", bound=Check)


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """How keepalived speaks of a kind of check; `{name}` is the real server, `{vs}` the virtual server."""

    keyword: str
    """As in the configuration."""
    success: str
    """The log line of an up verdict."""
    failure: str
    """The log line of a down verdict, up to how often it was tried."""
    mail_up: str
    mail_down: str


_TCP = Words(
    keyword="TCP_CHECK",
    success="TCP connection to {name} success.",
    failure="TCP_CHECK on service {name} failed",
    mail_up="=> TCP CHECK succeed on service <=",
    mail_down="=> TCP CHECK failed on service <=",
)
_HTTP = Words(
    keyword="HTTP_GET",
    success="Remote Web server {name} succeed on service.",
    failure="HTTP_CHECK on service {name} failed",
    mail_up="=> CHECK succeed on service <=",
    mail_down="=> CHECK failed on service : HTTP request failed <=",
)
_SSL = msgspec.structs.replace(
    _HTTP,
    keyword="SSL_GET",
    failure="SSL_CHECK on service {name} failed",
    mail_down="=> CHECK failed on service : SSL request failed <=",
)


def words(check: Check) -> Words:
    """keepalived's words for this check."""
    if isinstance(check, HttpCheck):
        return _SSL if check.tls else _HTTP
    return _WORDS[type(check)]


_WORDS: dict[type[Check], Words] = {TcpCheck: _TCP}


def schedule(check: Check) -> CheckSchedule | UrlSchedule:
    """A schedule with the times of this check."""
    timing = Timing(
        delay_loop=check.delay_loop, delay_before_retry=check.delay_before_retry, retry=check.retry
    )
    if isinstance(check, HttpCheck):
        return UrlSchedule(timing, len(check.urls), check.fast_recovery)
    return CheckSchedule(timing)


def log_line(check: Check, name: str, vs: str, verdict: Verdict) -> str:
    """keepalived's line, and after a failure the reason, which it only logs when asked to."""
    if verdict.up:
        return words(check).success.format(name=name, vs=vs)
    retries = f" after {verdict.attempts - 1} retries" if verdict.attempts > 1 else ""
    return f"{words(check).failure.format(name=name, vs=vs)}{retries}. ({verdict.reason})"


def repeated(reason: str, attempts: int) -> str:
    """The reason of a down verdict that several probes agree on."""
    return f"{attempts} of {attempts} failed: {reason}" if attempts > 1 else reason


def sharable(check: C) -> C:
    """The check without the place it was written at: equal ones are one probe."""
    return msgspec.structs.replace(check, location=None)
