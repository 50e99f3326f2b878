# SPDX-License-Identifier: Apache-2.0
"""The kernel's neighbour table (ARP and neighbour discovery)."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from pointsman.model.address import Address
from pointsman.net.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    NetlinkSocket,
    Request,
    attribute,
    attributes,
)
from pointsman.packets.ethernet import multicast_mac

RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
STALE, PROBE, PERMANENT = 0x04, 0x10, 0x80
"""Bits of Neighbour.state (NUD_...)."""
NDA_PROTO_OURS = 112
"""The value of NDA_PROTOCOL (Linux 5.0) that is written here. `ip neighbour` shows it as `proto`."""

_RTM_GETNEIGH = 30
_MESSAGE = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, index, state, flags, type."""
_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL = 1, 2, 12
_VALID = 0xDE
"""PERMANENT NOARP REACHABLE PROBE STALE DELAY: states in which the kernel itself uses the MAC address."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Neighbour(msgspec.Struct, frozen=True):
    """An entry of the kernel's neighbour table: the MAC address of an IP address on one interface."""

    index: int
    address: Address
    state: int
    lladdr: bytes
    proto: int = 0
    """NDA_PROTOCOL; 0: none."""

    @property
    def mac(self) -> bytes | None:
        """The MAC address; None: not known now."""
        return self.lladdr if self.state & _VALID and len(self.lladdr) == 6 else None


def parse_neighbour(message: Message) -> Neighbour | None:
    """Return the entry of an RTM_NEWNEIGH or RTM_DELNEIGH; None for other messages and families."""
    if message.type not in (RTM_NEWNEIGH, RTM_DELNEIGH) or len(message.payload) < _MESSAGE.size:
        return None
    family, index, state, _, _ = _MESSAGE.unpack_from(message.payload)
    found = attributes(message.payload, _MESSAGE.size)
    packed = found.get(_NDA_DST, b"")
    if family not in _FAMILIES or len(packed) not in (4, 16):
        return None
    proto = found.get(_NDA_PROTOCOL, b"\0")[0]
    return Neighbour(index, ipaddress.ip_address(packed), state, found.get(_NDA_LLADDR, b""), proto)


def entry_request(entry: Neighbour, flags: int = 0) -> Request:
    """Return the request to make or change an entry. `flags`: NTF_..."""
    payload = _payload(entry.index, entry.address, entry.state, flags)
    if entry.lladdr:
        payload += attribute(_NDA_LLADDR, entry.lladdr)
    if entry.proto:
        payload += attribute(_NDA_PROTOCOL, bytes([entry.proto]))
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, payload)


def _payload(index: int, address: Address, state: int = 0, flags: int = 0) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _MESSAGE.pack(family, index, state, flags, 0) + attribute(_NDA_DST, address.packed)


def keep_groups(netlink: NetlinkSocket, groups: Collection[tuple[int, Address]]) -> None:
    """Make a permanent entry for each multicast group on an Ethernet interface. Raises OSError.

    The kernel needs an entry for packets to a group, too. When the table is full, a raw socket drops them and
    reports success (raw_sendmsg() in net/ipv4/raw.c). The limit does not hold for permanent entries. An
    interface that was down has lost its entries. One that is gone needs none.
    """
    netlink.batch(
        [
            entry_request(Neighbour(index, group, PERMANENT, multicast_mac(group.packed), NDA_PROTO_OURS))
            for index, group in groups
        ]
    )


def remove_groups(netlink: NetlinkSocket) -> None:
    """Remove the entries of `keep_groups`, also those of an earlier process. Raises OSError."""
    ours = [each for each in neighbours(netlink) if each.proto == NDA_PROTO_OURS]
    netlink.batch([Request(RTM_DELNEIGH, 0, _payload(each.index, each.address)) for each in ours])


def kernel_entries() -> int | None:
    """Return the entries of the kernel's ARP table, of all network namespaces together. None: unknown.

    Only the first network namespace of a host shows them, and the limit.
    """
    return next(iter(_statistic("entries")), None)  # each CPU's row has the same number


def kernel_limit() -> int | None:
    """Return the largest number of entries of the kernel's ARP table. None: unknown."""
    try:
        return int(Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3").read_text())
    except (OSError, ValueError):
        return None


def kernel_overflows() -> int:
    """Return how often the ARP table was full since boot (kernel log: neighbour table overflow)."""
    return sum(_statistic("table_fulls"))


def _statistic(name: str) -> list[int]:
    """Return a number of each CPU about the kernel's ARP table."""
    try:
        names, *rows = Path("/proc/thread-self/net/stat/arp_cache").read_text().splitlines()
        place = names.split().index(name)
        return [int(row.split()[place], 16) for row in rows]
    except (OSError, ValueError, IndexError):
        return []


def neighbours(netlink: NetlinkSocket, families: Iterable[int] = _FAMILIES) -> list[Neighbour]:
    """Return the entries of these families. Raises OSError."""
    found: list[Neighbour] = []
    for family in families:
        messages = netlink.dump(_RTM_GETNEIGH, _MESSAGE.pack(family, 0, 0, 0, 0))
        found += filter(None, map(parse_neighbour, messages))
    return found


def neighbour(netlink: NetlinkSocket, index: int, address: Address) -> Neighbour | None:
    """Return the entry of an address on an interface; None: there is none. Raises OSError."""
    try:
        answer = netlink.get(_RTM_GETNEIGH, _payload(index, address))
    except FileNotFoundError:
        return None
    return None if answer is None else parse_neighbour(answer)
