"""The service table in the maps: reading it, and changing it so that packets see the old or the new.

What is in force is decided by the roster (service.list), so a director that is killed at any moment leaves a
table that can be read: a server outside its service's roster is a deleted one, a service without a front
is none. Deleted servers and services are kept while connections live on them, and come back with them
(IPVS's trash).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from pointsman.dataplane.xdp import slots
from pointsman.dataplane.xdp.addresses import mask_bits, prefix_of
from pointsman.dataplane.xdp.allocation import FullError, Numbers
from pointsman.dataplane.xdp.fronts import FrontTable
from pointsman.dataplane.xdp.hops import NextHops
from pointsman.dataplane.xdp.layout import (
    DEST_AVAILABLE,
    DEST_RESETS,
    DEST_WATCHED,
    NO_PREFIX,
    SERVICE_DELETED,
    SERVICE_HASH_FALLBACK,
    SERVICE_HASH_PORT,
    SERVICE_IPV6,
    SERVICE_ONE_PACKET,
    SERVICE_USED,
    Service,
    Vocabulary,
)
from pointsman.dataplane.xdp.lists import RefusedError, ServerLists
from pointsman.dataplane.xdp.marks import MarkedFronts
from pointsman.dataplane.xdp.remotes import address_at, tunnel_of, write_address
from pointsman.dataplane.xdp.rosters import (
    MAX_COUNT,
    Place,
    Roster,
)
from pointsman.dataplane.xdp.tables import Tables
from pointsman.dataplane.xdp.totals import Totals
from pointsman.model.service import (
    Forwarding,
    RealServer,
    ServerKey,
    ServiceEntry,
    ServiceKey,
    ServiceTable,
    Transport,
    Tunnel,
    VirtualService,
)
from pointsman.model.traffic import Signs

TRASH_PERIOD = 120
"""Seconds for which a deleted server can come back with its counters (IP_VS_DEST_TRASH_PERIOD)."""
_FRONT_NUMBERS = 65535
FTP = 21
NOT_THIS_FAMILY = "Invalid operation.  Possibly wrong module version, address not unicast, ..."
"""ipvsadm's text for EINVAL: families are mixed by tunnels only (ip_vs_add_dest)."""


class Entry(NamedTuple):
    """Where a service is."""

    service: int
    front: int


class Store:
    """All services and servers of one director."""

    def __init__(self, tables: Tables, words: Vocabulary) -> None:
        self._tables = tables
        self._words = words
        self.fronts = FrontTable(tables)
        self.hops = NextHops(tables)
        self.totals = Totals(tables)
        self.lists = ServerLists(tables, words)
        self.marks = MarkedFronts(tables, self.fronts, lambda: self._front_numbers)
        self._entries: dict[ServiceKey, Entry] = {}
        self._servers: dict[int, dict[ServerKey, int]] = {}
        self._trash: set[int] = set()
        self._watched: set[int] = set()
        self._deleted: set[ServiceKey] = set()
        self._rebuild()

    # What is there

    def _rebuild(self) -> None:
        tables = self._tables
        for key, service, number in list(self.fronts):
            if tables.services[service].mark:
                self.marks.adopt(service, key, number)
            else:
                self._entries[key] = Entry(service, number)
                self._servers[service] = {}
        for index in range(1, len(tables.services)):
            marked = tables.services[index]
            if marked.mark and marked.flags:
                key = ServiceKey.mark(marked.mark, bool(marked.flags & SERVICE_IPV6))
                self._entries[key] = Entry(index, marked.group)
                self._servers[index] = {}
        for index in range(1, len(tables.services)):
            if tables.services[index].flags and index not in self._servers:
                tables.services[index].flags = 0
        used_dests = [index for index in range(1, len(tables.dests)) if tables.dests[index].sequence]
        for index in used_dests:
            self._adopt_dest(index)
        self._service_numbers = Numbers(1, len(tables.services), self._servers)
        numbers = itertools.chain(
            (entry.front for entry in self._entries.values()), self.marks.numbers_in_use()
        )
        self._front_numbers = Numbers(1, _FRONT_NUMBERS, numbers)
        self._dest_numbers = Numbers(
            1, len(tables.dests), (i for i in used_dests if tables.dests[i].sequence)
        )
        self.lists.adopt(self._servers)
        highest = max(
            itertools.chain(
                (tables.services[index].sequence for index in self._servers),
                (tables.dests[index].sequence for index in used_dests),
            ),
            default=0,
        )
        self._sequence = itertools.count(highest + 1)
        for key, entry in list(self._entries.items()):
            if tables.services[entry.service].flags & SERVICE_DELETED:
                self._bury(key)
            else:
                self._finish_edits(entry.service, key)
            self.marks.settle_all(entry.service)

    def _finish_edits(self, index: int, key: ServiceKey) -> None:
        """A director killed in an edit has written some of it: the packet path gets what `table` shows."""
        service = self._tables.services[index]
        service.mask = mask_bits(prefix_of(service.prefix), key.ipv6)
        self._note_ftp(key, service)
        service.flags = self._flags(
            self._scheduler_name(service),
            slots.flags_of(service.options),
            bool(service.flags & SERVICE_ONE_PACKET),
        ) | (service.flags & SERVICE_IPV6)
        for place in self.lists.places(index):
            dest = self._tables.dests[place.dest]
            dest.last_weight = dest.weight or dest.last_weight
        self.lists.correct(index)

    def _adopt_dest(self, index: int) -> None:
        dest = self._tables.dests[index]
        if dest.service not in self._servers:
            self._tables.dests[index].sequence = 0
            return
        self._servers[dest.service][self.server_key(index)] = index
        self.hops.add_user(index)
        if dest.way & DEST_WATCHED:
            self._watched.add(index)
        if index not in {place.dest for place in self.lists.places(dest.service)}:
            self._discard(index)

    def entries(self) -> list[tuple[ServiceKey, Entry]]:
        """Services in force, in the order in which they were added."""
        found = [
            (key, entry)
            for key, entry in self._entries.items()
            if not self._tables.services[entry.service].flags & SERVICE_DELETED
        ]
        return sorted(found, key=lambda item: self._tables.services[item[1].service].sequence)

    def borne_marks(self) -> list[ServiceKey]:
        """Marks that stand for no address: packets have to bear them."""
        return [key for key, entry in self.entries() if key.fwmark and not self.marks.of(entry.service)]

    def servers_of(self, service: int) -> list[int]:
        """Indexes of a service's servers, in the order in which they were added."""
        return [place.dest for place in reversed(self.lists.places(service))]

    def front_keys(self) -> dict[int, ServiceKey]:
        """What fronts stand for, by their numbers, and marks by those of their templates."""
        keys = {entry.front: key for key, entry in self._entries.items()}
        return keys | {number: key for key, _, number in self.fronts}

    def table(self) -> ServiceTable:
        """The table in force."""
        return ServiceTable(
            tuple(
                ServiceEntry(
                    self._service_of(key, self._tables.services[entry.service]),
                    tuple(self._server_of(index) for index in self.servers_of(entry.service)),
                )
                for key, entry in self.entries()
            )
        )

    def _service_of(self, key: ServiceKey, service: Service) -> VirtualService:
        return VirtualService(
            key=key,
            scheduler=self._scheduler_name(service),
            persistence=service.persistence or None,
            persistence_prefix=prefix_of(service.prefix),
            one_packet=bool(service.flags & SERVICE_ONE_PACKET),
            flags=slots.flags_of(service.options),
            fronts=self.marks.of(self._entries[key].service) if key.fwmark else frozenset(),
        )

    def _scheduler_name(self, service: Service) -> str:
        return self._words.scheduler_names[Roster.of(service.list).scheduler]

    def server_key(self, index: int) -> ServerKey:
        """The key of the server at this index of `dests`."""
        return ServerKey(address_at(self._tables.remotes[index]), self._tables.dests[index].port)

    def _server_of(self, index: int) -> RealServer:
        dest, tunnel = self._tables.dests[index], tunnel_of(self._tables.remotes[index])
        return RealServer(
            key=self.server_key(index),
            forwarding=Forwarding.TUNNEL if tunnel else Forwarding.ROUTE,
            tunnel=tunnel or Tunnel(),
            weight=dest.weight,
            upper_threshold=dest.upper,
            lower_threshold=dest.lower,
            resets_clients=bool(dest.way & DEST_RESETS),
            is_watched=bool(dest.way & DEST_WATCHED),
        )

    @property
    def highest_dest(self) -> int:
        return self._dest_numbers.top

    def signs(self) -> dict[tuple[ServiceKey, ServerKey], Signs]:
        """Of the servers in force that are watched."""
        if not self._watched:
            return {}
        keys = {entry.service: key for key, entry in self.entries()}
        return {
            (keys[dest.service], self.server_key(index)): self.totals.signs(index)
            for index in self._watched
            if (dest := self._tables.dests[index]).service in keys and index not in self._trash
        }

    # Services

    def _entry(self, key: ServiceKey) -> Entry:
        entry = self._entries.get(key)
        if entry is None or self._tables.services[entry.service].flags & SERVICE_DELETED:
            raise RefusedError("no-service")
        return entry

    def _scheduler(self, service: VirtualService) -> int:
        number = self._words.schedulers.get(service.scheduler)
        if number is None:
            raise RefusedError("no-scheduler")
        return number

    def add_service(self, service: VirtualService) -> None:
        key, scheduler = service.key, self._scheduler(service)
        if not key.fwmark and key.transport is None:
            raise RefusedError("unsupported", "the XDP data plane balances TCP, UDP and SCTP")
        known = self._entries.get(key)
        if known and not self._tables.services[known.service].flags & SERVICE_DELETED:
            raise RefusedError("exists")
        index = known.service if known else self._take(self._service_numbers)
        entry = self._tables.services[index]
        entry.port, entry.protocol, entry.mark = key.port, key.transport or 0, key.fwmark
        entry.sequence = next(self._sequence)
        entry.cursor, entry.previous_mask = 0, 0
        entry.list = Roster(0, 0, 0, scheduler).word()
        self.totals.start_service(index)
        if not known:
            self._make_known(service, index)
        else:
            self._change_fronts(service, index)
        self._write_options(entry, service)
        self._deleted.discard(key)
        self._settle(key, index)

    def _make_known(self, service: VirtualService, index: int) -> None:
        """Give a new service its number and its fronts; packets wait for its flags and servers."""
        key, entry = service.key, self._tables.services[index]
        number = self._take(self._front_numbers)
        entry.group, entry.flags = number, SERVICE_DELETED
        try:
            if key.fwmark:
                self._change_fronts(service, index)
            else:
                self.fronts.add(key, index, number)
        except (FullError, RefusedError) as error:
            entry.flags = 0
            self._service_numbers.give_back(index)
            self._front_numbers.give_back(number)
            if isinstance(error, RefusedError):
                raise
            raise RefusedError("full", "the table of services") from None
        self._entries[key] = Entry(index, number)
        self._servers[index] = {}

    def _change_fronts(self, service: VirtualService, index: int) -> None:
        if service.key.fwmark:
            self.marks.change(index, service.fronts, service.key.ipv6)
        elif service.fronts:
            raise RefusedError("unsupported", "fronts of a service that is not a firewall mark's")

    def _settle(self, key: ServiceKey, index: int) -> None:
        """Who is found where a mark and an address stand for the same."""
        if key.fwmark:
            self.marks.settle_all(index)
        else:
            self.marks.settle(key)

    def edit_service(self, service: VirtualService) -> None:
        index, scheduler = self._entry(service.key).service, self._scheduler(service)
        entry = self._tables.services[index]
        self._change_fronts(service, index)
        if scheduler != Roster.of(entry.list).scheduler:
            self.lists.switch(index, self.lists.places(index), scheduler)
        mask = mask_bits(service.persistence_prefix, service.key.ipv6)
        if mask != entry.mask:
            entry.previous_mask = entry.mask
        self._write_options(entry, service)

    def _write_options(self, entry: Service, service: VirtualService) -> None:
        entry.persistence = service.persistence or 0
        entry.mask = mask_bits(service.persistence_prefix, service.key.ipv6)
        entry.prefix = NO_PREFIX if service.persistence_prefix is None else service.persistence_prefix
        entry.options = slots.number_of_flags(service.flags)
        family = SERVICE_IPV6 if service.key.fwmark and service.key.ipv6 else 0
        entry.flags = self._flags(service.scheduler, service.flags, service.one_packet) | family
        self._note_ftp(service.key, entry)

    def _note_ftp(self, key: ServiceKey, entry: Service) -> None:
        if key.transport == Transport.TCP and key.port == FTP:
            self.fronts.mark_ftp(entry.group, entry.persistence > 0)

    def _flags(self, scheduler: str, flags: frozenset[str], one_packet: bool) -> int:
        return (
            SERVICE_USED
            | (SERVICE_ONE_PACKET if one_packet else 0)
            | (SERVICE_HASH_PORT if slots.hashes_port(scheduler, flags) else 0)
            | (SERVICE_HASH_FALLBACK if slots.falls_back(scheduler, flags) else 0)
        )

    def delete_service(self, key: ServiceKey) -> None:
        service = self._tables.services[self._entry(key).service]
        service.flags |= SERVICE_DELETED
        self._settle(key, self._entries[key].service)
        self._bury(key)

    def _bury(self, key: ServiceKey) -> None:
        """Empty a deleted service, and forget it unless connections live on it."""
        self._deleted.add(key)
        index = self._entries[key].service
        for place in self.lists.places(index):
            self._discard(place.dest)
        self.lists.switch(index, [], Roster.of(self._tables.services[index].list).scheduler)
        self._forget_if_idle(key)

    def _forget_if_idle(self, key: ServiceKey) -> None:
        entry = self._entries[key]
        servers = self._servers[entry.service]
        if any(self._is_held(index) for index in servers.values()):
            return
        for index in list(servers.values()):
            self._forget_dest(index)
        service = self._tables.services[entry.service]
        service.flags = 0
        if key.fwmark:
            self.marks.forget(entry.service)
        else:
            self.fronts.remove(entry.front)
            self.marks.settle(key)
        del self._entries[key], self._servers[entry.service]
        self._deleted.discard(key)
        self._service_numbers.give_back(entry.service)
        self._front_numbers.give_back(entry.front)

    # Servers

    def add_server(self, key: ServiceKey, server: RealServer) -> None:
        entry = self._entry(key)
        self._check(key, server)
        index = self._servers[entry.service].get(server.key)
        if index is not None and index not in self._trash:
            raise RefusedError("server-exists")
        places = self.lists.places(entry.service)
        if len(places) >= MAX_COUNT:
            raise RefusedError("full", f"a service has at most {MAX_COUNT} servers")
        index = self._new_dest(entry, server) if index is None else index
        self._trash.discard(index)
        dest = self._tables.dests[index]
        dest.sequence, dest.last_weight = next(self._sequence), 0
        self.hops.choose(index, server)
        self._write_limits(index, server, raised=True)
        self.hops.write(index)
        try:
            self.lists.switch(entry.service, [Place(index, server.weight), *places])
        except RefusedError:
            self._discard(index)
            raise
        self.totals.change(entry.service, index, -1)

    def _check(self, key: ServiceKey, server: RealServer) -> None:
        if server.forwarding not in (Forwarding.ROUTE, Forwarding.TUNNEL):
            raise RefusedError("unsupported", "the XDP data plane forwards by direct routing or in tunnels")
        mixed = key.ipv6 != (server.key.address.version == 6)
        if mixed and server.forwarding is not Forwarding.TUNNEL:
            raise RefusedError("system", NOT_THIS_FAMILY)
        if not 0 <= server.weight < 1 << 31:
            raise RefusedError("unsupported", f"weight {server.weight}")

    def _new_dest(self, entry: Entry, server: RealServer) -> int:
        index = self._take(self._dest_numbers)
        dest, load = self._tables.dests[index], self._tables.loads[index]
        write_address(self._tables.remotes[index], server.key.address)
        dest.port = server.key.port
        dest.service, dest.front, dest.frame, dest.way = entry.service, entry.front, 0, 0
        load.held, load.persistent, load.overloaded = 0, 0, 0
        self.totals.start_server(index)
        self._servers[entry.service][server.key] = index
        self.hops.add_user(index)
        return index

    def edit_server(self, key: ServiceKey, server: RealServer) -> None:
        service = self._entry(key).service
        index = self._server(service, server.key)
        self._check(key, server)
        before = self.lists.places(service)
        upper = self._tables.dests[index].upper
        raised = server.upper_threshold == 0 or server.upper_threshold > upper
        if raised:  # before the new list is looked through
            self._tables.loads[index].overloaded = 0
        after = [Place(index, server.weight) if place.dest == index else place for place in before]
        self.lists.switch(service, after)
        self.hops.choose(index, server)
        self._write_limits(index, server, raised)

    def delete_server(self, key: ServiceKey, server: ServerKey) -> None:
        service = self._entry(key).service
        index = self._server(service, server)
        self.lists.switch(service, [place for place in self.lists.places(service) if place.dest != index])
        self.totals.change(service, index, +1)
        self._discard(index)

    def _server(self, service: int, key: ServerKey) -> int:
        index = self._servers[service].get(key)
        if index is None or index in self._trash:
            raise RefusedError("no-server")
        return index

    def _write_limits(self, index: int, server: RealServer, raised: bool) -> None:
        dest = self._tables.dests[index]
        dest.weight, dest.upper, dest.lower = server.weight, server.upper_threshold, server.lower_threshold
        dest.last_weight = server.weight or dest.last_weight
        choices = server.resets_clients * DEST_RESETS | server.is_watched * DEST_WATCHED
        dest.way = dest.way & ~(DEST_RESETS | DEST_WATCHED) | choices
        (self._watched.add if server.is_watched else self._watched.discard)(index)
        if raised:
            self._tables.loads[index].overloaded = 0

    def _discard(self, index: int) -> None:
        dest = self._tables.dests[index]
        if dest.way & DEST_AVAILABLE:
            dest.deleted_at = self._tables.control.now
            dest.way &= ~DEST_AVAILABLE
        self._trash.add(index)

    def _is_held(self, index: int) -> bool:
        load = self._tables.loads[index]
        return bool(load.held or load.persistent)

    def _forget_dest(self, index: int) -> None:
        dest = self._tables.dests[index]
        self._trash.discard(index)
        self._watched.discard(index)
        del self._servers[dest.service][self.server_key(index)]
        self.hops.remove_user(index)
        dest.sequence = 0
        self._dest_numbers.give_back(index)

    def empty_trash(self) -> None:
        """Forget deleted servers and services that no connection needs any more."""
        now = self._tables.control.now
        for index in list(self._trash):
            dest = self._tables.dests[index]
            if not self._is_held(index) and now - dest.deleted_at >= TRASH_PERIOD:
                self._forget_dest(index)
        for key in list(self._deleted):
            self._forget_if_idle(key)

    def _take(self, numbers: Numbers) -> int:
        try:
            return numbers.take()
        except FullError:
            raise RefusedError("full", "the table of services or servers") from None

    def zero_counters(self, key: ServiceKey | None) -> None:
        """Count from here on, for one service or for all."""
        entries = [self._entry(key)] if key else [entry for _, entry in self.entries()]
        for entry in entries:
            self.totals.start_service(entry.service, self.servers_of(entry.service))
