# SPDX-License-Identifier: Apache-2.0
"""Tables that are full: a SYN flood of ten million sources, and persistent clients without a template."""

from __future__ import annotations

import pytest
from benchmarks.counting import HardwareCounters
from benchmarks.directors import KEY
from benchmarks.probe import SYN, Bench, compile_frames
from tests.support.program_run import NAMES, VIP, Director, tcp

from pointsman.dataplane.xdp.kernel.layout import WAYS
from pointsman.dataplane.xdp.tables import Sizes

pytestmark = pytest.mark.root

SOURCES = 10_000_000
ESTABLISHED = 500
SERVERS = [f"-a -t {VIP}:80 -r {NAMES[name]}:80 -g" for name in ("rs1", "rs2", "rs3")]
SMALL = Sizes(connections=1 << 14, templates=64, services=16, dests=64, members=4096)


def flood(director: Director, packets: int) -> None:
    """SYNs, each from a random one of ten million addresses."""
    with HardwareCounters() as counters:
        compile_frames()
        bench = Bench(counters)
        bench.settings.port_bits = 0
        bench.aim(director.plane.programs["direct_xdp"])
        bench.run(SOURCES, SYN, repeat=packets)


def test_a_flood_from_ten_million_sources_costs_no_established_connection() -> None:
    clients = [f"172.16.{number >> 8}.{number & 255}" for number in range(ESTABLISHED)]
    with Director(SMALL) as director:
        director.setup([f"-A -t {VIP}:80 -s mh", *SERVERS])
        went = {client: director.server_of(tcp("S", client, 1000, 80)) for client in clients}
        for client in clients:
            director.send(tcp("A", client, 1000, 80))
        flood(director, SOURCES)
        assert director.exits()["table_full"] > SOURCES * 0.95
        found = {
            str(item.client): (str(item.server), item.state)
            for item in director.plane.connections()
            if str(item.client).startswith("172.16.")
        }
        assert found == {client: (server, "ESTABLISHED") for client, server in went.items()}
        for client in clients[::10]:
            assert director.server_of(tcp("A", client, 1000, 80)) == went[client]
        director.wait(61)
        assert len(list(director.plane.connections())) == ESTABLISHED
        assert director.plane.tables.entries["pm_connections"] * WAYS == 2 << 14


def test_persistent_clients_stay_with_their_server_when_both_tables_are_full() -> None:
    with Director(Sizes(connections=8, templates=8, services=16, dests=64, members=256)) as director:
        director.setup([f"-A -t {VIP}:80 -s rr -p 60", *SERVERS])
        flood(director, 1000)
        clients = [f"172.16.1.{number}" for number in range(1, 100)]
        went = {client: director.server_of(tcp("S", client, 1000, 80)) for client in clients}
        assert set(went.values()) == {NAMES["rs1"], NAMES["rs2"], NAMES["rs3"]}
        for client, server in went.items():
            assert director.server_of(tcp("A", client, 1000, 80)) == server
            assert director.server_of(tcp("S", client, 1001, 80)) == server
            assert director.server_of(tcp("A", client, 1001, 80)) == server
        exits = director.exits()
        assert exits["templates_full"] > 1000
        assert exits["untracked"] == 2 * len(clients)


def test_a_persistent_client_without_a_template_meets_one_server_with_all_its_connections() -> None:
    with Director(Sizes(connections=4096, templates=8, services=16, dests=64, members=256)) as director:
        director.setup([f"-A -t {VIP}:80 -s rr -p 60", *SERVERS])
        for number in range(1, 101):
            client = f"10.77.0.{number}"
            ports = {director.server_of(tcp("S", client, port, 80)) for port in range(1000, 1004)}
            assert len(ports) == 1, client
        assert director.exits()["templates_full"] > 300
        assert sum(active for active, _ in director.held(KEY).values()) == 400


def test_a_template_outlives_the_untracked_connections_of_its_client() -> None:
    """If templates have room but connections do not, packets restart the template's timer."""
    with Director(Sizes(connections=8, templates=4096, services=16, dests=64, members=256)) as director:
        director.setup([f"-A -t {VIP}:80 -s rr -p 60", *SERVERS])
        for number in range(1, 101):
            director.send(tcp("S", f"10.77.0.{number}", 1000, 80))
        assert director.exits()["table_full"] > 50
        for _ in range(4):
            director.wait(50)
            assert director.server_of(tcp("A", "10.77.0.100", 1000, 80)) in NAMES.values()
        assert "10.77.0.100" in {
            str(item.client) for item in director.plane.connections() if item.client_port == 0
        }
