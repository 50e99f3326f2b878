"""Where a director keeps its run-time files: one place per network namespace."""

from __future__ import annotations

import os
from pathlib import Path

RUN_DIRECTORY = Path("/run/pointsman")
PIN_DIRECTORY = Path("/sys/fs/bpf/pointsman")


def namespace_name() -> str:
    """`net-<inode>` of this process's network namespace: stable while the namespace lives."""
    return f"net-{os.stat('/proc/self/ns/net').st_ino}"


def run_directory() -> Path:
    """Control socket, lock and state files of the director of this network namespace.

    The host's own namespace uses /run/pointsman itself; any other gets a folder below, so that several
    directors (containers, the lab) share one file system.
    """
    return RUN_DIRECTORY if _in_host_namespace() else RUN_DIRECTORY / namespace_name()


def _in_host_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/net").st_ino == os.stat("/proc/1/ns/net").st_ino
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
