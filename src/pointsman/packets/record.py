# SPDX-License-Identifier: Apache-2.0
"""The external form of connections and persistence templates, version 1 (bpf/record.h).

A record does not depend on the layout of a director's tables, nor on its numbers of services and servers.
Files, an upgrade and other directors all speak it. It never changes; another form gets another version.
"""

from __future__ import annotations

import ipaddress
import struct
from enum import IntEnum

import msgspec

RECORD_VERSION = 1
RECORD_SIZE = 64
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORM = struct.Struct("<16s16s16s6sBBII")
_PORTS = struct.Struct("!HHH")
_SECONDS, _STATE = (1 << 22) - 1, 24


class RecordFlag(IntEnum):
    """record.flags."""

    IPV6 = 1
    SERVER6 = 2
    TEMPLATE = 4
    ASSURED = 8
    CONTROLLED = 16
    CARRIED = 32


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One connection or template, for people. Code that moves records leaves them as bytes."""

    client: Address
    client_port: int = 0
    virtual: Address
    """With `fwmark`: as much as is known of it."""
    virtual_port: int
    server: Address
    server_port: int
    protocol: int
    """6, 17 or 132; a template of a mark has 0."""
    flags: int = 0
    """RecordFlag; those of the addresses' families are set by `encode`."""
    fwmark: int = 0
    """The mark by which the service was found; 0: by its address."""
    seconds: int
    """Seconds until it expires."""
    state: int = 0
    """enum connection_state (bpf/abi.h); of a template 0."""

    def encode(self) -> bytes:
        """Return the 64 bytes of a record."""
        families = (self.client.version == 6) * RecordFlag.IPV6
        families |= (self.server.version == 6) * RecordFlag.SERVER6
        return _FORM.pack(
            self.client.packed,
            self.virtual.packed,
            self.server.packed,
            _PORTS.pack(self.client_port, self.virtual_port, self.server_port),
            self.protocol,
            self.flags | families,
            self.fwmark,
            self.seconds | self.state << _STATE,
        )


def decode(data: bytes | memoryview) -> Record:
    """Return the record in 64 bytes. It is not checked: the packet path does that when it takes records."""
    client, virtual, server, ports, protocol, flags, fwmark, rest = _FORM.unpack(data)
    ipv6 = bool(flags & RecordFlag.IPV6)
    client_port, virtual_port, server_port = _PORTS.unpack(ports)
    return Record(
        client=_address(client, ipv6),
        client_port=client_port,
        virtual=_address(virtual, ipv6),
        virtual_port=virtual_port,
        server=_address(server, bool(flags & RecordFlag.SERVER6)),
        server_port=server_port,
        protocol=protocol,
        flags=flags,
        fwmark=fwmark,
        seconds=rest & _SECONDS,
        state=rest >> _STATE,
    )


def _address(packed: bytes, ipv6: bool) -> Address:
    return ipaddress.IPv6Address(packed) if ipv6 else ipaddress.IPv4Address(packed[:4])
