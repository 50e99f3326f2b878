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
from collections.abc import Callable
from functools import partial

import msgspec

from pointsman.control.paths import pin_directory, remove_stale_directories, run_directory
from pointsman.daemon.child import EXIT_ENVIRONMENT, EXIT_OK, exit_code_of
from pointsman.daemon.director.heartbeats import Heartbeats
from pointsman.daemon.process_start import build_supervisor
from pointsman.daemon.runtime.channels import Channels
from pointsman.daemon.runtime.config_history import ConfigHistory
from pointsman.daemon.runtime.lock import AlreadyRunningError, acquire_lock, release_lock
from pointsman.daemon.runtime.log_format import LogFormat, for_journal, is_journal
from pointsman.daemon.runtime.privileges import Capability, effective_capabilities
from pointsman.daemon.runtime.status_file import remove_status_file
from pointsman.dataplane.xdp.kernel.pins import check_owner, ensure_bpf_file_system, outlive_a_kill
from pointsman.model.config import Config
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket

log = logging.getLogger("supervisor")

INTERFACE_PAUSE = 0.2
"""Seconds between checks for missing interfaces."""
OPEN_FILES = 4096
"""Open files that each process may have, if this process may raise its limit."""
NEEDED = {Capability.NET_ADMIN, Capability.NET_RAW}


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
    try:
        try:
            body = partial(_director, options, interfaces)
            supervisor = build_supervisor(config, body, reload)
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


def _director(
    options: Options,
    interfaces: list[str],
    config_history: ConfigHistory,
    channels: Channels,
    ready_out: socket.socket,
    heartbeats: Heartbeats,
) -> int:
    """Set up the data plane and run the director process. Import its modules only now: VRRP comes first."""
    from pointsman.daemon.director import process as director
    from pointsman.daemon.director.reload import CannotReloadError
    from pointsman.dataplane.xdp.plane import XdpDataPlane
    from pointsman.net.other_balancers import other_balancers

    for other in other_balancers():
        log.error("%s: %s. Do: %s", other.found, other.why, "; ".join(other.remedy))

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
