"""The director's part of a reload: what it would do, doing it, and telling the other processes.

A configuration arrives here parsed and checked (`pointsman reload` is a process of its own). Whatever can
fail is looked at before anything changes.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pointsman.conf.check.empty_config import EMPTY, is_empty
from pointsman.control.status import ConfigurationStatus
from pointsman.daemon.director.table_sync import TableSync
from pointsman.daemon.runtime.config_history import MOST_KEPT, ConfigHistory, send_config
from pointsman.dataplane.interface import DataPlane
from pointsman.model.config import Config
from pointsman.model.diff import describe_changes

log = logging.getLogger("director")

Survey = Callable[[Config], list[str]]
"""The interfaces that a configuration needs; raises CannotReloadError when this host cannot run it."""


Part = Callable[[Config], Config]
"""What of a configuration a process gets: no more than it needs, as reading it takes time there."""


class CannotReloadError(Exception):
    """Nothing was changed; the text says why, and what to do."""


class Planned(NamedTuple):
    """A configuration that can be taken."""

    config: Config
    rollback: bool
    interfaces: list[str]
    steps: tuple[str, ...]


class Reload:
    """Takes configurations. `audience`: the channels of the processes that need to know, and what of it."""

    def __init__(
        self, generations: ConfigHistory, keeper: TableSync, plane: DataPlane, survey: Survey
    ) -> None:
        self.audience: Sequence[tuple[socket.socket, Part]] = ()
        self._generations = generations
        self._keeper = keeper
        self._plane = plane
        self._survey = survey
        self._since = time.monotonic()
        self._files: dict[int, str] = {}
        """Where configurations come from, by their numbers; those not here: from the file of the start."""
        self._refused: tuple[str, ...] = ()
        self._untold: list[tuple[socket.socket, Config, bool]] = []

    @property
    def number(self) -> int:
        """That of the configuration in force."""
        return self._generations.number

    def plan(self, config: Config | None, force: bool = False) -> Planned:
        """What taking this configuration would do; None: the one before.

        `force`: also when nothing at all would be left. Raises CannotReloadError.
        """
        rollback = config is None
        if config is None:
            if self._generations.previous is None:
                raise CannotReloadError(
                    "there is no earlier configuration to go back to; nothing was changed"
                )
            config = self._generations.previous[1]
        if not force and is_empty(config) and not is_empty(self._generations.current):
            raise CannotReloadError(
                f"{EMPTY}: that would take everything away; nothing was changed. If it is meant: "
                "pointsman reload --force"
            )
        interfaces = self._survey(config)
        attached = set(self._plane.capabilities().interfaces)
        steps = [
            *(f"attach to {name}" for name in interfaces if attached and name not in attached),
            *(f"detach from {name}" for name in sorted(attached - set(interfaces))),
            *describe_changes(self._generations.current, config),
            *self._keeper.plan(config),
        ]
        return Planned(config, rollback, interfaces, tuple(steps))

    def adopt(self, planned: Planned, file: str | None = None) -> None:
        """Take it, from this file; the keeper has yet to settle.

        Raises OSError when an interface cannot be attached to; then nothing has changed.
        """
        attached = set(self._plane.capabilities().interfaces)
        if attached and attached != set(planned.interfaces):
            self._plane.attach(planned.interfaces, planned.config.vrrp.dynamic_interfaces)
        if planned.rollback:
            self._generations.back()
        else:
            file = file or self._files.get(self.number)
            self._generations.push(planned.config)
            oldest = self.number - MOST_KEPT
            self._files = {number: each for number, each in self._files.items() if number > oldest}
            if file:
                self._files[self.number] = file
        self._keeper.adopt(planned.config)
        self._since = time.monotonic()
        self._refused = ()
        log.info("configuration %d is in force: %d changes", self.number, len(planned.steps))
        for step in planned.steps:
            log.info("  %s", step)
        self._untold += [(channel, part(planned.config), planned.rollback) for channel, part in self.audience]
        self.tell()

    def tell(self) -> None:
        """Hand the configuration to whoever has not got it yet; who is busy gets it at the next call."""
        waiting: list[tuple[socket.socket, Config, bool]] = []
        for channel, config, rollback in self._untold:
            if any(channel is earlier for earlier, _, _ in waiting):
                waiting.append((channel, config, rollback))
                continue
            try:
                send_config(channel, config, rollback)
            except BlockingIOError:
                waiting.append((channel, config, rollback))
            except OSError as error:
                log.error("a process was not told of the new configuration: %s", error)
        self._untold = waiting

    def refused(self, problems: tuple[str, ...]) -> None:
        """A file that was to be loaded has errors."""
        self._refused = problems
        log.error("reload refused, configuration %d stays in force: %d errors", self.number, len(problems))
        for problem in problems:
            log.error("  %s", problem)

    def problems(self) -> list[str]:
        """For `status`: the last reload, if it failed."""
        if not self._refused:
            return []
        more = f" (and {len(self._refused) - 1} more)" if len(self._refused) > 1 else ""
        return [f"the last reload was refused, nothing was changed: {self._refused[0]}{more}"]

    def describe(self, now: float, first_file: str | None, config_id: str | None) -> ConfigurationStatus:
        """Return what `status` says of the configuration; `first_file` is that of the start."""
        earlier = self._generations.previous
        return ConfigurationStatus(
            file=self._files.get(self.number, first_file),
            config_id=config_id,
            generation=self.number,
            seconds=now - self._since,
            rollback_to=earlier[0] if earlier else None,
        )
