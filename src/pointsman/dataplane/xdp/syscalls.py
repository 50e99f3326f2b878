"""bpf(2), as far as the data plane needs it (linux/bpf.h). Every failure is an OSError."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
from pathlib import Path
from typing import NamedTuple

_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_GET_NEXT_KEY = 1, 2, 3, 4
_OBJ_PIN, _OBJ_GET, _PROG_TEST_RUN, _INFO_BY_FD = 6, 7, 10, 15
_RAW_TRACEPOINT_OPEN, _MAP_LOOKUP_AND_DELETE = 17, 21
_MAP_LOOKUP_BATCH, _LINK_CREATE, _LINK_UPDATE, _LINK_DETACH = 24, 28, 29, 34

ATTACH_XDP = 37
ATTACH_TCX_INGRESS = 46
_LINK_TYPE_TCX = 11
_ATTRIBUTE_SIZE = 144

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """One call. Returns its result and the attributes as the kernel left them; raises OSError."""
    number = _NUMBER.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) on {platform.machine()} is not supported")
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), _ATTRIBUTE_SIZE))
    result = _libc.syscall(number, command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result), buffer.raw


def _address(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


def possible_cpus() -> int:
    """How many CPUs a per-CPU map has values for (/sys/devices/system/cpu/possible)."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace("-", ",").split(",")[-1]) + 1


def map_lookup(fd: int, key: bytes, size: int) -> bytes:
    """The value of one entry; `size` bytes (per-CPU maps: of all CPUs together)."""
    wanted, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
    _bpf(_MAP_LOOKUP, struct.pack("=IxxxxQQQ", fd, _address(wanted), _address(value), 0))
    return value.raw


def map_update(fd: int, key: bytes, value: bytes) -> None:
    wanted, content = (
        ctypes.create_string_buffer(key, len(key)),
        ctypes.create_string_buffer(value, len(value)),
    )
    _bpf(_MAP_UPDATE, struct.pack("=IxxxxQQQ", fd, _address(wanted), _address(content), 0))


def map_delete(fd: int, key: bytes) -> None:
    wanted = ctypes.create_string_buffer(key, len(key))
    _bpf(_MAP_DELETE, struct.pack("=IxxxxQQQ", fd, _address(wanted), 0, 0))


def map_keys(fd: int, size: int) -> list[bytes]:
    """Every key of a hash map that nobody else writes to meanwhile."""
    found: list[bytes] = []
    key, following = None, ctypes.create_string_buffer(size)
    with contextlib.suppress(FileNotFoundError):  # the end
        while True:
            content = struct.pack("=IxxxxQQQ", fd, _address(key), _address(following), 0)
            _bpf(_MAP_GET_NEXT_KEY, content)
            found.append(following.raw)
            key = ctypes.create_string_buffer(following.raw, size)
    return found


def map_lookup_batch(fd: int, count: int, size: int) -> bytes:
    """The values of the first `count` entries of an array, one after the other."""
    keys = ctypes.create_string_buffer(4 * count)
    values = ctypes.create_string_buffer(size * count)
    token = ctypes.create_string_buffer(4)
    try:
        _bpf(
            _MAP_LOOKUP_BATCH,
            struct.pack("=QQQQIIQQ", 0, _address(token), _address(keys), _address(values), count, fd, 0, 0),
        )
    except OSError as error:
        if error.errno != errno.ENOENT:  # the end of the map was reached: the values are there
            raise
    return values.raw


def queue_pop(fd: int, size: int) -> bytes | None:
    """The oldest entry of a queue map, which leaves it; None when there is none."""
    value = ctypes.create_string_buffer(size)
    try:
        _bpf(_MAP_LOOKUP_AND_DELETE, struct.pack("=IxxxxQQQ", fd, 0, _address(value), 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def attach_tracepoint(program: int) -> int:
    """Attach a program of type tp_btf to the tracepoint it was loaded for; closing the descriptor ends it."""
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QI", 0, program))[0]


def pin(fd: int, path: Path) -> None:
    """Pin a map or link under a path of a bpf file system."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_OBJ_PIN, struct.pack("=QII", _address(name), fd, 0))


def open_pinned(path: Path, read_only: bool = False) -> int:
    """A descriptor of what is pinned there."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_OBJ_GET, struct.pack("=QII", _address(name), 0, 8 if read_only else 0))[0]


class MapInfo(NamedTuple):
    kind: int
    key_size: int
    value_size: int
    entries: int


def map_info(fd: int) -> MapInfo:
    """Shape of a map (struct bpf_map_info)."""
    kind, _identity, key_size, value_size, entries = struct.unpack_from("=IIIII", _info(fd))
    return MapInfo(kind, key_size, value_size, entries)


def link_interface(fd: int) -> int:
    """Interface index of an XDP or tcx link; 0 when the interface is gone (struct bpf_link_info)."""
    return int(struct.unpack_from("=I", _info(fd), 16)[0])


def _info(fd: int) -> bytes:
    info = ctypes.create_string_buffer(256)
    _bpf(_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), _address(info)))
    return info.raw


def link_create(program: int, interface: int, attach: int, flags: int) -> int:
    """Attach a program to an interface of this network namespace; the link's descriptor."""
    return _bpf(_LINK_CREATE, struct.pack("=IIIIIIQ", program, interface, attach, flags, 0, 0, 0))[0]


def link_update(link: int, program: int) -> None:
    """Replace the link's program in one step."""
    _bpf(_LINK_UPDATE, struct.pack("=IIII", link, program, 0, 0))


def link_detach(link: int) -> None:
    _bpf(_LINK_DETACH, struct.pack("=I", link))


class RunResult(NamedTuple):
    verdict: int
    data: bytes
    nanoseconds: int
    """Per run, as the kernel measured it."""


def run_program(program: int, data: bytes = b"", repeat: int = 1, context: bytes = b"") -> RunResult:
    """BPF_PROG_TEST_RUN. Programs of type syscall take no data and no repeat."""
    given = ctypes.create_string_buffer(data, len(data)) if data else None
    result = ctypes.create_string_buffer(len(data) + 512) if data else None
    before = ctypes.create_string_buffer(context, len(context)) if context else None
    _, raw = _bpf(
        _PROG_TEST_RUN,
        struct.pack(
            "=IIIIQQIIIIQQIII",
            program,
            0,
            len(data),
            len(result) if result is not None else 0,
            _address(given),
            _address(result),
            repeat if data else 0,
            0,
            len(context),
            0,
            _address(before),
            0,
            0,
            0,
            0,
        ),
    )
    verdict, _size_in, size_out = struct.unpack_from("=III", raw, 4)
    duration = struct.unpack_from("=I", raw, 36)[0]
    return RunResult(verdict, result.raw[:size_out] if result is not None else b"", duration)
