"""Where a director keeps its run-time files: one place per network namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path

RUN_DIRECTORY = Path("/run/pointsman")
PIN_DIRECTORY = Path("/sys/fs/bpf/pointsman")


_SO_NETNS_COOKIE = 71
_OWN = "/proc/thread-self/ns/net"


def namespace_name() -> str:
    """`net-<inode>-<cookie>` of this thread's network namespace: stable while the namespace lives.

    Tools show the inode, but the next namespace gets it as soon as this one is gone. The cookie is not used
    again until the machine reboots (SO_NETNS_COOKIE, Linux 5.14), and so nobody takes over what a dead
    namespace has left.
    """
    name = f"net-{os.stat(_OWN).st_ino}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        return f"{name}-{cookie}"
    return name


def places_of(inode: int) -> list[Path]:
    """What directors and real servers of the namespaces with this number have left: pins, run-time files."""
    return [
        place
        for parent in (PIN_DIRECTORY, RUN_DIRECTORY)
        for pattern in (f"net-{inode}", f"net-{inode}-*")
        for place in parent.glob(pattern)
    ]


def forget_predecessors() -> None:
    """Remove what is left of namespaces that had this one's number, and so are gone."""
    for place in places_of(os.stat(_OWN).st_ino):
        if place.name != namespace_name():
            shutil.rmtree(place, ignore_errors=True)


def run_directory() -> Path:
    """Control socket, lock and state files of the director of this network namespace.

    The host's own namespace uses /run/pointsman itself; any other gets a folder below, so that several
    directors (containers, the lab) share one file system.
    """
    return RUN_DIRECTORY if _in_host_namespace() else RUN_DIRECTORY / namespace_name()


def _in_host_namespace() -> bool:
    try:
        return os.stat(_OWN).st_ino == os.stat("/proc/1/ns/net").st_ino
    except OSError:
        # Process 1 may not be looked at (we are not root, or it has more capabilities than we have). This
        # sysctl exists in the kernel's first network namespace only (net/core/sysctl_net_core.c).
        return Path("/proc/sys/net/core/netdev_budget").exists()


def control_socket() -> Path:
    """The unix socket on which the director takes commands."""
    return run_directory() / "control.sock"


def pin_directory() -> Path:
    """Where this namespace's director pins links and maps; bpffs is shared by all namespaces of a host."""
    return PIN_DIRECTORY / namespace_name()
