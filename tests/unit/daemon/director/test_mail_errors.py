# SPDX-License-Identifier: Apache-2.0
"""An administrator reads why no mail leaves, and no Python."""

from __future__ import annotations

import errno
import socket
import ssl

import aiosmtplib
import pytest

from pointsman.daemon.director.mail import explain


def while_connecting(cause: Exception) -> Exception:
    error = aiosmtplib.SMTPConnectError(f"Error connecting to mail on port 25: {cause}")
    error.__cause__ = cause
    return error


def tls_error() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            while_connecting(OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.25', 25)")),
            "no route to host",
        ),
        (
            while_connecting(
                OSError(
                    "Multiple exceptions: [Errno 111] Connect call failed ('::1', 25, 0, 0), "
                    "[Errno 111] Connect call failed ('127.0.0.1', 25)"
                )
            ),
            "connection refused",
        ),
        (
            while_connecting(socket.gaierror(-2, "Name or service not known")),
            "its name cannot be resolved: name or service not known",
        ),
        (while_connecting(tls_error()), "TLS fails: wrong version number"),
        (while_connecting(aiosmtplib.SMTPServerDisconnected("lost")), "it closed the connection"),
        (aiosmtplib.SMTPConnectTimeoutError("Timed out"), "no answer within 30 s"),
        (aiosmtplib.SMTPConnectResponseError(421, "busy"), "it replies 421 busy"),
        (aiosmtplib.SMTPServerDisconnected("Connection lost"), "it closed the connection"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/ca.pem"),
            "/ca.pem: no such file or directory",
        ),
        (ValueError("it cannot be used"), "it cannot be used"),
    ],
)
def test_the_reason_is_in_plain_words(error: Exception, text: str) -> None:
    told = explain(error, 30.0)
    assert told.startswith(text)
    assert not any(word in told for word in ("Errno", "call failed", "(", "["))
