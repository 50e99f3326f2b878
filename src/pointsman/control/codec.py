# SPDX-License-Identifier: Apache-2.0
"""JSON of models, and of whole configurations on their way between processes.

The virtual servers of a configuration are JSON texts of their own. A receiver decodes those that it has not
seen: the others are the objects that it has, so that comparing two configurations costs what their difference
costs, and both share their memory.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from pointsman.model.address import Address, Network
from pointsman.model.config import Config
from pointsman.model.decoding import decoding, without_collector
from pointsman.model.health import VirtualServer

_DIGEST_SIZE = 16
"""Bytes: two virtual servers never have the same digest."""
MAX_SHARED_ADDRESSES = 8192
"""More than one page of a table has. A page has each address twice: in the table and in the counters."""
_Kind = TypeVar("_Kind")

encoder = msgspec.json.Encoder(enc_hook=str)
"""Encodes models as JSON, IP addresses as strings."""


def decoder(kind: type[_Kind]) -> msgspec.json.Decoder[_Kind]:
    """Return the decoder for this type, as `encoder` writes it."""
    return _decoder(cast(Any, kind))


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_decode_custom)


def _decode_custom(kind: Any, value: object) -> object:
    if kind is Address and isinstance(value, str):
        return _address(value)
    if kind is Network and isinstance(value, str):
        return ipaddress.ip_network(value)
    raise TypeError(f"cannot decode {kind!r}")


@functools.lru_cache(MAX_SHARED_ADDRESSES)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address, the same object for the same text: parsing takes long. Raises ValueError."""
    try:
        return ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))  # a quarter of ip_address
    except (OSError, ValueError):
        return ipaddress.ip_address(text)


class EncodedConfig(msgspec.Struct, frozen=True):
    """A configuration as it is passed to another process."""

    rest: Config
    """Without virtual servers."""
    services: msgspec.Raw
    """The virtual servers as a JSON array. Nobody there needs their places in the file."""


def encode_config(config: Config, services: msgspec.Raw | None = None) -> EncodedConfig:
    """Return a configuration for another process. `services`: its virtual servers, if they are encoded."""
    if services is None:
        services = msgspec.Raw(encoder.encode(tuple(map(_without_locations, config.virtual_servers))))
    return EncodedConfig(replace(config, virtual_servers=()), services)


def _without_locations(virtual: VirtualServer) -> VirtualServer:
    members = tuple(
        replace(member, location=None, checks=tuple(replace(each, location=None) for each in member.checks))
        for member in virtual.members
    )
    return replace(virtual, location=None, members=members)


class ConfigDecoder:
    """Decodes the configurations that one process receives."""

    def __init__(self, virtual_servers: Iterable[VirtualServer] = ()) -> None:
        """`virtual_servers`: those that the process began with."""
        self._first = virtual_servers
        self._known: dict[bytes, VirtualServer] = {}
        """By the digest of their JSON text."""

    def decode(self, encoded: EncodedConfig) -> Config:
        """Return the configuration, with virtual servers of earlier ones where they are equal.

        Raises InvalidDataError.
        """
        with decoding(), without_collector():
            self._learn_first()
            known, decode = self._known, _decoder(VirtualServer).decode
            texts = _decoder(tuple[msgspec.Raw, ...]).decode(encoded.services)
            digests = [_digest(text) for text in texts]
            for digest, text in zip(digests, texts, strict=True):
                if digest not in known:
                    known[digest] = decode(text)
        virtual_servers = tuple(known[digest] for digest in digests)
        if len(known) > 2 * len(digests):
            self._known = dict(zip(digests, virtual_servers, strict=True))
        return replace(encoded.rest, virtual_servers=virtual_servers)

    def _learn_first(self) -> None:
        for virtual in self._first:
            self._known[_digest(encoder.encode(_without_locations(virtual)))] = virtual
        self._first = ()


def _digest(text: bytes | msgspec.Raw) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGEST_SIZE).digest()
