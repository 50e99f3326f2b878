# SPDX-License-Identifier: Apache-2.0
"""The status in a file, for programs that send SIGUSR1 or SIGUSR2 as to keepalived."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import StatusReply, StatusRequest

STATUS_FILE = "status.json"
"""File in the run directory, as `pointsman status --json` prints it. keepalived writes into /tmp, where any
user can put a symbolic link."""

log = logging.getLogger("supervisor")


def write_status_file(run_directory: Path, control_socket: Path) -> int:
    """Write the status of the director into its file. Return an exit code."""
    path = run_directory / STATUS_FILE
    unfinished = path.with_suffix(".new")
    try:
        reply = request(StatusRequest(), control_socket)
        if not isinstance(reply, StatusReply):
            log.error("cannot write %s: the director gives no status", path)
            return 1
        unfinished.write_text(json.dumps(reply.status.document(), indent=2) + "\n")
        unfinished.rename(path)
    except (ControlError, ProtocolError, OSError) as error:
        log.error("cannot write %s: %s", path, error)
        return 1
    return 0


def remove_status_file(run_directory: Path) -> None:
    """Remove the file, after the director has stopped."""
    (run_directory / STATUS_FILE).unlink(missing_ok=True)
