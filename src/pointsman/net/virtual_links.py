# SPDX-License-Identifier: Apache-2.0
"""Virtual interfaces of VRRP: macvlan with the virtual router's MAC address (RFC 5798 section 7.3), ipvlan.

The interfaces created here have an alias (`ip link show`), so a process that starts after a crash recognises
them. They are in the same VRF as the interface below.
"""

from __future__ import annotations

import errno
import struct

from pointsman.model.vrrp import VirtualInterface
from pointsman.net.links import (
    INFO,
    RTM_DELLINK,
    RTM_NEWLINK,
    Link,
    LinkDetails,
    detailed_links,
    details_of,
    links,
)
from pointsman.net.netlink import NLM_F_CREATE, NLM_F_EXCL, NetlinkSocket, Request, attribute

ALIAS = "pointsman vrrp"

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 5, 10, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_GROUP = 20, 26, 27
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_MACVLAN_MODE, _MACVLAN_PRIVATE = 1, 1
_IFLA_IPVLAN_MODE, _IPVLAN_L2, _IFLA_IPVLAN_FLAGS = 1, 0, 2
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}
_AF_INET6, _IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE = 10, 8, 1


class NotOursError(Exception):
    """An interface of this name exists, but is not the one that is configured."""


def ensure(netlink: NetlinkSocket, wanted: VirtualInterface, base: Link) -> tuple[Link, bool]:
    """Return the interface, and True if it was created; a new one is down. Raises OSError, NotOursError."""
    present = links(netlink).get(wanted.name)
    if present is not None:
        if not _is_as_configured(netlink, present, wanted, base):
            raise NotOursError(
                f"interface {wanted.name} exists, but is no virtual interface on {wanted.base} as "
                "configured; remove it, or write another name"
            )
        _join_vrf_of(netlink, present, base)
        return present, False
    _request(netlink, Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _creation_payload(wanted, base)))
    made = links(netlink)[wanted.name]
    # No link-local address of its own (fe80::...): a backup must not send from the virtual MAC address.
    mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))
    details = attribute(_IFLA_AF_SPEC, attribute(_AF_INET6, mode)) + attribute(_IFLA_IFALIAS, ALIAS.encode())
    _request(netlink, Request(RTM_NEWLINK, 0, INFO.pack(0, 0, made.index, 0, 0) + details))
    _join_vrf_of(netlink, made, base)
    return made, True


def supports_kind(netlink: NetlinkSocket, kind: str) -> bool:
    """Return True if this kernel knows interfaces of this kind (macvlan, vlan ...). Raises OSError.

    The request is incomplete, so no interface is created: an unknown kind fails with EOPNOTSUPP, a known one
    with another error.
    """
    incomplete = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, kind.encode()))
    payload = INFO.pack(0, 0, 0, 0, 0) + incomplete
    try:
        _request(netlink, Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return error.errno != errno.EOPNOTSUPP
    return True


def vrf_of(netlink: NetlinkSocket, link: Link) -> int:
    """Return the index of the VRF that an interface belongs to; 0: none. Raises OSError."""
    found = details_of(netlink, link.index)
    master = details_of(netlink, found.master) if found and found.master else None
    return master.index if master and master.kind == "vrf" else 0


def _join_vrf_of(netlink: NetlinkSocket, link: Link, base: Link) -> None:
    """Move an interface into the VRF of its base, or out of any VRF. Raises OSError."""
    vrf = vrf_of(netlink, base)
    if vrf != vrf_of(netlink, link):
        master = attribute(_IFLA_MASTER, struct.pack("=I", vrf))
        _request(netlink, Request(RTM_NEWLINK, 0, INFO.pack(0, 0, link.index, 0, 0) + master))


def set_state(netlink: NetlinkSocket, index: int, up: bool) -> None:
    """Set an interface up or down. Raises OSError."""
    _request(netlink, Request(RTM_NEWLINK, 0, INFO.pack(0, 0, index, _IFF_UP if up else 0, _IFF_UP)))


def make_dummy(netlink: NetlinkSocket, name: str) -> None:
    """Create a dummy interface, which is down. Raises OSError (EOPNOTSUPP: the kernel has no such kind)."""
    kind = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"dummy"))
    named = attribute(_IFLA_IFNAME, name.encode() + b"\0")
    payload = INFO.pack(0, 0, 0, 0, 0) + named + kind
    _request(netlink, Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload))


def remove(netlink: NetlinkSocket, index: int) -> None:
    """Remove an interface. Raises OSError (ENODEV: there is none)."""
    _request(netlink, Request(RTM_DELLINK, 0, INFO.pack(0, 0, index, 0, 0)))


def list_ours(netlink: NetlinkSocket) -> list[LinkDetails]:
    """Return every interface with the alias of this project. Raises OSError."""
    return [link for link in detailed_links(netlink) if link.alias == ALIAS]


def _request(netlink: NetlinkSocket, request: Request) -> None:
    """Send one request. Raises the kernel's OSError."""
    error = netlink.batch([request])[0]
    if error is not None:
        raise error


def _creation_payload(wanted: VirtualInterface, base: Link) -> bytes:
    if wanted.has_mac:
        kind, data = b"macvlan", attribute(_IFLA_MACVLAN_MODE, struct.pack("=I", _MACVLAN_PRIVATE))
    else:
        kind, data = b"ipvlan", attribute(_IFLA_IPVLAN_MODE, struct.pack("=H", _IPVLAN_L2))
        data += attribute(_IFLA_IPVLAN_FLAGS, struct.pack("=H", _IPVLAN_FLAGS[wanted.mode]))
    message = INFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, wanted.name.encode() + b"\0")
    message += attribute(_IFLA_LINK, struct.pack("=i", base.index))
    if wanted.has_mac:
        message += attribute(_IFLA_ADDRESS, wanted.mac)
    if wanted.group:
        message += attribute(_IFLA_GROUP, struct.pack("=I", wanted.group))
    return message + attribute(
        _IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, kind) + attribute(_IFLA_INFO_DATA, data)
    )


def _is_as_configured(netlink: NetlinkSocket, present: Link, wanted: VirtualInterface, base: Link) -> bool:
    found = details_of(netlink, present.index)
    if found is None or found.lower != base.index:
        return False
    if wanted.has_mac:
        return found.kind == "macvlan" and present.mac == wanted.mac
    return found.kind == "ipvlan"
