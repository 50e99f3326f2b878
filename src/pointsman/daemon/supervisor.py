# SPDX-License-Identifier: Apache-2.0
"""The supervisor: parent process that starts, restarts, watches and stops the others. It does nothing else.

Order of the steps: lock; start the director; when it is ready, start the others and send READY to the service
manager; wait for signals. The channels between the children are made once and kept open here, so that
messages survive the death of either end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.control.messages import NewConfiguration, supervisor_decoder
from pointsman.daemon.runtime import privileges
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.config_history import ConfigHistory
from pointsman.daemon.runtime.systemd import notify, watchdog_interval
from pointsman.model.config import Config

log = logging.getLogger("supervisor")

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_CONFIGURATION = 2
EXIT_ENVIRONMENT = 3
"""If a child ends with code 2 or 3 at its first start, a restart is of no use, and the supervisor ends too.
The same holds for a director that ends before it was ever ready. Later such a child is restarted: a missing
interface may come back, and the other processes still work."""

STOP_DEADLINE = 10.0
"""Seconds within which a child must end after SIGTERM."""
LONGEST_BACKOFF = 60.0
"""Seconds between restarts of a child that ends again and again."""
FORK_PAUSE = 1.0
"""Seconds before a failed fork is tried again."""
STABLE_AFTER = 30.0
"""Seconds of run time after which earlier crashes of a child are forgotten."""
HEARTBEAT_LIMIT = 20.0
"""Seconds without a heartbeat after which the director is killed as hung."""
START_LIMIT = 60.0
"""Seconds until the first heartbeat, likewise: reading a large table takes time."""


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
    wanted: Callable[[], bool] = field(default=lambda: True)
    """Returns True if the configuration in force needs it. A running child is not stopped without need."""
    fixed: Callable[[], object] = field(default=lambda: None)
    """Returns the settings that need a restart when they change, such as privileges."""
    began_with: object = None
    """Value of `fixed` at its start."""
    last: bool = False
    """True: it stops after the director, which still has work for it."""
    pid: int = 0
    starts: int = 0
    started: float = 0.0
    crashes: int = 0
    restart_at: float | None = None


class Supervisor:
    """Keeps `director` and `helpers` running until a signal to stop.

    `config_history`: configurations that children start with; the director reports new ones. `reload`: the
    child that runs at SIGHUP.
    """

    def __init__(
        self,
        director: Child,
        helpers: list[Child],
        ready: socket.socket,
        config_history: ConfigHistory | None = None,
        reload: Child | None = None,
    ) -> None:
        self._director = director
        self._helpers = helpers
        self._config_history = config_history
        self._reload = reload
        self._reload_wanted = False
        self._inbox = Inbox(ready, supervisor_decoder, "director", log)
        """Heartbeats of the director, and new configurations."""
        self._heartbeat_due: float | None = None
        """Time by which the next heartbeat of the director is due; None: it does not run."""
        self._is_ready = False
        self._was_ready = False
        self._stopping = False
        self._wake = -1
        self._selector = selectors.DefaultSelector()
        self._exit_code = EXIT_OK

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a child ends with a permanent error. Return the exit code."""
        self._wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._selector.register(self._wake, selectors.EVENT_READ, "signal")
        self._selector.register(self._inbox.channel, selectors.EVENT_READ, "inbox")
        try:
            self._start(self._director)
            while not self._stopping:
                self._wait()
        finally:
            self._stop_all()
        return self._exit_code

    def _on_signal(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif number == signal.SIGHUP:
            self._reload_wanted = True

    def _wait(self) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if key.data == "signal":
                self._empty_wake_pipe()
            else:
                self._on_readable()
        self._reap()
        self._start_reload()
        now = time.monotonic()
        for child in self._children():
            if child.restart_at is not None and child.restart_at <= now and not self._stopping:
                self._start(child)
        if self._heartbeat_due is not None and now > self._heartbeat_due:
            log.error("no heartbeat of the director: killing it")
            os.kill(self._director.pid, signal.SIGKILL)
            self._heartbeat_due = None
        if watchdog_interval() is not None:
            notify("WATCHDOG=1")  # for this process; the heartbeat of the director is watched here

    def _empty_wake_pipe(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass

    def _start_reload(self) -> None:
        """Start a wanted reload. While one runs, further SIGHUPs are one more reload."""
        if not self._reload_wanted or self._stopping or not self._was_ready:
            return
        if self._reload is None:
            self._reload_wanted = False
            log.warning("SIGHUP ignored: this director has no configuration file")
        elif not self._reload.pid:
            self._reload_wanted = False
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._start(self._reload)

    def _timeout(self) -> float | None:
        due = [child.restart_at for child in self._children() if child.restart_at is not None]
        if self._heartbeat_due is not None:
            due.append(self._heartbeat_due + 0.1)
        if (interval := watchdog_interval()) is not None:
            due.append(time.monotonic() + interval)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _children(self) -> list[Child]:
        return [self._director, *self._helpers, *([self._reload] if self._reload else [])]

    def _on_readable(self) -> None:
        while (message := self._inbox.receive()) is not None:
            if isinstance(message, NewConfiguration) and message.config is not None:
                self._on_new_configuration(message.config, message.rollback)
            self._heartbeat_due = time.monotonic() + HEARTBEAT_LIMIT
            if not self._is_ready:
                self._director_ready()

    def _on_new_configuration(self, config: Config, rollback: bool) -> None:
        """Keep a configuration for children that start from now on."""
        if self._config_history is None:
            return
        if rollback:
            self._config_history.roll_back()
        else:
            self._config_history.push(config)
        self._start_helpers()
        self._replace_helpers()

    def _start_helpers(self) -> None:
        for child in self._helpers:
            if child.pid == 0 and child.restart_at is None and child.wanted():
                self._start(child)

    def _replace_helpers(self) -> None:
        for child in self._helpers:
            if child.pid and child.fixed() != child.began_with:
                log.info("restarting %s: it needs other privileges or files", child.name)
                os.kill(child.pid, signal.SIGTERM)

    def _director_ready(self) -> None:
        self._is_ready = self._was_ready = True
        self._start_helpers()
        notify("READY=1\nSTATUS=forwarding")

    def _start(self, child: Child) -> None:
        parent = os.getpid()
        child.restart_at = None
        child.started = time.monotonic()
        child.starts += 1
        child.began_with = child.fixed()
        try:
            child.pid = os.fork()
        except OSError as error:
            log.error("cannot start %s: %s; retrying in %.0f s", child.name, error.strerror, FORK_PAUSE)
            child.restart_at = child.started + FORK_PAUSE
            return
        if child.pid == 0:
            os._exit(self._in_child(child, parent))
        if child is self._director:
            self._is_ready = False
            self._heartbeat_due = child.started + START_LIMIT
        log.info("started %s, pid %d", child.name, child.pid)

    @staticmethod
    def _in_child(child: Child, parent: int) -> int:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent stops its children in order
            privileges.close_all_but([each.fileno() for each in child.keeps])
            privileges.set_name(f"pm-{child.name}")
            child.confine()
            privileges.die_with(parent, signal.SIGKILL)
            return child.body()
        except BaseException:  # no exception may reach the code of the parent
            logging.getLogger(child.name).exception("%s failed", child.name)
            return EXIT_FAILURE

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children():
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        child.pid = 0
        if child is self._reload:
            if not self._stopping:
                notify("READY=1")
            return
        if self._stopping:
            return
        if child is self._director:
            self._heartbeat_due = None
        is_permanent = (
            code in (EXIT_CONFIGURATION, EXIT_ENVIRONMENT) and child.starts == 1 and self._first_config()
        )
        if is_permanent or (child is self._director and not self._was_ready):
            self._exit_code, self._stopping = code if code > 0 else EXIT_FAILURE, True
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        if time.monotonic() - child.started > STABLE_AFTER:
            child.crashes = 0
        delay = min(float(child.crashes), LONGEST_BACKOFF)
        child.crashes += 1
        child.restart_at = time.monotonic() + delay
        log.error("%s %s; restarting it %s", child.name, how, f"in {delay:.0f} s" if delay else "now")

    def _first_config(self) -> bool:
        return self._config_history is None or self._config_history.number == 1

    def _stop_all(self) -> None:
        """Stop the helpers, the director, then `last` helpers. Packets are forwarded until VRRP ends."""
        self._stopping = True
        notify("STOPPING=1")
        first = [helper for helper in self._helpers if not helper.last]
        self._terminate([*first, *([self._reload] if self._reload else [])])
        self._terminate([self._director])
        self._terminate([helper for helper in self._helpers if helper.last])

    def _terminate(self, children: list[Child]) -> None:
        for child in children:
            if child.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_DEADLINE
        while any(child.pid for child in children):
            self._reap()
            if time.monotonic() > deadline:
                for child in children:
                    if child.pid:
                        log.error("%s did not stop within %.0f s: killed", child.name, STOP_DEADLINE)
                        os.kill(child.pid, signal.SIGKILL)
                deadline = float("inf")
            if any(child.pid for child in children):
                self._empty_wake_pipe()
                time.sleep(0.01)
