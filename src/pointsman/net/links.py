# SPDX-License-Identifier: Apache-2.0
"""Network interfaces: index, name, MAC address, up or down."""

from __future__ import annotations

import errno
import struct
import sys

import msgspec

from pointsman.net.netlink import Message, NetlinkSocket, attributes

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
INFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""

_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_NOARP = 0x1, 0x8, 0x40, 0x80
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_XDP = 18, 20, 43
_IFLA_INFO_KIND = 1
_IFLA_XDP_ATTACHED = 2


class Link(msgspec.Struct, frozen=True):
    """An interface as the kernel reports it."""

    index: int
    name: str
    mac: bytes
    """6 bytes on Ethernet; empty on links without addresses."""
    up: bool
    """Switched on by the administrator."""
    running: bool
    """Switched on, and the carrier is there."""
    mtu: int = 0
    """Bytes of the largest IP packet; 0: not reported."""


class LinkDetails(Link, frozen=True, kw_only=True):
    """An interface with all facts that are read anywhere. They change more often than those of `Link`."""

    loopback: bool = False
    arp: bool = True
    """True if the interface uses ARP: it is not a loopback and not set to NOARP."""
    kind: str = ""
    """veth, macvlan, bond, vrf ...; empty for a network card."""
    lower: int = 0
    """Index of the interface below it (IFLA_LINK), in this namespace or another; 0: none."""
    master: int = 0
    """Index of the bridge, bond or VRF that it belongs to; 0: none."""
    alias: str = ""
    xdp: bool = False
    """An XDP program is attached."""


def parse_link(message: Message) -> Link | None:
    """Return the link of an RTM_NEWLINK or RTM_DELLINK; None for any other message.

    A deleted link is reported as neither up nor running.
    """
    if message.type not in (RTM_NEWLINK, RTM_DELLINK) or len(message.payload) < INFO.size:
        return None
    family, _, index, flags, _ = INFO.unpack_from(message.payload)
    if family != 0:  # bridge ports are reported a second time, in the bridge's family
        return None
    found = attributes(message.payload, INFO.size)
    return Link(*_fields(message.type, index, flags, found))


def _fields(
    kind: int, index: int, flags: int, found: dict[int, bytes]
) -> tuple[int, str, bytes, bool, bool, int]:
    """Return the fields of a Link, in its order."""
    up = kind == RTM_NEWLINK and bool(flags & _IFF_UP)
    return (
        index,
        _text(found.get(_IFLA_IFNAME, b"")),
        found.get(_IFLA_ADDRESS, b""),
        up,
        up and bool(flags & _IFF_RUNNING),
        _number(found.get(_IFLA_MTU, b"")),
    )


def _details(message: Message) -> LinkDetails:
    _, _, index, flags, _ = INFO.unpack_from(message.payload)
    found = attributes(message.payload, INFO.size)
    information = attributes(found.get(_IFLA_LINKINFO, b""), 0)
    program = attributes(found.get(_IFLA_XDP, b""), 0)
    loopback = bool(flags & _IFF_LOOPBACK)
    return LinkDetails(
        *_fields(message.type, index, flags, found),
        loopback=loopback,
        arp=not loopback and not flags & _IFF_NOARP,
        kind=_text(information.get(_IFLA_INFO_KIND, b"")),
        lower=_number(found.get(_IFLA_LINK, b"")),
        master=_number(found.get(_IFLA_MASTER, b"")),
        alias=_text(found.get(_IFLA_IFALIAS, b"")),
        xdp=any(program.get(_IFLA_XDP_ATTACHED, b"")),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def links(netlink: NetlinkSocket) -> dict[str, Link]:
    """Return every interface of this network namespace, by name. Raises OSError."""
    messages = netlink.dump(RTM_GETLINK, INFO.pack(0, 0, 0, 0, 0))
    return {link.name: link for link in map(parse_link, messages) if link is not None}


def detailed_links(netlink: NetlinkSocket) -> list[LinkDetails]:
    """Return every interface of this network namespace with its details, by index. Raises OSError."""
    return [_details(message) for message in netlink.dump(RTM_GETLINK, INFO.pack(0, 0, 0, 0, 0))]


def details_of(netlink: NetlinkSocket, index: int) -> LinkDetails | None:
    """Return the interface with this index. Raises OSError (ENODEV: there is none)."""
    answer = netlink.get(RTM_GETLINK, INFO.pack(0, 0, index, 0, 0))
    return _details(answer) if answer else None


def is_missing(problem: Exception) -> bool:
    """True if an error says that an interface does not exist. The kernel's message may come later."""
    return isinstance(problem, OSError) and problem.errno in (errno.ENODEV, errno.ENXIO)
