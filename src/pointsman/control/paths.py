# SPDX-License-Identifier: Apache-2.0
"""Paths of the run-time files of a director: one directory per network namespace."""

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
    """Return `net-<inode>-<cookie>` of this thread's network namespace: stable while the namespace exists.

    Tools show the inode number, but the kernel reuses it for the next namespace. The cookie is unique until
    the machine reboots (SO_NETNS_COOKIE, Linux 5.14). So no new namespace uses the files of an old one.
    """
    name = f"net-{os.stat(_OWN).st_ino}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        cookie = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        return f"{name}-{cookie}"
    return name


def namespace_directories(inode: int) -> list[Path]:
    """Return the directories of pins and run-time files of all namespaces that had this inode number."""
    return [
        place
        for parent in (PIN_DIRECTORY, RUN_DIRECTORY)
        for pattern in (f"net-{inode}", f"net-{inode}-*")
        for place in parent.glob(pattern)
    ]


def remove_stale_directories() -> None:
    """Remove the directories of dead namespaces whose inode number this namespace now has."""
    for place in namespace_directories(os.stat(_OWN).st_ino):
        if place.name != namespace_name():
            shutil.rmtree(place, ignore_errors=True)


def run_directory() -> Path:
    """Return the directory of the control socket, lock and state files of this network namespace.

    One directory per namespace, so that several directors (containers, the lab) can share one file system.
    The result does not depend on the user or on capabilities.
    """
    return RUN_DIRECTORY / namespace_name()


def control_socket() -> Path:
    """Return the path of the unix socket on which the director accepts requests."""
    return run_directory() / "control.sock"


def pin_directory() -> Path:
    """Return the bpffs directory in which the director of this namespace pins its links and maps.

    All namespaces of a host may share one bpffs.
    """
    return PIN_DIRECTORY / namespace_name()
