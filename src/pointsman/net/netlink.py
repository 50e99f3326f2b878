# SPDX-License-Identifier: Apache-2.0
"""A small netlink client: messages, attributes, requests with acknowledgement, dumps and notifications.

It is written by hand because the VRRP process must start and react within milliseconds, and locks its memory:
docs/decisions/netlink.md has the figures.
Layouts: rtnetlink(7), netlink(7), include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator, Sequence

import msgspec

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300
_NLM_F_DUMP_INTR = 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
_NLM_F_ACK_TLVS = 0x200
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_ROUTING_GROUPS = (7, 8, 11, 19)
"""RTNLGRP_IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE."""
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTE_TYPE_MASK = 0x3FFF
_RECEIVE = 1 << 18
"""Bytes of one recv(); the kernel never sends a longer dump message."""
_ANSWER_TIMEOUT = 5.0
"""Seconds. The kernel answers at once, so a longer wait is a defect and not a delay."""
_BATCH = 100
"""Requests that are sent before their acknowledgements are read. These fit into the receive buffer."""
_DUMP_TRIES = 10


class Message(msgspec.Struct, frozen=True):
    """A netlink message from the kernel: its type (RTM_...) and the bytes after the header."""

    type: int
    payload: bytes


class Request(msgspec.Struct, frozen=True):
    """A message to the kernel."""

    type: int
    flags: int
    payload: bytes


class NetlinkOverrunError(Exception):
    """The kernel has dropped notifications, so the whole state must be read again."""


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to 4 bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes, offset: int) -> dict[int, bytes]:
    """Return the attributes from `offset` on, by type; the last of each type. A wrong length ends them."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            break
        found[kind & _ATTRIBUTE_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence number and payload of each message in one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _error(flags: int, payload: bytes) -> OSError | None:
    """Return the error in an NLMSG_ERROR; None: it is an acknowledgement."""
    code = -struct.unpack_from("=i", payload)[0]
    if code == 0:
        return None
    text = os.strerror(code)
    if flags & _NLM_F_ACK_TLVS:
        # With NETLINK_CAP_ACK the kernel returns only the header of the request.
        extra = attributes(payload, 4 + _HEADER.size).get(_NLMSGERR_ATTR_MSG)
        if extra:
            text += f" ({extra.rstrip(bytes(1)).decode(errors='replace')})"
    return OSError(code, text)


def _packed(request: Request, sequence: int, flags: int) -> bytes:
    size, flags = _HEADER.size + len(request.payload), request.flags | NLM_F_REQUEST | flags
    return _HEADER.pack(size, request.type, flags, sequence, 0) + request.payload + bytes(-size % 4)


class NetlinkSocket:
    """A netlink socket for requests; its default protocol is NETLINK_ROUTE. Not for several threads."""

    def __init__(self, protocol: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(_ANSWER_TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = itertools.count(1)

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def get(self, kind: int, payload: bytes) -> Message | None:
        """Return the answer to one request; None: only an acknowledgement. Raises the kernel's OSError."""
        sequence = self._send(kind, NLM_F_REQUEST | NLM_F_ACK, payload)
        answer: Message | None = None
        while True:
            for got, flags, number, body in _messages(self._socket.recv(_RECEIVE)):
                if number != sequence:
                    continue
                if got != _NLMSG_ERROR:
                    answer = Message(got, body)
                    continue
                if error := _error(flags, body):
                    raise error
                return answer

    def dump(self, kind: int, payload: bytes) -> list[Message]:
        """Return the messages of a dump. It is repeated while the kernel reports it inconsistent.

        Raises OSError.
        """
        for _ in range(_DUMP_TRIES):
            found, consistent = self._dump_once(kind, payload)
            if consistent:
                break
        return found

    def _dump_once(self, kind: int, payload: bytes) -> tuple[list[Message], bool]:
        sequence = self._send(kind, NLM_F_REQUEST | NLM_F_DUMP, payload)
        found: list[Message] = []
        consistent = True
        while True:
            for got, flags, number, body in _messages(self._socket.recv(_RECEIVE)):
                if number != sequence:
                    continue
                consistent = consistent and not flags & _NLM_F_DUMP_INTR
                if got == _NLMSG_DONE:
                    return found, consistent
                if got == _NLMSG_ERROR:
                    raise _error(flags, body) or OSError("netlink dump acknowledged without an end")
                found.append(Message(got, body))

    def batch(self, requests: Sequence[Request]) -> list[OSError | None]:
        """Send requests in order, many in one system call. Return None or the kernel's error for each."""
        results: list[OSError | None] = []
        for start in range(0, len(requests), _BATCH):
            results += self._batch_once(requests[start : start + _BATCH])
        return results

    def _batch_once(self, requests: Sequence[Request]) -> list[OSError | None]:
        positions: dict[int, int] = {}
        data = b""
        for position, request in enumerate(requests):
            sequence = next(self._sequence) & 0xFFFFFFFF
            positions[sequence] = position
            data += _packed(request, sequence, NLM_F_ACK)
        self._socket.send(data)
        results: list[OSError | None] = [None] * len(requests)
        while positions:
            for kind, flags, number, body in _messages(self._socket.recv(_RECEIVE)):
                if kind == _NLMSG_ERROR and number in positions:
                    results[positions.pop(number)] = _error(flags, body)
        return results

    def transaction(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """Execute all requests or none, as an nfnetlink batch. Raises the kernel's OSError."""
        first = next(self._sequence) & 0xFFFFFFFF
        waiting = {next(self._sequence) & 0xFFFFFFFF: request for request in requests}
        data = _packed(begin, first, 0)
        data += b"".join(_packed(request, number, NLM_F_ACK) for number, request in waiting.items())
        self._socket.send(data + _packed(end, next(self._sequence) & 0xFFFFFFFF, 0))
        failure: OSError | None = None
        while waiting:
            for kind, flags, number, body in _messages(self._socket.recv(_RECEIVE)):
                if kind == _NLMSG_ERROR and (number == first or waiting.pop(number, None) is not None):
                    failure = failure or _error(flags, body)
                if kind == _NLMSG_ERROR and number == first:
                    waiting.clear()  # the kernel answers nothing else of a batch that it refuses
        if failure is not None:
            raise failure

    def _send(self, kind: int, flags: int, payload: bytes) -> int:
        sequence = next(self._sequence) & 0xFFFFFFFF
        self._socket.send(_HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0) + payload)
        return sequence


class NetlinkMonitor:
    """A non-blocking netlink socket that receives the notifications of RTMGRP_ groups."""

    LINK, NEIGHBOUR = 0x1, 0x4
    IPV4_ADDRESS, IPV4_ROUTE = 0x10, 0x40
    IPV6_ADDRESS, IPV6_ROUTE = 0x100, 0x400
    IPV4_RULE, IPV6_RULE = 0x80, 0x40000

    def __init__(self, groups: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, groups))

    def follow_routing(self) -> None:
        """Also receive notifications of routes and rules.

        They are not part of the constructor's groups, as a host may have a million routes that change.
        """
        for group in _ROUTING_GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> list[Message]:
        """Return the messages that are queued. Raises NetlinkOverrunError when some were lost."""
        found: list[Message] = []
        while True:
            try:
                data, sender = self._socket.recvfrom(_RECEIVE)
            except BlockingIOError:
                return found
            except OSError as error:
                raise NetlinkOverrunError from error
            if sender[0] == 0:  # only the kernel has port 0; other processes can send here, too
                found += [Message(kind, payload) for kind, _, _, payload in _messages(data)]
