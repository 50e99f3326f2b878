# SPDX-License-Identifier: Apache-2.0
"""The cases of `make bench BENCH=dataplane`: measured in time here, and in instructions in a guest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.directors import director, director6, fill, forget
from benchmarks.probe import ACK, SYN, Bench, Row
from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.model.operations import Flush
from pointsman.model.service import Transport

CURSORS = ("rr", "wrr", "sh", "mh")
"""Schedulers that read few servers, even of many."""
SCANS = ("lc", "wlc", "sed", "nq", "fo", "ovf")
"""Schedulers that compare all servers."""
TOLERATED = 1e-4
"""Share of packets that may find both their buckets full."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield all cases that are measured per packet."""
    yield bench.measure("floor", bench.loaded.programs["floor_of"], 1, ACK)
    yield from established(bench)
    yield from established6(bench)
    yield from udp(bench)
    yield established_once(bench)
    for servers in (16, 256):
        yield from (first_packet(bench, scheduler, servers) for scheduler in CURSORS)
    for scheduler in SCANS:
        yield from (first_packet(bench, scheduler, servers) for servers in bench.scale.crowds)
    yield from (established_among(bench, services) for services in bench.scale.services)
    yield from (established_beside(bench, connections) for connections in bench.scale.tables)
    yield from flood(bench)
    yield from lru(bench)


def established(bench: Bench) -> Iterator[Row]:
    """Measure packets of known connections, and first packets with rr."""
    yield from _known_and_first(bench, director(connections=bench.scale.many), "tcp4", SYN, ACK)


def established6(bench: Bench) -> Iterator[Row]:
    """Measure the same over IPv6, where an entry has 32 bytes."""
    with bench.sending(ipv6=1):
        yield from _known_and_first(bench, director6(connections=bench.scale.many), "tcp6", SYN, ACK)


def udp(bench: Bench) -> Iterator[Row]:
    """Measure the same with UDP."""
    plane = director(connections=bench.scale.many, transport=Transport.UDP)
    with bench.sending(udp=1):
        yield from _known_and_first(bench, plane, "udp4", 0, 0)


def _known_and_first(bench: Bench, plane: XdpDataPlane, kind: str, first: int, later: int) -> Iterator[Row]:
    """Measure both kinds of packets. `first` and `later` are their TCP flags."""
    many = bench.scale.many
    program = plane.programs["direct_xdp"]
    for flows in (1, many):
        forget(plane)
        bench.establish(program, flows)
        yield bench.measure(f"established_{kind}", program, flows, later)
    renew = partial(forget, plane)
    yield bench.measure(f"first_{kind}_rr_16", program, many, first, renew, sequential=True, repeat=many // 2)
    tolerate(plane, many * bench.scale.runs)
    plane.close(keep_forwarding=False)


def established_once(bench: Bench) -> Row:
    """Measure one packet of each flow. It finds the caches as cold as a first packet, to compare with it."""
    few = bench.scale.few
    plane = director(connections=few * 4)
    program = plane.programs["direct_xdp"]
    bench.establish(program, few)
    row = bench.measure("established_tcp4_once", program, few, ACK, sequential=True, repeat=few)
    plane.close(keep_forwarding=False)
    return row


def tolerate(plane: XdpDataPlane, packets: int) -> None:
    """Raise RuntimeError if too many packets were not forwarded on the path under test."""
    exits = plane.counters().exits
    if sum(exits.values()) > TOLERATED * packets + 10:
        raise RuntimeError(f"not every packet took the path that was to be measured: {exits}")


def first_packet(bench: Bench, scheduler: str, servers: int) -> Row:
    """Measure SYNs with a table that fits a cache, so that the scheduler is most of the cost."""
    few = bench.scale.few
    plane = bench.planes.get(few)
    if plane is None:  # loaded once: in a guest, loading takes longer than all measurements
        plane = bench.planes[few] = director(connections=few * 4)
    forget(plane)
    plane.apply([Flush()])
    fill(plane, scheduler, servers)
    case, program = f"first_tcp4_{scheduler}_{servers}", plane.programs["direct_xdp"]
    row = bench.measure(case, program, few, SYN, partial(forget, plane), sequential=True, repeat=few)
    tolerate(plane, few * bench.scale.runs * 100)
    return row


def established_among(bench: Bench, services: int) -> Row:
    """Measure one flow of one service, among other services."""
    plane = director(services=services, connections=1 << 14)
    program = plane.programs["direct_xdp"]
    bench.establish(program, 1)
    row = bench.measure(f"established_services_{services}", program, 1, ACK)
    plane.close(keep_forwarding=False)
    return row


def established_beside(bench: Bench, connections: int) -> Row:
    """Measure a thousand flows in random order among many connections; only these flows are in the caches."""
    plane = director(connections=connections)
    program = plane.programs["direct_xdp"]
    bench.establish(program, connections)
    row = bench.measure(f"established_among_{connections}", program, 1000, ACK)
    plane.close(keep_forwarding=False)
    return row


def flood(bench: Bench) -> Iterator[Row]:
    """Measure a SYN flood while the table fills and when it is full, and known connections meanwhile."""
    plane = director(connections=bench.scale.many // 4)
    program = plane.programs["direct_xdp"]
    bench.establish(program, 1000)
    with bench.sending(port_bits=0):
        sources = bench.scale.sources
        yield bench.measure(
            "syn_flood_table_fills",
            program,
            sources,
            SYN,
            partial(forget, plane),
            repeat=bench.scale.many // 8,
        )
    forget(plane)
    bench.establish(program, 1000)
    with bench.sending(port_bits=0):
        bench.aim(program)
        bench.run(sources, SYN, repeat=bench.scale.many)
        yield bench.measure("syn_flood_table_full", program, sources, SYN)
    lost = plane.counters().exits
    yield bench.measure("established_table_full", program, 1000, ACK)
    if plane.counters().exits != lost:
        raise RuntimeError("the flood has cost a connection its entry")
    plane.close(keep_forwarding=False)


def lru(bench: Bench) -> Iterator[Row]:
    """Measure a table of the kernel (LRU_HASH) for comparison, without states and services."""
    program = bench.loaded.programs["lru_of"]
    for flows in (1, bench.scale.many):
        bench.aim(program)
        bench.run(flows, ACK, sequential=True, repeat=max(flows, 2))
        yield bench.measure("lru_hash_known", program, flows, ACK)
    yield bench.measure("lru_hash_new", program, 1 << 31, ACK)


def sweep(bench: Bench) -> Row:
    """Measure the sweep, per connection in the table. Nothing is subtracted."""
    many, plane = bench.scale.many, director()
    bench.establish(plane.programs["direct_xdp"], many)
    times = []
    for _ in range(bench.scale.runs):
        start = time.perf_counter_ns()
        libbpf.run_program(plane.programs["sweep_now"])
        times.append(time.perf_counter_ns() - start)
    plane.close(keep_forwarding=False)
    return Row("sweep_per_connection", many, round(statistics.median(times) / many, 1))


def filling(services: int) -> Row:
    """Measure loading of program and tables, per service with one server."""
    start = time.perf_counter_ns()
    plane = director(services=services)
    passed = time.perf_counter_ns() - start
    plane.close(keep_forwarding=False)
    return Row("load_per_service", services, round(passed / services, 1))
