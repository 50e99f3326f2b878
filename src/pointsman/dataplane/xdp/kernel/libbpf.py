# SPDX-License-Identifier: Apache-2.0
"""The only binding to libbpf (libbpf.so.1, Debian's libbpf1, 1.1 or later), by ctypes.

All prototypes and the handling of errors are here, and the functions for maps, pins, links and programs.
btf.py reads types, loader.py loads objects, batches.py reads and writes many entries of a map at once.
libbpf is loaded at the first call; an import works without it. Every function raises OSError with the errno
that libbpf returns, and DataPlaneError when libbpf is not installed.
Sources: tools/lib/bpf/{bpf,btf,libbpf}.h of Linux, bpf(2).

Not in libbpf, hence elsewhere: mounting a bpf file system (pins.py, mount(2)) and mapping an array into
memory (tables.py, mmap(2)).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pointsman.dataplane.interface import DataPlaneError

ATTACH_XDP, ATTACH_TCX_INGRESS = 37, 46
"""enum bpf_attach_type."""
_MOST_PROGRAMS = 64
"""BPF_MPROG_MAX: so many can be attached to one hook."""
TEST_XDP_LIVE_FRAMES = 1 << 1
"""BPF_F_TEST_XDP_LIVE_FRAMES: the kernel really sends the frames that the program forwards."""
_ROOM = 512
"""Bytes by which a program may lengthen a frame in a test run."""

_int, _u32, _u64, _pointer, _text = (
    ctypes.c_int,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_void_p,
    ctypes.c_char_p,
)


class _Options(ctypes.Structure):
    """The options of a libbpf function: the first field is their own size; omitted fields are 0."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(size=ctypes.sizeof(self), **fields)


class OpenOptions(_Options):
    """The head of struct bpf_object_open_opts (loader.py)."""

    _fields_ = (("size", ctypes.c_size_t), ("object_name", _text))


class _LinkOptions(_Options):
    _fields_ = (("size", ctypes.c_size_t), ("flags", _u32))


class _RunOptions(_Options):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("data_in", _pointer),
        ("data_out", _pointer),
        ("data_size_in", _u32),
        ("data_size_out", _u32),
        ("ctx_in", _pointer),
        ("ctx_out", _pointer),
        ("ctx_size_in", _u32),
        ("ctx_size_out", _u32),
        ("retval", _u32),
        ("repeat", _int),
        ("duration", _u32),
        ("flags", _u32),
        ("cpu", _u32),
        ("batch_size", _u32),
    )
    data_size_out: int
    retval: int
    duration: int


class _MapInfo(ctypes.Structure):
    """The head of struct bpf_map_info (linux/bpf.h)."""

    _fields_ = (
        ("type", _u32),
        ("id", _u32),
        ("key_size", _u32),
        ("value_size", _u32),
        ("max_entries", _u32),
        ("map_flags", _u32),
        ("name", ctypes.c_char * 16),
    )


class _LinkInfo(ctypes.Structure):
    """struct bpf_link_info of an XDP or tcx link; the rest is a union that begins on 8 bytes."""

    _fields_ = (("type", _u32), ("id", _u32), ("prog_id", _u32), ("pad", _u32), ("ifindex", _u32))


class _ProgramInfo(ctypes.Structure):
    """The head of struct bpf_prog_info."""

    _fields_ = (("type", _u32), ("id", _u32))


def _checked_status(result: int, *_: object) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _checked_pointer(result: int | None, *_: object) -> int:
    if not result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class _Result(NamedTuple):
    """The type of a result, and the check of it."""

    kind: Any
    check: Callable[..., int] | None = None


_STATUS = _Result(_int, _checked_status)
"""A number, or -errno."""
_SIZE = _Result(ctypes.c_int64, _checked_status)
_POINTER = _Result(_pointer, _checked_pointer)
"""A pointer, or NULL and errno."""
_OPTIONAL, _NAME, _NOTHING = _Result(_pointer), _Result(_text), _Result(None)

_PROTOTYPES: dict[str, tuple[_Result, list[Any]]] = {
    "bpf_map_lookup_elem": (_STATUS, [_int, _pointer, _pointer]),
    "bpf_map_update_elem": (_STATUS, [_int, _pointer, _pointer, _u64]),
    "bpf_map_delete_elem": (_STATUS, [_int, _pointer]),
    "bpf_map_get_next_key": (_STATUS, [_int, _pointer, _pointer]),
    "bpf_map_lookup_and_delete_elem": (_STATUS, [_int, _pointer, _pointer]),
    "bpf_map_lookup_batch": (
        _STATUS,
        [_int, _pointer, _pointer, _pointer, _pointer, ctypes.POINTER(_u32), _pointer],
    ),
    "bpf_map_update_batch": (_STATUS, [_int, _pointer, _pointer, ctypes.POINTER(_u32), _pointer]),
    "bpf_map_delete_batch": (_STATUS, [_int, _pointer, ctypes.POINTER(_u32), _pointer]),
    "bpf_obj_pin": (_STATUS, [_int, _text]),
    "bpf_obj_get": (_STATUS, [_text]),
    "bpf_obj_get_info_by_fd": (_STATUS, [_int, _pointer, ctypes.POINTER(_u32)]),
    "bpf_link_create": (_STATUS, [_int, _int, _int, ctypes.POINTER(_LinkOptions)]),
    "bpf_link_update": (_STATUS, [_int, _int, _pointer]),
    "bpf_link_detach": (_STATUS, [_int]),
    "bpf_prog_query": (
        _STATUS,
        [_int, _int, _u32, _pointer, ctypes.POINTER(_u32 * _MOST_PROGRAMS), ctypes.POINTER(_u32)],
    ),
    "bpf_prog_test_run_opts": (_STATUS, [_int, ctypes.POINTER(_RunOptions)]),
    "bpf_raw_tracepoint_open": (_STATUS, [_text, _int]),
    "bpf_object__load": (_STATUS, [_pointer]),
    "bpf_map__fd": (_STATUS, [_pointer]),
    "bpf_map__reuse_fd": (_STATUS, [_pointer, _int]),
    "bpf_map__set_max_entries": (_STATUS, [_pointer, _u32]),
    "bpf_program__fd": (_STATUS, [_pointer]),
    "bpf_program__set_autoload": (_STATUS, [_pointer, ctypes.c_bool]),
    "btf__find_by_name_kind": (_STATUS, [_pointer, _text, _u32]),
    "libbpf_num_possible_cpus": (_STATUS, []),
    "bpf_object__open_mem": (_POINTER, [_pointer, ctypes.c_size_t, ctypes.POINTER(OpenOptions)]),
    "bpf_map__initial_value": (_POINTER, [_pointer, ctypes.POINTER(ctypes.c_size_t)]),
    "btf__parse": (_POINTER, [_text, _pointer]),
    "btf__type_by_id": (_POINTER, [_pointer, _u32]),
    "bpf_object__close": (_NOTHING, [_pointer]),
    "bpf_object__next_map": (_OPTIONAL, [_pointer, _pointer]),
    "bpf_object__next_program": (_OPTIONAL, [_pointer, _pointer]),
    "bpf_map__name": (_NAME, [_pointer]),
    "bpf_program__name": (_NAME, [_pointer]),
    "btf__free": (_NOTHING, [_pointer]),
    "btf__name_by_offset": (_NAME, [_pointer, _u32]),
    "btf__resolve_size": (_SIZE, [_pointer, _u32]),
    "libbpf_set_print": (_OPTIONAL, [_pointer]),
}


@cache
def library() -> ctypes.CDLL:
    """Return libbpf with its prototypes. Raises DataPlaneError when it is not installed."""
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise DataPlaneError(
            errno.ENOENT, "libbpf.so.1 is not installed: install the package libbpf1"
        ) from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result.kind, arguments
        if result.check is not None:
            function.errcheck = result.check
    # Failures come back as errno; the verifier's log is for developers (bpftool -d prog load).
    loaded.libbpf_set_print(None)
    return loaded


# Maps


class MapInfo(NamedTuple):
    """The shape of a map, and its name as the kernel keeps it: 15 characters."""

    kind: int
    key_size: int
    value_size: int
    entries: int
    name: str


def possible_cpus() -> int:
    """Return the number of CPUs for which a per-CPU map has values. Raises OSError."""
    return int(library().libbpf_num_possible_cpus())


def map_lookup(fd: int, key: bytes, size: int) -> bytes:
    """Return the value of one entry, `size` bytes (per-CPU maps: of all CPUs together).

    Raises OSError (ENOENT: there is no such key).
    """
    value = ctypes.create_string_buffer(size)
    library().bpf_map_lookup_elem(fd, key, value)
    return value.raw


def map_update(fd: int, key: bytes, value: bytes) -> None:
    """Write one entry, new or not. Raises OSError (E2BIG: the map is full)."""
    library().bpf_map_update_elem(fd, key, value, 0)


def map_delete(fd: int, key: bytes) -> None:
    """Remove one entry of a hash. Raises OSError (ENOENT: there is no such key)."""
    library().bpf_map_delete_elem(fd, key)


def map_keys(fd: int, size: int) -> list[bytes]:
    """Return every key of a hash. No other process may change its keys meanwhile. Raises OSError."""
    found: list[bytes] = []
    key, following = None, ctypes.create_string_buffer(size)
    next_key = library().bpf_map_get_next_key
    while True:
        try:
            next_key(fd, key, following)
        except FileNotFoundError:  # the end
            return found
        key = following.raw
        found.append(key)


def queue_pop(fd: int, size: int) -> bytes | None:
    """Take the oldest entry out of a queue map; None when it is empty. Raises OSError."""
    value = ctypes.create_string_buffer(size)
    try:
        library().bpf_map_lookup_and_delete_elem(fd, None, value)
    except FileNotFoundError:
        return None
    return value.raw


def map_info(fd: int) -> MapInfo:
    """Return the shape and name of a map. Raises OSError."""
    info = _MapInfo()
    _fill(fd, info)
    return MapInfo(info.type, info.key_size, info.value_size, info.max_entries, info.name.decode())


def _fill(fd: int, info: ctypes.Structure) -> None:
    library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(_u32(ctypes.sizeof(info))))


# Pins


def pin(fd: int, path: Path) -> None:
    """Pin a map or link to a path of a bpf file system. Raises OSError (EEXIST: the path exists)."""
    library().bpf_obj_pin(fd, os.fsencode(path))


def open_pinned(path: Path) -> int:
    """Return a descriptor of the pinned object; the caller owns it. Raises OSError."""
    return int(library().bpf_obj_get(os.fsencode(path)))


# Links and programs


def link_create(program: int, interface: int, attach: int, flags: int) -> int:
    """Attach a program to an interface of this network namespace; return the link's descriptor.

    Raises OSError (EBUSY: another program is attached; EOPNOTSUPP, EINVAL: not possible there).
    """
    options = _LinkOptions(flags=flags)
    return int(library().bpf_link_create(program, interface, attach, ctypes.byref(options)))


def link_update(link: int, program: int) -> None:
    """Replace the link's program in one step. Raises OSError."""
    library().bpf_link_update(link, program, None)


def link_detach(link: int) -> None:
    """Detach the link's program. Raises OSError (ENOLINK: the interface is gone)."""
    library().bpf_link_detach(link)


def link_interface(fd: int) -> int:
    """Return the interface index of an XDP or tcx link; 0 when the interface is gone. Raises OSError."""
    info = _LinkInfo()
    _fill(fd, info)
    return int(info.ifindex)


def program_id(fd: int) -> int:
    """Return the kernel's number of a program. Raises OSError."""
    info = _ProgramInfo()
    _fill(fd, info)
    return int(info.id)


def attached_programs(interface: int, attach: int) -> list[int]:
    """Return the numbers of the programs of an interface in the order in which they run. Raises OSError."""
    found, count = (_u32 * _MOST_PROGRAMS)(), _u32(_MOST_PROGRAMS)
    library().bpf_prog_query(interface, attach, 0, None, ctypes.byref(found), ctypes.byref(count))
    return list(found[: count.value])


def attach_tracepoint(program: int) -> int:
    """Attach a program of type tp_btf to its tracepoint; closing the returned descriptor ends it.

    Raises OSError.
    """
    return int(library().bpf_raw_tracepoint_open(None, program))


class RunResult(NamedTuple):
    """The result of a test run of a program."""

    verdict: int
    data: bytes
    nanoseconds: int
    """Per run, as the kernel measured it."""


def run_program(program: int, data: bytes = b"", repeat: int = 1, context: bytes = b"") -> RunResult:
    """Run a program on a frame (BPF_PROG_TEST_RUN). One of type syscall takes no data and no repeat.

    Raises OSError.
    """
    result = ctypes.create_string_buffer(len(data) + _ROOM) if data else None
    options = _RunOptions(
        data_in=_address(data),
        data_out=ctypes.addressof(result) if result is not None else None,
        data_size_in=len(data),
        data_size_out=len(result) if result is not None else 0,
        ctx_in=_address(context),
        ctx_size_in=len(context),
        repeat=repeat if data else 0,
    )
    library().bpf_prog_test_run_opts(program, ctypes.byref(options))
    left = result.raw[: options.data_size_out] if result is not None else b""
    return RunResult(options.retval, left, options.duration)


def run_syscall(program: int, context: ctypes.Structure) -> int:
    """Run a program of type syscall, which may change its context. Return its result. Raises OSError."""
    options = _RunOptions(ctx_in=ctypes.addressof(context), ctx_size_in=ctypes.sizeof(context))
    library().bpf_prog_test_run_opts(program, ctypes.byref(options))
    return options.retval


def run_live(program: int, data: bytes, repeat: int, batch: int) -> None:
    """Run an XDP program on frames that the kernel then really sends. Raises OSError."""
    options = _RunOptions(
        data_in=_address(data),
        data_size_in=len(data),
        repeat=repeat,
        flags=TEST_XDP_LIVE_FRAMES,
        batch_size=batch,
    )
    library().bpf_prog_test_run_opts(program, ctypes.byref(options))


def _address(data: bytes) -> int | None:
    """Return the address of the bytes; they must outlive the call."""
    return ctypes.cast(ctypes.c_char_p(data), _pointer).value if data else None
