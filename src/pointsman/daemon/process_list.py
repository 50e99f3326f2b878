# SPDX-License-Identifier: Apache-2.0
"""The processes that a configuration needs, each with the silence after which it counts as hung."""

from __future__ import annotations

from pointsman.daemon.child import HEARTBEAT_LIMIT
from pointsman.daemon.director.heartbeats import Watched
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.vrrp.deadlines import heartbeat_limit
from pointsman.health import check_types
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.vrrp import needs_scripts_process

BFD_LIMIT = 3.0
"""Seconds without a heartbeat after which the BFD process is killed as hung."""
SYNC_LIMIT = 5.0
"""The same for the sync process."""


def watched() -> tuple[Watched, ...]:
    """Return the processes beside the director, each with its limit and the configurations that need it."""
    return (
        Watched(
            "vrrp",
            Heartbeat(),
            lambda config: heartbeat_limit(config.instances),
            lambda config: bool(config.instances or config.static),
        ),
        Watched("bfd", Heartbeat(), lambda _: BFD_LIMIT, lambda config: bool(config.bfd)),
        Watched("sync", Heartbeat(), lambda _: SYNC_LIMIT, lambda config: config.sync is not None),
        Watched("checker", Heartbeat(), lambda _: HEARTBEAT_LIMIT, has_checks),
        Watched("scripts", Heartbeat(), lambda _: HEARTBEAT_LIMIT, runs_programs),
    )


def has_checks(config: Config) -> bool:
    """Return True if any real server has a check that the checker process does."""
    members = (member for virtual in config.virtual_servers for member in virtual.members)
    return any(not check_types.runs_programs(check) for member in members for check in member.checks)


def runs_programs(config: Config) -> bool:
    """Return True if pm-scripts has work: programs, FIFOs, or tracked files and processes."""
    servers = config.virtual_servers
    return (
        needs_scripts_process(config.instances, config.vrrp)
        or bool(servers and config.server_fifos)
        or any(map(_service_runs_programs, servers))
    )


def _service_runs_programs(virtual: VirtualServer) -> bool:
    return bool(virtual.quorum_up_command or virtual.quorum_down_command) or any(
        member.notify_up or member.notify_down or any(map(check_types.runs_programs, member.checks))
        for member in virtual.members
    )
