# SPDX-License-Identifier: Apache-2.0
"""Texts of TCP_CHECK, a handshake with the real server, and the errors that count against it.

As in keepalived (layer4.c: connect_fail and connect_error), an error of this host (no socket, no port, an
address that it does not have) does not count.
"""

from __future__ import annotations

import errno

from pointsman.model.address import format_endpoint
from pointsman.model.checks import NetworkCheck

OUR_OWN_ERRORS = frozenset(
    {
        errno.EACCES,
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EAGAIN,
        errno.EINVAL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EPERM,
    }
)

_WORDS = {
    errno.ECONNREFUSED: "connection refused by {target}",
    errno.ECONNRESET: "connection reset by {target}",
    errno.EHOSTUNREACH: "no route to host {target}",
    errno.ENETUNREACH: "network of {target} unreachable",
    errno.ETIMEDOUT: "connection to {target} timed out",
}


def target(check: NetworkCheck) -> str:
    """Return `192.0.2.20:80`."""
    return format_endpoint(check.connect_address, check.connect_port)


def success(check: NetworkCheck) -> str:
    """Return the reason of a success."""
    return f"connected to {target(check)}"


def timeout(check: NetworkCheck, source: str) -> str:
    """Return the reason when there was no answer within `connect_timeout`. `source` is our address."""
    return f"connect timeout after {check.connect_timeout:.1f} s from {source} to {target(check)}"


def silence(check: NetworkCheck, source: str, what: str, whose: str) -> str:
    """Return the reason when data was sent without an answer. Our own address shows the path."""
    return f"no {what} to {source} within {check.connect_timeout:.1f} s from {whose}"


def failure(check: NetworkCheck, code: int, text: str) -> str:
    """Return the reason for an errno of connect(2). `text` is the system's text for other codes."""
    words = _WORDS.get(code)
    return words.format(target=target(check)) if words else f"connect to {target(check)}: {text}"
