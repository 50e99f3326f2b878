"""TCP_CHECK: a three-way handshake with the real server, then close; what its outcomes mean and are called.

Which errors count against the real server follows keepalived (layer4.c: connect_fail and connect_error): an
error of our own host - no socket, no port, an address we do not have - says nothing about the real server.
"""

from __future__ import annotations

import errno

import msgspec

from pointsman.health.schedule import Timing
from pointsman.model.address import bracketed
from pointsman.model.health import TcpCheck

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


def timing(check: TcpCheck) -> Timing:
    """The part of a TCP check that its schedule needs."""
    return Timing(delay_loop=check.delay_loop, delay_before_retry=check.delay_before_retry, retry=check.retry)


def probe_of(check: TcpCheck) -> TcpCheck:
    """The check without the place it was written at: equal ones are one probe."""
    return msgspec.structs.replace(check, location=None)


def target(check: TcpCheck) -> str:
    """`192.0.2.20:80`."""
    return bracketed(check.connect_address, check.connect_port)


def success(check: TcpCheck) -> str:
    """The reason of an up verdict."""
    return f"connected to {target(check)}"


def timeout(check: TcpCheck) -> str:
    """The reason when nothing answered within `connect_timeout`."""
    return f"connect timeout after {check.connect_timeout:.1f} s to {target(check)}"


def failure(check: TcpCheck, code: int, text: str) -> str:
    """The reason for an errno of connect(2); `text` is the system's word for one that is not foreseen."""
    words = _WORDS.get(code)
    return words.format(target=target(check)) if words else f"connect to {target(check)}: {text}"


def repeated(reason: str, attempts: int) -> str:
    """The reason of a down verdict that several probes agree on."""
    return f"{attempts} of {attempts} failed: {reason}" if attempts > 1 else reason
