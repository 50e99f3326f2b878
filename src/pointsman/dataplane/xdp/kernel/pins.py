# SPDX-License-Identifier: Apache-2.0
"""The director's folder on a bpf file system: maps in a subfolder per ABI, and links."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import libbpf

_BPF_FS_MAGIC = 0xCAFE4A11
_TRIES = 100
PROGRAMS = "programs"
"""The folder of pinned programs in that of the maps. The names of both do not change from ABI to ABI."""
_libc = ctypes.CDLL(None, use_errno=True)


def _is_bpf_file_system(path: Path) -> bool:
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    return int.from_bytes(buffer.raw[:8], "little") & 0xFFFFFFFF == _BPF_FS_MAGIC


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def ensure_bpf_file_system(directory: Path) -> None:
    """Mount /sys/fs/bpf if the directory is below it and it is not mounted. Raises DataPlaneError.

    It is mounted with mode 0700, as systemd does: by default every user may create files in it.
    """
    if _is_bpf_file_system(_existing(directory)):
        return
    mount_point = Path("/sys/fs/bpf")
    if mount_point in (directory, *directory.parents) and mount_point.is_dir():
        _libc.mount(b"bpf", os.fsencode(mount_point), b"bpf", 0, b"mode=0700")
    if not _is_bpf_file_system(_existing(directory)):
        raise DataPlaneError(
            errno.ENODEV,
            f"{directory} is not on a bpf file system: mount one with `mount -t bpf bpf /sys/fs/bpf`",
        )


def check_owner(directory: Path, trusted: int) -> None:
    """Raise DataPlaneError if the directory, or the one above it, belongs to a user other than `trusted`.

    Anybody may have created it in a bpf file system that is open to all users.
    """
    for path in (directory.parent, directory):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_uid not in (0, trusted) or not stat.S_ISDIR(status.st_mode):
                raise DataPlaneError(
                    errno.EEXIST,
                    f"{path} was made by user {status.st_uid}, not by a director: pins in it could be "
                    f"changed by that user; look what it is, then remove it: rm -r {path}",
                )


def outlive_a_kill(directory: Path, first_mounts: Path = Path("/proc/1/mountinfo")) -> bool:
    """Return False if pins in `directory` may end with the processes of this mount namespace.

    That is so if the mount namespace of process 1 (`first_mounts`) has not mounted the same file system.
    """
    try:
        own = os.stat(_existing(directory)).st_dev
        first = first_mounts.read_text()
    except OSError:
        return True
    number = f"{os.major(own)}:{os.minor(own)}"
    return any(line.split()[2] == number for line in first.splitlines())


def make_directory(path: Path) -> None:
    """Create a directory and its parents, even if another director removes empty ones. Raises OSError."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            path.mkdir(parents=True, exist_ok=True)
            return
    path.mkdir(parents=True, exist_ok=True)


def _remove_if_empty(*paths: Path) -> None:
    """Remove empty directories, in this order. The mount point is busy and stays."""
    with contextlib.suppress(OSError):
        for path in paths:
            path.rmdir()


def links_directory(directory: Path) -> Path:
    return directory / "links"


def map_directories(directory: Path) -> list[Path]:
    """Return the complete folders of pinned maps, of any ABI."""
    if not directory.is_dir():
        return []
    return [path for path in directory.iterdir() if path.name.startswith("abi-") and path.is_dir()]


def open_maps(directory: Path, abi: str) -> dict[str, int]:
    """Return descriptors of the maps that are pinned for this ABI, by name."""
    return open_folder(directory / f"abi-{abi}")


def open_programs(directory: Path, abi: str) -> dict[str, int]:
    """Return descriptors of the programs that are pinned for this ABI, by name."""
    return open_folder(directory / f"abi-{abi}" / PROGRAMS)


def open_folder(folder: Path) -> dict[str, int]:
    """Return descriptors of the pins in a folder, by name; none if there is no folder. Raises OSError."""
    if not folder.is_dir():
        return {}
    return {path.name: libbpf.open_pinned(path) for path in folder.iterdir() if not path.is_dir()}


def prepare(directory: Path, abi: str, maps: Mapping[str, int], programs: Mapping[str, int]) -> None:
    """Pin new tables beside those in force. A director that is killed leaves no partial folder in force."""
    unfinished = directory / f"new-{abi}"
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    make_directory(unfinished / PROGRAMS)
    for name, fd in maps.items():
        libbpf.pin(fd, unfinished / name)
    for name, fd in programs.items():
        libbpf.pin(fd, unfinished / PROGRAMS / name)


def put_in_force(directory: Path, abi: str) -> None:
    """Replace all tables by the prepared ones."""
    for path in map_directories(directory):
        shutil.rmtree(path)
    (directory / f"new-{abi}").rename(directory / f"abi-{abi}")


def renew(directory: Path, abi: str, maps: Mapping[str, int], programs: Mapping[str, int]) -> None:
    """Pin the maps whose pins were removed, and these programs in place of an earlier director's."""
    folder = directory / f"abi-{abi}"
    for name, fd in maps.items():
        if not (folder / name).exists():
            libbpf.pin(fd, folder / name)
    make_directory(folder / PROGRAMS)
    for name, fd in programs.items():
        (folder / PROGRAMS / name).unlink(missing_ok=True)
        libbpf.pin(fd, folder / PROGRAMS / name)


def remove_other_maps(directory: Path, abi: str) -> None:
    """Remove the pins of any other ABI, and unfinished ones."""
    for path in directory.iterdir():
        if path.is_dir() and path.name != f"abi-{abi}" and path.name.startswith(("abi-", "new-")):
            shutil.rmtree(path)


def remove_maps(directory: Path, abi: str) -> None:
    """Remove the pins of this ABI, and the folder and the one above if they are empty then."""
    shutil.rmtree(directory / f"abi-{abi}", ignore_errors=True)
    _remove_if_empty(links_directory(directory), directory, directory.parent)


def remove_all(directory: Path) -> None:
    """Remove the whole folder, and the one above if it is empty then. Links must be removed before."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)
        _remove_if_empty(directory.parent)
