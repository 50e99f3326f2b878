# SPDX-License-Identifier: Apache-2.0
"""Read the connections to virtual addresses from the kernel's socket tables, as records.

sock_diag(7); include/uapi/linux/inet_diag.h. There may be 100,000 sockets, so messages are unpacked in runs
and records are joined from ready pieces.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pointsman.packets.record import RECORD_SIZE, RecordFlag

TCP, UDP = 6, 17
MOST_CONNECTIONS = 1 << 22
MOST_NAMESPACES = 256
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_REQUEST_DUMP = 0x301
_RECEIVE = 1 << 18
_ANSWER_TIMEOUT = 5.0
_CLONE_NEWNET = 0x40000000
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
_USED = 56
"""Bytes of a message up to the end of its socket's addresses."""
_SMALLEST = _HEADER.size + 72
"""Bytes of a message about a socket at least."""
_MAPPED = bytes(10) + b"\xff\xff"
_LONGEST = (1 << 22) - 1
"""Seconds. The director shortens them to its own timeouts."""

_ESTABLISHED, _FIN_WAIT, _UDP = 2, 3, 6
"""enum connection_state (bpf/abi.h)."""
_STATES = {
    1: _ESTABLISHED,  # TCP_ESTABLISHED
    4: _ESTABLISHED,  # TCP_FIN_WAIT1: only the server has closed
    5: _ESTABLISHED,  # TCP_FIN_WAIT2
    8: _FIN_WAIT,  # TCP_CLOSE_WAIT: the client has closed
    9: _FIN_WAIT,  # TCP_LAST_ACK
    11: _FIN_WAIT,  # TCP_CLOSING
}
"""States of sockets (include/net/tcp_states.h) whose clients can still send, as a director sees them."""
_STATE_BITS = sum(1 << state for state in _STATES)

_ADDRESSES = struct.Struct("=16x32s2xHHBBI4x")
"""Of a record: addresses of service and server, their ports, protocol, flags, mark."""


class _Target(NamedTuple):
    """A service on this real server: the parts of its records."""

    addresses: bytes
    server_port: int
    protocol: int
    flags: int
    fwmark: int

    def tail(self, virtual_port: int, state: int) -> bytes:
        """Return the bytes of a record that follow the client's port."""
        numbers = _UDP if self.protocol == UDP else _STATES[state]
        ports = struct.pack("!HH", virtual_port, self.server_port)
        rest = _LONGEST | numbers << 24
        return ports + struct.pack("<BBII", self.protocol, self.flags, self.fwmark, rest)


class _Wanted:
    """The services that are asked for, of one protocol, as sockets of one family have them."""

    def __init__(self, targets: Iterable[bytes], protocol: int, family: int) -> None:
        self._exact: dict[tuple[bytes, int], _Target] = {}
        self._any: dict[bytes, _Target] = {}
        self._tails: dict[tuple[bytes, int, int], tuple[bytes, bytes, bool] | None] = {}
        for record in targets:
            addresses, virtual_port, server_port, of, flags, fwmark = _unpack_target(record)
            ipv6 = bool(flags & RecordFlag.IPV6)
            if of != protocol or (ipv6 and family == socket.AF_INET):
                continue
            local = addresses[:16]
            if not ipv6 and family == socket.AF_INET6:
                local = _MAPPED + addresses[:4]
            target = _Target(addresses, server_port, protocol, flags, fwmark)
            if virtual_port:
                self._exact[local, virtual_port] = target
            else:
                self._any[local] = target

    def __bool__(self) -> bool:
        return bool(self._exact or self._any)

    def records(self, buffer: bytes) -> tuple[list[bytes], bool]:
        """Return the pieces of the records of these messages, and True if they were the last."""
        pieces: list[bytes] = []
        tails, nothing = self._tails, bytes(12)
        for kind, state, port, client_port, local, client in _sockets(buffer):
            if kind != _SOCK_DIAG_BY_FAMILY:
                return pieces, True
            try:
                found = tails[local, port, state]
            except KeyError:
                found = self._find(local, port, state)
            if found is None:
                continue
            addresses, tail, mapped = found
            pieces += (client[12:], nothing) if mapped else (client,)
            pieces += (addresses, client_port, tail)
        return pieces, False

    def _find(self, local: bytes, port: int, state: int) -> tuple[bytes, bytes, bool] | None:
        """Return the pieces for a local address, port and state; remember them, within bounds."""
        number = socket.ntohs(port)
        target = self._exact.get((local, number)) or self._any.get(local)
        if target is None or state not in _STATES:
            return None
        mapped = local.startswith(_MAPPED) and not target.flags & RecordFlag.IPV6
        found = target.addresses, target.tail(number, state), mapped
        self._tails[local, port, state] = found
        return found


def _unpack_target(record: bytes) -> tuple[bytes, int, int, int, int, int]:
    """Return addresses, virtual port, server port, protocol, flags and mark."""
    addresses, virtual_port, server_port, protocol, flags, fwmark = _ADDRESSES.unpack(record)
    known = RecordFlag.IPV6 | RecordFlag.SERVER6
    return addresses, socket.ntohs(virtual_port), socket.ntohs(server_port), protocol, flags & known, fwmark


@cache
def _form(size: int) -> struct.Struct:
    """Return the layout of a message of this size: what is needed of nlmsghdr and inet_diag_msg."""
    return struct.Struct(f"=IH10xxBxxH2s16s16s{size - _USED}x")


def _sockets(buffer: bytes) -> Iterator[tuple[int, int, int, bytes, bytes, bytes]]:
    """Yield kind, state, local port (network order), port, local address and address of each message.

    Messages of the same length, which nearly all are, are unpacked in one run.
    """
    view, offset = memoryview(buffer), 0
    while offset + _HEADER.size <= len(buffer):
        length, kind = struct.unpack_from("=IH", buffer, offset)
        size = (length + 3) & ~3
        if kind != _SOCK_DIAG_BY_FAMILY or length < _SMALLEST or offset + size > len(buffer):
            yield kind, 0, 0, b"", b"", b""
            return
        whole = (len(buffer) - offset) // size * size
        for found, kind, state, *rest in _form(size).iter_unpack(view[offset : offset + whole]):
            if found != length or kind != _SOCK_DIAG_BY_FAMILY:
                break
            offset += size
            yield (kind, state, *rest)


def namespaces() -> Iterator[Path | None]:
    """Yield this network namespace as None, then one path for each other that this process may enter."""
    own = os.stat("/proc/self/ns/net")
    seen = {own.st_ino}
    yield None
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            number = path.stat().st_ino
            if number not in seen and len(seen) < MOST_NAMESPACES:
                seen.add(number)
                yield path


def connections(
    targets: Sequence[bytes], everywhere: bool = False, most: int = MOST_CONNECTIONS
) -> Iterator[bytes]:
    """Yield runs of records: the connections of this host to the targets, at most `most`.

    Targets are records without client (sync.ask). `everywhere`: also in other network namespaces, as far as
    this process may enter them. Raises OSError if the kernel does not answer.
    """
    for path in namespaces() if everywhere else (None,):
        try:
            diag = _open(path)
        except OSError:
            if path is None:
                raise
            continue  # it has ended, or must not be seen
        with diag:
            for protocol in (TCP, UDP):
                for family in (socket.AF_INET, socket.AF_INET6):
                    wanted = _Wanted(targets, protocol, family)
                    for run in _dump(diag, family, protocol, wanted) if wanted else ():
                        yield run[: most * RECORD_SIZE]
                        most -= len(run) // RECORD_SIZE
                        if most <= 0:
                            return


def _dump(diag: socket.socket, family: int, protocol: int, wanted: _Wanted) -> Iterator[bytes]:
    states = _STATE_BITS if protocol == TCP else 1 << 1
    question = _REQUEST.pack(family, protocol, 0, states)
    diag.send(
        _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + question
    )
    while True:
        buffer = diag.recv(_RECEIVE)
        _, kind = struct.unpack_from("=IH", buffer)
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", buffer, _HEADER.size)[0]
            if code == errno.ENOENT:  # the kernel has no such module
                return
            raise OSError(code, os.strerror(code))
        pieces, last = wanted.records(buffer)
        if pieces:
            yield b"".join(pieces)
        if last:
            return


def _open(path: Path | None) -> socket.socket:
    """Return a socket for sock_diag in a network namespace. Raises OSError."""
    if path is not None:
        return _open_inside(path)
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    diag.settimeout(_ANSWER_TIMEOUT)
    return diag


def _open_inside(path: Path) -> socket.socket:
    """Open it in a thread of its own: setns(2) changes the namespace of the calling thread only."""
    found: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            with path.open() as target:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(target.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(_open(None))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]
