# SPDX-License-Identifier: Apache-2.0
"""Start of a director: check this host, then start the processes, each with its channels and privileges."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from pointsman.control.paths import control_socket, pin_directory, remove_stale_directories, run_directory
from pointsman.daemon.bfd import process as bfd
from pointsman.daemon.checker import process as checker
from pointsman.daemon.child import EXIT_ENVIRONMENT, EXIT_OK, HEARTBEAT_LIMIT, Child, exit_code_of
from pointsman.daemon.director import process as director
from pointsman.daemon.director.heartbeats import Heartbeats, Watched
from pointsman.daemon.director.reload import CannotReloadError
from pointsman.daemon.runtime.channels import Channels
from pointsman.daemon.runtime.config_history import ConfigHistory, for_scripts
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.lock import AlreadyRunningError, acquire_lock, release_lock
from pointsman.daemon.runtime.log_format import LogFormat, for_journal, is_journal
from pointsman.daemon.runtime.privileges import (
    Capability,
    become_nobody,
    effective_capabilities,
    keep_only,
)
from pointsman.daemon.runtime.status_file import remove_status_file, write_status_file
from pointsman.daemon.scripts import process as scripts
from pointsman.daemon.supervisor import Supervisor
from pointsman.daemon.vrrp import process as vrrp
from pointsman.daemon.vrrp.addresses import LIFETIME
from pointsman.daemon.vrrp.deadlines import heartbeat_limit
from pointsman.dataplane.xdp.kernel.pins import check_owner, ensure_bpf_file_system, outlive_a_kill
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.health import check_types
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.other_balancers import other_balancers

log = logging.getLogger("supervisor")

INTERFACE_PAUSE = 0.2
"""Seconds between checks for missing interfaces."""
CHECKER_NICE = -15
OPEN_FILES = 4096
"""Open files that each process may have, if this process may raise its limit."""
DIRECTOR_LIMIT = 30.0
"""Seconds without a heartbeat after which the director is killed: applying a large table takes time."""
NEEDED = {Capability.NET_ADMIN, Capability.NET_RAW}
DIRECTOR_KEEPS = {
    Capability.NET_ADMIN,
    Capability.NET_RAW,
    Capability.BPF,
    Capability.PERFMON,
    Capability.SYS_RESOURCE,
}
BFD_KEEPS = {Capability.IPC_LOCK, Capability.SYS_NICE}
VRRP_KEEPS = {Capability.NET_ADMIN, Capability.NET_RAW, Capability.IPC_LOCK, Capability.SYS_NICE}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `pointsman run`; see its --help."""

    interfaces: tuple[str, ...] = ()
    """Interfaces to attach to, in addition to those of the configuration."""
    xdp_mode: str = "auto"
    connection_limit: int = 1 << 20
    connection6_limit: int | None = None
    """Limit for IPv6; None: a quarter of `connection_limit`."""
    keep_forwarding: bool = False
    file: str = ""
    """The configuration file; empty: none."""
    config_id: str | None = None
    """ID that lines with @id are compared with; None: the short host name."""
    wait: float = 0.0
    """Seconds to wait for missing interfaces, as at boot."""
    tunables: dict[str, int] = {}
    """Values of model.tunables that differ from the defaults."""


class EnvironmentProblem(Exception):  # noqa: N818
    """This host cannot run the director; the text names the cause, the place and the remedy."""


def start(config: Config, options: Options, reload: Callable[[], int] | None = None) -> int:
    """Run until SIGTERM and return the exit code.

    0: success. 1: a restart may help. 3: this host cannot run the director.

    `reload`: runs in a process of its own at SIGHUP; None: there is no configuration file.
    """
    try:
        _check_capabilities()
        _raise_file_limit()
        _prepare_pins()
        interfaces = _await_interfaces(config, options)
        remove_stale_directories()
        lock = acquire_lock(run_directory())
    except AlreadyRunningError as error:
        return _refuse(
            f"a director already runs in this network namespace (pid {error}); stop it first, "
            f"or look at it with 'pointsman status'"
        )
    except (EnvironmentProblem, OSError) as error:
        return _refuse(_explain(error), exit_code_of(error))
    for other in other_balancers():
        log.error("%s: %s. Do: %s", other.found, other.why, "; ".join(other.remedy))
    try:
        try:
            supervisor = _supervisor(config, options, interfaces, reload)
        except OSError as error:
            return _refuse(f"cannot start the processes: {_explain(error)}", exit_code_of(error))
        return supervisor.run()
    finally:
        remove_status_file(run_directory())
        release_lock(lock, run_directory())


def configure_logging(verbose: bool) -> None:
    """Log to standard error. The systemd journal gets priorities, others date and severity."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormat(_logs_to_journal()))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _refuse(text: str, code: int = EXIT_ENVIRONMENT) -> int:
    line = f"pointsman run: {text}"
    print(for_journal(line, logging.ERROR) if _logs_to_journal() else line, file=sys.stderr)
    return code


def _logs_to_journal() -> bool:
    try:
        return is_journal(sys.stderr.fileno())
    except OSError:  # a stream of Python's own has no descriptor
        return False


def _explain(error: Exception) -> str:
    """Return the text of an error, and for a frequent one what to do."""
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return f"{error}: raise the limit of open files (ulimit -n, LimitNOFILE)"
    return str(error)


def _raise_file_limit() -> None:
    """Raise the limit of open files, if this process may: maps and sockets need some hundreds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, OPEN_FILES), hard):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(most, OPEN_FILES)), most))
            return


def _prepare_pins() -> None:
    """Mount the bpf file system if it is missing: the director process has no right to. Raises OSError."""
    ensure_bpf_file_system(pin_directory())
    check_owner(pin_directory(), os.geteuid())
    if not outlive_a_kill(pin_directory()):
        log.warning(
            "/sys/fs/bpf is not that of the host but only of this mount namespace: if all processes in it "
            "are killed, forwarding stops. Mount it for the whole host (mount -t bpf bpf /sys/fs/bpf), use "
            "nsenter --net=/run/netns/NAME in place of ip netns exec, or mount it into the container"
        )


def _check_capabilities() -> None:
    missing = NEEDED - effective_capabilities()
    if missing:
        names = ", ".join(sorted(f"CAP_{capability.name}" for capability in missing))
        raise EnvironmentProblem(f"missing {names}: run it as root, or grant them in the unit or container")


def _await_interfaces(config: Config, options: Options) -> list[str]:
    """Return `_interfaces`, waiting up to `options.wait` seconds for them. Raises EnvironmentProblem."""
    deadline = time.monotonic() + options.wait
    logged = False
    while True:
        try:
            return _interfaces(config, options)
        except EnvironmentProblem as problem:
            if time.monotonic() >= deadline:
                raise
            if not logged:
                log.warning("waiting up to %.0f s: %s", options.wait, problem)
                logged = True
        time.sleep(INTERFACE_PAUSE)


def _interfaces(config: Config, options: Options) -> list[str]:
    """Return the interfaces on which packets for the VIPs arrive. Raises EnvironmentProblem and OSError.

    An interface that does not exist is an error, except for one of the configuration with
    dynamic_interfaces.
    """
    with NetlinkSocket() as netlink:
        present = links(netlink)
    wanted: dict[str, str] = {}
    for instance in config.instances:
        where = f" ({instance.location}: vrrp_instance {instance.name})" if instance.location else ""
        for name in instance.arrivals:
            wanted.setdefault(name, where)
    for name in options.interfaces:
        wanted.setdefault(name, " (--interface)")
    needed = options.interfaces if config.vrrp.dynamic_interfaces else wanted
    missing = [f"{name}{wanted[name]}" for name in needed if name not in present]
    if missing:
        here = ", ".join(sorted(present)) or "none"
        raise EnvironmentProblem(
            f"no such interface: {'; '.join(missing)}. Interfaces here: {here}. Nothing was changed"
        )
    ethernet = [link.name for link in present.values() if link.up and len(link.mac) == 6 and any(link.mac)]
    return list(wanted) or ethernet


def _supervisor(
    config: Config, options: Options, interfaces: list[str], reload: Callable[[], int] | None
) -> Supervisor:
    ready_in, ready_out = _pair()
    vrrp_end, from_vrrp = _pair()
    checker_end, from_checker = _pair()
    scripts_end, from_scripts = _pair()
    vrrp_helper_end, helper_end = _pair()
    bfd_end, from_bfd = _pair()
    bfd_vrrp_end, vrrp_bfd_end = _pair()
    bfd_checker_end, checker_bfd_end = _pair()
    channels = Channels(vrrp=from_vrrp, checker=from_checker, scripts=from_scripts, bfd=from_bfd)
    config_history = ConfigHistory(config)
    watched = {each.name: each for each in _watched()}
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
        lambda: _director(
            config_history,
            *(options, interfaces, channels, ready_out),
            Heartbeats(own, tuple(watched.values())),
        ),
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
            lambda heartbeat: bfd.run(
                config_history.current.bfd,
                bfd.Channels(director=bfd_end, vrrp=bfd_vrrp_end, checker=bfd_checker_end),
                run_directory(),
                heartbeat,
                config_history.serial,
            ),
            confine=partial(keep_only, BFD_KEEPS),
            keeps=(bfd_end, bfd_vrrp_end, bfd_checker_end),
            at_once=True,
        ),
        helper(
            "checker",
            lambda heartbeat: checker.run(
                config_history.current.virtual_servers,
                *(checker_end, checker_bfd_end, heartbeat, config_history.serial),
            ),
            confine=lambda: _become_checker(config_history.current.virtual_servers),
            keeps=(checker_end, checker_bfd_end),
            fixed=lambda: checker.fixed(config_history.current.virtual_servers),
        ),
        helper(
            "scripts",
            lambda heartbeat: scripts.run(
                for_scripts(config_history.current),
                *(helper_end, scripts_end, heartbeat, config_history.serial),
            ),
            keeps=(helper_end, scripts_end),
            at_once=True,
            last=True,
        ),
    ]
    loader = Child("reload", reload) if reload else None
    dump = Child("dump", lambda: write_status_file(run_directory(), control_socket()))
    supervisor = Supervisor(director_child, helpers, ready_in, config_history, loader, dump)
    return supervisor


def _watched() -> tuple[Watched, ...]:
    """Return the processes beside the director, each with its limit and the configurations that need it."""
    return (
        Watched(
            "vrrp",
            Heartbeat(),
            lambda config: heartbeat_limit(config.instances),
            lambda config: bool(config.instances or config.static),
        ),
        Watched("bfd", Heartbeat(), lambda _: bfd.HEARTBEAT_LIMIT, lambda config: bool(config.bfd)),
        Watched("checker", Heartbeat(), lambda _: HEARTBEAT_LIMIT, has_checks),
        Watched("scripts", Heartbeat(), lambda _: HEARTBEAT_LIMIT, scripts.has_work),
    )


def _become_checker(virtual_servers: Iterable[VirtualServer]) -> None:
    """Load certificates, drop privileges, raise the priority: a late probe looks like a slow server."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, CHECKER_NICE)
    services = tuple(virtual_servers)
    checker.load_certificates(services)
    become_nobody(checker.capabilities(services))


def has_checks(config: Config) -> bool:
    """Return True if any real server has a check that the checker process does."""
    members = (member for virtual in config.virtual_servers for member in virtual.members)
    return any(not check_types.runs_programs(check) for member in members for check in member.checks)


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _director(
    config_history: ConfigHistory,
    options: Options,
    interfaces: list[str],
    channels: Channels,
    ready_out: socket.socket,
    heartbeats: Heartbeats,
) -> int:
    def survey(config: Config) -> list[str]:
        try:
            return _interfaces(config, options)
        except EnvironmentProblem as problem:
            raise CannotReloadError(str(problem)) from problem

    # SIGTERM is blocked until the event loop runs (Child.leaves), so that no half of a data plane remains.
    try:
        interfaces = interfaces if config_history.number == 1 else survey(config_history.current)
        limits = options.connection_limit, options.connection6_limit
        dynamic = config_history.current.vrrp.dynamic_interfaces
        plane = XdpDataPlane.open(
            pin_directory(), interfaces, options.xdp_mode, *limits, allow_missing=dynamic
        )
        plane.tune(options.tunables)
    except (OSError, CannotReloadError) as error:
        return _refuse(f"cannot set up the data plane: {error}", exit_code_of(error))
    origin = {"file": options.file, "config_id": options.config_id}
    return (
        director.run(
            config_history, plane, channels, ready_out, options.keep_forwarding, survey, origin, heartbeats
        )
        or EXIT_OK
    )
