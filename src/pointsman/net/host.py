# SPDX-License-Identifier: Apache-2.0
"""A snapshot of this host's network, as the kernel has it in the network namespace of the calling thread.

Code that follows changes (VRRP, the neighbour watcher) reads the parts itself: links, addresses, route_table,
neighbour_table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import msgspec

from pointsman.net.addresses import InterfaceAddress, addresses
from pointsman.net.links import LinkDetails, detailed_links
from pointsman.net.neighbour_table import Neighbour, neighbours
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.route_table import Route, main_routes

ALL = "all"
"""The name below net.ipv4.conf that stands for every interface."""
_CONF = Path("/proc/sys/net/ipv4/conf")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Links and addresses, and the parts that `read_host` was asked for."""

    links: tuple[LinkDetails, ...] = ()
    addresses: tuple[InterfaceAddress, ...] = ()
    """In the kernel's order."""
    routes: tuple[Route, ...] = ()
    """The unicast routes of the main table that leave by one interface."""
    neighbours: tuple[Neighbour, ...] = ()
    settings: dict[tuple[str, str], int] = {}
    """Values by interface (or `all`) and name below net.ipv4.conf; missing settings are left out."""

    def names(self) -> dict[int, str]:
        """Return interface names by index. An interface created while the host was read may be missing."""
        return {link.index: link.name for link in self.links}


def read_host(*, routes: bool = False, neighbours_too: bool = False, settings: Collection[str] = ()) -> Host:
    """Return links and addresses, and the parts that are asked for. Raises OSError."""
    with NetlinkSocket() as netlink:
        links = tuple(detailed_links(netlink))
        return Host(
            links=links,
            addresses=tuple(addresses(netlink)),
            routes=tuple(main_routes(netlink)) if routes else (),
            neighbours=tuple(neighbours(netlink)) if neighbours_too else (),
            settings=_settings([ALL, *(link.name for link in links)], settings),
        )


def _settings(places: Collection[str], names: Collection[str]) -> dict[tuple[str, str], int]:
    found = {}
    for place in places:
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                found[place, name] = int((_CONF / place / name).read_text())
    return found
