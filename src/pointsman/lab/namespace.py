# SPDX-License-Identifier: Apache-2.0
"""Create and enter named network namespaces by unshare(2), mount(2) and setns(2).

`ip netns exec` is avoided: it mounts a fresh /sys and so hides the pins under /sys/fs/bpf. The names are
where ip-netns(8) keeps them, so `ip netns list` and `nsenter --net=/run/netns/NAME` work.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

DIRECTORY = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def path(name: str) -> Path:
    """Return the file of the namespace."""
    return DIRECTORY / name


def exists(name: str) -> bool:
    return path(name).exists()


def names() -> list[str]:
    """Return all named namespaces of this machine."""
    return sorted(entry.name for entry in DIRECTORY.iterdir()) if DIRECTORY.is_dir() else []


def inode(name: str) -> int:
    """Return the inode number of the namespace. Names `net-<inode>-...` contain it."""
    return path(name).stat().st_ino


def create(name: str) -> None:
    """Create a namespace with its loopback down. Raises FileExistsError, or OSError (EPERM without root)."""
    _share_directory()
    path(name).touch(mode=0o444, exist_ok=False)
    try:
        with _returning():
            _call("unshare", _CLONE_NEWNET)
            _call("mount", _OWN.encode(), bytes(path(name)), b"none", _MS_BIND, None)
    except BaseException:
        delete(name)
        raise


def delete(name: str) -> None:
    """Remove the name. The namespace ends with its last process and socket. A missing name is no error."""
    with contextlib.suppress(OSError):
        _call("umount2", bytes(path(name)), _MNT_DETACH)
    path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Move the calling thread into the namespace. Sockets and children of the block belong to it.

    Other threads do not move. Raises FileNotFoundError if there is no such namespace.
    """
    with path(name).open("rb") as target, _returning():
        _call("setns", target.fileno(), _CLONE_NEWNET)
        yield


@contextlib.contextmanager
def _returning() -> Iterator[None]:
    with Path(_OWN).open("rb") as own:
        try:
            yield
        finally:
            _call("setns", own.fileno(), _CLONE_NEWNET)


def _share_directory() -> None:
    """Make /run/netns a shared mount, as ip-netns does, so that every mount namespace sees the removal of a
    name."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    target = bytes(DIRECTORY)
    try:
        _call("mount", b"", target, b"none", _MS_SHARED | _MS_REC, None)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _call("mount", target, target, b"none", _MS_BIND | _MS_REC, None)
        _call("mount", b"", target, b"none", _MS_SHARED | _MS_REC, None)
