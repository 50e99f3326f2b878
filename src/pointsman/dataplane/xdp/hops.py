# SPDX-License-Identifier: Apache-2.0
"""Next hops of real servers: the frame header and the interface in every server's entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pointsman.dataplane.xdp.kernel.flags import DestFlag
from pointsman.dataplane.xdp.kernel.layout import LARGEST_PACKET
from pointsman.dataplane.xdp.tables import Tables
from pointsman.dataplane.xdp.tunnel_endpoint import tunnel_bits, tunnel_of, write_source
from pointsman.model.address import Address
from pointsman.model.next_hop import NextHop
from pointsman.model.service import RealServer


class NextHops:
    """The last next hop of each address, and the entries of `pm_dests` that use it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._hops: dict[Address, NextHop] = {}
        self._users: dict[Address, set[int]] = {}
        self._addresses: dict[int, Address] = {}

    def add_user(self, index: int, address: Address) -> None:
        """Note that this entry of `pm_dests` has this address and uses its next hop."""
        self._users.setdefault(address, set()).add(index)
        self._addresses[index] = address

    def remove_user(self, index: int) -> None:
        address = self._addresses.pop(index)
        self._users[address].discard(index)
        if not self._users[address]:
            del self._users[address]

    def egress_indexes(self) -> set[int]:
        """Return the indexes of the interfaces through which real servers are reached."""
        hops = (self._hops.get(address) for address in self._users)
        return {hop.index for hop in hops if hop and hop.destination is not None}

    def update(self, hops: Iterable[NextHop], register: Callable[[NextHop], bool]) -> None:
        """Write next hops to the entries. `register` enables redirects; False: the interface is gone."""
        for hop in hops:
            address = hop.address
            if hop.destination is not None and not register(hop):
                hop = msgspec.structs.replace(hop, destination=None)
            self._hops[address] = hop
            for index in self._users.get(address, ()):
                self.write(index, keep_availability=True)

    def set_tunnel(self, index: int, server: RealServer) -> None:
        """Use the server's forwarding method and tunnel for this entry."""
        dest, remote = self._tables.dests[index], self._tables.remotes[index]
        wanted = tunnel_bits(server)
        if (remote.tunnel, remote.tunnel_port) != wanted:
            dest.egress &= ~(DestFlag.RESOLVED | DestFlag.TUNNEL)  # nothing is sent in between
            remote.tunnel, remote.tunnel_port = wanted
            self.write(index, keep_availability=True)

    def write(self, index: int, keep_availability: bool = False) -> None:
        """Write the next hop to the entry. Without `keep_availability` its server becomes available."""
        dest = self._tables.dests[index]
        available = dest.egress & DestFlag.AVAILABLE if keep_availability else DestFlag.AVAILABLE
        available |= dest.egress & (DestFlag.RESETS | DestFlag.WATCHED)
        hop = self._hops.get(self._addresses[index]) if self._hops else None
        if hop is None:
            dest.egress = dest.egress & ~DestFlag.AVAILABLE | available
        elif hop.local:
            dest.egress = DestFlag.LOCAL | available
        else:
            dest.egress = self._route(index, hop) | available

    def _route(self, index: int, hop: NextHop) -> int:
        """Write frame header and MTU of the entry. Return its `egress`; 0 if the server is unreachable."""
        dest, remote = self._tables.dests[index], self._tables.remotes[index]
        tunnel = tunnel_of(remote)
        if hop.destination is None or (hop.gateway if tunnel is None else not hop.own_address):
            return 0
        route_mtu = min(hop.route_mtu or LARGEST_PACKET, LARGEST_PACKET)
        mtu, known = min(hop.mtu or LARGEST_PACKET, route_mtu), DestFlag.RESOLVED
        if tunnel is not None:
            write_source(remote, hop.own_address)
            mtu = max(mtu - tunnel.overhead(hop.address.version), 0)
            route_mtu, known = mtu, DestFlag.TUNNEL
        dest.frame = int.from_bytes(hop.destination + hop.source[:2], "little")
        dest.mtu, dest.route_mtu = mtu, route_mtu
        return int.from_bytes(hop.source[2:], "little") | hop.index << 32 | known
