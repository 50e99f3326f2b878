# SPDX-License-Identifier: Apache-2.0
"""Next hops of real servers (interface and MAC addresses), kept up to date from the kernel's own tables.

Direct routing needs a real server that is on-link itself; a tunnel may go through the gateway of its route.
The packet path writes MAC addresses outside the kernel's IP stack. Therefore the kernel does not resolve
them, does not report changes to the packet path, and lets its entries become stale. The watcher does all
three through rtnetlink(7).
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable

import msgspec

from pointsman.model.address import Address
from pointsman.model.next_hop import NextHop
from pointsman.net.addresses import RTM_DELADDR, RTM_NEWADDR
from pointsman.net.links import Link, links, parse_link
from pointsman.net.neighbour_table import (
    PROBE,
    RTM_NEWNEIGH,
    STALE,
    Neighbour,
    entry_request,
    neighbours,
    parse_neighbour,
)
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket
from pointsman.net.path_mtu import PathMtuSockets
from pointsman.net.route_table import LOCAL, RTM_DELROUTE, RTM_NEWROUTE, UNICAST, route_to
from pointsman.net.rules import RTM_DELRULE, RTM_NEWRULE

REFRESH_INTERVAL = 2.0
"""Seconds between two searches for entries that have to be resolved or confirmed."""

_PATH_CHANGES = {RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE}
_NTF_USE = 0x01
_NO_MAC = bytes(6)
_NeighbourKey = tuple[int, Address]
"""Interface index and address."""


class _Path(msgspec.Struct, frozen=True):
    """The routing table's answer for one address."""

    index: int = 0
    problem: str = ""
    local: bool = False
    """True for an address of this host."""
    mtu: int = 0
    """The MTU of the route itself; 0: it has none."""
    gateway: Address | None = None
    own_address: Address | None = None


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _is_settled(entry: Neighbour | None) -> bool:
    """True if the kernel knows this neighbour and does not have to confirm it."""
    return entry is not None and entry.mac is not None and not entry.state & STALE


def _usable_source(own: Address | None, target: Address) -> Address | None:
    """Return the kernel's source address if replies can reach it. For lack of a better one it chooses ::1."""
    if own is None or own.is_loopback or own.is_unspecified:
        return None
    return own if target.is_link_local or not own.is_link_local else None


class NeighbourWatcher:
    """A watcher of the next hops of a set of addresses in this network namespace.

    Give `fileno()` to a selector and call `process()` when it is readable. Call `refresh(now)` at `deadline`.
    Both return the next hops that have changed since the last call. `now` is seconds of any clock that never
    goes back. Raises OSError only when netlink itself fails.
    """

    def __init__(self) -> None:
        self._netlink = NetlinkSocket()
        self._monitor = NetlinkMonitor(
            NetlinkMonitor.LINK
            | NetlinkMonitor.NEIGHBOUR
            | NetlinkMonitor.IPV4_ADDRESS
            | NetlinkMonitor.IPV4_ROUTE
            | NetlinkMonitor.IPV6_ADDRESS
            | NetlinkMonitor.IPV6_ROUTE
            | NetlinkMonitor.IPV4_RULE
            | NetlinkMonitor.IPV6_RULE
        )
        self._watched: frozenset[Address] = frozenset()
        self._direct: frozenset[Address] = frozenset()
        self._tunnelled: frozenset[Address] = frozenset()
        self._neighbours: dict[_NeighbourKey, list[Address]] = {}
        """The neighbours whose MAC address is needed, with the addresses that are reached by each."""
        self._unsettled: set[_NeighbourKey] = set()
        """The neighbours that have to be resolved or confirmed."""
        self._touched: set[Address] = set()
        """Addresses whose neighbour was reported since the last `_changes`."""
        self._path_mtu: PathMtuSockets | None = None
        self._links: dict[int, Link] = {}
        self._paths: dict[Address, _Path] = {}
        self._entries: dict[tuple[int, Address], Neighbour] = {}
        self._reported: dict[Address, NextHop] = {}
        self._deadline: float | None = None

    def close(self) -> None:
        if self._path_mtu is not None:
            self._path_mtu.close()
        self._monitor.close()
        self._netlink.close()

    def fileno(self) -> int:
        return self._monitor.fileno()

    @property
    def deadline(self) -> float | None:
        """The time of the next `refresh`; None: nothing is watched."""
        return self._deadline

    def watch(self, direct: Iterable[Address], tunnelled: Iterable[Address] = ()) -> list[NextHop]:
        """Follow exactly these addresses from now on, and resolve those that are not known.

        `direct` are reached by direct routing, `tunnelled` may be behind a gateway.
        Return the next hop of every new address, as far as it is known already.
        """
        self._direct, self._tunnelled = frozenset(direct), frozenset(tunnelled)
        self._watched = self._direct | self._tunnelled
        if self._tunnelled and self._path_mtu is None:
            self._path_mtu = PathMtuSockets()
        self._reported = {key: hop for key, hop in self._reported.items() if key in self._watched}
        if not self._watched:
            self._deadline = None
            return []
        if self._deadline is None:
            self._deadline = float("-inf")
            self._read_everything()
            self._request_entries(self._neighbours)
        else:
            self._look_up_new()
        return self._changes(self._watched)

    def _look_up_new(self) -> None:
        """Look up the addresses that were not watched before: `process` keeps all others up to date."""
        known = self._neighbours.keys()
        self._paths = {
            address: self._paths.get(address) or self._look_up(address) for address in self._watched
        }
        self._find_neighbours()
        if new := self._neighbours.keys() - known:
            self._read_entries()
            self._request_entries(new)

    def process(self) -> list[NextHop]:
        """Process the kernel's notifications. Return the next hops that they have changed."""
        try:
            messages = self._monitor.read()
        except NetlinkOverrunError:
            self._read_everything()
            return self._changes(self._watched)
        paths_changed = False
        for message in messages:
            paths_changed |= message.type in _PATH_CHANGES
            if link := parse_link(message):
                self._links[link.index] = link
                paths_changed = True
                self._refresh_soon()
            elif entry := parse_neighbour(message):
                self._on_entry(entry, exists=message.type == RTM_NEWNEIGH)
        if paths_changed:
            known = self._neighbours.keys()
            self._look_up_all()
            if not self._neighbours.keys() <= known:
                self._read_entries()
                self._refresh_soon()
        return self._changes(self._watched if paths_changed else self._touched)

    def refresh(self, now: float) -> list[NextHop]:
        """Resolve entries that are stale or unknown. Return the next hops that have changed."""
        changed = self.process()
        if self._deadline is not None and now >= self._deadline:
            # The kernel does not report an MTU that a route has learned (path_mtu.py), or that has expired.
            self._paths |= {address: self._look_up(address) for address in self._tunnelled}
            self._request_entries(self._unsettled)
            self._deadline = now + REFRESH_INTERVAL
            changed += self._changes(self._tunnelled)
        return changed

    def problems(self) -> dict[Address, str]:
        """Return the addresses that cannot be reached as required, with the reason and the remedy."""
        found = {address: path.problem for address, path in self._paths.items() if path.problem}
        for address in sorted(self._direct, key=str):
            path = self._paths.get(address, _Path())
            if path.gateway is not None:
                found[address] = self._off_link_problem(address, path)
        for address in sorted(self._tunnelled, key=str):
            path = self._paths.get(address, _Path())
            if path.index and path.own_address is None:
                found[address] = (
                    f"no address of this host to send tunnels to real server {address} from: "
                    f"give it one of IPv{address.version}"
                )
        return found

    def _read_everything(self) -> None:
        self._links = {link.index: link for link in links(self._netlink).values()}
        self._look_up_all()
        self._read_entries()

    def _look_up_all(self) -> None:
        self._paths = {address: self._look_up(address) for address in self._watched}
        self._find_neighbours()

    def _find_neighbours(self) -> None:
        self._neighbours = {}
        for address, path in self._paths.items():
            if path.gateway is None or address in self._tunnelled:
                self._neighbours.setdefault((path.index, path.gateway or address), []).append(address)
        self._unsettled = {key for key in self._neighbours if not _is_settled(self._entries.get(key))}

    def _read_entries(self) -> None:
        self._entries.clear()
        self._unsettled = set(self._neighbours)
        for entry in neighbours(self._netlink, {_family(address) for _, address in self._neighbours}):
            self._on_entry(entry, exists=True)

    def _look_up(self, address: Address) -> _Path:
        try:
            route = route_to(self._netlink, address)
        except OSError as error:
            return _Path(problem=f"no route to real server {address}: {error.strerror}; add its network")
        if route is None:
            return _Path(problem=f"no route to real server {address}: the kernel gave no answer")
        if route.kind == LOCAL:
            return _Path(local=True)
        if route.kind != UNICAST or not route.index:
            return _Path(
                problem=f"no unicast route to real server {address}; add its network to an interface"
            )
        return _Path(
            index=route.index,
            mtu=route.mtu,
            gateway=route.gateway,
            own_address=_usable_source(route.source, address),
        )

    def _off_link_problem(self, address: Address, path: _Path) -> str:
        link = self._links.get(path.index)
        name = link.name if link else f"interface {path.index}"
        return (
            f"real server {address} is not on-link: the route goes through {path.gateway} by {name}; "
            "direct routing needs director and real server on one network segment: "
            "give the interface a prefix that holds both, or a route to it without a gateway, "
            "or forward to it in a tunnel (lvs_method TUN)"
        )

    def _on_entry(self, entry: Neighbour, exists: bool) -> None:
        key = (entry.index, entry.address)
        if key not in self._neighbours:
            return
        before = self._entries.pop(key, None)
        if exists:
            self._entries[key] = entry
        (self._unsettled.discard if _is_settled(self._entries.get(key)) else self._unsettled.add)(key)
        self._touched.update(self._neighbours[key])
        if before and before.mac and not (exists and entry.mac):
            # The host may have a new MAC address: resolve it at once, not after the interval.
            self._refresh_soon()

    def _refresh_soon(self) -> None:
        if self._deadline is not None:
            self._deadline = float("-inf")

    def _request_entries(self, wanted: Iterable[tuple[int, Address]]) -> None:
        """Have the kernel resolve those of these entries that are unknown, and probe stale ones."""
        requests = []
        for index, address in wanted:
            entry = self._entries.get((index, address))
            link = self._links.get(index)
            if link is None or not link.running:
                continue
            if entry is None or entry.mac is None:
                requests.append(entry_request(Neighbour(index, address, 0, b""), _NTF_USE))
            elif entry.state & STALE:
                requests.append(entry_request(Neighbour(index, address, PROBE, entry.mac)))
        # Errors (the interface has just gone) are ignored: the next refresh tries again.
        self._netlink.batch(requests)

    def _hop(self, address: Address) -> NextHop:
        path = self._paths.get(address, _Path())
        if path.local:
            return NextHop(address, 0, _NO_MAC, None, local=True)
        link = self._links.get(path.index)
        is_off_link = path.gateway is not None and address not in self._tunnelled
        if link is None or len(link.mac) != 6 or is_off_link:
            return NextHop(address, path.index, _NO_MAC, None)
        entry = self._entries.get((path.index, path.gateway or address))
        return NextHop(
            address,
            path.index,
            link.mac,
            entry.mac if entry and link.running else None,
            mtu=link.mtu,
            route_mtu=path.mtu,
            gateway=path.gateway,
            own_address=path.own_address,
        )

    def _changes(self, addresses: Collection[Address]) -> list[NextHop]:
        """Return the next hops of these watched addresses that have changed since they were reported."""
        current = {address: self._hop(address) for address in addresses}
        changed = [hop for address, hop in current.items() if self._reported.get(address) != hop]
        self._reported |= current
        self._touched = set()
        return changed
