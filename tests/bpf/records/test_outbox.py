# SPDX-License-Identifier: Apache-2.0
"""What the packet path and the sweep tell other directors, and what they do not."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import replace

import pytest
from tests.bpf.records.services import (
    CLOSE,
    ESTABLISHED,
    FIN_WAIT,
    KINDS,
    TIME_WAIT,
    encoded,
    given,
    records_in,
)
from tests.support.program_run import SMALL, Director, framed, tcp, udp

from pointsman.dataplane.xdp.records.outbox import RingOutbox
from pointsman.packets.record import Record, RecordFlag

pytestmark = pytest.mark.root

TINY = replace(SMALL, outbox=16)
SERVICES = [command for kind in KINDS[:8] for command in kind.commands()]
CLIENT, CLIENT6 = "10.0.0.1", "fd00::1"


def told(director: Director) -> list[Record]:
    return [record for run in director.plane.exchange.outbox.read() for record in records_in(run)]


def synced() -> Director:
    director = Director(TINY)
    director.setup(SERVICES)
    director.plane.exchange.sync = True
    return director


def establish(director: Director, port: int = 1000, virtual_port: int = 80) -> None:
    for flags in ("S", "A"):
        director.send(tcp(flags, CLIENT, port, virtual_port))


def sctp(chunk: int, client: str = CLIENT) -> bytes:
    packet = struct.pack("!HHII", 4000, 5060, 1, 0) + struct.pack("!BBH", chunk, 0, 4) + bytes(16)
    return framed(client, None, 132, packet)


@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
@pytest.mark.parametrize(
    ("packets", "states"),
    [
        (["S"], []),
        (["S", "S"], []),
        (["S", "A"], [ESTABLISHED]),
        (["S", "A", "A", "PA"], [ESTABLISHED]),
        (["S", "A", "FA"], [ESTABLISHED, FIN_WAIT]),
        (["S", "A", "FA", "A", "FA"], [ESTABLISHED, FIN_WAIT]),
        (["S", "A", "R"], [ESTABLISHED, CLOSE]),
        (["S", "FA"], [TIME_WAIT]),
        (["S", "A", "R", "S"], [ESTABLISHED, CLOSE]),
        (["A"], []),
    ],
)
def test_each_change_is_told_once_and_a_handshake_is_not(
    client: str, packets: list[str], states: list[int]
) -> None:
    with synced() as director:
        for flags in packets:
            director.send(tcp(flags, client, 1000, 80))
        found = told(director)
        assert [record.state for record in found] == states
        assert all(record.flags & RecordFlag.CARRIED for record in found)
        if packets[-1] != "S" and states:
            assert encoded(found[-1:]) == encoded(given(director))


def test_nothing_is_told_while_sync_is_off() -> None:
    with synced() as director:
        director.plane.exchange.sync = False
        for flags in ("S", "A", "FA"):
            director.send(tcp(flags, CLIENT, 1000, 80))
        for _ in range(40):
            director.plane.tables.control.now += 2
            director.sweep()
        assert told(director) == []


def test_a_connection_from_before_sync_is_told_with_its_next_packet() -> None:
    with synced() as director:
        director.plane.exchange.sync = False
        establish(director)
        director.plane.exchange.sync = True
        director.plane.tables.control.now += 1
        director.send(tcp("A", CLIENT, 1000, 80))
        assert [record.state for record in told(director)] == [ESTABLISHED]


def test_an_association_of_sctp_is_told() -> None:
    with synced() as director:
        for chunk in (1, 10, 7, 14):
            director.send(sctp(chunk))
        assert [record.state for record in told(director)] == [11, 12, 13]


def test_a_connection_that_begins_established_is_told_with_its_first_packet() -> None:
    with synced() as director:
        director.plane.tune({"sloppy_tcp": 1})
        director.send(tcp("A", CLIENT, 1000, 80))
        assert encoded(told(director)) == encoded(given(director)) != b""


@pytest.mark.parametrize(
    ("packet", "state", "timeout"),
    [(tcp("A", CLIENT, 1000, 80), ESTABLISHED, 900), (tcp("FA", CLIENT, 1000, 80), FIN_WAIT, 120)],
)
def test_the_sweep_repeats_in_a_third_of_the_timeout(packet: bytes, state: int, timeout: int) -> None:
    """A client that sends every 100 s restarts the timer here, but the other directors do not see that."""
    with synced() as director:
        for frame in (tcp("S", CLIENT, 1000, 80), tcp("A", CLIENT, 1000, 80), packet):
            director.send(frame)
        told(director)
        repeats = list(_seconds_of_repeats(director, packet, state, timeout))
        gaps = [after - before for before, after in zip([0, *repeats], repeats, strict=False)]
        assert len(repeats) >= 9 and max(gaps) <= timeout // 3, repeats
        assert len(repeats) <= 3 * 4 + 1, "and not more often than it must"


def _seconds_of_repeats(director: Director, packet: bytes, state: int, timeout: int) -> Iterable[int]:
    """Yield the seconds, in three timeouts, in which the sweep told of the connection."""
    for second in range(2, 3 * timeout, 2):
        director.plane.tables.control.now += 2
        if second % 100 == 0:
            director.send(packet)
        director.sweep()
        for record in told(director):
            assert record.seconds > timeout - 102 and record.state == state
            yield second


def test_the_sweep_repeats_no_entry_that_another_carries_and_no_final_state() -> None:
    with synced() as director:
        establish(director)
        (record,) = told(director)
        director.plane.exchange.take(record.encode(), live=True)
        for flags in ("S", "FA"):
            director.send(tcp(flags, CLIENT, 2000, 80))
        told(director)
        for _ in range(400):
            director.plane.tables.control.now += 2
            director.sweep()
            assert told(director) == []


def test_the_sweep_repeats_a_template() -> None:
    with synced() as director:
        establish(director, virtual_port=443)
        assert [record.flags & RecordFlag.TEMPLATE for record in told(director)] == [4, 0]
        found = []
        for _ in range(145):
            director.plane.tables.control.now += 2
            director.sweep()
            found += [record for record in told(director) if record.flags & RecordFlag.TEMPLATE]
        assert len(found) >= 3
        assert {record.client for record in found} == {ipaddress.ip_address(CLIENT)}


def test_what_the_outbox_loses_is_counted() -> None:
    with synced() as director:
        for number in range(100):
            establish(director, 1000 + number)
        outbox = director.plane.exchange.outbox
        found = told(director)
        assert outbox.lost == 100 - len(found)
        per_cpu = TINY.outbox - 1
        assert per_cpu <= len(found) <= per_cpu * 8
        assert found[-1].client_port == 1099 or len(found) > per_cpu
        assert told(director) == [] and outbox.lost == 100 - len(found)


def test_every_reader_reads_everything() -> None:
    with synced() as director:
        second = RingOutbox(director.plane.tables.descriptors)
        establish(director)
        director.send(udp(CLIENT, 1, 53))
        assert second.read() == director.plane.exchange.outbox.read() != []


def test_a_second_director_serves_on_by_what_the_first_one_told() -> None:
    frames = [tcp(flags, client, 1000, 80) for client in (CLIENT, CLIENT6) for flags in ("S", "A")]
    with synced() as first, Director(SMALL) as second:
        second.setup([command for kind in KINDS[::-1] for command in kind.commands()])
        servers = [first.server_of(frame) for frame in frames]
        records = b"".join(first.plane.exchange.outbox.read())
        assert second.server_of(frames[1]) == "pass"
        assert second.plane.exchange.take(records, live=True).added == 2
        assert [second.server_of(frame) for frame in frames[1::2]] == servers[1::2]
