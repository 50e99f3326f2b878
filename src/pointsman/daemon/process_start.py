# SPDX-License-Identifier: Apache-2.0
"""The processes of a director: what runs in each, with its channels and privileges.

The modules of VRRP are imported here, before the first fork: nothing may delay it. Those of another process
are imported in that process, so that no other one waits for them or has them in its memory.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from pointsman.control.paths import control_socket, pin_directory, run_directory
from pointsman.daemon import process_list
from pointsman.daemon.checker import privileges as checker
from pointsman.daemon.child import Child
from pointsman.daemon.director.heartbeats import Heartbeats
from pointsman.daemon.runtime.channels import Channels
from pointsman.daemon.runtime.config_history import ConfigHistory, for_scripts, for_sync
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.privileges import Capability, keep_only
from pointsman.daemon.supervisor import Supervisor
from pointsman.daemon.vrrp import process as vrrp
from pointsman.daemon.vrrp.addresses import LIFETIME
from pointsman.model.config import Config

DIRECTOR_LIMIT = 30.0
"""Seconds without a heartbeat after which the director is killed: applying a large table takes time."""
DIRECTOR_KEEPS = {
    Capability.NET_ADMIN,
    Capability.NET_RAW,
    Capability.BPF,
    Capability.PERFMON,
    Capability.SYS_RESOURCE,
}
BFD_KEEPS = {Capability.IPC_LOCK, Capability.SYS_NICE}
SYNC_KEEPS = {Capability.NET_ADMIN, Capability.BPF, Capability.PERFMON}
VRRP_KEEPS = {Capability.NET_ADMIN, Capability.NET_RAW, Capability.IPC_LOCK, Capability.SYS_NICE}

DirectorBody = Callable[[ConfigHistory, Channels, socket.socket, Heartbeats], int]
"""Runs in the director process and returns its exit code. The socket receives Ready."""


def build_supervisor(
    config: Config, director: DirectorBody, reload: Callable[[], int] | None = None
) -> Supervisor:
    """Return the supervisor of all processes, not started. Raises OSError.

    `reload`: runs in a process of its own at SIGHUP.
    """
    ready_in, ready_out = _pair()
    vrrp_end, from_vrrp = _pair()
    checker_end, from_checker = _pair()
    scripts_end, from_scripts = _pair()
    vrrp_helper_end, helper_end = _pair()
    bfd_end, from_bfd = _pair()
    bfd_vrrp_end, vrrp_bfd_end = _pair()
    bfd_checker_end, checker_bfd_end = _pair()
    sync_end, from_sync = _pair()
    channels = Channels(
        vrrp=from_vrrp, checker=from_checker, scripts=from_scripts, bfd=from_bfd, sync=from_sync
    )
    config_history = ConfigHistory(config)
    watched = {each.name: each for each in process_list.watched()}
    own = Heartbeat()

    def helper(name: str, body: Callable[[Heartbeat], int], **more: Any) -> Child:
        each = watched[name]
        return Child(
            name,
            partial(body, each.heartbeat),
            heartbeat=each.heartbeat,
            limit=lambda: each.limit(config_history.current),
            wanted=lambda: each.is_wanted(config_history.current),
            **more,
        )

    director_child = Child(
        "director",
        lambda: director(config_history, channels, ready_out, Heartbeats(own, tuple(watched.values()))),
        partial(keep_only, DIRECTOR_KEEPS),
        keeps=(*channels.all(), ready_out),
        heartbeat=own,
        looks_at=tuple(each.heartbeat for each in watched.values()),
        limit=lambda: DIRECTOR_LIMIT,
        leaves="services and connections stay in force; to remove them: pointsman detach",
    )
    vrrp_child = helper(
        "vrrp",
        lambda heartbeat: vrrp.run(
            config_history.current.instances,
            vrrp_end,
            run_directory(),
            config_history.current.vrrp,
            vrrp_helper_end,
            wait_for_interfaces=vrrp_child.starts > 1,
            bfd=vrrp_bfd_end,
            static=config_history.current.static,
            heartbeat=heartbeat,
            wait_for_table=not supervisor.was_ready,
            serial=config_history.serial,
        ),
        confine=partial(keep_only, VRRP_KEEPS),
        keeps=(vrrp_end, vrrp_helper_end, vrrp_bfd_end),
        at_once=True,
        leaves=f"its addresses stay for up to {LIFETIME} s, virtual interfaces and routes for good; "
        "to remove them: pointsman detach",
    )
    helpers = [
        vrrp_child,
        helper(
            "bfd",
            lambda heartbeat: _run_bfd(
                config_history.current,
                (bfd_end, bfd_vrrp_end, bfd_checker_end),
                heartbeat,
                config_history.serial,
            ),
            confine=partial(keep_only, BFD_KEEPS),
            keeps=(bfd_end, bfd_vrrp_end, bfd_checker_end),
            at_once=True,
        ),
        helper(
            "checker",
            lambda heartbeat: _run_checker(
                config_history.current,
                *(checker_end, checker_bfd_end, heartbeat, config_history.serial),
            ),
            confine=lambda: _confine_checker(config_history.current),
            keeps=(checker_end, checker_bfd_end),
            fixed=lambda: checker.fixed(config_history.current.virtual_servers),
        ),
        helper(
            "sync",
            lambda heartbeat: _run_sync(
                config_history.current, *(sync_end, heartbeat, config_history.serial)
            ),
            confine=partial(keep_only, SYNC_KEEPS),
            keeps=(sync_end,),
            last=True,
        ),
        helper(
            "scripts",
            lambda heartbeat: _run_scripts(
                config_history.current,
                *(helper_end, scripts_end, heartbeat, config_history.serial),
            ),
            keeps=(helper_end, scripts_end),
            at_once=True,
            last=True,
        ),
    ]
    loader = Child("reload", reload) if reload else None
    dump = Child("dump", _dump)
    supervisor = Supervisor(director_child, helpers, ready_in, config_history, loader, dump)
    return supervisor


def _run_bfd(
    config: Config,
    ends: tuple[socket.socket, socket.socket, socket.socket],
    heartbeat: Heartbeat,
    serial: int,
) -> int:
    from pointsman.daemon.bfd import process as bfd

    director, vrrp_end, checker_end = ends
    channels = bfd.Channels(director=director, vrrp=vrrp_end, checker=checker_end)
    return bfd.run(config.bfd, channels, run_directory(), heartbeat, serial)


def _run_checker(config: Config, *more: Any) -> int:
    from pointsman.daemon.checker import process

    return process.run(config.virtual_servers, *more)


def _confine_checker(config: Config) -> None:
    """Import everything and drop privileges: user nobody may have no right to read the modules."""
    from pointsman.daemon.checker import process  # noqa: F401

    checker.drop_privileges(config.virtual_servers)


def _run_scripts(config: Config, *more: Any) -> int:
    from pointsman.daemon.scripts import process

    return process.run(for_scripts(config), *more)


def _run_sync(config: Config, *more: Any) -> int:
    from pointsman.daemon.sync import process
    from pointsman.dataplane.xdp.records.exchange import Lane, OpenExchange

    def open_tables(lane: Lane) -> OpenExchange:
        return OpenExchange(pin_directory(), lane)

    openers = partial(open_tables, Lane.SYNC), partial(open_tables, Lane.ASK)
    return process.run(for_sync(config), *openers, *more)


def _dump() -> int:
    from pointsman.daemon.runtime.status_file import write_status_file

    return write_status_file(run_directory(), control_socket())


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
