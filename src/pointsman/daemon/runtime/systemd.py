# SPDX-License-Identifier: Apache-2.0
"""Messages to systemd (sd_notify(3)): one datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket


def notify(state: str, environment: dict[str, str] | None = None) -> bool:
    """Send a message such as "READY=1". Return False if no service manager listens."""
    path = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
        try:
            client.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)
        except OSError:
            return False
    return True


def watchdog_interval() -> float | None:
    """Return half the watchdog timeout of systemd in seconds; None: there is no watchdog."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and int(microseconds) > 0 else None
