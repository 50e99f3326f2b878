# SPDX-License-Identifier: Apache-2.0
"""IP addresses on interfaces: add, remove and list them, many in one system call.

The kernel stores the origin of an address (IFA_PROTO, Linux 5.18; `ip address` shows it as `proto`). The
addresses added here have their own origin, so a process that starts after a crash recognises them. Older
kernels ignore the attribute.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.links import Link, is_missing
from pointsman.net.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
)

RTM_NEWADDR, RTM_DELADDR = 20, 21
IFA_PROTO_OURS = 112
"""The value of IFA_PROTO that is written here."""
IFA_PROTOS_OF_VRRP = (IFA_PROTO_OURS, 18)
"""The values written here and by keepalived: these addresses come and go with mastership."""

_RTM_GETADDR = 22
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_PROTO = 1, 2, 3, 4, 6, 11
_IFA_FLAGS = 8
_IFA_F_NODAD = 0x02
_FLAGS = {"home": 0x10, "mngtmpaddr": 0x100, "noprefixroute": 0x200, "autojoin": 0x400}
_FOREVER = 0xFFFFFFFF
_INFO = struct.Struct("=BBBBi")
_CACHE_INFO = struct.Struct("=IIII")
_SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}


class InterfaceAddress(msgspec.Struct, frozen=True):
    """An address as the kernel has it on an interface."""

    index: int
    address: Address
    prefix_length: int
    proto: int = 0
    """IFA_PROTO; 0: none."""


class _Lifetime(NamedTuple):
    seconds: int | None
    """None: forever."""
    age: float
    """Seconds since the address was assigned first."""


_UNLIMITED = _Lifetime(None, 0.0)


def scope_number(scope: str) -> int:
    """Return the kernel's number of a scope that is given as a word or as a number. Raises ValueError."""
    return _SCOPES[scope] if scope in _SCOPES else int(scope)


def parse_address(message: Message) -> InterfaceAddress | None:
    """Return the address of an RTM_NEWADDR or RTM_DELADDR; None for any other message."""
    if message.type not in (RTM_NEWADDR, RTM_DELADDR) or len(message.payload) < _INFO.size:
        return None
    _, prefix, _, _, index = _INFO.unpack_from(message.payload)
    found = attributes(message.payload, _INFO.size)
    # On point-to-point links IFA_ADDRESS is the peer's address, and IFA_LOCAL the interface's own.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    if len(packed) not in (4, 16):
        return None
    proto = found.get(_IFA_PROTO, b"\0")[0]
    return InterfaceAddress(index, ipaddress.ip_address(packed), prefix, proto)


def addresses(netlink: NetlinkSocket) -> list[InterfaceAddress]:
    """Return every address of this network namespace, in the kernel's order. Raises OSError."""
    messages = netlink.dump(_RTM_GETADDR, _INFO.pack(0, 0, 0, 0, 0))
    return [found for found in map(parse_address, messages) if found is not None]


def assign(
    netlink: NetlinkSocket,
    links: Mapping[str, Link],
    wanted: Iterable[VirtualAddress],
    lifetime: int | None = None,
    age: float = 0.0,
) -> list[tuple[VirtualAddress, OSError]]:
    """Add addresses to their interfaces, or take over existing ones. Return the failures.

    All of them get the IFA_PROTO of this project. `lifetime`: seconds after which the kernel removes them
    unless they are assigned again. `age`: seconds since they were assigned first; they are subtracted from
    the preferred lifetime of addresses that have one.
    """
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return _request_each(netlink, links, list(wanted), RTM_NEWADDR, flags, _Lifetime(lifetime, age))


def assign_new(
    netlink: NetlinkSocket, links: Mapping[str, Link], wanted: Iterable[VirtualAddress]
) -> list[tuple[VirtualAddress, OSError]]:
    """Add addresses without a lifetime. Return the failures; EEXIST: the address exists and is unchanged."""
    flags = NLM_F_CREATE | NLM_F_EXCL
    return _request_each(netlink, links, list(wanted), RTM_NEWADDR, flags, _UNLIMITED)


def withdraw(
    netlink: NetlinkSocket, links: Mapping[str, Link], unwanted: Iterable[VirtualAddress]
) -> list[tuple[VirtualAddress, OSError]]:
    """Remove addresses. Return the failures, also for addresses that do not exist (`is_gone`)."""
    unwanted = list(unwanted)
    # The kernel keeps the prefix route of an IPv6 address with a lifetime until the lifetime ends.
    with_route = [each for each in unwanted if each.address.version == 6 and each.prefix_length < 128]
    assign(netlink, links, [msgspec.structs.replace(each, preferred=None) for each in with_route])
    return _request_each(netlink, links, unwanted, RTM_DELADDR, 0, _UNLIMITED)


def is_gone(error: OSError) -> bool:
    """True if an address could not be removed because it does not exist, or its interface does not."""
    return error.errno in (errno.EADDRNOTAVAIL, None) or is_missing(error)


def add(netlink: NetlinkSocket, new: InterfaceAddress) -> OSError | None:
    """Add one address without a lifetime. Return the failure (EEXIST: it exists), or None.

    An IPv6 address is added without duplicate address detection, and deprecated, so this host never chooses
    it as a source.
    """
    family = socket.AF_INET if new.address.version == 4 else socket.AF_INET6
    data = _INFO.pack(family, new.prefix_length, 0, 0, new.index)
    data += attribute(_IFA_LOCAL, new.address.packed) + attribute(_IFA_ADDRESS, new.address.packed)
    if new.address.version == 6:
        data += attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
        data += attribute(_IFA_CACHEINFO, _CACHE_INFO.pack(0, _FOREVER, 0, 0))
    if new.proto:
        data += attribute(_IFA_PROTO, bytes([new.proto]))
    return netlink.batch([Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, data)])[0]


def remove(netlink: NetlinkSocket, found: InterfaceAddress) -> OSError | None:
    """Remove one address, given as it was listed. Return the failure, or None."""
    family = socket.AF_INET if found.address.version == 4 else socket.AF_INET6
    data = _INFO.pack(family, found.prefix_length, 0, 0, found.index)
    data += attribute(_IFA_LOCAL, found.address.packed)
    return netlink.batch([Request(RTM_DELADDR, 0, data)])[0]


def _request_each(
    netlink: NetlinkSocket,
    links: Mapping[str, Link],
    entries: Sequence[VirtualAddress],
    kind: int,
    flags: int,
    lifetime: _Lifetime,
) -> list[tuple[VirtualAddress, OSError]]:
    failures: list[tuple[VirtualAddress, OSError]] = []
    requests: list[tuple[VirtualAddress, Request]] = []
    for entry in entries:
        if entry.device in links:
            payload = _payload(entry, links[entry.device].index, lifetime)
            requests.append((entry, Request(kind, flags, payload)))
        else:
            failures.append((entry, OSError(f"interface {entry.device} does not exist")))
    results = netlink.batch([request for _, request in requests])
    return failures + [
        (entry, error) for (entry, _), error in zip(requests, results, strict=True) if error is not None
    ]


def _payload(entry: VirtualAddress, index: int, lifetime: _Lifetime) -> bytes:
    address = entry.address
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    data = _INFO.pack(family, entry.prefix_length, 0, scope_number(entry.scope), index)
    data += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, (entry.peer or address).packed)
    flags = sum(_FLAGS[flag] for flag in entry.flags if flag in _FLAGS)
    # Another host used this address a moment ago: duplicate address detection would only delay its use.
    if address.version == 6 and "dad" not in entry.flags:
        flags |= _IFA_F_NODAD
    if address.version == 6 and entry.prefix_length == 128:
        # The prefix route would outlive an address that has a lifetime.
        flags |= _FLAGS["noprefixroute"]
    if flags:
        data += attribute(_IFA_FLAGS, struct.pack("=I", flags))
    if entry.broadcast is not None:
        data += attribute(_IFA_BROADCAST, entry.broadcast.packed)
    if entry.label:
        data += attribute(_IFA_LABEL, entry.label.encode() + b"\0")
    valid = _FOREVER if lifetime.seconds is None else lifetime.seconds
    preferred = valid if entry.preferred is None else max(0, entry.preferred - int(lifetime.age))
    if (valid, preferred) != (_FOREVER, _FOREVER):
        data += attribute(_IFA_CACHEINFO, _CACHE_INFO.pack(min(preferred, valid), valid, 0, 0))
    return data + attribute(_IFA_PROTO, bytes([IFA_PROTO_OURS]))
