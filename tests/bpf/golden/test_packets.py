# SPDX-License-Identifier: Apache-2.0
"""Golden 6: what the kernel's IPVS makes of single frames, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest
from tests.bpf.golden import icmp, icmp6
from tests.support.program_run import NAMES, SERVERS, XDP_DROP, XDP_PASS, XDP_TX, Director, golden, tcp, udp

from pointsman.dataplane.xdp.kernel.local_macs import LocalMacs

pytestmark = pytest.mark.root

RECORDED = golden("6_packets")
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in RECORDED["cases"]}
SETUP = [line for line in RECORDED["director"]["setup"].splitlines() if line]

FORWARDED = [
    "SYN forwarded: which bytes change",
    "SYN with wrong TCP checksum",
    "SYN with TTL 255",
    "SYN with TTL 2",
    "UDP length 0 payload",
    "IPv6 UDP",
    "first packet flags=SA, service exists, no connection (sloppy_tcp=0)",
]
CONTINUED = [
    "data packet with DF=0 and odd length",
    "RST of an established connection is forwarded",
    "packet after RST (state CLOSE)",
]
TO_THE_STACK = [
    "SYN with wrong IP header checksum",
    "frame to broadcast MAC (pkt_type != HOST)",
    "SYN to VIP, port without service, nothing listening",
    "UDP to VIP, port without service",
    "ICMP echo to VIP",
    "ACK (no connection) to a service with no real servers",
    "SYN to DIP port of a service",
    "first packet flags=PA, service exists, no connection (sloppy_tcp=0)",
    "first packet flags=FA, service exists, no connection (sloppy_tcp=0)",
    "first packet flags=R, service exists, no connection (sloppy_tcp=0)",
    "first packet flags=RA, service exists, no connection (sloppy_tcp=0)",
    "first packet flags=none, service exists, no connection (sloppy_tcp=0)",
    "first packet flags=P, service exists, no connection (sloppy_tcp=0)",
    "SYN from source port 20 (FTP data) is not scheduled",
    "UDP from source port 20",
    "TCP header cut short (10 bytes of TCP)",
    "IPv6 SYN, no service",
    "ICMPv6 echo to VIP",
]
"""Packets that the recorded director's own stack answered or dropped; here they are passed to the stack."""
IN_STORIES = [
    "existing connection, its server set to weight 0: data still goes there",
    "packet of a connection whose server was deleted (expire_nodest_conn=0)",
    "SYN of that connection again",
    "... server re-added: packet of the old connection",
    "expire_nodest_conn=0: UDP, server deleted, next datagram",
    "expire_nodest_conn=1: ACK of a connection whose server was deleted",
    "expire_nodest_conn=1: next SYN of that client port",
    "expire_nodest_conn=1: server deleted, first packet after is a SYN",
    "expire_nodest_conn=1: server weight 0, SYN on the same ports",
    "expire_nodest_conn=1: UDP, server deleted, next datagram",
    "service deleted: ACK of an existing connection",
    "service deleted: new SYN",
    "service deleted: SYN of existing 5-tuple",
    "threshold -x 2: SYN number 1",
    "threshold -x 2: SYN number 2",
    "threshold -x 2: SYN number 3 (only server overloaded)",
    "threshold: ACK of connection 1 still forwarded",
    "SYN in a padded 60-byte Ethernet frame",
    "IP options (record route) in SYN",
    "IP loose source route",
]


def elsewhere(name: str) -> bool:
    """Local servers have their own file."""
    return "local to the director" in name


def test_nothing_is_left_out_in_silence() -> None:
    replayed = {*FORWARDED, *CONTINUED, *TO_THE_STACK, *IN_STORIES}
    there = {*icmp.REPLAYED, *icmp6.REPLAYED}
    left = {name for name in CASES if elsewhere(name)}
    assert not replayed & there
    assert not (replayed | there) & left
    assert replayed | there | left == set(CASES)
    assert (len(CASES), len(replayed | there), len(left)) == (85, 82, 3)


def sent(name: str) -> bytes:
    return bytes.fromhex(CASES[name]["sent"]["hex"])


def received(name: str) -> bytes:
    return bytes.fromhex(CASES[name]["received"][0]["hex"])


@pytest.fixture
def director() -> Any:
    with Director() as made:
        made.setup(SETUP)
        made.setup(["-A -t 192.168.100.9:83 -s rr", "-a -t 192.168.100.9:83 -r 192.168.100.11:83 -g -x 2"])
        yield made


def check_forwarded(director: Director, name: str) -> None:
    verdict, frame = director.send(sent(name))
    assert verdict == XDP_TX
    assert frame[:6] in SERVERS.values()  # IPv6 has the same servers
    # Which server it is depends on what was sent before it in the recording.
    assert frame[6:] == received(name)[6:]


@pytest.mark.parametrize("name", FORWARDED)
def test_only_macs_ttl_and_checksum_change(director: Director, name: str) -> None:
    check_forwarded(director, name)


@pytest.mark.parametrize("name", CONTINUED)
def test_later_packets_change_no_more(director: Director, name: str) -> None:
    facts = CASES[name]["sent"]
    for flags in ("S", "A"):
        director.send(tcp(flags, facts["src"], facts["sport"], facts["dport"]))
    check_forwarded(director, name)


@pytest.mark.parametrize("name", TO_THE_STACK)
def test_left_to_the_stack_as_it_is(director: Director, name: str) -> None:
    assert director.send(sent(name)) == (XDP_PASS, sent(name))
    assert not list(director.plane.connections())


def test_a_frame_for_another_host_is_not_touched(director: Director) -> None:
    """Switches flood frames: two directors must not both forward one."""
    tables = director.plane.tables
    LocalMacs(tables.local_macs, tables.descriptors["pm_virtual_macs"]).write(
        {1: bytes.fromhex("020000000002")}
    )
    frame = tcp("S", "10.0.0.1", 1000, 80)
    foreign = bytes.fromhex("020000000099") + frame[6:]
    assert director.send(foreign) == (XDP_PASS, foreign)
    assert director.exits() == {"other_host": 1}
    assert director.server_of(frame) == NAMES["rs3"]


def test_weight_zero_keeps_its_connections(director: Director) -> None:
    name = "existing connection, its server set to weight 0: data still goes there"
    director.send(tcp("S", "10.6.3.1", 1000, 80))
    director.ipvsadm("-e -t 192.168.100.9:80 -r 192.168.100.13:80 -g -w 0")
    assert director.server_of(sent(name)) == NAMES["rs3"]
    assert director.server_of(tcp("S", "10.6.3.1", 1001, 80)) == NAMES["rs2"]


def test_a_deleted_server_takes_nothing_and_comes_back_with_its_connections(director: Director) -> None:
    first, again, back = IN_STORIES[1:4]
    for flags in ("S", "A"):
        director.send(tcp(flags, "10.6.3.2", 1000, 80))
    director.ipvsadm("-d -t 192.168.100.9:80 -r 192.168.100.13:80")
    for name in (first, again):
        assert director.send(sent(name))[0] == XDP_DROP
    assert director.exits() == {"server_removed": 2}
    director.ipvsadm("-a -t 192.168.100.9:80 -r 192.168.100.13:80 -g")
    assert director.server_of(sent(back)) == NAMES["rs3"]
    listed = [line.split() for line in director.ipvsadm("-Ln").splitlines() if "192.168.100.13:80" in line]
    assert [line[4:] for line in listed] == [["1", "0"]]
    stats = [
        line.split() for line in director.ipvsadm("-Ln --stats --exact").splitlines() if "100.13:80" in line
    ]
    assert [line[2:4] for line in stats] == [["1", "3"]]


def test_datagrams_for_a_deleted_server_are_dropped(director: Director) -> None:
    director.send(udp("10.6.3.7", 1000, 53))
    director.ipvsadm("-d -u 192.168.100.9:53 -r 192.168.100.13:53")
    assert director.send(sent("expire_nodest_conn=0: UDP, server deleted, next datagram"))[0] == XDP_DROP


@pytest.mark.parametrize("names", [IN_STORIES[5:7], IN_STORIES[7:8], IN_STORIES[9:10]])
def test_with_expire_nodest_conn_what_a_deleted_server_leaves_begins_anew(
    director: Director, names: list[str]
) -> None:
    director.plane.tune({"expire_nodest_conn": 1})
    facts = CASES[names[0]]["sent"]
    if facts["proto"] == 6:
        kind, first = "-t", [tcp(flags, facts["src"], facts["sport"], facts["dport"]) for flags in ("S", "A")]
    else:
        kind, first = "-u", [udp(facts["src"], facts["sport"], facts["dport"])]
    (old,) = {director.server_of(frame) for frame in first}
    director.ipvsadm(f"-d {kind} 192.168.100.9:{facts['dport']} -r {old}:{facts['dport']}")
    for name in names:
        answer = CASES[name]["received"][0]
        went = director.server_of(sent(name))
        if answer["host"] == "rt":
            assert went == "pass", name  # and the host's own stack answers with the RST that was recorded
        else:
            assert went in SERVERS, name
            assert went != old, name


def test_with_expire_nodest_conn_a_syn_leaves_a_quiesced_server(director: Director) -> None:
    name = IN_STORIES[8]
    facts = CASES[name]["sent"]
    director.plane.tune({"expire_nodest_conn": 1})
    old = director.server_of(tcp("S", facts["src"], facts["sport"], facts["dport"]))
    director.ipvsadm(f"-e -t 192.168.100.9:80 -r {old}:80 -g -w 0")
    assert director.server_of(sent(name)) not in (old, "pass", "refused", None)


def test_a_deleted_service_drops_its_connections_and_refuses_new_ones(director: Director) -> None:
    for flags in ("S", "A"):
        director.send(tcp(flags, "10.6.3.8", 1000, 80))
    director.ipvsadm("-D -t 192.168.100.9:80")
    assert director.send(sent("service deleted: ACK of an existing connection"))[0] == XDP_DROP
    assert director.send(sent("service deleted: SYN of existing 5-tuple"))[0] == XDP_DROP
    assert director.send(sent("service deleted: new SYN"))[0] == XDP_PASS
    director.wait(900)
    assert not list(director.plane.connections())


def test_threshold(director: Director) -> None:
    names = [name for name in IN_STORIES if name.startswith("threshold")]
    went = [director.server_of(sent(name)) for name in names]
    assert went == [NAMES["rs1"], NAMES["rs1"], "refused", NAMES["rs1"]]


def test_deliberate_differences_in_bytes(director: Director) -> None:
    """Padding stays on the frame, and IP options are carried, not carried out (docs/data-plane.md)."""
    padded = sent("SYN in a padded 60-byte Ethernet frame")
    verdict, frame = director.send(padded)
    assert (verdict, len(frame)) == (XDP_TX, 60)
    assert frame[6:54] == received("SYN in a padded 60-byte Ethernet frame")[6:54]
    for name in ("IP options (record route) in SYN", "IP loose source route"):
        verdict, frame = director.send(sent(name))
        assert verdict == XDP_TX
        assert frame[34:] == sent(name)[34:]
