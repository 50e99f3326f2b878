# SPDX-License-Identifier: Apache-2.0
"""Privileges of the checker process, and the files that it reads before it drops them.

The supervisor asks for them, too. So the modules of the probes are not imported here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from pointsman.daemon.runtime.privileges import Capability, become_nobody
from pointsman.health import check_types
from pointsman.model.checks import HttpCheck
from pointsman.model.health import AnyCheck, VirtualServer

NICE = -15


def drop_privileges(virtual_servers: Iterable[VirtualServer]) -> None:
    """Load certificates, drop privileges, raise the priority: a late probe looks like a slow server."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    services = tuple(virtual_servers)
    load_certificates(services)
    become_nobody(capabilities(services))


def capabilities(virtual_servers: Iterable[VirtualServer]) -> set[Capability]:
    """Return the capabilities that the checks of these services need."""
    raw = any(check_types.needs_raw_sockets(check) for check in _all(virtual_servers))
    return {Capability.NET_RAW} if raw else set()


def fixed(virtual_servers: Iterable[VirtualServer]) -> object:
    """Return everything that needs a restart of the checker when it changes, as one comparable value."""
    services = tuple(virtual_servers)
    if not (checks := list(_with_tls(services))):
        return capabilities(services), {}
    from pointsman.daemon.checker.probes import tls

    return capabilities(services), tls.state(checks)


def load_certificates(virtual_servers: Iterable[VirtualServer]) -> None:
    """Load the certificates that only root can read. To be called before become_nobody."""
    if checks := list(_with_tls(virtual_servers)):
        from pointsman.daemon.checker.probes import tls

        tls.load(checks)


def _with_tls(virtual_servers: Iterable[VirtualServer]) -> Iterator[AnyCheck]:
    return (check for check in _all(virtual_servers) if isinstance(check, HttpCheck) and check.tls)


def _all(virtual_servers: Iterable[VirtualServer]) -> Iterator[AnyCheck]:
    return (check for virtual in virtual_servers for member in virtual.members for check in member.checks)
