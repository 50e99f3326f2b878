# SPDX-License-Identifier: Apache-2.0
"""The supervisor: parent process that starts, restarts, watches and stops the others. It does nothing else.

Order of the steps: lock; start the director and VRRP; when the table is in force, start the others and send
READY to the service manager; wait for signals. The channels between the children are made once and kept open
here, so that messages survive the death of either end.

Each child shows its life by a heartbeat. One that is silent for longer than its limit is killed and started
again. systemd watches the supervisor in the same way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterable

from pointsman.control.messages import Ready, supervisor_decoder
from pointsman.daemon.child import (
    EXIT_CONFIGURATION,
    EXIT_ENVIRONMENT,
    EXIT_FAILURE,
    EXIT_OK,
    Child,
    kernel_state,
    run_child,
)
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.config_history import ConfigHistory
from pointsman.daemon.runtime.heartbeat import LONGEST_TURN, STABLE_AFTER, Crashes, SilenceWatch
from pointsman.daemon.runtime.signals import DUMP, survive_stray_signals
from pointsman.daemon.runtime.systemd import notify, watchdog_interval
from pointsman.model.config import Config

log = logging.getLogger("supervisor")

PERMANENT = EXIT_CONFIGURATION, EXIT_ENVIRONMENT
"""If a child ends with one of these at its first start, a restart is of no use, and the supervisor ends too.
The same holds for a director that ends before it was ever ready. Later such a child is restarted: a missing
interface may come back, and the other processes still work."""

STOP_DEADLINE = 10.0
"""Seconds within which a child must end after SIGTERM."""
FORK_PAUSE = 1.0
"""Seconds before a failed fork is tried again."""
START_LIMIT = 60.0
"""Seconds from the start of a child to its first heartbeat, at most: reading a large table takes time."""
LONGEST_RUN = 150.0
"""Seconds after which a reload or a dump that hangs is killed. A reload gives up by itself before
(cli/reload.py), unless it hangs in the kernel."""
DUMP_PAUSE = 1.0
"""Seconds between two dumps, at least."""
UNTIL_GONE = 5.0
"""Seconds after SIGKILL after which a process that is still there is logged."""


class Supervisor:
    """Keeps `director` and `helpers` running until a signal to stop.

    `config_history`: configurations that children start with; the director reports new ones. `reload`: the
    child that runs at SIGHUP. `dump`: the child that runs at SIGUSR1 and SIGUSR2.
    """

    def __init__(
        self,
        director: Child,
        helpers: list[Child],
        ready: socket.socket,
        config_history: ConfigHistory | None = None,
        reload: Child | None = None,
        dump: Child | None = None,
    ) -> None:
        self._director = director
        self._helpers = helpers
        self._config_history = config_history
        self._reload = reload
        self._reload_wanted = False
        self._dump = dump
        self._dump_wanted = False
        self._inbox = Inbox(
            *(ready, supervisor_decoder, "director", log),
            virtual_servers=config_history.current.virtual_servers if config_history else (),
        )
        """Messages of the director: its table is in force, and new configurations."""
        self._watch = SilenceWatch()
        self.was_ready = False
        """True after a table of the director was in force."""
        self._stopping = False
        self._wake = -1
        self._selector = selectors.DefaultSelector()
        self._exit_code = EXIT_OK

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a child ends with a permanent error. Return the exit code."""
        self._wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        survive_stray_signals()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, *DUMP):
            signal.signal(number, self._on_signal)
        self._selector.register(self._wake, selectors.EVENT_READ, "signal")
        self._selector.register(self._inbox.channel, selectors.EVENT_READ, "inbox")
        try:
            self._start_helpers([helper for helper in self._helpers if helper.at_once])
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
        elif number in DUMP:
            self._dump_wanted = True

    def _wait(self) -> None:
        due = self._next_turn()
        for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
            if key.data == "signal":
                self._empty_wake_pipe()
            else:
                self._on_readable()
        now = time.monotonic()
        self._watch.on_turn(now, due)
        self._reap()
        self._start_reload()
        self._start_dump()
        for child in self._children():
            if child.restart_at is not None and child.restart_at <= now and not self._stopping:
                self._start(child)
        self._kill_silent(now)
        self._kill_hung(now)
        if watchdog_interval() is not None:
            notify("WATCHDOG=1")  # for this process; the others are watched here

    def _next_turn(self) -> float:
        """Return the time until which the loop may wait."""
        due = [time.monotonic() + LONGEST_TURN]
        due += [child.restart_at for child in self._children() if child.restart_at is not None]
        due += [self._watch.overdue_at(child.last_sign, _limit(child)) for child in self._watched()]
        if (interval := watchdog_interval()) is not None:
            due.append(time.monotonic() + interval)
        return min(due)

    def _watched(self) -> list[Child]:
        return [each for each in self._children() if each.pid and each.heartbeat and not each.killed]

    def _kill_silent(self, now: float) -> None:
        """Kill each child whose silence exceeds its limit."""
        for child in self._watched():
            silence, limit = self._watch.silence(now, child.last_sign), _limit(child)
            if silence >= limit:
                log.error(
                    "%s shows no sign of life for %.1f s (limit %.1f s), state %s: killing it",
                    *(child.name, silence, limit, kernel_state(child.pid)),
                )
                child.send(signal.SIGKILL)

    def _kill_hung(self, now: float) -> None:
        """Kill a reload or a dump that does not end: the next one waits for it."""
        for child in self._occasional():
            if child.pid and not child.killed and now >= child.started + LONGEST_RUN:
                log.error(
                    "the %s has not ended within %.0f s, state %s: killing it",
                    *(child.name, LONGEST_RUN, kernel_state(child.pid)),
                )
                child.send(signal.SIGKILL)

    def _empty_wake_pipe(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass

    def _start_reload(self) -> None:
        """Start a wanted reload. While one runs, further SIGHUPs are one more reload."""
        if not self._reload_wanted or self._stopping or not self.was_ready:
            return
        if self._reload is None:
            self._reload_wanted = False
            log.warning("SIGHUP ignored: this director has no configuration file")
        elif not self._reload.pid:
            self._reload_wanted = False
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._start(self._reload)

    def _start_dump(self) -> None:
        """Start a wanted dump, at most one in DUMP_PAUSE: exporters send these signals at every scrape."""
        if not self._dump_wanted or self._stopping or not self.was_ready or self._dump is None:
            return
        if not self._dump.pid and time.monotonic() >= self._dump.started + DUMP_PAUSE:
            self._dump_wanted = False
            self._start(self._dump)

    def _children(self) -> list[Child]:
        return [self._director, *self._helpers, *self._occasional()]

    def _occasional(self) -> list[Child]:
        """Return the children that run for a moment."""
        return [child for child in (self._reload, self._dump) if child is not None]

    def _on_readable(self) -> None:
        while (message := self._inbox.receive()) is not None:
            if isinstance(message, Ready):
                self._director_ready()
            elif message.config is not None:
                self._on_new_configuration(message.config, message.rollback)

    def _on_new_configuration(self, config: Config, rollback: bool) -> None:
        """Keep a configuration for children that start from now on."""
        if self._config_history is None:
            return
        if rollback:
            self._config_history.roll_back()
        else:
            self._config_history.push(config)
        self._start_helpers(self._helpers)
        self._replace_helpers()

    def _start_helpers(self, helpers: Iterable[Child]) -> None:
        """Start those that are wanted and do not run."""
        for child in helpers:
            if child.pid == 0 and child.restart_at is None and child.wanted():
                self._start(child)

    def _replace_helpers(self) -> None:
        for child in self._helpers:
            if child.pid and child.fixed() != child.began_with:
                log.info("restarting %s: it needs other privileges or files", child.name)
                child.send(signal.SIGTERM)

    def _director_ready(self) -> None:
        self.was_ready = True
        self._start_helpers(self._helpers)
        notify("READY=1\nSTATUS=forwarding")

    def _start(self, child: Child) -> None:
        parent = os.getpid()
        child.restart_at, child.exit_code, child.killed = None, EXIT_OK, False
        child.started = time.monotonic()
        child.starts += 1
        child.began_with = child.fixed()
        # A SIGTERM that comes before the child can handle it must wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            child.pid = os.fork()
            if child.pid == 0:
                heartbeats = [each.heartbeat for each in self._children() if each.heartbeat]
                os._exit(run_child(child, parent, heartbeats))
        except OSError as error:
            log.error("cannot start %s: %s; retrying in %.0f s", child.name, error.strerror, FORK_PAUSE)
            child.restart_at, child.exit_code = child.started + FORK_PAUSE, EXIT_FAILURE
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        level = logging.DEBUG if child is self._dump else logging.INFO
        log.log(level, "started %s, pid %d", child.name, child.pid)

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
        child.pid, child.exit_code = 0, code
        if child is self._reload:
            if not self._stopping:
                notify("READY=1")
            return
        if self._stopping or child is self._dump:
            return
        is_permanent = code in PERMANENT and child.starts == 1 and self._first_config()
        if is_permanent or (child is self._director and not self.was_ready):
            self._exit_code, self._stopping = code if code > 0 else EXIT_FAILURE, True
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        if time.monotonic() - child.started > STABLE_AFTER:
            child.crashes = 0
        child.crashes += 1
        crashes = Crashes(child.crashes, time.monotonic())
        if child.heartbeat is not None:
            child.heartbeat.record_crashes(crashes)
        child.restart_at = crashes.restart_at
        delay = crashes.restart_at - crashes.last
        log.error("%s %s; restarting it %s", child.name, how, f"in {delay:.0f} s" if delay else "now")

    def _first_config(self) -> bool:
        return self._config_history is None or self._config_history.number == 1

    def _stop_all(self) -> None:
        """Stop the helpers, the director, then `last` helpers. Packets are forwarded until VRRP ends."""
        self._stopping = True
        notify("STOPPING=1")
        first = [helper for helper in self._helpers if not helper.last]
        self._stop([*first, *self._occasional()])
        self._stop([self._director])
        self._stop([helper for helper in self._helpers if helper.last])

    def _stop(self, children: list[Child]) -> None:
        """Stop children. One that had crashed, or has to be killed, is started again to stop in order."""
        self._terminate(children)
        unfinished = [child for child in children if self._must_clean_up(child)]
        for child in unfinished:
            log.warning("%s did not stop in order: starting it once more to clean up", child.name)
            self._start(child)
        self._terminate(unfinished)
        for child in unfinished:
            if child.exit_code != EXIT_OK:
                log.error("%s cannot clean up: %s", child.name, child.leaves)
                self._exit_code = self._exit_code or EXIT_FAILURE

    def _must_clean_up(self, child: Child) -> bool:
        if not child.leaves or child.exit_code == EXIT_OK:
            return False
        never_worked = child.starts == 1 and child.exit_code in PERMANENT
        return not never_worked and (child is not self._director or self.was_ready)

    def _terminate(self, children: list[Child]) -> None:
        """End children by SIGTERM. Kill those that are silent, or that do not end within STOP_DEADLINE."""
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_DEADLINE
        while running := [child for child in children if child.pid]:
            self._reap()
            now = time.monotonic()
            self._kill_silent(now)
            for child in running:
                if child.pid and not child.killed and now > deadline:
                    log.error("%s did not stop within %.0f s: killed", child.name, STOP_DEADLINE)
                    child.send(signal.SIGKILL)
            if now > deadline + UNTIL_GONE:
                names = ", ".join(f"{each.name} ({kernel_state(each.pid)})" for each in running)
                log.error("not waiting for %s, which SIGKILL did not end", names)
                return
            self._empty_wake_pipe()
            time.sleep(0.01)


def _limit(child: Child) -> float:
    """Return the silence of a running child that is too long."""
    return child.limit() if child.is_working else START_LIMIT
