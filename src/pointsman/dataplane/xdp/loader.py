"""Loads the BPF object with libbpf, onto new maps or onto those that an earlier director has pinned."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.dataplane.interface import DataPlaneError

_void = ctypes.c_void_p
_SIGNATURES = {
    "bpf_object__open_file": (_void, [ctypes.c_char_p, _void]),
    "bpf_object__load": (ctypes.c_int, [_void]),
    "bpf_object__close": (None, [_void]),
    "bpf_object__next_map": (_void, [_void, _void]),
    "bpf_object__next_program": (_void, [_void, _void]),
    "bpf_map__name": (ctypes.c_char_p, [_void]),
    "bpf_map__fd": (ctypes.c_int, [_void]),
    "bpf_map__reuse_fd": (ctypes.c_int, [_void, ctypes.c_int]),
    "bpf_map__set_max_entries": (ctypes.c_int, [_void, ctypes.c_uint32]),
    "bpf_map__initial_value": (_void, [_void, ctypes.POINTER(ctypes.c_size_t)]),
    "bpf_program__name": (ctypes.c_char_p, [_void]),
    "bpf_program__fd": (ctypes.c_int, [_void]),
    "bpf_program__set_autoload": (ctypes.c_int, [_void, ctypes.c_bool]),
    "libbpf_set_print": (_void, [_void]),
}


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise DataPlaneError(
            errno.ENOENT, "libbpf.so.1 is not installed: install the package libbpf1"
        ) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    # Failures come back as errno; the verifier's log is for developers (bpftool -d prog load).
    library.libbpf_set_print(None)
    return library


@dataclass(frozen=True)
class Loaded:
    """Descriptors of programs and maps, by name; the caller owns them."""

    programs: dict[str, int]
    maps: dict[str, int]


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
    library = _library()
    loaded_object = library.bpf_object__open_file(os.fsencode(path), None)
    if not loaded_object:
        raise DataPlaneError(ctypes.get_errno(), f"{path} cannot be read as a BPF object")
    try:
        _prepare_maps(library, loaded_object, sizes, constants, pinned)
        _choose_programs(library, loaded_object, programs)
        failure = library.bpf_object__load(loaded_object)
        if failure:
            raise _load_failure(-failure, path)
        return Loaded(
            {
                name: os.dup(library.bpf_program__fd(item))
                for name, item in _items(library, "program", loaded_object)
                if name in programs
            },
            {
                name: os.dup(library.bpf_map__fd(item))
                for name, item in _items(library, "map", loaded_object)
                if not name.startswith(".rodata")
            },
        )
    finally:
        library.bpf_object__close(loaded_object)


def _load_failure(code: int, path: Path) -> DataPlaneError:
    if code in (errno.EPERM, errno.EACCES):
        advice = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; lockdown mode also forbids BPF"
    elif code == errno.ENOMEM:
        advice = "not enough memory for the tables: ask for a smaller connection table"
    else:
        advice = "the kernel may be too old (5.17 is the oldest that can work) or lack CONFIG_BPF_JIT or BTF"
    return DataPlaneError(code, f"the kernel refuses the BPF object {path} ({os.strerror(code)}): {advice}")


def _items(library: ctypes.CDLL, kind: str, loaded_object: int) -> list[tuple[str, int]]:
    following = getattr(library, f"bpf_object__next_{kind}")
    name_of = getattr(library, f"bpf_{kind}__name")
    found: list[tuple[str, int]] = []
    item = following(loaded_object, None)
    while item:
        # Sections of global data are maps called .data.pm_ctl or, in short, director.rodata.
        name, dot, section = name_of(item).decode().partition(".")
        found.append(((dot + section).removeprefix(".data.") if dot else name, item))
        item = following(loaded_object, item)
    return found


def _prepare_maps(
    library: ctypes.CDLL,
    loaded_object: int,
    sizes: Mapping[str, int],
    constants: bytes,
    pinned: Mapping[str, int],
) -> None:
    for name, item in _items(library, "map", loaded_object):
        if name == ".rodata.pm_lim":
            length = ctypes.c_size_t()
            place = library.bpf_map__initial_value(item, ctypes.byref(length))
            ctypes.memmove(place, constants, min(len(constants), length.value))
        elif name in pinned:
            if library.bpf_map__reuse_fd(item, pinned[name]):
                raise DataPlaneError(errno.EINVAL, f"the pinned map {name} does not fit the BPF object")
        elif name in sizes:
            library.bpf_map__set_max_entries(item, sizes[name])


def _choose_programs(library: ctypes.CDLL, loaded_object: int, programs: frozenset[str]) -> None:
    for name, item in _items(library, "program", loaded_object):
        library.bpf_program__set_autoload(item, name in programs)
