# SPDX-License-Identifier: Apache-2.0
"""The service table in the maps: read it, and change it so that packets see either the old or the new one.

The word service.list decides which servers are in force. So a director that is killed at any moment leaves a
table that can be read: a server that is not in its service's list is deleted, and a service without a front
does not exist. Deleted servers and services are kept while connections use them, and can come back
(IPVS's trash).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from pointsman.dataplane.xdp import slots
from pointsman.dataplane.xdp.addresses import mask_bits, prefix_of
from pointsman.dataplane.xdp.allocation import FullError, IndexAllocator
from pointsman.dataplane.xdp.counter_base import CounterBase
from pointsman.dataplane.xdp.frontends import FrontendTable
from pointsman.dataplane.xdp.kernel.flags import ServiceFlag
from pointsman.dataplane.xdp.kernel.layout import NO_PREFIX, Service, Vocabulary
from pointsman.dataplane.xdp.marks import MarkedFronts
from pointsman.dataplane.xdp.records.names import DestNames, write_front_name
from pointsman.dataplane.xdp.server_list_format import ListWord
from pointsman.dataplane.xdp.server_lists import RefusedError, ServerLists
from pointsman.dataplane.xdp.servers import Servers
from pointsman.dataplane.xdp.tables import Tables, nonzero
from pointsman.model.service import (
    RealServer,
    ServerKey,
    ServiceEntry,
    ServiceKey,
    ServiceTable,
    Transport,
    VirtualService,
)
from pointsman.model.traffic import PassiveCounters, Unanswered

_FRONT_NUMBERS = 65535
FTP = 21


class Entry(NamedTuple):
    """The index of a service, and the number of its front."""

    service: int
    front: int


class Store:
    """All services and real servers of one director."""

    def __init__(self, tables: Tables, words: Vocabulary) -> None:
        self._tables = tables
        self._words = words
        self.fronts = FrontendTable(tables)
        self.counter_base = CounterBase(tables)
        self.lists = ServerLists(tables, words)
        self.servers = Servers(tables, self.lists, self.counter_base, DestNames(tables))
        self.marks = MarkedFronts(tables, self.fronts, lambda: self._front_numbers)
        self._entries: dict[ServiceKey, Entry] = {}
        self._deleted: set[ServiceKey] = set()
        self._in_force: dict[ServiceKey, ServiceEntry | None] = {}
        """The services in force in the order of their addition. None: changed since it was read."""
        self._stale: set[ServiceKey] = set()
        """The services in force that were changed since they were read."""
        self._table: ServiceTable | None = None
        """The table in force, until it is changed."""
        self._restore()

    # Reading

    def _restore(self) -> None:
        tables = self._tables
        for key, service, number in list(self.fronts):
            if tables.services[service].mark:
                self.marks.restore(service, key, number)
            else:
                self._entries[key] = Entry(service, number)
        for index in nonzero(tables.services, "mark"):
            marked = tables.services[index]
            if index and marked.flags:
                key = ServiceKey.mark(marked.mark, bool(marked.flags & ServiceFlag.IPV6))
                self._entries[key] = Entry(index, marked.group)
        services = {entry.service for entry in self._entries.values()}
        for index in nonzero(tables.services, "flags"):
            if index not in services:
                tables.services[index].flags = 0
        fronts = (entry.front for entry in self._entries.values())
        self._service_numbers = IndexAllocator(1, len(tables.services), services)
        self._front_numbers = IndexAllocator(
            1, _FRONT_NUMBERS, itertools.chain(fronts, self.marks.numbers_in_use())
        )
        highest = max((tables.services[index].sequence for index in services), default=0)
        highest = max(highest, self.servers.restore(services))
        self.lists.restore(services)
        self._sequence = itertools.count(highest + 1)
        for key, entry in list(self._entries.items()):
            if tables.services[entry.service].flags & ServiceFlag.DELETED:
                self._finish_deletion(key)
            else:
                self._finish_edits(entry.service, key)
            self.marks.update_service(entry.service)
        for key in sorted(self._entries.keys() - self._deleted, key=self._sequence_of):
            self._note_change(key)

    def _sequence_of(self, key: ServiceKey) -> int:
        return self._tables.services[self._entries[key].service].sequence

    def _finish_edits(self, index: int, key: ServiceKey) -> None:
        """Complete an edit that a killed director has begun, so that the packet path agrees with `table`."""
        service = self._tables.services[index]
        service.mask = mask_bits(prefix_of(service.prefix), key.ipv6)
        self._note_ftp(key, service)
        service.flags = self._flags(
            self._scheduler_name(service),
            slots.flags_of(service.options),
            bool(service.flags & ServiceFlag.ONE_PACKET),
        ) | (service.flags & (ServiceFlag.IPV6 | ServiceFlag.KEPT))
        for place in self.lists.places(index):
            dest = self._tables.dests[place.dest]
            dest.last_weight = dest.weight or dest.last_weight
        self.lists.repair(index)

    def entries(self) -> list[tuple[ServiceKey, Entry]]:
        """Return the services in force, in the order in which they were added."""
        return [(key, self._entries[key]) for key in self._in_force]

    def index_of(self, key: ServiceKey) -> int | None:
        """Return the index of a service in force, or None."""
        return self._entries[key].service if key in self._in_force else None

    def keys_by_index(self) -> dict[int, ServiceKey]:
        """Return the keys of the services in force by their indexes."""
        return {entry.service: key for key, entry in self.entries()}

    def marks_without_addresses(self) -> list[ServiceKey]:
        """Return marks without addresses: packets must have the mark themselves."""
        return [
            key for key, entry in self.entries() if key.fwmark and not self.marks.fronts_of(entry.service)
        ]

    def front_keys(self) -> dict[int, ServiceKey]:
        """Return service keys by front number; a mark has the number that its templates have."""
        keys = {entry.front: key for key, entry in self._entries.items()}
        return keys | {number: key for key, _, number in self.fronts}

    def table(self) -> ServiceTable:
        """Return the table in force."""
        if self._table is None:
            for key in list(self._stale):
                self.entry(key)
            self._table = ServiceTable(tuple(filter(None, self._in_force.values())))
        return self._table

    def entry(self, key: ServiceKey) -> ServiceEntry | None:
        """Return one service with its servers; None: it is not in force."""
        found = self._in_force.get(key)
        if found is None and key in self._stale:
            index = self._entries[key].service
            found = self._in_force[key] = ServiceEntry(
                self._service_of(key, self._tables.services[index]),
                tuple(self.servers.server(each) for each in self.servers.in_force(index)),
            )
            self._stale.discard(key)
        return found

    def _note_change(self, key: ServiceKey) -> None:
        """Note that a service is in force, and that it must be read again."""
        self._in_force[key], self._table = None, None
        self._stale.add(key)

    def __contains__(self, key: object) -> bool:
        return key in self._in_force

    def is_in_force(self, key: ServiceKey, entry: Entry) -> bool:
        """True if `entries` would still return this pair."""
        return key in self._in_force and self._entries[key] == entry

    def _service_of(self, key: ServiceKey, service: Service) -> VirtualService:
        return VirtualService(
            key=key,
            scheduler=self._scheduler_name(service),
            persistence=service.persistence or None,
            persistence_prefix=prefix_of(service.prefix),
            one_packet=bool(service.flags & ServiceFlag.ONE_PACKET),
            flags=slots.flags_of(service.options),
            fronts=self.marks.fronts_of(self._entries[key].service) if key.fwmark else frozenset(),
        )

    def _scheduler_name(self, service: Service) -> str:
        return self._words.scheduler_names[ListWord.of(service.list).scheduler]

    def passive_counters(self) -> dict[tuple[ServiceKey, ServerKey], PassiveCounters]:
        """Return the passive counters of all watched servers in force."""
        if not self.servers.has_watched:
            return {}
        return self.servers.passive_counters(self.keys_by_index())

    def connection_counts(self, key: ServiceKey) -> dict[ServerKey, tuple[int, int]]:
        """Return the active and the inactive connections of each server in force of a service."""
        index = self.index_of(key)
        return {} if index is None else self.servers.connection_counts(index)

    def unanswered(self) -> dict[tuple[ServiceKey, ServerKey], Unanswered]:
        """Return what real servers in force left unanswered."""
        return self.servers.unanswered(self.keys_by_index())

    # Services

    def _entry(self, key: ServiceKey) -> Entry:
        """Return the entry of a service that is about to change. Raises RefusedError."""
        if key not in self._in_force:
            raise RefusedError("no-service")
        self._note_change(key)
        return self._entries[key]

    def _scheduler(self, service: VirtualService) -> int:
        number = self._words.schedulers.get(service.scheduler)
        if number is None:
            raise RefusedError("no-scheduler")
        return number

    def add_service(self, service: VirtualService) -> None:
        key, scheduler = service.key, self._scheduler(service)
        if not key.fwmark and key.transport is None:
            raise RefusedError("unsupported", "the XDP data plane balances TCP, UDP and SCTP")
        if key in self._in_force:
            raise RefusedError("exists")
        known = self._entries.get(key)
        index = known.service if known else self._allocate(self._service_numbers)
        entry = self._tables.services[index]
        entry.port, entry.protocol, entry.mark = key.port, key.transport or 0, key.fwmark
        entry.sequence = next(self._sequence)
        entry.cursor, entry.previous_mask, entry.grace_until = 0, 0, 0
        entry.list = ListWord(0, 0, 0, scheduler).word()
        self.counter_base.reset_service(index)
        if not known:
            self._create_service(service, index)
        else:
            self._change_fronts(service, index)
        self._write_options(entry, service)
        self._deleted.discard(key)
        self._note_change(key)
        self._update_visible(key, index)

    def _create_service(self, service: VirtualService, index: int) -> None:
        """Allocate the number and fronts of a new service. It is in force when its flags are written."""
        key, entry = service.key, self._tables.services[index]
        number = self._allocate(self._front_numbers)
        entry.group, entry.flags = number, ServiceFlag.DELETED
        try:
            if key.fwmark:
                write_front_name(self._tables.front_names[number], key)
                self._change_fronts(service, index)
            else:
                self.fronts.add(key, index, number)
        except (FullError, RefusedError) as error:
            entry.flags = 0
            self._service_numbers.free(index)
            self._front_numbers.free(number)
            if isinstance(error, RefusedError):
                raise
            raise RefusedError("full", "the table of services") from None
        self._entries[key] = Entry(index, number)
        self.servers.add_service(index)

    def _change_fronts(self, service: VirtualService, index: int) -> None:
        if service.key.fwmark:
            self.marks.set_fronts(index, service.fronts, service.key.ipv6)
        elif service.fronts:
            raise RefusedError("unsupported", "fronts of a service that is not a firewall mark's")

    def _update_visible(self, key: ServiceKey, index: int) -> None:
        """Select the front in force where a mark and an address have the same destination."""
        if key.fwmark:
            self.marks.update_service(index)
        else:
            self.marks.update_visible(key)

    def edit_service(self, service: VirtualService) -> None:
        index, scheduler = self._entry(service.key).service, self._scheduler(service)
        entry = self._tables.services[index]
        self._change_fronts(service, index)
        if scheduler != ListWord.of(entry.list).scheduler:
            self.lists.replace(index, self.lists.places(index), scheduler)
        mask = mask_bits(service.persistence_prefix, service.key.ipv6)
        if mask != entry.mask:
            entry.previous_mask = entry.mask
        self._write_options(entry, service)

    def _write_options(self, entry: Service, service: VirtualService) -> None:
        entry.persistence = service.persistence or 0
        entry.mask = mask_bits(service.persistence_prefix, service.key.ipv6)
        entry.prefix = NO_PREFIX if service.persistence_prefix is None else service.persistence_prefix
        entry.options = slots.number_of_flags(service.flags)
        family = ServiceFlag.IPV6 if service.key.fwmark and service.key.ipv6 else 0
        entry.flags = self._flags(service.scheduler, service.flags, service.one_packet) | family
        self._note_ftp(service.key, entry)

    def _note_ftp(self, key: ServiceKey, entry: Service) -> None:
        if key.transport == Transport.TCP and key.port == FTP:
            self.fronts.mark_ftp(entry.group, entry.persistence > 0)

    def _flags(self, scheduler: str, flags: frozenset[str], one_packet: bool) -> int:
        return (
            ServiceFlag.USED
            | (ServiceFlag.ONE_PACKET if one_packet else 0)
            | (ServiceFlag.HASH_PORT if slots.hashes_port(scheduler, flags) else 0)
            | (ServiceFlag.HASH_FALLBACK if slots.falls_back(scheduler, flags) else 0)
        )

    def delete_service(self, key: ServiceKey) -> None:
        service = self._tables.services[self._entry(key).service]
        service.flags |= ServiceFlag.DELETED
        del self._in_force[key]
        self._stale.discard(key)
        self._update_visible(key, self._entries[key].service)
        self._empty(key)

    def _finish_deletion(self, key: ServiceKey) -> None:
        """Delete what a killed director has left of a deleted service."""
        if self.lists.places(self._entries[key].service):
            self._empty(key)
        else:
            self._deleted.add(key)
            self._remove_if_idle(key)

    def _empty(self, key: ServiceKey) -> None:
        """Delete the servers of a deleted service, and remove it unless connections use it."""
        self._deleted.add(key)
        index = self._entries[key].service
        self.servers.delete_all(index, ListWord.of(self._tables.services[index].list).scheduler)
        self._remove_if_idle(key)

    def _remove_if_idle(self, key: ServiceKey) -> None:
        entry = self._entries[key]
        if not self.servers.remove_if_idle(entry.service):
            return
        service = self._tables.services[entry.service]
        service.flags = 0
        if key.fwmark:
            self.marks.remove_service(entry.service)
        else:
            self.fronts.remove(entry.front)
            self.marks.update_visible(key)
        del self._entries[key]
        self._deleted.discard(key)
        self._service_numbers.free(entry.service)
        self._front_numbers.free(entry.front)

    # Servers: packets see these changes after `commit`

    def commit(self) -> None:
        """Put the changes of servers in force. Do this before other changes, and before reading."""
        self.servers.commit()

    def add_server(self, key: ServiceKey, server: RealServer) -> None:
        entry = self._entry(key)
        self.servers.add(entry.service, entry.front, key.ipv6, server, next(self._sequence))

    def edit_server(self, key: ServiceKey, server: RealServer) -> None:
        self.servers.edit(self._entry(key).service, key.ipv6, server)

    def delete_server(self, key: ServiceKey, server: ServerKey) -> None:
        self.servers.delete(self._entry(key).service, server)

    def begin(self) -> None:
        """Remove deleted servers and services that no connection uses any more. Do this before changes."""
        self.counter_base.begin()
        self.servers.empty_trash()
        for key in list(self._deleted):
            self._remove_if_idle(key)

    def _allocate(self, numbers: IndexAllocator) -> int:
        try:
            return numbers.allocate()
        except FullError:
            raise RefusedError("full", "the table of services") from None

    def zero_counters(self, key: ServiceKey | None) -> None:
        """Set the counters of one service, or of all, to zero (ipvsadm -Z)."""
        entries = [self._entry(key)] if key else [entry for _, entry in self.entries()]
        for entry in entries:
            self.counter_base.reset_service(entry.service, self.servers.in_force(entry.service))
