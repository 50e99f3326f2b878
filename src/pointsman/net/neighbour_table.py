# SPDX-License-Identifier: Apache-2.0
"""The kernel's neighbour table (ARP and neighbour discovery)."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
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
MESSAGE = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, index, state, flags, type."""
NDA_DST, NDA_LLADDR = 1, 2

_RTM_GETNEIGH = 30
_VALID = 0xDE
"""PERMANENT NOARP REACHABLE PROBE STALE DELAY: states in which the kernel itself uses the MAC address."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Neighbour(msgspec.Struct, frozen=True):
    """An entry of the kernel's neighbour table: the MAC address of an IP address on one interface."""

    index: int
    address: Address
    state: int
    lladdr: bytes

    @property
    def mac(self) -> bytes | None:
        """The MAC address; None: not known now."""
        return self.lladdr if self.state & _VALID and len(self.lladdr) == 6 else None


def parse_neighbour(message: Message) -> Neighbour | None:
    """Return the entry of an RTM_NEWNEIGH or RTM_DELNEIGH; None for other messages and families."""
    if message.type not in (RTM_NEWNEIGH, RTM_DELNEIGH) or len(message.payload) < MESSAGE.size:
        return None
    family, index, state, _, _ = MESSAGE.unpack_from(message.payload)
    found = attributes(message.payload, MESSAGE.size)
    packed = found.get(NDA_DST, b"")
    if family not in _FAMILIES or len(packed) not in (4, 16):
        return None
    return Neighbour(index, ipaddress.ip_address(packed), state, found.get(NDA_LLADDR, b""))


def keep_group(netlink: NetlinkSocket, index: int, group: Address) -> OSError | None:
    """Make a permanent entry for a multicast group on an Ethernet interface. Return the error, if any.

    The kernel needs an entry for packets to a group, too. When the table is full, a raw socket drops them and
    reports success (raw_sendmsg() in net/ipv4/raw.c). The limit does not hold for permanent entries.
    """
    family = socket.AF_INET if group.version == 4 else socket.AF_INET6
    payload = MESSAGE.pack(family, index, PERMANENT, 0, 0)
    payload += attribute(NDA_DST, group.packed) + attribute(NDA_LLADDR, multicast_mac(group.packed))
    return netlink.batch([Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, payload)])[0]


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
        messages = netlink.dump(_RTM_GETNEIGH, MESSAGE.pack(family, 0, 0, 0, 0))
        found += filter(None, map(parse_neighbour, messages))
    return found


def neighbour(netlink: NetlinkSocket, index: int, address: Address) -> Neighbour | None:
    """Return the entry of an address on an interface; None: there is none. Raises OSError."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    query = MESSAGE.pack(family, index, 0, 0, 0) + attribute(NDA_DST, address.packed)
    try:
        answer = netlink.get(_RTM_GETNEIGH, query)
    except FileNotFoundError:
        return None
    return None if answer is None else parse_neighbour(answer)
