# SPDX-License-Identifier: Apache-2.0
"""A director with services of every kind, and random records of their connections."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st
from tests.support.program_run import VIP, VIP6, Director

from pointsman.cli.connections import pages
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.packets.record import RECORD_SIZE, Record, RecordFlag, decode

TCP, UDP, SCTP = 6, 17, 132
SYN_RECV, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE, UDP_STATE = 1, 2, 3, 4, 5, 6
STATES = {TCP: (0, 1, 2, 3, 4, 5, 7), UDP: (6,), SCTP: (8, 9, 10, 11, 12, 13)}
PERSISTENCE = 300
SERVERS4 = ("192.168.100.11", "192.168.100.12")
SERVERS6 = ("fd00:100::11", "fd00:100::12")
ONE = Record(
    client=ipaddress.ip_address("10.0.0.1"),
    client_port=1000,
    virtual=ipaddress.ip_address(VIP),
    virtual_port=80,
    server=ipaddress.ip_address(SERVERS4[0]),
    server_port=80,
    protocol=TCP,
    flags=RecordFlag.CARRIED,
    seconds=600,
    state=ESTABLISHED,
)


class Kind(NamedTuple):
    """A service, as records tell of it."""

    protocol: int
    virtual: str
    port: int
    mark: int = 0
    persistent: bool = False
    option: str = ""

    @property
    def ipv6(self) -> bool:
        return ":" in self.virtual

    @property
    def servers(self) -> tuple[str, ...]:
        return SERVERS6 if self.ipv6 else SERVERS4

    def commands(self) -> Iterator[str]:
        """Yield the commands that make the service."""
        options = {TCP: "-t", UDP: "-u", SCTP: "--sctp-service"}
        address = f"[{self.virtual}]" if self.ipv6 else self.virtual
        name = f"{options[self.protocol]} {address}:{self.port}" if not self.mark else f"-f {self.mark}"
        name += " -6" if self.mark and self.ipv6 else ""  # with a mark nothing else tells the family
        yield f"-A {name} -s rr" + (f" -p {PERSISTENCE}" if self.persistent else "")
        for server in self.servers:
            port = "" if self.mark or not self.port else f":{self.port}"
            yield f"-a {name} -r {f'[{server}]{port}' if self.ipv6 and port else server + port} -g"


KINDS = (
    Kind(TCP, VIP, 80),
    Kind(UDP, VIP, 53),
    Kind(SCTP, VIP, 5060),
    Kind(TCP, VIP6, 80),
    Kind(UDP, VIP6, 53),
    Kind(SCTP, VIP6, 5060),
    Kind(TCP, VIP, 443, persistent=True),
    Kind(TCP, VIP6, 443, persistent=True),
    Kind(TCP, VIP, 21, persistent=True),
    Kind(TCP, "192.168.100.30", 0, persistent=True),
    Kind(TCP, "192.168.100.31", 0, mark=7),
    Kind(UDP, "192.168.100.31", 0, mark=8, persistent=True),
    Kind(TCP, "fd00:100::31", 0, mark=9),
    Kind(SCTP, "fd00:100::31", 0, mark=10, persistent=True),
)


def set_up(director: Director) -> None:
    for kind in KINDS:
        director.setup(kind.commands())


def empty(director: Director) -> None:
    """Let all connections and templates expire."""
    for _ in range(4):
        director.plane.tables.control.now += 2000
        director.sweep()


def timeout(director: Director, state: int) -> int:
    return int(director.plane.tables.control.timeout[state])


def given(director: Director) -> list[Record]:
    return all_records(director.plane)


def all_records(plane: XdpDataPlane) -> list[Record]:
    """Return the records of all tables."""
    return [record for page in pages(plane.exchange) for record in records_in(page)]


def records_in(page: bytes) -> list[Record]:
    return [decode(page[start : start + RECORD_SIZE]) for start in range(0, len(page), RECORD_SIZE)]


def encoded(records: list[Record]) -> bytes:
    return b"".join(record.encode() for record in records)


def packed(records: list[Record]) -> list[bytes]:
    """Return records in an order of their own, for comparison."""
    return sorted(record.encode() for record in records)


@st.composite
def record_groups(draw: st.DrawFn, timeouts: list[int]) -> list[Record]:
    """Draw records of connections, each after the template that holds it, if one does."""
    return [
        record for number in range(draw(st.integers(1, 40))) for record in draw(_records_of(number, timeouts))
    ]


@st.composite
def _records_of(draw: st.DrawFn, number: int, timeouts: list[int]) -> list[Record]:
    kind = draw(st.sampled_from(KINDS))
    state = draw(st.sampled_from(STATES[kind.protocol]))
    carried = draw(st.booleans()) * RecordFlag.CARRIED
    port = draw(st.integers(1024, 65535)) if not kind.port else kind.port
    record = Record(
        client=_client(kind, number),
        client_port=draw(st.integers(1, 65535)),
        virtual=_virtual(kind, draw(st.integers(0, (1 << 29) - 1))),
        virtual_port=port,
        server=ipaddress.ip_address(draw(st.sampled_from(kind.servers))),
        server_port=0 if kind.mark else kind.port,
        protocol=kind.protocol,
        flags=carried | kind.ipv6 * (RecordFlag.IPV6 | RecordFlag.SERVER6),
        fwmark=kind.mark,
        seconds=draw(st.integers(1, timeouts[state])),
        state=state,
    )
    if not (kind.persistent and draw(st.booleans())):
        return [record]
    template = msgspec.structs.replace(
        record,
        client_port=0,
        virtual=ipaddress.ip_address("::" if kind.ipv6 else "0.0.0.0") if kind.mark else record.virtual,
        virtual_port=kind.port,
        protocol=0 if kind.mark else kind.protocol,
        flags=record.flags | RecordFlag.TEMPLATE | draw(st.booleans()) * RecordFlag.ASSURED,
        seconds=draw(st.integers(1, PERSISTENCE)),
        state=0,
    )
    held = msgspec.structs.replace(record, flags=record.flags | RecordFlag.CONTROLLED)
    return [template, held] if draw(st.booleans()) else [template]


def _client(kind: Kind, number: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if kind.ipv6:
        return ipaddress.IPv6Address((0xFD << 120) + number)
    return ipaddress.IPv4Address((10 << 24) + number)


def _virtual(kind: Kind, tag: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the virtual address; IPv6 with a mark: the tag in its place (bpf/fwmark.h)."""
    if kind.ipv6 and kind.mark:
        return ipaddress.IPv6Address(tag.to_bytes(4, "little") + bytes(12))
    return ipaddress.ip_address(kind.virtual)
