# SPDX-License-Identifier: Apache-2.0
"""A real server that is the director itself: its stack gets the packets, counted and recorded."""

from __future__ import annotations

import ipaddress

import pytest
from tests.support.program_run import NAMES, VIP, VIP6, XDP_PASS, XDP_TX, Director, tcp

from pointsman.model.next_hop import NextHop

pytestmark = pytest.mark.root

OWN, OWN6 = "192.168.100.2", "fd00:100::2"


@pytest.mark.parametrize(
    ("vip", "own", "other", "client"),
    [
        (VIP, OWN, NAMES["rs1"], "10.0.0.1"),
        (f"[{VIP6}]", f"[{OWN6}]", "[fd00:100::11]", "2001:db8::1"),
    ],
)
def test_packets_pass_to_the_stack_unchanged_counted_and_recorded(
    vip: str, own: str, other: str, client: str
) -> None:
    address = ipaddress.ip_address(own.strip("[]"))
    with Director() as director:
        director.plane.set_next_hops([NextHop(address, 0, bytes(6), None, local=True)])
        director.setup(
            [f"-A -t {vip}:80 -s rr", f"-a -t {vip}:80 -r {other}:80 -g", f"-a -t {vip}:80 -r {own}:80 -g"]
        )
        for flags, ttl in (("S", 64), ("A", 64), ("PA", 1)):
            frame = tcp(flags, client, 1000, 80, ttl=ttl)
            assert director.send(frame) == (XDP_PASS, frame)
        assert director.send(tcp("S", client, 1001, 80))[0] == XDP_TX
        assert director.exits() == {"local": 3}
        assert [item.state for item in director.plane.connections() if item.server == address] == [
            "ESTABLISHED"
        ]
        listed = [line.split() for line in director.ipvsadm("-Ln").splitlines() if own in line]
        assert listed == [["->", f"{own}:80", "Route", "1", "1", "0"]]
        (service,) = director.plane.counters().services
        assert {str(each.key.address): each.traffic.packets for each in service.servers}[str(address)] == 3


def test_an_address_that_comes_and_goes_is_followed() -> None:
    """The VIP of a standby, say: first another host has it, then this one."""
    address = ipaddress.ip_address(NAMES["rs1"])
    with Director() as director:
        director.setup([f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r {NAMES['rs1']}:80 -g"])
        assert director.server_of(tcp("S", "10.0.0.1", 1000, 80)) == NAMES["rs1"]
        director.plane.set_next_hops([NextHop(address, 0, bytes(6), None, local=True)])
        assert director.server_of(tcp("A", "10.0.0.1", 1000, 80)) == "pass"
        director.resolve({NAMES["rs1"]: bytes.fromhex("02000000000b")})
        assert director.server_of(tcp("A", "10.0.0.1", 1000, 80)) == NAMES["rs1"]
