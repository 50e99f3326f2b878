# SPDX-License-Identifier: Apache-2.0
"""Firewall-mark services: several addresses and ports that are one service (tests/golden has the rest)."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from tests.support.program_run import NAMES, SERVERS6, VIP, VIP6, XDP_PASS, Director, framed, tcp, udp

from pointsman.dataplane.xdp.store import Store
from pointsman.model.operations import EditService, Refusal
from pointsman.model.service import Front, ServiceKey, Transport

pytestmark = pytest.mark.root

OTHER6 = "fd00:100::a"
OTHER = "192.168.100.10"
RS1, RS2 = NAMES["rs1"], NAMES["rs2"]
MARKED = ["-A -f 7 -s rr", f"-a -f 7 -r {RS1} -g"]
PLAIN = [f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r {RS2} -g"]


def front(address: str, port: int) -> Front:
    return Front(Transport.TCP, ipaddress.ip_address(address), port)


def test_a_mark_goes_before_an_address_and_gives_it_back() -> None:
    with Director() as director:
        director.setup([*PLAIN, *MARKED])
        assert director.server_of(tcp("S", "10.0.0.1", 1, 80)) == RS2
        director.mark(7, [(VIP, 80), (OTHER, 443)])
        assert director.server_of(tcp("S", "10.0.0.1", 2, 80)) == RS1
        assert director.server_of(tcp("S", "10.0.0.1", 2, 443, target=OTHER)) == RS1
        assert director.server_of(tcp("S", "10.0.0.1", 2, 81)) == "pass"
        director.ipvsadm("-D -f 7")
        assert director.server_of(tcp("S", "10.0.0.1", 3, 80)) == RS2


def test_a_mark_of_every_port_goes_before_each_port() -> None:
    with Director() as director:
        director.setup([*MARKED, *PLAIN])
        director.mark(7, [(VIP, 0)])
        assert {director.server_of(tcp("S", "10.0.0.1", 1, port)) for port in (22, 80, 443)} == {RS1}
        director.mark(7, [(OTHER, 0)])
        assert director.server_of(tcp("S", "10.0.0.1", 2, 80)) == RS2


def test_a_front_that_is_taken_away_leaves_its_connections_to_expire() -> None:
    """They are counted and listed until they expire; their packets are nobody's (IPVS would forward them)."""
    with Director() as director:
        director.setup(MARKED)
        director.mark(7, [(VIP, 80), (VIP, 443)])
        director.send(tcp("S", "10.0.0.1", 1, 443))
        director.mark(7, [(VIP, 80)])
        assert f"{VIP}:443" in director.ipvsadm("-Lcn")
        assert director.server_of(tcp("A", "10.0.0.1", 1, 443)) == "pass"
        assert director.held(ServiceKey.mark(7)) == {RS1: (1, 0)}
        director.wait(61)
        assert director.held(ServiceKey.mark(7)) == {RS1: (0, 0)}


def test_an_edit_by_ipvsadm_keeps_the_fronts_and_the_next_director_finds_them() -> None:
    with Director() as director:
        director.setup([*PLAIN, *MARKED])
        director.mark(7, [(VIP, 80), (OTHER, 0)])
        director.ipvsadm("-E -f 7 -s wlc -p 50")
        service = director.plane.read().entries[1].service
        assert service.fronts == {front(VIP, 80), front(OTHER, 0)}
        director.send(tcp("S", "10.0.0.1", 1, 80))
        plane = director.plane
        plane.store = Store(plane.tables, plane._words)
        assert [entry.service for entry in plane.read()][1] == service
        assert len(plane.read()) == 2
        assert "FWM  7 wlc persistent 50" in director.ipvsadm("-Ln")
        assert "0.0.0.7:0" in director.ipvsadm("-Lcn")
        assert director.server_of(tcp("S", "10.0.0.1", 2, 80)) == RS1
        director.ipvsadm("-D -f 7")
        assert director.server_of(tcp("S", "10.0.0.1", 3, 80)) == RS2


def test_one_destination_bears_one_mark() -> None:
    with Director() as director:
        director.setup([*MARKED, "-A -f 8 -s rr"])
        director.mark(7, [(VIP, 80)])
        entry = director.plane.read().get(ServiceKey.mark(8))
        assert entry is not None
        wanted = EditService(
            msgspec.structs.replace(entry.service, fronts=frozenset({front(VIP, 81), front(VIP, 80)}))
        )
        refused = Refusal(wanted, "exists", f"TCP {VIP}:80 bears mark 7 already")
        assert director.plane.apply([wanted]) == [refused]
        assert director.server_of(tcp("S", "10.0.0.1", 2, 81)) == "pass"


def test_a_borne_mark_goes_before_an_address_and_gives_it_back() -> None:
    """Packets with another mark, or one without a service, are handled by their address, as in IPVS."""
    with Director() as director:
        director.setup([*PLAIN, *MARKED])
        assert director.server_of(tcp("S", "10.0.0.1", 1, 80), mark=7) == RS1
        assert director.server_of(tcp("S", "10.0.0.1", 2, 81), mark=7) == RS1
        assert director.server_of(tcp("S", "10.0.0.1", 3, 80), mark=8) == RS2
        assert director.server_of(tcp("S", "10.0.0.1", 4, 81), mark=8) == "pass"
        director.ipvsadm("-D -f 7")
        assert director.server_of(tcp("S", "10.0.0.1", 5, 80), mark=7) == RS2
        assert director.server_of(tcp("S", "10.0.0.1", 6, 81), mark=7) == "pass"
        director.setup(MARKED)
        assert director.server_of(tcp("S", "10.0.0.1", 7, 80), mark=7) == RS1


def test_a_destination_of_the_mark_has_its_connections_with_and_without_it() -> None:
    with Director() as director:
        director.setup([*PLAIN, "-A -f 7 -s rr", f"-a -f 7 -r {RS1} -g", f"-a -f 7 -r {NAMES['rs3']} -g"])
        director.mark(7, [(VIP, 80)])
        for flags, mark in (("S", 7), ("A", 0), ("PA", 7), ("FA", 0)):
            assert director.server_of(tcp(flags, "10.0.0.1", 1, 80), mark) == NAMES["rs3"]
        assert director.held(ServiceKey.mark(7)) == {RS1: (0, 0), NAMES["rs3"]: (0, 1)}
        assert director.server_of(tcp("S", "10.0.0.1", 1, 81), mark=7) == RS1


def test_connections_of_one_mark_are_told_apart_by_all_they_have() -> None:
    """One client's port, two virtual addresses, two transports; listed, and expired, each on its own."""
    with Director() as director:
        director.setup(["-A -f 7 -s rr -p 100 -M 255.255.255.0", f"-a -f 7 -r {RS1} -g"])
        frames = [
            tcp("S", "10.0.0.1", 1, 80),
            tcp("S", "10.0.0.1", 1, 80, target=OTHER),
            udp("10.0.0.1", 1, 80),
        ]
        for frame in frames:
            assert director.server_of(frame, mark=7) == RS1
        director.send(tcp("A", "10.0.0.1", 1, 80, target=OTHER), mark=7)
        rows = [line.split() for line in director.ipvsadm("-Lcn").splitlines()[2:]]
        assert sorted((row[0], row[2], row[3], row[4]) for row in rows) == [
            ("IP", "ASSURED", "10.0.0.0:0", "0.0.0.7:0"),
            ("TCP", "ESTABLISHED", "10.0.0.1:1", f"{OTHER}:80"),
            ("TCP", "SYN_RECV", "10.0.0.1:1", f"{VIP}:80"),
            ("UDP", "UDP", "10.0.0.1:1", f"{VIP}:80"),
        ]
        director.wait(62)
        assert director.held(ServiceKey.mark(7)) == {RS1: (1, 1)}
        director.wait(900)
        assert director.ipvsadm("-Lcn").splitlines()[2:] == []


def test_marks_of_ipv6_are_others() -> None:
    with Director() as director:
        rs1, rs2 = list(SERVERS6)[:2]
        director.setup([*MARKED, "-A -f 7 -6 -s sh", f"-a -f 7 -6 -r {rs1} -g"])
        director.setup([f"-A -t [{VIP6}]:80 -s rr", f"-a -t [{VIP6}]:80 -r {rs2} -g"])
        for target, port in ((VIP6, 80), (VIP6, 81), (OTHER6, 80)):
            for flags in "SA":
                assert director.server_of(tcp(flags, "fd00::1", 1, port, target=target), mark=7) == rs1
        assert director.server_of(tcp("S", "fd00::1", 1, 80, target=VIP6)) == rs2
        assert director.server_of(tcp("S", "fd00::1", 2, 80, target=OTHER6), mark=8) == "pass"
        assert director.server_of(tcp("S", "10.0.0.1", 1, 80), mark=7) == RS1
        assert director.held(ServiceKey.mark(7, ipv6=True)) == {rs1: (3, 0)}


def test_the_next_director_finds_connections_of_a_mark() -> None:
    with Director() as director:
        director.setup(MARKED)
        director.send(tcp("S", "10.0.0.1", 1, 80), mark=7)
        plane = director.plane
        plane.store = Store(plane.tables, plane._words)
        assert f"{VIP}:80" in director.ipvsadm("-Lcn")
        director.ipvsadm(f"-a -f 7 -r {RS2} -g")
        assert director.server_of(tcp("A", "10.0.0.1", 1, 80), mark=7) == RS1
        director.ipvsadm("-C")
        assert director.server_of(tcp("A", "10.0.0.1", 1, 80), mark=7) == "pass"


def test_what_a_mark_forwards_is_checked_and_answered_as_by_an_address() -> None:
    with Director() as director:
        director.setup(["-A -f 7 -s rr"])
        assert director.server_of(tcp("S", "10.0.0.1", 1, 80), mark=7) == "refused"
        director.ipvsadm(f"-a -f 7 -r {RS1} -g")
        frame = tcp("S", "10.0.0.1", 2, 80)
        broken = frame[:24] + b"\xff\xff" + frame[26:]
        assert director.send(broken, mark=7) == (XDP_PASS, broken)
        assert director.server_of(tcp("A", "10.0.0.1", 3, 80), mark=7) == "pass"
        echo = framed("10.0.0.1", None, 1, bytes.fromhex("0800f7ff00000000"))
        assert director.send(echo, mark=7) == (XDP_PASS, echo)
        assert director.exits() == {
            "no_destination": 1,
            "malformed": 1,
            "no_connection": 1,
            "not_transport": 1,
        }
