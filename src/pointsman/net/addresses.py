"""IP addresses on interfaces: add, remove, list, many in one system call.

Addresses that we add carry our mark in the kernel (IFA_PROTO, Linux 5.18), so that a process that comes after
a crash knows which ones are ours. Older kernels ignore the mark.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.links import Link
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
VRRP_MARK = 112
"""Our value of IFA_PROTO."""
VRRP_MARKS = (VRRP_MARK, 18)
"""Ours, and keepalived's: addresses that come and go with mastership."""

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
    mark: int = 0
    """IFA_PROTO; 0: none."""


class _Terms(NamedTuple):
    lifetime: int | None
    age: float


def scope_number(scope: str) -> int:
    """The kernel's number of a scope written as a word or as a number. Raises ValueError."""
    return _SCOPES[scope] if scope in _SCOPES else int(scope)


def parse_address(message: Message) -> InterfaceAddress | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR; None for any other message."""
    if message.type not in (RTM_NEWADDR, RTM_DELADDR) or len(message.payload) < _INFO.size:
        return None
    _, prefix, _, _, index = _INFO.unpack_from(message.payload)
    found = attributes(message.payload, _INFO.size)
    # On point-to-point links IFA_ADDRESS is the other end; the own address is then IFA_LOCAL.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    if len(packed) not in (4, 16):
        return None
    mark = found.get(_IFA_PROTO, b"\0")[0]
    return InterfaceAddress(index, ipaddress.ip_address(packed), prefix, mark)


def addresses(netlink: NetlinkSocket) -> list[InterfaceAddress]:
    """Every address of this network namespace, in the kernel's order. Raises OSError."""
    messages = netlink.dump(_RTM_GETADDR, _INFO.pack(0, 0, 0, 0, 0))
    return [found for found in map(parse_address, messages) if found is not None]


def assign(
    netlink: NetlinkSocket,
    links: Mapping[str, Link],
    wanted: Iterable[VirtualAddress],
    lifetime: int | None = None,
    age: float = 0.0,
) -> list[tuple[VirtualAddress, OSError]]:
    """Put addresses on their interfaces with our mark; mark those that are there. What failed comes back.

    `lifetime`: seconds after which the kernel takes them away unless they are assigned again. `age`: seconds
    since they were assigned first, which count for those that are preferred for a while only.
    """
    terms = _Terms(lifetime, age)
    return _carry_out(netlink, links, list(wanted), RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, terms)


def assign_new(
    netlink: NetlinkSocket, links: Mapping[str, Link], wanted: Iterable[VirtualAddress]
) -> list[tuple[VirtualAddress, OSError]]:
    """Put addresses there for good, with our mark, but leave alone those that are there (EEXIST)."""
    flags = NLM_F_CREATE | NLM_F_EXCL
    return _carry_out(netlink, links, list(wanted), RTM_NEWADDR, flags, _Terms(None, 0.0))


def withdraw(
    netlink: NetlinkSocket, links: Mapping[str, Link], unwanted: Iterable[VirtualAddress]
) -> list[tuple[VirtualAddress, OSError]]:
    """Take addresses away. What failed comes back, also for an address that was not there (EADDRNOTAVAIL)."""
    unwanted = list(unwanted)
    # The kernel leaves the route to the network of an IPv6 address that has a lifetime until that is over.
    lasting = [each for each in unwanted if each.address.version == 6 and each.prefix_length < 128]
    assign(netlink, links, [msgspec.structs.replace(each, preferred=None) for each in lasting])
    return _carry_out(netlink, links, unwanted, RTM_DELADDR, 0, _Terms(None, 0.0))


def add(netlink: NetlinkSocket, new: InterfaceAddress) -> OSError | None:
    """Put one address on an interface for good. Return the failure (EEXIST: it is there), or None.

    An IPv6 address comes without duplicate address detection, and deprecated: this host never chooses it as
    a source.
    """
    family = socket.AF_INET if new.address.version == 4 else socket.AF_INET6
    data = _INFO.pack(family, new.prefix_length, 0, 0, new.index)
    data += attribute(_IFA_LOCAL, new.address.packed) + attribute(_IFA_ADDRESS, new.address.packed)
    if new.address.version == 6:
        data += attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
        data += attribute(_IFA_CACHEINFO, _CACHE_INFO.pack(0, _FOREVER, 0, 0))
    if new.mark:
        data += attribute(_IFA_PROTO, bytes([new.mark]))
    return netlink.batch([Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, data)])[0]


def remove(netlink: NetlinkSocket, found: InterfaceAddress) -> OSError | None:
    """Take away one address exactly as it was listed. The failure, or None."""
    family = socket.AF_INET if found.address.version == 4 else socket.AF_INET6
    data = _INFO.pack(family, found.prefix_length, 0, 0, found.index)
    data += attribute(_IFA_LOCAL, found.address.packed)
    return netlink.batch([Request(RTM_DELADDR, 0, data)])[0]


def _carry_out(
    netlink: NetlinkSocket,
    links: Mapping[str, Link],
    entries: Sequence[VirtualAddress],
    kind: int,
    flags: int,
    terms: _Terms,
) -> list[tuple[VirtualAddress, OSError]]:
    failures: list[tuple[VirtualAddress, OSError]] = []
    requests: list[tuple[VirtualAddress, Request]] = []
    for entry in entries:
        if entry.device in links:
            requests.append((entry, Request(kind, flags, _payload(entry, links[entry.device].index, terms))))
        else:
            failures.append((entry, OSError(f"interface {entry.device} does not exist")))
    results = netlink.batch([request for _, request in requests])
    return failures + [
        (entry, error) for (entry, _), error in zip(requests, results, strict=True) if error is not None
    ]


def _payload(entry: VirtualAddress, index: int, terms: _Terms) -> bytes:
    address = entry.address
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    data = _INFO.pack(family, entry.prefix_length, 0, scope_number(entry.scope), index)
    data += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, (entry.peer or address).packed)
    flags = sum(_FLAGS[flag] for flag in entry.flags if flag in _FLAGS)
    # A virtual address was in use elsewhere a moment ago: duplicate detection would only keep it silent.
    if address.version == 6 and "dad" not in entry.flags:
        flags |= _IFA_F_NODAD
    if address.version == 6 and entry.prefix_length == 128:
        # The route to itself would outlive an address that has a lifetime.
        flags |= _FLAGS["noprefixroute"]
    if flags:
        data += attribute(_IFA_FLAGS, struct.pack("=I", flags))
    if entry.broadcast is not None:
        data += attribute(_IFA_BROADCAST, entry.broadcast.packed)
    if entry.label:
        data += attribute(_IFA_LABEL, entry.label.encode() + b"\0")
    valid = _FOREVER if terms.lifetime is None else terms.lifetime
    preferred = valid if entry.preferred is None else max(0, entry.preferred - int(terms.age))
    if (valid, preferred) != (_FOREVER, _FOREVER):
        data += attribute(_IFA_CACHEINFO, _CACHE_INFO.pack(min(preferred, valid), valid, 0, 0))
    return data + attribute(_IFA_PROTO, bytes([VRRP_MARK]))
