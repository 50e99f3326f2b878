# SPDX-License-Identifier: Apache-2.0
"""Long lists of servers are divided into blocks: the choice stays that of looking at every server."""

from __future__ import annotations

import ipaddress
import random
from fractions import Fraction

import pytest
from tests.support.program_run import VIP, Director, tcp

from pointsman.dataplane.xdp.server_list_format import SHORT, Blocks
from pointsman.model.service import ServiceKey, Transport

pytestmark = pytest.mark.root

SCHEDULERS = ("lc", "wlc", "sed", "nq", "fo", "ovf")
SERVERS = [f"192.168.100.{number}" for number in range(11, 91)]
KEY = ServiceKey.of(Transport.TCP, ipaddress.IPv4Address(VIP), 80)
STEPS = 250


def cost(scheduler: str, weight: int, active: int, inactive: int) -> Fraction:
    """The kernel's comparison (ip_vs_lc.c, and likewise wlc, sed, nq, fo, ovf)."""
    match scheduler:
        case "lc":
            return Fraction(active * 256 + inactive)
        case "wlc":
            return Fraction(active * 256 + inactive, weight)
        case "nq" if not active:
            return Fraction(0)
        case "sed" | "nq":
            return Fraction(active + 1, weight)
        case _:
            return Fraction(1, weight)


class Model:
    """Looks at all servers, newest first."""

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler
        self.weights: dict[str, int] = {}
        self.limited: set[str] = set()

    def expects(self, held: dict[str, tuple[int, int]], overloaded: set[str]) -> str:
        best: tuple[Fraction, str] | None = None
        for address in reversed(self.weights):
            weight, (active, inactive) = self.weights[address], held[address]
            if not weight or address in overloaded or (self.scheduler == "ovf" and active > weight):
                continue
            found = cost(self.scheduler, weight, active, inactive)
            if best is None or found < best[0]:
                best = found, address
        return best[1] if best else "pass"


def overloaded(director: Director) -> set[str]:
    """Servers that have reached their upper threshold, as the packet path has noted it."""
    store, tables = director.plane.store, director.plane.tables
    (_, entry), *_ = store.entries()
    servers = zip(
        director.plane.read().entries[0].servers, store.servers.in_force(entry.service), strict=True
    )
    return {str(server.key.address) for server, index in servers if tables.loads[index].overloaded}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_choice_from_a_long_list_is_that_of_looking_at_every_server(scheduler: str) -> None:
    """Connections come, end and expire; servers are added, edited and deleted; each choice is foretold."""
    chance = random.Random(scheduler)
    model = Model(scheduler)
    with Director() as director:
        director.resolve({address: bytes([2, 0, 0, 0, 0, int(address.split(".")[3])]) for address in SERVERS})
        director.ipvsadm(f"-A -t {VIP}:80 -s {scheduler}")
        for address in SERVERS[:60]:
            put(director, model, "-a", address, chance)
        live: list[tuple[str, int]] = []
        for step in range(STEPS):
            client = f"10.9.{step >> 8}.{step & 255}"
            expected = model.expects(director.held(KEY), overloaded(director))
            verdict, frame = director.send(tcp("S", client, 1000, 80))
            went = f"192.168.100.{frame[5]}" if verdict == 3 else "pass"
            assert went == expected, f"step {step}"
            live.append((client, 1000))
            disturb(director, model, chance, live)


def disturb(director: Director, model: Model, chance: random.Random, live: list[tuple[str, int]]) -> None:
    """Something that changes loads, weights or the list."""
    match chance.randrange(8):
        case 0 | 1 | 2:
            client, port = live[chance.randrange(len(live))]
            director.send(tcp(chance.choice(["A", "FA", "R"]), client, port, 80))
        case 3:
            director.wait(20)
        case 4:
            put(director, model, "-e", chance.choice(list(model.weights)), chance)
        case 5 if len(model.weights) > SHORT + 1:
            address = chance.choice(list(model.weights))
            director.ipvsadm(f"-d -t {VIP}:80 -r {address}:80")
            del model.weights[address]
        case 6:
            missing = [address for address in SERVERS if address not in model.weights]
            if missing:
                put(director, model, "-a", chance.choice(missing), chance)


def put(director: Director, model: Model, option: str, address: str, chance: random.Random) -> None:
    weight = chance.choice([0, 1, 1, 2, 3, 100])
    limit = chance.choice(["", "", "-x 2", "-x 3 -y 1"])
    director.ipvsadm(f"{option} -t {VIP}:80 -r {address}:80 -g -w {weight} {limit}")
    model.weights[address] = weight


@pytest.mark.parametrize("length", [0, SHORT, SHORT + 1, 64, 100, 1000, 65535])
def test_blocks_cover_a_list_and_grow_as_its_root(length: int) -> None:
    blocks = Blocks.of(length)
    if length <= SHORT:
        assert blocks.total == 0
        return
    assert (blocks.total - 1) << blocks.shift < length <= blocks.total << blocks.shift
    assert blocks.total + (1 << blocks.shift) <= 3.2 * length**0.5
