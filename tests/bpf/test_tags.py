# SPDX-License-Identifier: Apache-2.0
"""VLAN tags in frames. One of VLAN 0 has a priority only: the frame belongs to the interface itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.program_run import NAMES, SERVERS6, VIP, VIP6, XDP_PASS, XDP_TX, Director, tcp, udp

pytestmark = pytest.mark.root
CLIENT, CLIENT6 = "10.3.0.1", "fd00::3"


@pytest.fixture
def director() -> Iterator[Director]:
    with Director() as made:
        for vip, server in ((VIP, NAMES["rs1"]), (f"[{VIP6}]", f"[{next(iter(SERVERS6))}]")):
            made.setup([f"-A -t {vip}:80 -s rr", f"-a -t {vip}:80 -r {server}:80"])
        yield made


def tagged(frame: bytes, number: int, priority: int = 5) -> bytes:
    return frame[:12] + b"\x81\x00" + (priority << 13 | number).to_bytes(2) + frame[12:]


@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
def test_a_frame_with_a_priority_leaves_without_its_tag(director: Director, client: str) -> None:
    for flags in ("S", "A", "PA"):
        frame = tcp(flags, client, 1000, 80)
        assert director.send(tagged(frame, 0)) == director.send(frame)
    assert director.send(tagged(frame, 0))[0] == XDP_TX
    (connection,) = director.plane.connections()
    assert connection.state == "ESTABLISHED"
    assert director.exits() == {}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (tagged(tcp("S", CLIENT, 1000, 81), 0), "no_service"),
        (tagged(tcp("S", CLIENT6, 1000, 81), 0), "no_service"),
        (tagged(udp(CLIENT, 1000, 80), 0), "no_service"),
        (tagged(tcp("S", CLIENT, 1000, 80), 1), "not_ip"),
        (tagged(tagged(tcp("S", CLIENT, 1000, 80), 0), 0), "not_ip"),
        (tagged(tcp("S", CLIENT, 1000, 80), 0)[:17], "not_ip"),
    ],
)
def test_a_frame_that_is_passed_keeps_its_tag(director: Director, frame: bytes, reason: str) -> None:
    """There may be an interface of VLAN 0."""
    assert director.send(frame) == (XDP_PASS, frame)
    assert director.exits() == {reason: 1}
