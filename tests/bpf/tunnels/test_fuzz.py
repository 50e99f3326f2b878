# SPDX-License-Identifier: Apache-2.0
"""TUN: whatever comes in, what leaves is that packet in a tunnel, or it is passed or dropped unchanged."""

from __future__ import annotations

import random

import pytest
from tests.bpf.tunnels.frames import FAR, FAR6, far_hop, open_gre, open_gue, open_outer
from tests.support.program_run import (
    VIP,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    checksum,
    damaged,
    tcp,
    udp,
)

from pointsman.dataplane.xdp.kernel import libbpf

pytestmark = pytest.mark.root

KINDS = {
    "ipip": "",
    "gue": "--tun-type gue --tun-port 6080",
    "gre": "--tun-type gre",
    "gre csum": "--tun-type gre --tun-csum",
    "gue csum": "--tun-type gue --tun-port 6080 --tun-csum",
}
TC_SHOT, TC_REDIRECT, TC_UNSPEC = 2, 7, 0xFFFFFFFF
VERDICTS = {"direct_xdp": (XDP_PASS, XDP_DROP, XDP_TX), "direct_tc": (TC_UNSPEC, TC_SHOT, TC_REDIRECT)}


def mutated(generator: random.Random) -> bytes:
    """A frame to the service, with some of its bytes changed, cut or lengthened."""
    number = generator.randrange(1, 40)
    source = generator.choice([f"10.3.0.{number}", f"fd00:3::{number}"])
    if generator.random() < 0.5:
        frame = tcp(generator.choice(["S", "S", "A", "FA", ""]), source, 1000, 80)
    else:
        frame = udp(source, 1000, 80)
    return damaged(generator, frame)


def payload(kind: str, body: bytes) -> bytes:
    """The packet in the tunnel. A checksum made of one that is wrong itself is not looked at."""
    match kind.split():
        case ["gue"]:
            return open_gue(body)[3]
        case ["gue", "csum"]:
            return body[12:]
        case ["gre"]:
            return open_gre(body)[2]
        case ["gre", "csum"]:
            return body[8:]
        case _:
            return body


def is_passed_on(packet: bytes, inner: bytes) -> None:
    """Nothing but the TTL has changed, and IPv4's checksum, which is right."""
    length = int.from_bytes(packet[2:4]) if packet[0] >> 4 == 4 else int.from_bytes(packet[4:6]) + 40
    assert len(inner) == length
    if packet[0] >> 4 == 6:
        assert inner == packet[:7] + bytes((packet[7] - 1,)) + packet[8:length]
        return
    assert inner[:8] + inner[9:10] + inner[12:] == packet[:8] + packet[9:10] + packet[12:length]
    assert inner[8] == packet[8] - 1
    assert checksum(inner[: (inner[0] & 15) * 4]) == 0


@pytest.mark.parametrize("hook", list(VERDICTS))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("server", [FAR, FAR6])
def test_any_frame_leaves_whole_or_not_at_all(kind: str, server: str, hook: str) -> None:
    generator = random.Random(f"{kind} {server}")
    passed, dropped, sent = VERDICTS[hook]
    seen = {passed: 0, dropped: 0, sent: 0}
    with Director() as director:
        director.plane.set_next_hops([far_hop(server)])
        target = f"[{server}]:80" if ":" in server else f"{server}:80"
        for place in (VIP, f"[{VIP6}]"):
            for transport in ("-t", "-u"):
                director.ipvsadm(f"-A {transport} {place}:80 -s rr")
                director.ipvsadm(f"-a {transport} {place}:80 -r {target} -i {KINDS[kind]}")
        for _ in range(1500):
            frame = mutated(generator)
            if hook == "direct_tc" and len(frame) < 54:
                continue  # the kernel's test runner refuses socket buffers without a whole IP header
            result = libbpf.run_program(director.plane.programs[hook], frame)
            seen[result.verdict] += 1
            if result.verdict in (passed, dropped):
                assert result.data == frame
            elif result.data[:6] != frame[6:12]:  # else it is an answer, whose tests are elsewhere
                outer, body = open_outer(result.data)
                assert outer["target"] == server
                is_passed_on(frame[14:], payload(kind, body))
    assert seen[sent] > 300 and seen[passed] > 50
