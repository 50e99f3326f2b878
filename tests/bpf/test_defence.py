# SPDX-License-Identifier: Apache-2.0
"""drop_packet, drop_entry and secure_tcp (ipvs-sysctl.rst): what a SYN flood meets."""

from __future__ import annotations

import pytest
from tests.support.program_run import NAMES, VIP, Director, tcp

from pointsman.dataplane.xdp.tables import Sizes

pytestmark = pytest.mark.root

SERVICE = [f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r {NAMES['rs1']} -g"]
SMALL = Sizes(connections=256, templates=64, services=16, dests=64, members=256)


def client(number: int) -> str:
    return f"10.1.{number >> 8}.{number & 255}"


def states(director: Director) -> list[str]:
    return [item.state for item in director.plane.connections()]


def fill(director: Director, connections: int) -> None:
    for number in range(connections):
        director.send(tcp("S", client(number), 1000, 80))
    director.sweep()


def test_drop_packet_drops_some_that_would_start_a_connection_and_no_other() -> None:
    with Director() as director:
        director.setup(SERVICE)
        director.send(tcp("S", "10.9.9.9", 1, 80))
        director.plane.tune({"drop_packet": 3, "am_droprate": 4})
        went = [director.server_of(tcp("S", client(number), 1000, 80)) for number in range(400)]
        assert 50 < went.count(None) < 170  # a hundred; six times the standard deviation off are 52 and 148
        assert director.exits()["drop_packet"] == went.count(None)
        assert {director.server_of(tcp("A", "10.9.9.9", 1, 80)) for _ in range(100)} == {NAMES["rs1"]}


def test_drop_entry_gives_up_what_was_never_established() -> None:
    with Director() as director:
        director.setup(SERVICE)
        fill(director, 320)
        for number in range(100):
            director.send(tcp("A", client(number), 1000, 80))
        director.plane.tune({"drop_entry": 3})
        director.sweep()
        assert states(director).count("ESTABLISHED") == 100
        assert 175 < states(director).count("SYN_RECV") < 220  # every sixteenth in two seconds
        held = director.plane.counters().services[0].servers[0].active
        assert held == len(states(director))


@pytest.mark.parametrize("mode", [1, 2])
def test_modes_one_and_two_wait_until_the_table_is_nearly_full(mode: int) -> None:
    with Director(SMALL) as director:
        director.setup(SERVICE)
        director.plane.tune({"drop_packet": mode, "drop_entry": mode, "secure_tcp": mode, "am_droprate": 1})
        fill(director, 150)
        assert states(director) == ["SYN_RECV"] * 150
        director.plane.tune({})
        for number in range(150, 230):
            director.send(tcp("S", client(number), 1000, 80))
        director.plane.tune({"drop_packet": mode, "am_droprate": 1})
        director.sweep()
        assert director.server_of(tcp("S", "10.9.9.9", 1, 80)) is None
        director.plane.tune({"secure_tcp": mode})
        assert director.server_of(tcp("S", "10.9.9.9", 1, 80)) == NAMES["rs1"]
        assert states(director).count("SYNACK") == 1
        director.wait(61)
        director.plane.tune({"drop_packet": mode, "am_droprate": 1})
        assert director.server_of(tcp("S", "10.9.9.8", 1, 80)) == NAMES["rs1"]
