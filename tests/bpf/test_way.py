# SPDX-License-Identifier: Apache-2.0
"""The way of a packet whose connection is known: how long it is, and that nothing is called on it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from tests.bpf.interpreter import Interpreter, Memory, Way
from tests.support.program_run import LOOPBACK, SMALL, VIP, VIP6, XDP_TX, Director, tcp, udp

from pointsman.dataplane.xdp.kernel import layout, libbpf
from pointsman.dataplane.xdp.tables import limits_of

pytestmark = pytest.mark.root

ARRAY, PERCPU_ARRAY = 2, 6
"""enum bpf_map_type. A look-up in the first is never a call, one in the second is none from Linux 6.10 on."""
CLIENT, CLIENT6 = "10.3.0.1", "fd00::3"
MOST_INSTRUCTIONS = 280
"""A limit in BPF instructions; the CPU executes more."""


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    with Director() as made:
        for option, address in (("-t", VIP), ("-u", VIP), ("-t", f"[{VIP6}]")):
            server = "[fd00:100::11]" if "[" in address else "192.168.100.11"
            made.setup(
                [
                    f"ipvsadm -A {option} {address}:80 -s rr",
                    f"ipvsadm -a {option} {address}:80 -r {server}:80",
                ]
            )
        yield made


def way_of(director: Director, frame: bytes) -> Way:
    tables = director.plane.tables
    known: dict[str, tuple[Memory, int]] = {}
    for name, descriptor in tables.descriptors.items():
        info = libbpf.map_info(descriptor)
        memory = tables._memory.get(name)
        size = info.entries * info.value_size if memory is None else len(memory)
        known[name] = (bytearray(size) if memory is None else memoryview(memory), info.value_size)
    known[".rodata.pm_lim"] = (bytearray(limits_of(SMALL.entries())), ctypes.sizeof(layout.Limits))
    return Interpreter(layout.OBJECT, "xdp", known).run(frame, LOOPBACK)


@pytest.mark.parametrize(
    ("first", "later", "table"),
    [
        (tcp("S", CLIENT, 4000, 80), tcp("A", CLIENT, 4000, 80), "pm_connections"),
        (udp(CLIENT, 4001, 80), udp(CLIENT, 4001, 80), "pm_connections"),
        (tcp("S", CLIENT6, 4000, 80), tcp("A", CLIENT6, 4000, 80), "pm_connections6"),
    ],
    ids=["tcp", "udp", "tcp6"],
)
def test_an_established_packet_calls_nothing(
    director: Director, first: bytes, later: bytes, table: str
) -> None:
    for frame in (first, later):
        director.send(frame)
    forwarded = director.send(later)
    way = way_of(director, later)
    assert (way.verdict, way.packet) == (XDP_TX, forwarded[1]) == forwarded
    kinds = {name: libbpf.map_info(director.plane.tables.descriptors[name]).kind for name in way.asked}
    assert {kinds.pop("pm_traffic")} == {PERCPU_ARRAY}
    assert set(kinds.values()) == {ARRAY}
    fronts = "pm_fronts6" if table == "pm_connections6" else "pm_fronts"
    assert way.asked == (fronts, table, "pm_dests", "pm_traffic"), "one look into each"
    assert way.instructions <= MOST_INSTRUCTIONS


def test_a_first_packet_does_call(director: Director) -> None:
    with pytest.raises(AssertionError, match="call"):
        way_of(director, tcp("S", CLIENT, 4002, 80))
