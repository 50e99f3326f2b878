# SPDX-License-Identifier: Apache-2.0
"""Reload in the director: plan it, apply it, send the configuration to the other processes.

The configuration is already parsed and checked by the process of `pointsman reload`. Everything that can fail
is checked before the first change.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from pointsman.conf.check.empty_config import EMPTY, is_empty
from pointsman.control.codec import ConfigDecoder, EncodedConfig, encode_config
from pointsman.control.messages import NewConfiguration
from pointsman.control.status import ConfigurationStatus
from pointsman.daemon.director.table_sync import TableSync
from pointsman.daemon.runtime.channels import Receiver
from pointsman.daemon.runtime.config_history import MAX_KEPT, ConfigHistory, send_config, whole
from pointsman.dataplane.interface import DataPlane
from pointsman.model.config import Config
from pointsman.model.diff import describe_changes
from pointsman.model.wording import count

log = logging.getLogger("director")

Survey = Callable[[Config], list[str]]
"""Returns the interfaces of a configuration. Raises CannotReloadError if this host cannot run it."""


class CannotReloadError(Exception):
    """The reload was refused and nothing was changed; the text names the cause and the remedy."""


class Planned(NamedTuple):
    """A configuration that can be applied, and the changes."""

    config: Config
    services: msgspec.Raw
    """Its virtual servers, encoded."""
    rollback: bool
    interfaces: list[str]
    steps: tuple[str, ...]


class Reload:
    """Applies configurations, and sends them to `receivers`."""

    def __init__(
        self, config_history: ConfigHistory, table_sync: TableSync, plane: DataPlane, survey: Survey
    ) -> None:
        self.receivers: Sequence[Receiver] = ()
        self._config_history = config_history
        self._table_sync = table_sync
        self._plane = plane
        self._survey = survey
        self._since = time.monotonic()
        self._files: dict[int, str] = {}
        """File of each configuration by number; without an entry: the file of the start."""
        self._warnings: tuple[str, ...] = ()
        self._refused: tuple[str, ...] = ()
        self._decoder = ConfigDecoder(config_history.current.virtual_servers)
        self._pending: list[tuple[socket.socket, EncodedConfig, NewConfiguration]] = []

    @property
    def number(self) -> int:
        """Number of the configuration in force."""
        return self._config_history.number

    def plan(self, encoded: EncodedConfig | None, force: bool = False) -> Planned:
        """Return the changes that a configuration would make; None: the previous configuration.

        `force`: also if the configuration is empty. Raises CannotReloadError, and InvalidDataError.
        """
        if encoded is not None:
            config = self._decoder.decode(encoded)
        elif self._config_history.previous is None:
            raise CannotReloadError("there is no previous configuration to roll back to; nothing was changed")
        else:
            config = self._config_history.previous[1]
        if not force and is_empty(config) and not is_empty(self._config_history.current):
            raise CannotReloadError(
                f"{EMPTY}: this would remove everything; nothing was changed. To do it anyway: "
                "pointsman reload --force"
            )
        interfaces = self._survey(config)
        attached = set(self._plane.capabilities().interfaces)
        steps = [
            *(f"attach to {name}" for name in interfaces if attached and name not in attached),
            *(f"detach from {name}" for name in sorted(attached - set(interfaces))),
            *describe_changes(self._config_history.current, config),
            *self._table_sync.plan(config),
        ]
        services = (encoded or encode_config(config)).services
        return Planned(config, services, encoded is None, interfaces, tuple(steps))

    def apply(self, planned: Planned, file: str | None = None, warnings: tuple[str, ...] = ()) -> None:
        """Apply a planned configuration from this file. The caller must then call TableSync.sync.

        Raises OSError if an interface cannot be attached to; then nothing has changed.
        """
        attached = set(self._plane.capabilities().interfaces)
        if attached and attached != set(planned.interfaces):
            self._plane.attach(planned.interfaces, planned.config.vrrp.dynamic_interfaces)
        if planned.rollback:
            self._config_history.roll_back()
        else:
            file = file or self._files.get(self.number)
            self._config_history.push(planned.config)
            oldest = self.number - MAX_KEPT
            self._files = {number: each for number, each in self._files.items() if number > oldest}
            if file:
                self._files[self.number] = file
        before = self._table_sync.index.config
        self._table_sync.reconfigure(planned.config)
        self._since = time.monotonic()
        self._refused = ()
        self._warnings = warnings
        log.info("configuration %d is in force: %s", self.number, count(len(planned.steps), "change"))
        for step in planned.steps:
            log.info("  %s", step)
        self._distribute(planned, before)
        self.send_pending()

    def _distribute(self, planned: Planned, before: Config) -> None:
        """Queue the configuration for the processes whose part of it has changed, and for the supervisor.

        Also for those that tell all states again at each reload.
        """
        message = NewConfiguration(planned.rollback, self._config_history.serial)
        for channel, part in self.receivers:
            own = part(planned.config)
            acts_on_each = part is whole or own.vrrp.states_on_reload
            if own == part(before) and not acts_on_each and not self.is_pending(channel):
                continue
            services = planned.services if own.virtual_servers is planned.config.virtual_servers else None
            self._pending.append((channel, encode_config(own, services), message))

    def send_pending(self) -> None:
        """Send the configuration to the processes that lack it. A full channel is retried later."""
        waiting: list[tuple[socket.socket, EncodedConfig, NewConfiguration]] = []
        for channel, config, message in self._pending:
            if any(channel is earlier for earlier, _, _ in waiting):
                waiting.append((channel, config, message))
                continue
            try:
                send_config(channel, config, message.rollback, message.serial)
            except BlockingIOError:
                waiting.append((channel, config, message))
            except OSError as error:
                log.error("cannot send the new configuration to a process: %s", error)
        self._pending = waiting

    def is_pending(self, channel: socket.socket) -> bool:
        """True if a configuration waits for room in a channel. What belongs to it must wait, too."""
        return any(channel is waiting for waiting, _, _ in self._pending)

    def on_refused(self, problems: tuple[str, ...]) -> None:
        """Log and keep the errors of a configuration that was not loaded."""
        self._refused = problems
        errors = count(len(problems), "error")
        log.error("reload refused, configuration %d stays in force: %s", self.number, errors)
        for problem in problems:
            log.error("  %s", problem)

    def problems(self) -> list[str]:
        """Return for `status` the errors of the last reload; empty: it succeeded."""
        if not self._refused:
            return []
        more = f" (and {len(self._refused) - 1} more)" if len(self._refused) > 1 else ""
        return [f"the last reload was refused, nothing was changed: {self._refused[0]}{more}"]

    def describe(self, now: float, first_file: str | None, config_id: str | None) -> ConfigurationStatus:
        """Return the configuration for `status`. `first_file`: the file of the start."""
        previous = self._config_history.previous
        return ConfigurationStatus(
            file=self._files.get(self.number, first_file),
            config_id=config_id,
            generation=self.number,
            seconds=now - self._since,
            rollback_to=previous[0] if previous else None,
            warnings=self._warnings,
        )
