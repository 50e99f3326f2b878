# SPDX-License-Identifier: Apache-2.0
"""Status of a director, asked in this process: starting a program for each look takes half a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.until import DEADLINE

from pointsman.control import paths
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import StatusReply, StatusRequest
from pointsman.lab import namespace


def socket_of(name: str) -> Path:
    """Return the control socket of a director in a namespace."""
    with namespace.entered(name):
        return paths.control_socket()


def status_at(socket: Path) -> dict[str, Any]:
    """Return the output of `status --json` of a director; empty if none answers yet."""
    try:
        reply = request(StatusRequest(), socket, timeout=DEADLINE)
    except (ControlError, ProtocolError):
        return {}
    return reply.status.document() if isinstance(reply, StatusReply) else {}
