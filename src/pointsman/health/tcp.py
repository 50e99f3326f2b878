"""TCP_CHECK: a three-way handshake with the real server, then close; what its outcomes mean and are called.

Which errors count against the real server follows keepalived (layer4.c: connect_fail and connect_error): an
error of our own host - no socket, no port, an address we do not have - says nothing about the real server.
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
    """`192.0.2.20:80`."""
    return format_endpoint(check.connect_address, check.connect_port)


def success(check: NetworkCheck) -> str:
    """The reason of an up verdict."""
    return f"connected to {target(check)}"


def timeout(check: NetworkCheck, source: str) -> str:
    """The reason when nothing answered within `connect_timeout`; `source` is our own address."""
    return f"connect timeout after {check.connect_timeout:.1f} s from {source} to {target(check)}"


def silence(check: NetworkCheck, source: str, what: str, whose: str) -> str:
    """The reason when something was sent and nothing came back; our own address tells which way it went."""
    return f"no {what} to {source} within {check.connect_timeout:.1f} s from {whose}"


def failure(check: NetworkCheck, code: int, text: str) -> str:
    """The reason for an errno of connect(2); `text` is the system's word for one that is not foreseen."""
    words = _WORDS.get(code)
    return words.format(target=target(check)) if words else f"connect to {target(check)}: {text}"
