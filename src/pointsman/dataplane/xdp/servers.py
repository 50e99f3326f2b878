# SPDX-License-Identifier: Apache-2.0
"""The real servers in the maps: add, edit, delete. Deleted ones are kept for their connections (trash)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pointsman.dataplane.xdp.allocation import FullError, IndexAllocator
from pointsman.dataplane.xdp.counter_base import CounterBase
from pointsman.dataplane.xdp.draft import Draft
from pointsman.dataplane.xdp.hops import NextHops
from pointsman.dataplane.xdp.kernel.flags import DestFlag
from pointsman.dataplane.xdp.records.names import DestNames
from pointsman.dataplane.xdp.server_list_format import MAX_COUNT
from pointsman.dataplane.xdp.server_lists import RefusedError, ServerLists
from pointsman.dataplane.xdp.tables import Tables, nonzero
from pointsman.dataplane.xdp.tunnel_endpoint import address_at, tunnel_of, write_address
from pointsman.model.service import Forwarding, RealServer, ServerKey, ServiceKey, Tunnel
from pointsman.model.traffic import PassiveCounters, Unanswered

TRASH_PERIOD = 120
"""Seconds for which a deleted server can come back with its counters (IP_VS_DEST_TRASH_PERIOD)."""
NO_TUNNEL = Tunnel()
NOT_THIS_FAMILY = "Invalid operation.  Possibly wrong module version, address not unicast, ..."
"""ipvsadm's text for EINVAL: only a tunnel may have another family than its service (ip_vs_add_dest)."""


class Servers:
    """The real servers of all services, by their indexes. A refused operation raises RefusedError."""

    def __init__(
        self, tables: Tables, lists: ServerLists, counter_base: CounterBase, names: DestNames
    ) -> None:
        self._tables = tables
        self._lists = lists
        self._counter_base = counter_base
        self.hops = NextHops(tables)
        self._names = names
        self._by_service: dict[int, dict[ServerKey, int]] = {}
        self._keys: dict[int, ServerKey] = {}
        self._known: dict[int, RealServer] = {}
        """Servers as they were written or read."""
        self._drafts: dict[int, Draft] = {}
        """Changes of services that are not in force yet."""
        self._trash: set[int] = set()
        self._watched: set[int] = set()
        self._numbers = IndexAllocator(1, len(tables.dests), ())

    def restore(self, services: Iterable[int]) -> int:
        """Read the servers of these services from the maps of an earlier director.

        Return the highest sequence number.
        """
        self._by_service = {service: {} for service in services}
        used = [index for index in nonzero(self._tables.dests, "sequence") if index]
        highest = max((self._tables.dests[index].sequence for index in used), default=0)
        in_force = {service: set(self.in_force(service)) for service in self._by_service}
        kept = [index for index in used if self._restore_one(index, in_force)]
        self._numbers = IndexAllocator(1, len(self._tables.dests), kept)
        self._names.enter(kept)
        return highest

    def _restore_one(self, index: int, in_force: Mapping[int, set[int]]) -> bool:
        dest = self._tables.dests[index]
        if dest.service not in self._by_service:
            dest.sequence = 0
            return False
        key = self._keys[index] = ServerKey(address_at(self._tables.remotes[index]), dest.port)
        self._by_service[dest.service][key] = index
        self.hops.add_user(index, key.address)
        if dest.egress & DestFlag.WATCHED:
            self._watched.add(index)
        if index not in in_force[dest.service]:
            self._move_to_trash(index)
        return True

    def in_force(self, service: int) -> list[int]:
        """Return the servers in force, in the order in which they were added."""
        return self._lists.members(service)[::-1]

    def key(self, index: int) -> ServerKey:
        return self._keys[index]

    def server(self, index: int) -> RealServer:
        if (known := self._known.get(index)) is None:
            known = self._known[index] = self._read_server(index)
        return known

    def _read_server(self, index: int) -> RealServer:
        dest, tunnel = self._tables.dests[index], tunnel_of(self._tables.remotes[index])
        return RealServer(
            key=self.key(index),
            forwarding=Forwarding.TUNNEL if tunnel else Forwarding.ROUTE,
            tunnel=tunnel or Tunnel(),
            weight=dest.weight,
            upper_threshold=dest.upper,
            lower_threshold=dest.lower,
            resets_clients=bool(dest.egress & DestFlag.RESETS),
            is_watched=bool(dest.egress & DestFlag.WATCHED),
        )

    @property
    def highest(self) -> int:
        """The highest index that was ever used."""
        return self._numbers.top

    @property
    def has_watched(self) -> bool:
        """True if passive_check is on for any server."""
        return bool(self._watched)

    def passive_counters(
        self, keys: Mapping[int, ServiceKey]
    ) -> dict[tuple[ServiceKey, ServerKey], PassiveCounters]:
        """Return the passive counters of the watched servers in force of these services."""
        return {
            (keys[dest.service], self.key(index)): self._counter_base.passive_counters(index)
            for index in self._watched
            if (dest := self._tables.dests[index]).service in keys and index not in self._trash
        }

    def unanswered(self, keys: Mapping[int, ServiceKey]) -> dict[tuple[ServiceKey, ServerKey], Unanswered]:
        """Return what servers of these services that take connections left unanswered.

        One pass over the map.
        """
        found, now = {}, self._tables.control.now
        for index in nonzero(self._tables.unanswered, "last"):
            dest, entry = self._tables.dests[index], self._tables.unanswered[index]
            if dest.weight and dest.service in keys and dest.egress & DestFlag.AVAILABLE:
                signs = Unanswered(entry.repeating, entry.expired, max(0, now - entry.last))
                found[keys[dest.service], self.key(index)] = signs
        return found

    def connection_counts(self, service: int) -> dict[ServerKey, tuple[int, int]]:
        """Return the active and the inactive connections of each server in force of a service."""
        return {
            self._keys[index]: (held & 0xFFFFFFFF, held >> 32)
            for index in self._lists.members(service)
            for held in (self._tables.loads[index].held,)
        }

    def add_service(self, service: int) -> None:
        """Note a new service, which has no servers."""
        self._by_service[service] = {}

    def commit(self) -> None:
        """Put all drafts in force: one new list for each service that was changed."""
        for service in list(self._drafts):
            self._commit(service)

    def _commit(self, service: int) -> None:
        draft = self._drafts.pop(service)
        if not draft.is_changed:
            self._lists.release(draft)
            return
        raised = {index for index, server in draft.edited.items() if self._is_raised(index, server)}
        for index in raised:  # before a scheduler reads the new list
            self._tables.loads[index].overloaded = 0
        self._names.write()
        self._lists.commit(service, draft)
        for index, server in draft.edited.items():
            self.hops.set_tunnel(index, server)
            self._write_limits(index, server, index in raised)
        for index in draft.joined:
            self._counter_base.account_for(service, index, -1)
        for index in draft.left:
            self._counter_base.account_for(service, index, +1)
            self._move_to_trash(index)

    def _draft(self, service: int, change: int = 0) -> Draft:
        """Return the draft of a service, with room for a change of its length. Raises RefusedError."""
        draft = self._drafts.get(service)
        if draft is None:
            draft = self._drafts[service] = self._lists.draft(service)
        if len(draft) + change > 0:
            self._lists.reserve(service, draft, len(draft) + change)
        return draft

    def add(self, service: int, front: int, ipv6: bool, server: RealServer, sequence: int) -> None:
        """Add a server to the draft of its service."""
        _check(ipv6, server)
        index, draft = self._by_service[service].get(server.key), self._drafts.get(service)
        if draft is not None and index in draft.left:
            self._commit(service)
        elif index is not None and index not in self._trash:
            raise RefusedError("server-exists")
        draft = self._draft(service, +1)
        if len(draft) >= MAX_COUNT:
            raise RefusedError("full", f"a service has at most {MAX_COUNT} servers")
        index = self._create(service, front, server) if index is None else index
        self._trash.discard(index)
        dest = self._tables.dests[index]
        dest.sequence, dest.last_weight = sequence, 0
        self.hops.set_tunnel(index, server)
        self._write_limits(index, server, raised=True)
        self.hops.write(index)
        draft.add(index, server.weight)

    def _create(self, service: int, front: int, server: RealServer) -> int:
        try:
            index = self._numbers.allocate()
        except FullError:
            raise RefusedError("full", "the table of servers") from None
        dest, load = self._tables.dests[index], self._tables.loads[index]
        write_address(self._tables.remotes[index], server.key.address)
        dest.port = server.key.port
        dest.service, dest.front, dest.frame, dest.egress = service, front, 0, 0
        load.held, load.persistent, load.overloaded = 0, 0, 0
        self._tables.unanswered[index].last = 0
        self._counter_base.start_server(index)
        self._by_service[service][server.key] = index
        self._keys[index] = server.key
        self._names.add(index)
        self.hops.add_user(index, server.key.address)
        return index

    def edit(self, service: int, ipv6: bool, server: RealServer) -> None:
        """Edit a server in the draft of its service."""
        index = self._index_in_force(service, server.key)
        _check(ipv6, server)
        if index in self._draft(service).edited:
            self._commit(service)
        draft = self._draft(service)
        if index in draft.joined:  # no packet reads its values yet
            self.hops.set_tunnel(index, server)
            self._write_limits(index, server, self._is_raised(index, server))
        else:
            draft.edited[index] = server
        draft.set_weight(index, server.weight)

    def delete(self, service: int, key: ServerKey) -> None:
        """Delete a server from the draft of its service."""
        index = self._index_in_force(service, key)
        draft = self._draft(service, -1)
        if index in draft.joined:
            self._move_to_trash(index)
        draft.remove(index)

    def _is_raised(self, index: int, server: RealServer) -> bool:
        """True if this server's new limit of connections is higher than the present one."""
        return server.upper_threshold == 0 or server.upper_threshold > self._tables.dests[index].upper

    def _index_in_force(self, service: int, key: ServerKey) -> int:
        index = self._by_service[service].get(key)
        draft = self._drafts.get(service)
        if index is None or index in self._trash or (draft is not None and index in draft.left):
            raise RefusedError("no-server")
        return index

    def _write_limits(self, index: int, server: RealServer, raised: bool) -> None:
        dest = self._tables.dests[index]
        dest.weight, dest.upper, dest.lower = server.weight, server.upper_threshold, server.lower_threshold
        dest.last_weight = server.weight or dest.last_weight
        flags = server.resets_clients * DestFlag.RESETS | server.is_watched * DestFlag.WATCHED
        dest.egress = dest.egress & ~(DestFlag.RESETS | DestFlag.WATCHED) | flags
        (self._watched.add if server.is_watched else self._watched.discard)(index)
        self._known[index] = server
        if server.forwarding is not Forwarding.TUNNEL and server.tunnel != NO_TUNNEL:
            del self._known[index]  # a tunnel that is not used is not kept
        if raised:
            self._tables.loads[index].overloaded = 0

    def delete_all(self, service: int, scheduler: int) -> None:
        """Delete all servers of a deleted service."""
        for place in self._lists.places(service):
            self._move_to_trash(place.dest)
        self._lists.replace(service, [], scheduler)

    def remove_if_idle(self, service: int) -> bool:
        """Free the servers of a deleted service. Return False if connections use any of them."""
        servers = self._by_service[service]
        if any(self._is_held(index) for index in servers.values()):
            return False
        self._names.remove(servers.values())
        for index in list(servers.values()):
            self._free(index)
        del self._by_service[service]
        return True

    def empty_trash(self) -> None:
        """Free deleted servers that no connection uses any more."""
        now = self._tables.control.now
        idle = [
            index
            for index in self._trash
            if not self._is_held(index) and now - self._tables.dests[index].deleted_at >= TRASH_PERIOD
        ]
        self._names.remove(idle)
        for index in idle:
            self._free(index)

    def _move_to_trash(self, index: int) -> None:
        dest = self._tables.dests[index]
        if dest.egress & DestFlag.AVAILABLE:
            dest.deleted_at = self._tables.control.now
            dest.egress &= ~DestFlag.AVAILABLE
        self._trash.add(index)

    def _is_held(self, index: int) -> bool:
        load = self._tables.loads[index]
        return bool(load.held or load.persistent)

    def _free(self, index: int) -> None:
        dest = self._tables.dests[index]
        self._trash.discard(index)
        self._watched.discard(index)
        self._known.pop(index, None)
        del self._by_service[dest.service][self._keys.pop(index)]
        self.hops.remove_user(index)
        dest.sequence = 0
        self._counter_base.free_server(index)
        self._numbers.free(index)


def _check(ipv6: bool, server: RealServer) -> None:
    """Raise RefusedError if a service of this family cannot have such a server."""
    if server.forwarding not in (Forwarding.ROUTE, Forwarding.TUNNEL):
        raise RefusedError("unsupported", "the XDP data plane forwards by direct routing or in tunnels")
    mixed = ipv6 != (server.key.address.version == 6)
    if mixed and server.forwarding is not Forwarding.TUNNEL:
        raise RefusedError("system", NOT_THIS_FAMILY)
    if not 0 <= server.weight < 1 << 31:
        raise RefusedError("unsupported", f"weight {server.weight}")
