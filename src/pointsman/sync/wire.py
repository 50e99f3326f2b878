# SPDX-License-Identifier: Apache-2.0
"""Datagrams of the synchronisation: header, body, and a code that only holders of the key can make.

    bytes   field
    0-3     "PMCS"
    4       version, 1
    5       kind (Kind)
    6-7     number of records
    8-15    session of the sender: a random number of its start
    16-23   session of the receiver; 0: for a multicast group, or not known yet
    24-31   sequence number, from 0, one series to each peer and one to the group
    32-     body: records of 64 bytes, or a Hello
    last 16 BLAKE2s of all bytes before, with the key

Numbers are in network byte order. A record is the external form of a connection (bpf/record.h); nothing here
looks into it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
from typing import NamedTuple

import msgspec

RECORD_SIZE = 64
LONGEST = 1400
"""Bytes of a datagram at most: it fits into a frame also beside the headers of a tunnel."""
CODE_SIZE = 16
KEY_SIZE = 32
SHORTEST_SECRET = 16
"""Bytes of a secret at least."""
_MAGIC = b"PMCS"
_VERSION = 1
_HEADER = struct.Struct("!4sBBHQQQ")
MOST_RECORDS = (LONGEST - _HEADER.size - CODE_SIZE) // RECORD_SIZE
"""Records of one datagram at most."""
_HELLO = struct.Struct("!QQQQQQQII")
_RANGE = struct.Struct("!QII")
MOST_RANGES = 64
"""Ranges of missing datagrams in one Hello at most."""
MOST_IN_A_RANGE = 1024


class Kind(enum.IntEnum):
    """Meaning of the body of a datagram."""

    HELLO = 1
    LIVE = 2
    """Records of connections that have changed now."""
    TABLE = 3
    """Records of the whole table."""
    TABLE_END = 4
    """No more records of the table; the body is the number of the request."""


class Drop(enum.Enum):
    """Reasons to drop a datagram."""

    SIZE = "wrong size"
    VERSION = "another version or protocol"
    KEY = "wrong key"
    KIND = "unknown kind, or a body that does not fit it"
    PEER = "not from a peer"
    SESSION = "from a session that is not confirmed"
    REPLAY = "received before"
    AHEAD = "too far ahead"


class BadDatagramError(Exception):
    """A datagram that must be dropped. The argument is the Drop."""

    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.value)
        self.drop = drop


class Datagram(NamedTuple):
    """A decoded datagram."""

    kind: Kind
    session: int
    to: int
    sequence: int
    body: bytes


class Range(NamedTuple):
    """Missing datagrams: `length` of them from `first` on."""

    first: int
    length: int
    group: bool


class Hello(msgspec.Struct, frozen=True):
    """Report of a director about itself, every second and whenever an answer is due."""

    next_direct: int = 0
    """Sequence number of the next datagram to this peer."""
    next_group: int = 0
    oldest_direct: int = 0
    """The oldest datagram to this peer that can be sent again."""
    oldest_group: int = 0
    expected_direct: int = 0
    """Everything of the peer before this number has arrived."""
    expected_group: int = 0
    carried: int = 0
    """Connections that the sender carries."""
    table_request: int = 0
    """Number of a request for the whole table; 0: none is wanted."""
    answer: bool = False
    """True: the sender waits for a Hello."""
    stopping: bool = False
    missing: tuple[Range, ...] = ()


def key_of(secret: bytes) -> bytes:
    """Return the key of a secret of any length."""
    return hashlib.blake2s(secret.strip(), digest_size=KEY_SIZE, person=b"pm-sync").digest()


def encode(key: bytes, kind: Kind, session: int, to: int, sequence: int, body: bytes) -> bytes:
    """Return a datagram."""
    count = len(body) // RECORD_SIZE if kind in (Kind.LIVE, Kind.TABLE) else 0
    plain = _HEADER.pack(_MAGIC, _VERSION, kind, count, session, to, sequence) + body
    return plain + _code(key, plain)


def decode(key: bytes, data: bytes) -> Datagram:
    """Return the datagram. Raises BadDatagramError.

    The code is compared before anything of the body is believed.
    """
    if not _HEADER.size + CODE_SIZE <= len(data) <= LONGEST:
        raise BadDatagramError(Drop.SIZE)
    magic, version, kind, count, session, to, sequence = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise BadDatagramError(Drop.VERSION)
    if not hmac.compare_digest(_code(key, data[:-CODE_SIZE]), data[-CODE_SIZE:]):
        raise BadDatagramError(Drop.KEY)
    body = data[_HEADER.size : -CODE_SIZE]
    if kind not in _KINDS or count * RECORD_SIZE != (len(body) if kind in (Kind.LIVE, Kind.TABLE) else 0):
        raise BadDatagramError(Drop.KIND)
    return Datagram(Kind(kind), session, to, sequence, body)


def encode_hello(hello: Hello) -> bytes:
    """Return the body of a Hello."""
    flags = hello.answer | hello.stopping << 1 | len(hello.missing) << 8
    numbers = (hello.next_direct, hello.next_group, hello.oldest_direct, hello.oldest_group)
    head = _HELLO.pack(
        *numbers,
        hello.expected_direct,
        hello.expected_group,
        hello.carried,
        hello.table_request,
        flags,
    )
    return head + b"".join(_RANGE.pack(*each) for each in hello.missing)


def decode_hello(body: bytes) -> Hello:
    """Return the Hello of a body. Raises BadDatagramError."""
    if len(body) < _HELLO.size:
        raise BadDatagramError(Drop.KIND)
    (
        next_direct,
        next_group,
        oldest_direct,
        oldest_group,
        expected_direct,
        expected_group,
        carried,
        table_request,
        flags,
    ) = _HELLO.unpack_from(body)
    ranges = flags >> 8
    if ranges > MOST_RANGES or len(body) != _HELLO.size + ranges * _RANGE.size:
        raise BadDatagramError(Drop.KIND)
    missing = tuple(
        Range(first, min(length, MOST_IN_A_RANGE), bool(group))
        for first, length, group in _RANGE.iter_unpack(body[_HELLO.size :])
    )
    return Hello(
        next_direct,
        next_group,
        oldest_direct,
        oldest_group,
        expected_direct,
        expected_group,
        carried,
        table_request,
        answer=bool(flags & 1),
        stopping=bool(flags & 2),
        missing=missing,
    )


_KINDS = frozenset(Kind)


def _code(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, digest_size=CODE_SIZE, key=key).digest()
