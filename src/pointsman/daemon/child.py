# SPDX-License-Identifier: Apache-2.0
"""A child of the supervisor: what runs in the process, and what is known about it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pointsman.daemon.runtime import privileges
from pointsman.daemon.runtime.heartbeat import Heartbeat

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIGURATION = 2
EXIT_ENVIRONMENT = 3

TRANSIENT = {
    *(errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE),
    *(errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.ETIMEDOUT),
}
"""Errors that a restart may mend."""

HEARTBEAT_LIMIT = 10.0
"""Seconds without a heartbeat after which a process is killed as hung, if it has no limit of its own."""


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error at the start. systemd does not restart after EXIT_ENVIRONMENT."""
    is_transient = isinstance(error, OSError) and error.errno in TRANSIENT
    return EXIT_FAILURE if is_transient else EXIT_ENVIRONMENT


@dataclass
class Child:
    """A process. `body` runs in it and returns its exit code."""

    name: str
    body: Callable[[], int]
    confine: Callable[[], None] = field(default=lambda: None)
    """Drops privileges; runs in the child before `body`."""
    keeps: tuple[socket.socket, ...] = ()
    """Its ends of channels. All other descriptors of the parent are closed in it: an attacker who controls
    the checker must not be able to send in the name of another process."""
    heartbeat: Heartbeat | None = None
    """Shared with it; None: it is not watched."""
    looks_at: tuple[Heartbeat, ...] = ()
    """Heartbeats of other processes that it reads. All others are closed in it."""
    limit: Callable[[], float] = field(default=lambda: HEARTBEAT_LIMIT)
    """Returns the seconds without a heartbeat after which it is killed as hung."""
    wanted: Callable[[], bool] = field(default=lambda: True)
    """Returns True if the configuration in force needs it. A running child is not stopped without need."""
    fixed: Callable[[], object] = field(default=lambda: None)
    """Returns the settings that need a restart when they change, such as privileges."""
    began_with: object = None
    """Value of `fixed` at its start."""
    at_once: bool = False
    """True: it starts with the director, not after it."""
    last: bool = False
    """True: it stops after the director, which still has work for it."""
    leaves: str = ""
    """Text about what stays in the kernel after a crash; empty: nothing. Such a child is started once more to
    stop in order. Its body must unblock SIGTERM."""
    pid: int = 0
    starts: int = 0
    started: float = 0.0
    crashes: int = 0
    restart_at: float | None = None
    exit_code: int = EXIT_OK
    """Exit code of its last process; negative: the signal that killed it."""
    killed: bool = False
    """True: SIGKILL was sent to the running process."""

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life: its start, or a heartbeat since then."""
        return self.started if self.heartbeat is None else max(self.started, self.heartbeat.last)

    @property
    def is_working(self) -> bool:
        """True if its main loop has turned since its start."""
        return self.heartbeat is not None and self.heartbeat.last > self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self.pid:
            self.killed = self.killed or number is signal.SIGKILL
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def run_child(child: Child, parent: int, heartbeats: Iterable[Heartbeat]) -> int:
    """Become this child, after the fork, and return its exit code. SIGTERM is blocked.

    `heartbeats`: those of all children.
    """
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent stops its children in order
        if not child.leaves:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        privileges.close_all_but([each.fileno() for each in child.keeps])
        for heartbeat in heartbeats:
            if heartbeat is not child.heartbeat and heartbeat not in child.looks_at:
                heartbeat.close()
        privileges.set_name(f"pm-{child.name}")
        child.confine()
        privileges.die_with(parent, signal.SIGKILL)
        return child.body()
    except BaseException:  # no exception may reach the code of the parent
        logging.getLogger(child.name).exception("%s failed", child.name)
        return EXIT_FAILURE


def kernel_state(pid: int) -> str:
    """Return the state of a process in the words of the kernel, such as "T (stopped)"."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "unknown"
    return next(
        (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("State:")), ""
    )
