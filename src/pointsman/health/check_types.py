# SPDX-License-Identifier: Apache-2.0
"""Table of check types: keyword, schedule, and keepalived's words in logs and mails."""

from __future__ import annotations

import msgspec

from pointsman.health.schedule import CheckSchedule, Schedule, Timing, Verdict
from pointsman.health.urls import UrlSchedule
from pointsman.model.checks import (
    BfdCheck,
    Check,
    DirectCheck,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    NetworkCheck,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
)


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """keepalived's words for a check type. `{name}` is the real server, `{vs}` its service."""

    keyword: str
    """Keyword of the configuration."""
    success: str
    """Log line of a success."""
    failure: str
    """Log line of a failure, without the number of attempts."""
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

_SMTP = Words(
    keyword="SMTP_CHECK",
    success="Remote SMTP server {name} succeed on service.",
    failure="SMTP_CHECK on service {name} failed",
    mail_up="=> CHECK succeed on service <=",
    mail_down="=> CHECK failed on service <=",
)
_DNS = Words(
    keyword="DNS_CHECK",
    success="DNS_CHECK on service {name} success.",
    failure="DNS_CHECK on service {name} failed",
    mail_up="=> DNS_CHECK: succeed on service <=",
    mail_down="=> DNS_CHECK: failed on service <=",
)
_UDP = Words(
    keyword="UDP_CHECK",
    success="UDP connection to {name} success.",
    failure="UDP_CHECK on service {name} failed",
    mail_up="=> UDP CHECK succeed on service <=",
    mail_down="=> UDP CHECK failed on service <=",
)
_PING = Words(
    keyword="PING_CHECK",
    success="ICMP connection to {name} success.",
    failure="ICMP_CHECK on service {name} failed",
    mail_up="=> ICMP CHECK succeed on service <=",
    mail_down="=> ICMP CHECK failed on service <=",
)
_DIRECT = Words(
    keyword="DR_CHECK",
    success="DR_CHECK on service {name} success.",
    failure="DR_CHECK on service {name} failed",
    mail_up="=> DR CHECK succeed on service <=",
    mail_down="=> DR CHECK failed on service <=",
)
_MISC = Words(
    keyword="MISC_CHECK",
    success="Misc check for [{name} VS {vs}] by [{program}] succeeded.",
    failure="Misc check for [{name} VS {vs}] by [{program}] failed",
    mail_up="=> MISC CHECK succeeded on service <=",
    mail_down="=> MISC CHECK failed on service <=",
)
_FILE = Words(
    keyword="FILE_CHECK",
    success="FILE_CHECK on service {name} success.",
    failure="FILE_CHECK on service {name} failed",
    mail_up="=> FILE CHECK succeed on service <=",
    mail_down="=> FILE CHECK failed on service <=",
)
_BFD = Words(
    keyword="BFD_CHECK",
    success="BFD check of [{name}] RS(s) is UP",
    failure="BFD check of [{name}] RS(s) is DOWN",
    mail_up="=> BFD CHECK succeed on service <=",
    mail_down="=> BFD CHECK failed on service <=",
)
_WORDS: dict[type[Check], Words] = {
    TcpCheck: _TCP,
    SmtpCheck: _SMTP,
    DnsCheck: _DNS,
    UdpCheck: _UDP,
    PingCheck: _PING,
    MiscCheck: _MISC,
    DirectCheck: _DIRECT,
    FileCheck: _FILE,
    BfdCheck: _BFD,
}
_RETRIED_WHILE_DOWN = (TcpCheck, SmtpCheck)


def words(check: Check) -> Words:
    """Return keepalived's words for this check."""
    if isinstance(check, HttpCheck):
        return _SSL if check.tls else _HTTP
    return _WORDS[type(check)]


def build_schedule(check: Check) -> Schedule:
    """Return a schedule with the times of this check."""
    timing = Timing(
        delay_loop=check.delay_loop,
        delay_before_retry=check.delay_before_retry,
        retry=check.retry,
        rise=check.rise,
        retry_while_down=isinstance(check, _RETRIED_WHILE_DOWN),
        from_start=isinstance(check, MiscCheck),
    )
    if isinstance(check, HttpCheck):
        return UrlSchedule(timing, len(check.urls), check.fast_recovery)
    if isinstance(check, DirectCheck) and check.urls:
        return UrlSchedule(timing, len(check.urls), fast_recovery=False)
    return CheckSchedule(timing)


def needs_raw_sockets(check: Check) -> bool:
    """True if a probe of this check needs CAP_NET_RAW: for frames, SO_MARK, or where ping sockets are not
    allowed."""
    return isinstance(check, PingCheck | DirectCheck) or (
        isinstance(check, NetworkCheck) and check.fwmark != 0
    )


def runs_programs(check: Check) -> bool:
    """True if this check runs in the root process: it runs programs, or reads files of any user."""
    return isinstance(check, MiscCheck | FileCheck)


def log_line(check: Check, name: str, vs: str, verdict: Verdict) -> str:
    """Return keepalived's log line. After a failure the reason follows, which keepalived logs only on
    request."""
    program = check.command.words[0] if isinstance(check, MiscCheck) else ""
    names = {"name": name, "vs": vs, "program": program}
    if verdict.up:
        return words(check).success.format(**names)
    retries = f" after {verdict.attempts - 1} retries" if verdict.attempts > 1 else ""
    return f"{words(check).failure.format(**names)}{retries}. ({verdict.reason})"


def describe_failures(reason: str, attempts: int) -> str:
    """Return the reason of a failure that several probes agree on."""
    return f"{attempts} of {attempts} failed: {reason}" if attempts > 1 else reason
