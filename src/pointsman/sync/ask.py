# SPDX-License-Identifier: Apache-2.0
"""Messages by which a director asks a real server for the connections that it holds, over TCP.

    challenge   real server   16 random bytes
    question    director      16 random bytes, number of records, records that name what is asked for
    page        real server   number of records, records of connections; the last page has none

Each message begins with "PMRS", the version 1, its Kind, and a 16-bit number of records. Each ends with 16
bytes BLAKE2s of all bytes before, with the key; a challenge has none. The code of a question also covers the
challenge, and that of a page covers challenge, question's random bytes and number of the page: a message that
was recorded is worth nothing later. Numbers are in network byte order.

A record that names what is asked for is the external form of a connection (packets.record) without client:
virtual address, port and protocol, and the real server as the director knows it. Virtual port 0 stands for
every port. The answer has the same records with a client each, so a director takes them as they are.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pointsman.packets.record import RECORD_SIZE

NONCE_SIZE = 16
CODE_SIZE = 16
HEADER_SIZE = 8
PAGE = 1024
"""Records of a message at most."""
MOST_PAGES = 4096
"""Pages of an answer at most: 4 million connections."""
_MAGIC, _VERSION = b"PMRS", 1
_HEADER = struct.Struct("!4sBBH")
_NUMBER = struct.Struct("!I")
_TARGET = struct.Struct("=16x32s2x4sBBI4x")
"""Parts of a record that a question and its answer have in common; the virtual port is among them."""


class Kind(enum.IntEnum):
    """Meaning of a message."""

    CHALLENGE = 1
    QUESTION = 2
    PAGE = 3


class BadMessageError(Exception):
    """A message that must not be believed. The argument is the reason."""


class Conversation(NamedTuple):
    """Facts that all codes of one question and its answer depend on."""

    key: bytes
    challenge: bytes
    nonce: bytes = bytes(NONCE_SIZE)

    def code(self, kind: Kind, number: int, message: bytes) -> bytes:
        """Return the code of a message. `number`: that of the page."""
        hashed = hashlib.blake2s(key=self.key, digest_size=CODE_SIZE)
        for part in (bytes([kind]), self.challenge, self.nonce, _NUMBER.pack(number), message):
            hashed.update(part)
        return hashed.digest()


def key_of(secret: bytes) -> bytes:
    """Return the key of a secret. It differs from that of datagrams between directors."""
    return hashlib.blake2s(secret.strip(), digest_size=32, person=b"pm-ask").digest()


def encode_challenge(challenge: bytes) -> bytes:
    """Return the message with which a real server begins."""
    return _HEADER.pack(_MAGIC, _VERSION, Kind.CHALLENGE, 0) + challenge


CHALLENGE_SIZE = HEADER_SIZE + NONCE_SIZE


def decode_challenge(data: bytes) -> bytes:
    """Return the random bytes of a challenge. Raises BadMessageError."""
    if _count(data, Kind.CHALLENGE) or len(data) != CHALLENGE_SIZE:
        raise BadMessageError("wrong size")
    return data[HEADER_SIZE:]


def encode_question(talk: Conversation, targets: Sequence[bytes]) -> bytes:
    """Return the question for at most PAGE targets, which are records without client."""
    head = _HEADER.pack(_MAGIC, _VERSION, Kind.QUESTION, len(targets))
    plain = head + talk.nonce + b"".join(targets)
    return plain + talk.code(Kind.QUESTION, 0, plain)


def question_rest(header: bytes) -> int:
    """Return how many bytes of a question follow its header. Raises BadMessageError."""
    return NONCE_SIZE + _count(header, Kind.QUESTION) * RECORD_SIZE + CODE_SIZE


def decode_question(key: bytes, challenge: bytes, data: bytes) -> tuple[Conversation, list[bytes]]:
    """Return what the codes of the answer depend on, and the targets. Raises BadMessageError."""
    if len(data) < HEADER_SIZE or len(data) != HEADER_SIZE + question_rest(data[:HEADER_SIZE]):
        raise BadMessageError("wrong size")
    plain, code = data[:-CODE_SIZE], data[-CODE_SIZE:]
    talk = Conversation(key, challenge, plain[HEADER_SIZE : HEADER_SIZE + NONCE_SIZE])
    if not hmac.compare_digest(talk.code(Kind.QUESTION, 0, plain), code):
        raise BadMessageError("wrong key")
    records = plain[HEADER_SIZE + NONCE_SIZE :]
    return talk, [records[start : start + RECORD_SIZE] for start in range(0, len(records), RECORD_SIZE)]


def encode_page(talk: Conversation, number: int, records: bytes) -> bytes:
    """Return page `number`, from 0, with at most PAGE records; without records: the end."""
    plain = _HEADER.pack(_MAGIC, _VERSION, Kind.PAGE, len(records) // RECORD_SIZE) + records
    return plain + talk.code(Kind.PAGE, number, plain)


def pages(runs: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the records of all runs as pages that are full but for the last, up to MOST_PAGES - 1."""
    whole, pending, number = PAGE * RECORD_SIZE, bytearray(), 0
    for run in runs:
        pending += run
        while len(pending) >= whole:
            yield bytes(pending[:whole])
            del pending[:whole]
            number += 1
            if number == MOST_PAGES - 1:
                return
    if pending:
        yield bytes(pending)


class Answer:
    """Pages of one answer, as their bytes arrive.

    A real server speaks only for what it was asked about: a page with anything else is refused.
    """

    def __init__(self, talk: Conversation, targets: Iterable[bytes]) -> None:
        self._talk = talk
        parts = [_TARGET.unpack(target) for target in targets]
        self._named = {_identity(*part) for part in parts}
        self._pending = bytearray()
        self._number = 0
        self.complete = False

    def receive(self, data: bytes) -> list[bytes]:
        """Return the records of the pages that are complete now. Raises BadMessageError."""
        self._pending += data
        found = []
        while len(self._pending) >= HEADER_SIZE:
            if self.complete:
                raise BadMessageError("bytes after the end")
            count = _count(self._pending[:HEADER_SIZE], Kind.PAGE)
            size = HEADER_SIZE + count * RECORD_SIZE + CODE_SIZE
            if len(self._pending) < size:
                break
            page = bytes(self._pending[:size])
            del self._pending[:size]
            found.append(self._page(page))
        return [records for records in found if records]

    def _page(self, page: bytes) -> bytes:
        plain, code = page[:-CODE_SIZE], page[-CODE_SIZE:]
        if not hmac.compare_digest(self._talk.code(Kind.PAGE, self._number, plain), code):
            raise BadMessageError("wrong key, or not the answer to this question")
        self._number += 1
        if self._number > MOST_PAGES:
            raise BadMessageError("too many pages")
        records = plain[HEADER_SIZE:]
        self.complete = not records
        for part in set(_TARGET.iter_unpack(records)):
            identity = _identity(*part)
            if identity not in self._named and _of_any_port(identity) not in self._named:
                raise BadMessageError("connections that were not asked for")
        return records


_Identity = tuple[bytes, bytes, bytes, int, int, int]


def _identity(addresses: bytes, ports: bytes, protocol: int, flags: int, fwmark: int) -> _Identity:
    """Return virtual address and server, virtual port, server port, protocol, flags, mark."""
    return addresses, ports[:2], ports[2:], protocol, flags, fwmark


def _of_any_port(identity: _Identity) -> _Identity:
    addresses, _, *rest = identity
    return (addresses, bytes(2), *rest)  # type: ignore[return-value]


def _count(header: bytes | bytearray, kind: Kind) -> int:
    """Return the number of records of a message of this kind. Raises BadMessageError."""
    if len(header) < HEADER_SIZE:
        raise BadMessageError("wrong size")
    magic, version, found, count = _HEADER.unpack_from(header)
    if magic != _MAGIC or version != _VERSION or found != kind:
        raise BadMessageError("another version or protocol")
    if count > PAGE:
        raise BadMessageError("wrong size")
    return int(count)
