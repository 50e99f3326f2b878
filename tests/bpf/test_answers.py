# SPDX-License-Identifier: Apache-2.0
"""The program's own ICMP answers, to anything that may come; tests/golden has a few cases of them."""

from __future__ import annotations

import ipaddress
import random
import struct
import time
from collections import Counter

import pytest
from tests.support.program_run import (
    DIRECTOR_MAC,
    LOOPBACK,
    NAMES,
    ROUTER_MAC,
    SERVERS,
    VIP,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    answer_of,
    checksum,
    segment,
)

from pointsman.model.next_hop import NextHop

pytestmark = pytest.mark.root

TCP, UDP = 6, 17
MTU = 700
SETUP = [
    *(f"-A -t {VIP}:{port} -s rr" for port in (80, 81)),
    *(f"-A -u {VIP}:{port} -s rr" for port in (53, 54)),
    *(f"-a -{letter} {VIP}:{port} -r {NAMES['rs1']} -g" for letter, port in (("t", 80), ("u", 53))),
]
"""Ports 81 and 54 are refused."""
PORT_UNREACHABLE, TOO_BIG, TIME_EXCEEDED = (3, 3), (3, 4), (11, 0)
REASONS = {PORT_UNREACHABLE: "no_destination", TOO_BIG: "too_big", TIME_EXCEEDED: "ttl_exceeded"}
BURST, ALL_BURST, ALL_PER_SECOND = 6, 50, 1000


def packet(generator: random.Random) -> bytes:
    """Packets to one of the services, of any length, type of service and TTL, with and without options."""
    protocol = generator.choice((TCP, UDP))
    port = generator.choice((80, 81) if protocol == TCP else (53, 54))
    data = generator.randbytes(generator.choice((0, 1, 7, 400, 507, 508, 509, 510, 700, 1200)))
    if protocol == TCP:
        payload = segment(generator.choice(["S", "S", "A", "FA"]), 1000, port) + data
    else:
        payload = struct.pack("!HHHH", 1000, port, 8 + len(data), 0) + data
    options = b"\x01" * (generator.choice((0, 0, 0, 1, 5, 10)) * 4)
    # So few that each asks for more than its burst: how long the machine needs for all is of no importance.
    source = f"10.0.{generator.randrange(2)}.{generator.randrange(1, 200)}"
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45 + len(options) // 4,
        generator.randrange(256),
        20 + len(options) + len(payload),
        generator.randrange(1 << 16),
        generator.choice((0x4000, 0x4000, 0)),
        generator.choice((64, 64, 64, 2, 1, 0)),
        protocol,
        0,
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address(VIP).packed,
    )
    return header[:10] + struct.pack("!H", checksum(header + options)) + header[12:] + options + payload


def frame_of(generator: random.Random) -> bytes:
    """Mostly right; else with bytes changed, cut, or followed by what is not the packet's."""
    frame = bytearray(DIRECTOR_MAC + ROUTER_MAC + b"\x08\x00" + packet(generator))
    for _ in range(generator.choice((0, 0, 0, 1, 4))):
        frame[generator.randrange(14, min(len(frame), 80))] = generator.randrange(256)
    if generator.random() < 0.1:
        del frame[generator.randrange(40, len(frame)) :]
    elif generator.random() < 0.2:
        frame += generator.randbytes(generator.randrange(1, 40))
    return bytes(frame)


def check_answer(frame: bytes, answer: bytes) -> tuple[int, int]:
    """Returns type and code."""
    kind, code, mtu, quoted = answer_of(answer)
    header, asked = answer[14:34], frame[14:]
    assert answer[:12] == ROUTER_MAC + DIRECTOR_MAC
    assert (header[1], header[6:8], header[8]) == (0xC0 | asked[1] & 0x1E, b"\0\0", 64)
    assert (header[12:16], header[16:20]) == (asked[16:20], asked[12:16])
    length = int.from_bytes(asked[2:4])
    assert len(quoted) == min(length, 576 - 28)
    if (kind, code) == TOO_BIG:  # the kernel's has its TTL less one, too
        assert (mtu, length > MTU) == (MTU, True)
        assert quoted[8] == asked[8] - 1
        assert checksum(quoted[: (quoted[0] & 15) * 4]) == 0
        quoted = quoted[:8] + asked[8:9] + quoted[9:10] + asked[10:12] + quoted[12:]
    else:
        assert mtu == 0
        assert (kind, code) != TIME_EXCEEDED or asked[8] <= 1
    assert asked.startswith(quoted)
    return kind, code


@pytest.mark.parametrize("mark", [0, 9, 7], ids=["xdp", "tc", "tc, by a mark"])
def test_every_answer_is_right_and_none_is_too_many(mark: int) -> None:
    """The clock of the packet path stands, so a client has no more than its burst of what is limited."""
    generator = random.Random(20261124)
    answers: Counter[tuple[int, int]] = Counter()
    limited: Counter[bytes] = Counter()
    verdicts: Counter[int] = Counter()
    with Director() as director:
        director.setup(SETUP)
        if mark == 7:  # of a service that has none of these addresses
            director.setup(["-A -f 7 -s rr", f"-a -f 7 -r {NAMES['rs1']} -g"])
        director.plane.set_next_hops(
            NextHop(ipaddress.ip_address(address), LOOPBACK, DIRECTOR_MAC, mac, mtu=1500, route_mtu=MTU)
            for address, mac in SERVERS.items()
        )
        began = time.monotonic()
        for _ in range(12000):
            frame = frame_of(generator)
            verdict, sent = director.send(frame, mark)
            verdicts[verdict] += 1
            if verdict == XDP_TX and sent[:6] == ROUTER_MAC:
                reason = check_answer(frame, sent)
                answers[reason] += 1
                limited[frame[26:30]] += reason != TOO_BIG
            elif verdict == XDP_PASS:
                assert sent == frame
        passed = time.monotonic() - began
        exits = director.exits()
    assert set(answers) == set(REASONS) if mark != 7 else {TOO_BIG, TIME_EXCEEDED}
    assert max(limited.values()) <= BURST
    assert limited.total() <= ALL_BURST + ALL_PER_SECOND * passed + 1
    assert verdicts[XDP_DROP] == exits["unanswered"]
    assert answers.total() + exits["unanswered"] == sum(exits.get(name, 0) for name in REASONS.values())
    assert min(verdicts[each] for each in (XDP_DROP, XDP_PASS, XDP_TX)) > 100
