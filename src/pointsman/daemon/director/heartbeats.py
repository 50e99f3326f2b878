# SPDX-License-Identifier: Apache-2.0
"""Heartbeats of the other processes in the director: what a silent process has reported is unknown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from pointsman.control.status import InstanceStatus, ServerStatus, ServiceStatus, Status
from pointsman.daemon.runtime.heartbeat import STABLE_AFTER, Heartbeat
from pointsman.health.check_types import runs_programs
from pointsman.model.config import Config
from pointsman.model.wording import duration

UNKNOWN = "UNKNOWN"
"""State of an instance in `status` while the VRRP process is silent."""
MANY_CRASHES = 2
"""Crashes in a row from which they are a problem. One is made good by the restart."""


class Watched(NamedTuple):
    """A process whose reports the director keeps."""

    name: str
    heartbeat: Heartbeat
    limit: Callable[[Config], float]
    """Returns the seconds of silence that are too long."""
    is_wanted: Callable[[Config], bool]
    """Returns True if it runs with this configuration."""


class Heartbeats:
    """The heartbeat of the director, and those that it looks at."""

    def __init__(self, own: Heartbeat | None = None, watched: Sequence[Watched] = ()) -> None:
        self.own = own or Heartbeat()
        self._watched = watched
        self._since = time.monotonic()

    def reconfigure(self, now: float) -> None:
        """Count silence from now on: a reload may have made a process wanted that did not run."""
        self._since = now

    def silences(self, config: Config, now: float) -> dict[str, float]:
        """Return the silence in seconds of each process that is silent for too long."""
        return {
            each.name: silence
            for each in self._watched
            if each.is_wanted(config)
            and (silence := now - max(each.heartbeat.last, self._since)) >= each.limit(config)
        }

    def crashes(self, config: Config, now: float) -> list[str]:
        """Return a problem for each process that crashes again and again, until it has run for STABLE_AFTER.

        Between two crashes it beats, so that it is never silent for long; but its results may be old.
        """
        return [
            f"the process pm-{each.name} has crashed {crashes.in_a_row} times in a row, the last time "
            f"{duration(now - crashes.last)} ago: what it has reported may be old; the log has the reason"
            for each in self._watched
            if each.is_wanted(config)
            and (crashes := each.heartbeat.crashes).in_a_row >= MANY_CRASHES
            and now - crashes.restart_at < STABLE_AFTER
        ]


def without_unknown(status: Status, silences: Mapping[str, float]) -> Status:
    """Return a status in which states of instances and sessions are unknown if their process is silent.

    For services there is `unknown_services`.
    """
    if not silences:
        return status
    instances, sessions = status.instances, status.sessions
    if "vrrp" in silences:
        instances = tuple(_unknown_instance(each, silences["vrrp"]) for each in instances)
    if "bfd" in silences:
        said = _said("bfd", silences["bfd"])
        sessions = tuple(msgspec.structs.replace(each, up=None, reason=said) for each in sessions)
    problems = tuple(
        f"{_said(name, silence)}: what it has reported is as old as that"
        for name, silence in silences.items()
    )
    return msgspec.structs.replace(
        status, instances=instances, sessions=sessions, problems=(*problems, *status.problems)
    )


def unknown_services(
    services: Iterable[ServiceStatus], silences: Mapping[str, float], config: Config
) -> Iterable[ServiceStatus]:
    """Return services in which the health of real servers is unknown if the process that checks is silent."""
    for name, programs in (("checker", False), ("scripts", True)):
        if name in silences:
            replace = partial(
                _unknown_service, checked=_checked(config, programs), said=_said(name, silences[name])
            )
            services = map(replace, services)
    return services


def _said(name: str, silence: float) -> str:
    return f"no sign of life from the process pm-{name} for {silence:.0f} s"


def _unknown_instance(instance: InstanceStatus, silence: float) -> InstanceStatus:
    reason = f"{instance.state} before; {_said('vrrp', silence)}"
    return msgspec.structs.replace(instance, state=UNKNOWN, reason=reason, seconds=silence)


def _checked(config: Config, programs: bool) -> frozenset[tuple[str, str]]:
    """Return service and real server of the checks that run programs, or of all other checks."""
    return frozenset(
        (str(virtual.service.key), str(member.server.key))
        for virtual in config.virtual_servers
        for member in virtual.members
        if any(runs_programs(check) is programs for check in member.checks)
    )


def _unknown_service(service: ServiceStatus, checked: frozenset[tuple[str, str]], said: str) -> ServiceStatus:
    servers = tuple(
        _unknown_server(each, said) if (service.service, each.server) in checked else each
        for each in service.servers
    )
    return msgspec.structs.replace(service, servers=servers)


def _unknown_server(server: ServerStatus, said: str) -> ServerStatus:
    before = {True: "up before", False: "down before", None: ""}[server.up]
    reason = "; ".join(filter(None, (before, server.reason, said)))
    return msgspec.structs.replace(server, up=None, reason=reason)
