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

    A folder for each, so that several directors (containers, the lab) share one file system; by one rule that
    every user and every set of capabilities comes to the same answer with.
    """
    return RUN_DIRECTORY / namespace_name()


def control_socket() -> Path:
    """The unix socket on which the director takes commands."""
    return run_directory() / "control.sock"


def pin_directory() -> Path:
    """Where this namespace's director pins links and maps; bpffs is shared by all namespaces of a host."""
    return PIN_DIRECTORY / namespace_name()
