"""Firewall-mark services: several addresses and ports that are one service (tests/golden has the rest)."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from tests.bpf.harness import NAMES, VIP, Director, tcp

from pointsman.dataplane.xdp.store import Store
from pointsman.model.operations import EditService, Refusal
from pointsman.model.service import Front, ServiceKey, Transport

pytestmark = pytest.mark.root

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
