# SPDX-License-Identifier: Apache-2.0
"""Load a BPF object with new maps, or with those that an earlier director has pinned."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel.libbpf import OpenOptions, library

_LIMITS = ".rodata.pm_lim"
"""The section of struct limits."""
_OBJECT_NAME = b"pm"
"""The prefix of maps that libbpf names itself: pm.rodata."""
_SPARE_DESCRIPTORS = 8
"""Descriptors that libbpf opens for a moment, for BTF and to see what the kernel can do."""
_GLOBAL_DATA = ".data."
"""The prefix of sections of global data."""


@dataclass(frozen=True)
class Loaded:
    """Descriptors of loaded programs and maps, by name; the caller owns them."""

    programs: dict[str, int]
    maps: dict[str, int]


class _Object:
    """An object file. Maps and programs are libbpf's pointers, by name."""

    def __init__(self, content: bytes) -> None:
        """Open the content of a file. Raises OSError if it is not a BPF object."""
        self._content = content  # libbpf reads it until the object is loaded
        options = OpenOptions(object_name=_OBJECT_NAME)
        self._object = library().bpf_object__open_mem(content, len(content), ctypes.byref(options))

    def maps(self) -> Iterator[tuple[str, int]]:
        """Yield every map. Maps of global data have the names .data.NAME and pm.rodata."""
        return self._each("map")

    def programs(self) -> Iterator[tuple[str, int]]:
        """Yield every program."""
        return self._each("program")

    def _each(self, kind: str) -> Iterator[tuple[str, int]]:
        following = getattr(library(), f"bpf_object__next_{kind}")
        name_of = getattr(library(), f"bpf_{kind}__name")
        item = following(self._object, None)
        while item:
            yield name_of(item).decode(), item
            item = following(self._object, item)

    def load(self) -> None:
        """Create the maps and have the kernel verify the programs. Raises OSError."""
        library().bpf_object__load(self._object)

    def close(self) -> None:
        """Free the object, and close every descriptor that was not duplicated."""
        library().bpf_object__close(self._object)


def load(
    path: Path,
    sizes: Mapping[str, int],
    constants: bytes,
    pinned: Mapping[str, int],
    programs: frozenset[str],
) -> Loaded:
    """Load the named programs of an object file.

    `sizes` are maps' numbers of entries, `pinned` descriptors to use instead of new maps, `constants` the
    content of struct limits. Raises DataPlaneError.
    """
    if not path.exists():
        raise DataPlaneError(errno.ENOENT, f"the BPF object {path} is missing: build it with `make -C bpf`")
    with closing(_open(path)) as opened:
        _prepare_maps(opened, sizes, constants, pinned)
        for name, item in opened.programs():
            library().bpf_program__set_autoload(item, name in programs)
        try:
            _check_descriptors(opened, len(programs))
            opened.load()
        except OSError as error:
            raise _load_failure(error.errno or errno.EINVAL, path) from error
        return Loaded(
            {
                name: os.dup(library().bpf_program__fd(item))
                for name, item in opened.programs()
                if name in programs
            },
            {
                name.removeprefix(_GLOBAL_DATA): os.dup(library().bpf_map__fd(item))
                for name, item in opened.maps()
                if ".rodata" not in name
            },
        )


def _check_descriptors(opened: _Object, programs: int) -> None:
    """Raise OSError (EMFILE) if there are too few descriptors: libbpf would say something else.

    Each map and program needs two for a moment.
    """
    wanted = 2 * (sum(1 for _ in opened.maps()) + programs) + _SPARE_DESCRIPTORS
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most - len(os.listdir("/proc/self/fd")) < wanted:  # noqa: PTH208
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _open(path: Path) -> _Object:
    try:
        return _Object(path.read_bytes())
    except DataPlaneError:
        raise
    except OSError as error:
        raise DataPlaneError(error.errno or errno.EINVAL, f"{path} cannot be read as a BPF object") from error


_ADVICE = {
    errno.EAGAIN: "it was interrupted, or memory is short: try again",
    errno.EMFILE: "this process has too many open files: raise the limit (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "this host has too many open files: raise fs.file-max",
}
"""Advice for errors that are not about the object or the kernel."""


def _load_failure(code: int, path: Path) -> DataPlaneError:
    if code in (errno.EPERM, errno.EACCES):
        advice = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; lockdown mode also forbids BPF"
    elif code == errno.ENOMEM:
        advice = "not enough memory for the tables: ask for a smaller connection table"
    elif code in _ADVICE:
        advice = _ADVICE[code]
    else:
        advice = "the kernel may be too old (5.17 is the oldest that can work) or lack CONFIG_BPF_JIT or BTF"
    return DataPlaneError(code, f"the kernel refuses the BPF object {path} ({os.strerror(code)}): {advice}")


def _prepare_maps(
    opened: _Object, sizes: Mapping[str, int], constants: bytes, pinned: Mapping[str, int]
) -> None:
    for section, item in opened.maps():
        name = section.removeprefix(_GLOBAL_DATA)
        if name == _LIMITS:
            _write(item, constants)
        elif name in pinned:
            _reuse(name, item, pinned[name])
        elif name in sizes:
            library().bpf_map__set_max_entries(item, sizes[name])


def _reuse(name: str, item: int, fd: int) -> None:
    try:
        library().bpf_map__reuse_fd(item, fd)
    except OSError as error:
        code = error.errno or errno.EINVAL
        reason = _ADVICE.get(code, "it does not fit the BPF object")
        raise DataPlaneError(code, f"cannot use the pinned map {name}: {reason}") from error


def _write(item: int, content: bytes) -> None:
    """Write the first bytes of global data that is not loaded yet."""
    length = ctypes.c_size_t()
    place = library().bpf_map__initial_value(item, ctypes.byref(length))
    ctypes.memmove(place, content, min(len(content), length.value))
