# SPDX-License-Identifier: Apache-2.0
"""Listings of connections, read from the maps."""

from __future__ import annotations

import ipaddress
import mmap
import socket
import struct
from collections.abc import Iterator

from pointsman.dataplane.xdp.addresses import address_of
from pointsman.dataplane.xdp.kernel.flags import ConnectionWord, TemplateKey, TemplateWord
from pointsman.dataplane.xdp.kernel.layout import DEADLINE_MASK, WORD_DYING, Vocabulary
from pointsman.dataplane.xdp.store import FTP, Store
from pointsman.dataplane.xdp.tables import Tables
from pointsman.dataplane.xdp.tunnel_endpoint import address_at
from pointsman.model.service import ServiceKey, Transport
from pointsman.model.traffic import Connection

PARKED_PORT = 65535
"""The port that IPVS shows for a template whose server was deleted (ip_vs_check_template)."""
_EMPTY_PAGE = bytes(mmap.PAGESIZE)


def _entries(memory: mmap.mmap, form: str) -> Iterator[tuple[int, ...]]:
    """Yield entries in use, whose last fields are key and word. Empty pages are skipped at once."""
    for start in range(0, len(memory), mmap.PAGESIZE):
        page = memory[start : start + mmap.PAGESIZE]
        if page != _EMPTY_PAGE:
            yield from (entry for entry in struct.iter_unpack(form, page) if entry[-2] and entry[-1])


def connections(tables: Tables, store: Store, words: Vocabulary, now: float) -> Iterator[Connection]:
    """Yield connections and persistence templates. Entries that change meanwhile may be missing.

    `now` is seconds since boot, with a fraction, on the packet path's clock.
    """
    keys = store.front_keys()
    for key, word in _entries(tables.connections, "=QQ"):
        service = keys.get(word >> ConnectionWord.FRONT)
        if service is not None and word != WORD_DYING:
            ports = key >> 32 & 0xFFFF, key >> 48
            yield _connection(tables, words, service, (key, 0), ports, word, now)
    for first, rest, key, word in _entries(tables.connections6, "=QQQQ"):
        service = keys.get(word >> ConnectionWord.FRONT)
        if service is not None and word != WORD_DYING:
            ports = key & 0xFFFF, key >> 16 & 0xFFFF
            virtual = _marked(service, words, first, rest, word) if service.fwmark else service
            yield _connection(tables, words, virtual, (first, rest), ports, word, now)
    for first, rest, key, word in _entries(tables.templates, "=QQQQ"):
        service = keys.get(key >> 32 & 0xFFFF)
        if service is not None and word != WORD_DYING:
            yield _template(tables, service, (first, rest), key, word, now)


def _seconds_left(word: int, now: float) -> float:
    """Return the seconds until the entry expires. Deadlines are whole seconds."""
    second = int(now)
    left = (word - second) & DEADLINE_MASK
    return max(0.0, left - (now - second)) if left <= DEADLINE_MASK // 2 else 0.0


def _state_name(name: str) -> str:
    """Return the name that IPVS has for a state (sctp_state_name_table in ip_vs_proto_sctp.c)."""
    bare = name.removeprefix("SCTP_")
    return {"COOKIE_ECHOED": "C-ECHOED", "SHUTDOWN_RECEIVED": "S-RECEIVED"}.get(bare, bare)


def _marked(service: ServiceKey, words: Vocabulary, first: int, rest: int, word: int) -> ServiceKey:
    """Return the destination of a connection with a mark (bpf/fwmark.h). An IPv6 address is not stored."""
    if not service.ipv6:
        return ServiceKey.of(Transport(rest), address_of(first >> 32, 0, ipv6=False), 0)
    state = words.states[word >> ConnectionWord.STATE & 15]
    transport = (
        Transport.SCTP if state.startswith("SCTP_") else Transport.UDP if state == "UDP" else Transport.TCP
    )
    return ServiceKey.of(transport, ipaddress.IPv6Address(0), 0)


def _connection(
    tables: Tables,
    words: Vocabulary,
    virtual: ServiceKey,
    client: tuple[int, int],
    ports: tuple[int, int],
    word: int,
    now: float,
) -> Connection:
    assert virtual.address is not None and virtual.transport is not None
    index = word >> ConnectionWord.DEST & 0x3FFFF
    virtual_port = socket.ntohs(ports[1])
    return Connection(
        transport=virtual.transport,
        client=address_of(*client, ipv6=virtual.ipv6),
        client_port=socket.ntohs(ports[0]),
        virtual=virtual.address,
        virtual_port=virtual_port,
        server=address_at(tables.remotes[index]),
        server_port=_server_port(virtual, tables.dests[index].port, virtual_port),
        state=_state_name(words.states[word >> ConnectionWord.STATE & 15]),
        expires=_seconds_left(word, now),
    )


def _server_port(service: ServiceKey, port: int, virtual_port: int) -> int:
    """Return the server's port as ipvsadm shows it: its own, unless the front has several ports."""
    return virtual_port if service.port == FTP else port or virtual_port


def _template(
    tables: Tables, service: ServiceKey, client: tuple[int, int], key: int, word: int, now: float
) -> Connection:
    index = word >> TemplateWord.DEST
    parked = bool(key & TemplateKey.PARKED)
    assured = word & TemplateWord.ASSURED and service.transport is not Transport.UDP
    every_port = service.port == FTP and service.transport is Transport.TCP
    return Connection(
        transport=service.transport or Transport.TCP,
        client=address_of(*client, ipv6=service.ipv6),
        client_port=0,
        virtual=service.address or ipaddress.ip_address("::" if service.ipv6 else "0.0.0.0"),
        virtual_port=PARKED_PORT if parked else 0 if every_port else service.port,
        server=address_at(tables.remotes[index]),
        server_port=PARKED_PORT if parked else 0 if every_port else tables.dests[index].port,
        fwmark=service.fwmark,
        state="ASSURED" if assured else "NONE",
        expires=_seconds_left(word, now),
    )
