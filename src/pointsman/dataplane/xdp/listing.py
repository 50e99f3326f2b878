"""Counters and connections, read from the maps."""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator

from pointsman.dataplane.xdp.addresses import address_of
from pointsman.dataplane.xdp.layout import (
    DEADLINE_MASK,
    TEMPLATE_ASSURED,
    TEMPLATE_PARKED,
    WORD_DYING,
    Vocabulary,
)
from pointsman.dataplane.xdp.store import Entry, Store
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.service import ServerKey, ServiceKey, Transport
from pointsman.model.traffic import Connection, Counters, ServerCounters, ServiceCounters, Traffic

_ONES = (1 << 64) - 1
PARKED_PORT = 65535
"""What IPVS shows for a template whose server was deleted (ip_vs_check_template)."""
_EMPTY_PAGE = bytes(mmap.PAGESIZE)


def counters(tables: Tables, store: Store, words: Vocabulary) -> Counters:
    """Everything at one moment."""
    raw = tables.traffic_of(store.highest_dest)
    services = tuple(_service(tables, store, raw, key, entry) for key, entry in store.entries())
    exits = {name: count for name, count in zip(words.exits, tables.exits(), strict=False) if count}
    return Counters(services, exits)


def _service(
    tables: Tables, store: Store, raw: list[tuple[int, int, int]], key: ServiceKey, entry: Entry
) -> ServiceCounters:
    servers = store.servers_of(entry.service)
    origin = tables.service_origins[entry.service]
    totals = (origin.connections, origin.packets, origin.octets)
    summed = [sum(column) & _ONES for column in zip(totals, *(raw[index] for index in servers), strict=True)]
    return ServiceCounters(
        key, Traffic(*summed), tuple(_server(tables, raw[index], index) for index in servers)
    )


def _server(tables: Tables, raw: tuple[int, int, int], index: int) -> ServerCounters:
    dest, load, origin = tables.dests[index], tables.loads[index], tables.dest_origins[index]
    connections, packets, octets = raw
    return ServerCounters(
        key=ServerKey(address_of(dest.address), dest.port),
        active=load.active,
        inactive=load.inactive,
        persistent=load.persistent,
        traffic=Traffic(
            connections - origin.connections & _ONES,
            packets - origin.packets & _ONES,
            octets - origin.octets & _ONES,
        ),
    )


def _entries(memory: mmap.mmap, form: str) -> Iterator[tuple[int, ...]]:
    """Entries in use. Pages that are empty are passed over at once."""
    for start in range(0, len(memory), mmap.PAGESIZE):
        page = memory[start : start + mmap.PAGESIZE]
        if page != _EMPTY_PAGE:
            yield from (entry for entry in struct.iter_unpack(form, page) if entry[0] and entry[1])


def connections(tables: Tables, store: Store, words: Vocabulary, now: float) -> Iterator[Connection]:
    """Connections and persistence templates. Entries that come or go meanwhile may be missing.

    `now` is the precise time on the packet path's clock, seconds since boot.
    """
    keys = store.front_keys()
    for key, word in _entries(tables.connections, "=QQ"):
        service = keys.get(word >> 48)
        if service is not None and word != WORD_DYING:
            yield _connection(tables, words, service, key, word, now)
    for key, word, *_ in _entries(tables.templates, "=QQ16x"):
        service = keys.get(key >> 32 & 0xFFFF)
        if service is not None and word != WORD_DYING:
            yield _template(tables, service, key, word, now)


def _seconds_left(word: int, now: float) -> float:
    """Deadlines count from the second a packet came in, so right after it a whole second has been begun."""
    second = int(now)
    left = (word - second) & DEADLINE_MASK
    return max(0.0, left - (now - second)) if left <= DEADLINE_MASK // 2 else 0.0


def _connection(
    tables: Tables, words: Vocabulary, service: ServiceKey, key: int, word: int, now: float
) -> Connection:
    assert service.address is not None and service.transport is not None
    dest = tables.dests[word >> 30 & 0x3FFFF]
    virtual_port = socket.ntohs(key >> 48)
    return Connection(
        transport=service.transport,
        client=address_of(key & 0xFFFFFFFF),
        client_port=socket.ntohs(key >> 32 & 0xFFFF),
        virtual=service.address,
        virtual_port=virtual_port,
        server=address_of(dest.address),
        server_port=dest.port or virtual_port,
        state=words.states[word >> 26 & 15],
        expires=_seconds_left(word, now),
    )


def _template(tables: Tables, service: ServiceKey, key: int, word: int, now: float) -> Connection:
    assert service.address is not None and service.transport is not None
    dest = tables.dests[word >> 46]
    parked = bool(key & TEMPLATE_PARKED)
    assured = word & TEMPLATE_ASSURED and service.transport is Transport.TCP
    return Connection(
        transport=service.transport,
        client=address_of(key & 0xFFFFFFFF),
        client_port=0,
        virtual=service.address,
        virtual_port=PARKED_PORT if parked else service.port,
        server=address_of(dest.address),
        server_port=PARKED_PORT if parked else dest.port,
        state="ASSURED" if assured else "NONE",
        expires=_seconds_left(word, now),
    )
