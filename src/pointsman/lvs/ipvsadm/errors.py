# SPDX-License-Identifier: Apache-2.0
"""Errors of ipvsadm and of the kernel, in ipvsadm's words and with its exit codes."""

from __future__ import annotations

from pointsman.model.operations import AddServer, DeleteServer, EditServer, Refusal

REFUSED_BY_IPVSADM = 2
REFUSED_BY_KERNEL = 255
"""ipvsadm returns -1, also for a command line that popt cannot parse."""

TRY_HELP = "Try `ipvsadm -h' or 'ipvsadm --help' for more information."
NO_SUCH_SERVICE = "No such service"


class CommandError(Exception):
    """A command that is refused: text for standard error, and exit code."""

    def __init__(self, message: str, exit_code: int = REFUSED_BY_IPVSADM) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def try_help() -> CommandError:
    return CommandError(TRY_HELP, REFUSED_BY_KERNEL)


def refusal_text(refusal: Refusal) -> str:
    """Return ipvsadm's message for an operation that the data plane refused (its ipvs_strerror())."""
    on_server = isinstance(refusal.operation, AddServer | EditServer | DeleteServer)
    known = {
        "exists": "Service already exists",
        "no-service": "Service not defined" if on_server else NO_SUCH_SERVICE,
        "no-server": "No such destination",
        "server-exists": "Destination already exists",
        "no-scheduler": "Scheduler or persistence engine not found",
        "full": "Memory allocation problem",
    }
    text = known.get(refusal.reason, "")
    if refusal.reason in ("full", "no-scheduler") and refusal.detail:
        return f"{text} ({refusal.detail})"
    return text or refusal.detail or f"refused: {refusal.reason}"
