# SPDX-License-Identifier: Apache-2.0
"""Connections and templates as records: what is taken is given again, and nothing from outside does harm."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given as with_random
from hypothesis import settings
from hypothesis import strategies as st
from tests.bpf.records.services import (
    CLOSE,
    ESTABLISHED,
    KINDS,
    ONE,
    PERSISTENCE,
    SERVERS4,
    TCP,
    empty,
    encoded,
    given,
    packed,
    record_groups,
    set_up,
)
from tests.support.program_run import VIP, Director, tcp, udp

from pointsman.dataplane.interface import TakeCounts
from pointsman.dataplane.xdp.tables import TIMEOUTS
from pointsman.model.service import ServiceKey, Transport
from pointsman.packets.record import RECORD_SIZE, Record, RecordFlag

pytestmark = pytest.mark.root

RS1, RS2 = SERVERS4
KEY = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), 80)
SERVICE = [f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r {RS1}:80", f"-a -t {VIP}:80 -r {RS2}:80"]
KEPT = msgspec.structs.replace(ONE, server=ipaddress.ip_address(RS2))
SECONDS = [*TIMEOUTS.values()]
ACTIVE = {"SYN_RECV", "ESTABLISHED", "SYNACK"}
MOST = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    """A director with services of every kind. Each test leaves its tables empty."""
    with Director() as made:
        set_up(made)
        yield made


def changed(record: Record, **fields: object) -> Record:
    return msgspec.structs.replace(record, **fields)


@MOST
@with_random(record_groups(SECONDS))
def test_what_is_taken_is_given(director: Director, records: list[Record]) -> None:
    empty(director)
    counts = director.plane.exchange.take(encoded(records), ours=True)
    assert counts == TakeCounts(added=len(records))
    assert packed(given(director)) == packed(records)
    _check_loads(director)


def _check_loads(director: Director) -> None:
    """The counts of the servers are those of the entries."""
    counted: Counter[tuple[str, str]] = Counter()
    for entry in director.plane.connections():
        kind = "inactive" if entry.state not in ACTIVE else "active"
        counted[str(entry.server), kind if entry.client_port else "persistent"] += 1
    held: Counter[tuple[str, str]] = Counter()
    for service in director.plane.counters().services:
        for server in service.servers:
            for kind in ("active", "inactive", "persistent"):
                held[str(server.key.address), kind] += getattr(server, kind)
    assert +held == counted


@MOST
@with_random(record_groups(SECONDS), st.randoms(use_true_random=False))
def test_loads_are_right_after_any_sequence_of_takes_packets_and_time(
    director: Director, records: list[Record], chance: random.Random
) -> None:
    empty(director)
    for _ in range(6):
        part = chance.sample(records, chance.randrange(len(records) + 1))
        moved = [_altered(each, chance) for each in part]
        director.plane.exchange.take(encoded(moved), bool(chance.randrange(2)), bool(chance.randrange(2)))
        for record in part:
            _send_packet_of(director, record, chance.choice(("S", "A", "FA", "R")))
        director.plane.tables.control.now += chance.randrange(100)
        director.sweep()
        _check_loads(director)
    empty(director)
    assert given(director) == [] == list(director.plane.connections())
    _check_loads(director)


def _altered(record: Record, chance: random.Random) -> Record:
    """Return the record as another director may have it: carried or not, to another server."""
    other = str(record.server).replace("11", "12") if chance.randrange(2) else str(record.server)
    return changed(
        record,
        flags=record.flags ^ chance.choice((0, RecordFlag.CARRIED)),
        server=ipaddress.ip_address(other),
    )


def _send_packet_of(director: Director, record: Record, flags: str) -> None:
    if record.protocol == TCP and not record.fwmark and record.client_port:
        target = str(record.virtual)
        director.send(tcp(flags, str(record.client), record.client_port, record.virtual_port, target))


def test_a_foreign_entry_forwards_and_its_packet_makes_it_ours() -> None:
    with Director() as director:
        director.setup(SERVICE)
        exchange = director.plane.exchange
        exchange.sync = True
        assert exchange.take(KEPT.encode(), live=True) == TakeCounts(added=1)
        assert exchange.give(carried=True)[0] == b""
        assert [each.flags for each in given(director)] == [0]
        assert exchange.outbox.read() == []
        assert director.server_of(tcp("A", "10.0.0.1", 1000, 80)) == RS2
        (ours,) = given(director)
        assert ours == changed(KEPT, seconds=900)
        assert exchange.outbox.read() == [ours.encode()]
        assert exchange.give(carried=True)[0] == ours.encode()
        assert director.server_of(tcp("A", "10.0.0.1", 1000, 80)) == RS2
        assert exchange.outbox.read() == [], "it is told once"


def test_a_change_of_state_makes_a_foreign_entry_ours() -> None:
    with Director() as director:
        director.setup(SERVICE)
        director.plane.exchange.sync = True
        director.plane.exchange.take(changed(KEPT, seconds=900).encode())
        director.send(tcp("R", "10.0.0.1", 1000, 80))
        (ours,) = given(director)
        assert (ours.state, ours.flags) == (CLOSE, RecordFlag.CARRIED)
        assert director.plane.exchange.outbox.read() == [ours.encode()]


def test_news_of_a_connection_that_moved_make_it_foreign_and_other_records_do_not() -> None:
    with Director() as director:
        director.setup(SERVICE)
        take = director.plane.exchange.take
        take(KEPT.encode(), ours=True)
        assert take(KEPT.encode()) == TakeCounts(kept=1)
        assert take(changed(KEPT, flags=0).encode(), live=True) == TakeCounts(kept=1)
        assert [each.flags for each in given(director)] == [RecordFlag.CARRIED]
        assert take(changed(KEPT, seconds=5).encode(), live=True) == TakeCounts(updated=1)
        assert given(director) == [changed(KEPT, seconds=5, flags=0)]


def test_a_conflict_is_counted_and_our_server_stays() -> None:
    with Director() as director:
        director.setup(SERVICE)
        take, other = director.plane.exchange.take, changed(KEPT, server=ipaddress.ip_address(RS1))
        take(KEPT.encode(), ours=True)
        assert take(other.encode(), live=True) == TakeCounts(conflict=1)
        assert given(director) == [KEPT]
        director.send(tcp("R", "10.0.0.1", 1000, 80))
        assert take(other.encode(), live=True) == TakeCounts(updated=1), "what has ended is no conflict"
        assert director.held(KEY) == {RS1: (1, 0), RS2: (0, 0)}


def test_a_second_pass_brings_what_changed_since_the_first() -> None:
    """An upgrade takes the tables twice. What a packet has made ours meanwhile is newer than the record."""
    with Director() as director:
        director.setup(SERVICE)
        opening = changed(KEPT, state=1, seconds=60)
        director.plane.exchange.take(opening.encode() + changed(opening, client_port=2000).encode())
        director.send(tcp("FA", "10.0.0.1", 2000, 80))
        later = KEPT.encode() + changed(KEPT, client_port=2000).encode()
        assert director.plane.exchange.take(later, ours=True) == TakeCounts(updated=1, kept=1)
        assert [(each.client_port, each.state) for each in given(director)] in (
            [(1000, ESTABLISHED), (2000, 4)],
            [(2000, 4), (1000, ESTABLISHED)],
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seconds": 0}, "expired"),
        ({"virtual_port": 81}, "no_service"),
        ({"protocol": 17, "state": 6}, "no_service"),
        ({"server_port": 81}, "no_server"),
        ({"server": ipaddress.ip_address("192.168.100.13")}, "no_server"),
        ({"server": ipaddress.ip_address("fd00:100::11")}, "no_server"),
        ({"protocol": 1}, "malformed"),
        ({"state": 8}, "malformed"),
        ({"state": 6}, "malformed"),
        ({"flags": 64}, "malformed"),
        ({"seconds": 1 << 22}, "malformed"),
        ({"flags": RecordFlag.TEMPLATE}, "malformed"),
        ({"flags": RecordFlag.TEMPLATE, "client_port": 0, "state": 0}, "no_service"),
    ],
)
def test_why_a_record_is_refused(change: dict[str, object], reason: str) -> None:
    with Director() as director:
        director.setup(SERVICE)
        counts = director.plane.exchange.take(changed(KEPT, **change).encode())
        assert counts == TakeCounts(**{reason: 1})
        assert given(director) == []


def test_records_of_a_deleted_service_or_one_that_has_no_room_are_refused() -> None:
    with Director() as director:
        director.setup(SERVICE)
        director.send(tcp("S", "10.0.0.2", 1, 80))
        director.ipvsadm(f"-D -t {VIP}:80")
        assert director.plane.exchange.take(KEPT.encode()) == TakeCounts(no_service=1)
        director.setup(SERVICE)
        many = b"".join(changed(KEPT, client_port=port).encode() for port in range(1, 20001))
        counts = director.plane.exchange.take(many)
        assert counts.added + counts.full == 20000 and counts.full
        assert sum(active for active, _ in director.held(KEY).values()) == counts.added + 1


def test_a_deleted_server_gets_records_for_a_while_and_then_none() -> None:
    """A failed check on one director must not lose the connections that the other one carries."""
    with Director() as director:
        director.setup(SERVICE)
        director.ipvsadm(f"-d -t {VIP}:80 -r {RS2}:80")
        take = director.plane.exchange.take
        assert take(KEPT.encode()) == TakeCounts(added=1)
        director.plane.tables.control.now += 60
        assert take(changed(KEPT, client_port=1).encode()) == TakeCounts(no_server=1)
        assert take(KEPT.encode()) == TakeCounts(no_server=1)
        director.ipvsadm(f"-a -t {VIP}:80 -r {RS2}:80")
        assert director.server_of(tcp("A", "10.0.0.1", 1000, 80)) == RS2


def test_a_threshold_holds_with_connections_of_others() -> None:
    with Director() as director:
        director.setup([SERVICE[0], f"-a -t {VIP}:80 -r {RS2}:80 -x 2"])
        two = KEPT.encode() + changed(KEPT, client_port=2).encode()
        assert director.plane.exchange.take(two) == TakeCounts(added=2)
        assert director.server_of(tcp("S", "10.0.0.9", 1, 80)) == "refused"


@MOST
@with_random(st.binary(max_size=64 * 50), record_groups(SECONDS), st.randoms(use_true_random=False))
def test_garbage_is_counted_and_does_no_harm(
    director: Director, noise: bytes, records: list[Record], chance: random.Random
) -> None:
    empty(director)
    data = bytearray(encoded(records))
    for _ in range(chance.randrange(3 * len(records))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    data += noise[: len(noise) // RECORD_SIZE * RECORD_SIZE]
    counts = director.plane.exchange.take(bytes(data), bool(chance.randrange(2)), live=True)
    assert sum(msgspec.structs.astuple(counts)) == len(data) // RECORD_SIZE
    assert len(given(director)) <= counts.added + counts.updated
    assert all(each.seconds <= max(SECONDS) for each in given(director))
    _check_loads(director)


def test_only_whole_records_are_taken() -> None:
    with Director() as director, pytest.raises(ValueError, match="65 bytes are not whole records of 64"):
        director.plane.exchange.take(bytes(65))


def test_a_template_of_another_director_serves_the_client_and_becomes_ours() -> None:
    kind = KINDS[6]
    with Director() as director:
        director.setup(kind.commands())
        exchange = director.plane.exchange
        exchange.sync = True
        template = changed(
            KEPT, client_port=0, virtual_port=443, server_port=443, state=0, seconds=20,
            flags=RecordFlag.TEMPLATE | RecordFlag.ASSURED | RecordFlag.CARRIED,
        )  # fmt: skip
        assert exchange.take(template.encode()) == TakeCounts(added=1)
        assert director.server_of(tcp("S", "10.0.0.1", 1, 443)) == RS2
        assert exchange.outbox.read() == [], "a flood of SYNs is no news"
        assert director.server_of(tcp("A", "10.0.0.1", 1, 443)) == RS2
        told = changed(template, seconds=PERSISTENCE)
        connection = changed(KEPT, client_port=1, virtual_port=443, server_port=443, seconds=900, flags=48)
        assert exchange.outbox.read() == [encoded([told, connection])]
        assert exchange.take(changed(template, server=ipaddress.ip_address(RS1)).encode()) == TakeCounts(
            conflict=1
        )


def test_records_are_read_and_written_by_one_form() -> None:
    """The form is what files, upgrades and other directors rely on: it must never change."""
    assert KEPT.encode().hex() == (
        "0a000001000000000000000000000000" "c0a86409000000000000000000000000"
        "c0a8640c000000000000000000000000" "03e80050005006200000000058020002"
    )  # fmt: skip


def test_udp_is_told_with_its_first_packet_of_another_second() -> None:
    with Director() as director:
        director.setup(KINDS[1].commands())
        director.plane.exchange.sync = True
        for _ in range(2):
            director.send(udp("10.0.0.1", 1000, 53))
        assert director.plane.exchange.outbox.read() == []
        director.plane.tables.control.now += 1
        director.send(udp("10.0.0.1", 1000, 53))
        (run,) = director.plane.exchange.outbox.read()
        assert run == encoded(given(director))
