# SPDX-License-Identifier: Apache-2.0
"""The slots of sh, dh and mh, and the kernel's choices that the packet path cannot replay (marks, IPv6)."""

from __future__ import annotations

import gzip
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from pointsman.dataplane.xdp import slots
from pointsman.dataplane.xdp.slots import Candidate

with gzip.open(Path(__file__).parents[2] / "golden" / "1_schedulers_hash.json.gz") as file:
    CASES = [case for case in json.load(file)["cases"] if "virtual" in case]

MARKED_DH = [case for case in CASES if case["scheduler"] == "dh" and case["virtual"].startswith("fwmark")]
IPV6 = [case for case in CASES if "[" in case["virtual"]]


def folded(address: str) -> int:
    """Fold an address as the kernel does: XOR of the words of an IPv6 address."""
    packed = ipaddress.ip_address(address).packed
    number = 0
    for at in range(0, len(packed), 4):
        number ^= int.from_bytes(packed[at : at + 4], "big")
    return number


def slot(scheduler: str, address: str) -> int:
    if scheduler == "mh":
        return slots.half_sip(folded(address), 2654435761) % 4093
    return folded(address) * 0x61C88647 % 2**32 >> 24


def servers_of(case: dict[str, Any], events: list[list[Any]]) -> dict[str, Candidate]:
    """The servers newest first, after the commands among these events."""
    port = int(case["real_port"])
    weights = dict(
        zip(
            reversed(case["dests_in_add_order"]),
            reversed(case["weights_in_add_order"]),
            strict=True,
        )
    )
    for event in events:
        if event[0] == "cmd":
            words = event[1].split()
            server = words[words.index("-r") + 1]
            if "-d" in words:
                del weights[server]
            else:
                weights[server] = int(words[words.index("-w") + 1])
    return {name: Candidate(folded(name), port, weight, weight) for name, weight in weights.items()}


@pytest.mark.parametrize("case", MARKED_DH + IPV6, ids=lambda case: case["name"])
def test_the_kernel_chose_the_server_of_the_slot(case: dict[str, Any]) -> None:
    checked = 0
    for number, event in enumerate(case["events"]):
        if event[0] != "syn":
            continue
        client, _, expected, *destination = event[1:]
        servers = servers_of(case, case["events"][:number])
        table = slots.slots_of(case["scheduler"], list(servers.values()))
        chosen = list(servers)[table[slot(case["scheduler"], destination[0] if destination else client)]]
        assert (chosen if servers[chosen].weight else None) == expected, event
        checked += 1
    assert checked > 20


def test_there_are_as_many_cases_as_were_recorded() -> None:
    assert (len(MARKED_DH), len(IPV6)) == (7, 2)


def test_a_server_more_takes_slots_and_moves_few_others() -> None:
    """The purpose of mh (Maglev): almost no slot moves from one remaining server to another."""
    old = [Candidate(0x0A000001 + number, 80, 1, 1) for number in range(50)]
    new = [Candidate(0x0A0000FF, 80, 1, 1), *old]
    before, after = slots.slots_of("mh", old), slots.slots_of("mh", new)
    taken = after.count(0)
    moved = sum(place != 0 and place - 1 != was for was, place in zip(before, after, strict=True))
    assert 75 <= taken <= 90
    assert moved < 4093 * 0.1


def test_nobody_has_a_slot_of_an_empty_list() -> None:
    for scheduler, count in slots.SLOTS.items():
        assert slots.slots_of(scheduler, []) == [slots.NONE] * count
    assert set(slots.slots_of("mh", [Candidate(1, 80, 0, 0)])) == {slots.NONE}
    assert set(slots.slots_of("sh", [Candidate(1, 80, 0, 0)])) == {0}


def test_elements_hold_the_slots_in_order() -> None:
    servers = [Candidate(number, 80, number, number) for number in range(1, 6)]
    for scheduler in slots.SLOTS:
        unpacked = [
            element >> shift & 0xFFFF
            for element in slots.elements_of(scheduler, servers)
            for shift in (0, 16, 32, 48)
        ]
        table = slots.slots_of(scheduler, servers)
        assert unpacked[: len(table)] == table
        assert len(unpacked) == 4 * slots.length_of(scheduler)
    assert slots.elements_of("rr", servers) == []


def test_flags_come_back_by_the_names_they_were_given() -> None:
    for flags in ({"sh-port"}, {"flag-1", "mh-port"}, {"flag-3", "mh-fallback"}, set[str]()):
        assert slots.flags_of(slots.number_of_flags(frozenset(flags))) == flags
    assert slots.hashes_port("sh", frozenset({"flag-2"}))
    assert not slots.hashes_port("mh", frozenset({"sh-port"}))
    assert not slots.hashes_port("rr", frozenset({"flag-2"}))
