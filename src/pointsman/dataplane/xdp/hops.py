"""How real servers are reached: the frame header and the way out in every server's entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pointsman.dataplane.interface import NextHop
from pointsman.dataplane.xdp.layout import (
    DEST_AVAILABLE,
    DEST_LOCAL,
    DEST_RESETS,
    DEST_RESOLVED,
    DEST_WATCHED,
    LARGEST_PACKET,
)
from pointsman.dataplane.xdp.remotes import address_at
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.address import Address


class NextHops:
    """What was told last about each address, and the entries it concerns."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._hops: dict[Address, NextHop] = {}
        self._users: dict[Address, set[int]] = {}

    def add_user(self, index: int) -> None:
        """This entry of `dests` sends to its address."""
        self._users.setdefault(address_at(self._tables.remotes[index]), set()).add(index)

    def remove_user(self, index: int) -> None:
        address = address_at(self._tables.remotes[index])
        self._users[address].discard(index)
        if not self._users[address]:
            del self._users[address]

    def ways_out(self) -> set[int]:
        """The indexes of the interfaces by which real servers are reached."""
        hops = (self._hops.get(address) for address in self._users)
        return {hop.index for hop in hops if hop and hop.destination is not None}

    def tell(self, hops: Iterable[NextHop], announce: Callable[[NextHop], bool]) -> None:
        """Write how real servers are reached; `announce` makes a way out known, if it exists."""
        for hop in hops:
            address = hop.address
            if hop.destination is not None and not announce(hop):
                hop = NextHop(address, hop.index, hop.source, None)
            self._hops[address] = hop
            for index in self._users.get(address, ()):
                self.write(index, keep_availability=True)

    def write(self, index: int, keep_availability: bool = False) -> None:
        """Fill the entry in; without `keep_availability` its server is in force from now on."""
        dest = self._tables.dests[index]
        available = dest.way & DEST_AVAILABLE if keep_availability else DEST_AVAILABLE
        available |= dest.way & (DEST_RESETS | DEST_WATCHED)
        hop = self._hops.get(address_at(self._tables.remotes[index]))
        if hop is None:
            dest.way = dest.way & ~DEST_AVAILABLE | available
        elif hop.local:
            dest.way = DEST_LOCAL | available
        elif hop.destination is None:
            dest.way = available
        else:
            dest.frame = int.from_bytes(hop.destination + hop.source[:2], "little")
            dest.route_mtu = min(hop.route_mtu or LARGEST_PACKET, LARGEST_PACKET)
            dest.mtu = min(hop.mtu or LARGEST_PACKET, dest.route_mtu)
            dest.way = int.from_bytes(hop.source[2:], "little") | hop.index << 32 | DEST_RESOLVED | available
