# SPDX-License-Identifier: Apache-2.0
"""SCTP: the states of an association as a director sees it, and that nothing of the packet is touched.

No recording has SCTP. The table is that of ip_vs_proto_sctp.c for directors that see
the client's packets only (INPUT_ONLY), for the states that these lead to.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest
from tests.support.program_run import (
    DIRECTOR_MAC,
    NAMES,
    ROUTER_MAC,
    SERVERS,
    VIP,
    XDP_PASS,
    XDP_TX,
    Director,
    ipv4,
)

from pointsman.model.service import ServiceKey, Transport

pytestmark = pytest.mark.root

KEY = ServiceKey.of(Transport.SCTP, ipaddress.ip_address(VIP), 5060)
CHUNKS = {
    "DATA": 0, "INIT": 1, "INIT-ACK": 2, "SACK": 3, "HEARTBEAT": 4, "ABORT": 6, "SHUTDOWN": 7,
    "SHUTDOWN-ACK": 8, "ERROR": 9, "COOKIE-ECHO": 10, "COOKIE-ACK": 11, "CWR": 13, "SHUTDOWN-COMPLETE": 14,
    "I-DATA": 64,
}  # fmt: skip
STATES = ("NONE", "INIT1", "INIT", "C-ECHOED", "ESTABLISHED", "S-RECEIVED", "CLOSED")
TABLE = {
    "DATA": "ESTABLISHED INIT1 INIT C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "SACK": "ESTABLISHED INIT1 INIT C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "HEARTBEAT": "ESTABLISHED INIT1 INIT C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "CWR": "ESTABLISHED INIT1 INIT C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "I-DATA": "ESTABLISHED INIT1 INIT C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "INIT": "INIT1 INIT INIT C-ECHOED ESTABLISHED S-RECEIVED INIT",
    "INIT-ACK": "C-ECHOED C-ECHOED C-ECHOED C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "COOKIE-ECHO": "ESTABLISHED ESTABLISHED ESTABLISHED C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "COOKIE-ACK": "ESTABLISHED INIT1 INIT ESTABLISHED ESTABLISHED S-RECEIVED CLOSED",
    "SHUTDOWN": "S-RECEIVED INIT1 INIT C-ECHOED S-RECEIVED S-RECEIVED CLOSED",
    "SHUTDOWN-ACK": "CLOSED INIT INIT C-ECHOED CLOSED S-RECEIVED CLOSED",
    "SHUTDOWN-COMPLETE": "CLOSED CLOSED CLOSED C-ECHOED ESTABLISHED CLOSED CLOSED",
    "ERROR": "CLOSED INIT1 INIT C-ECHOED ESTABLISHED S-RECEIVED CLOSED",
    "ABORT": "- CLOSED CLOSED CLOSED CLOSED CLOSED CLOSED",
}
PATHS = {
    "NONE": [], "INIT1": ["INIT"], "INIT": ["INIT", "INIT"], "C-ECHOED": ["INIT", "INIT-ACK"],
    "ESTABLISHED": ["INIT", "COOKIE-ECHO"], "S-RECEIVED": ["INIT", "COOKIE-ECHO", "SHUTDOWN"],
    "CLOSED": ["INIT", "ABORT"],
}  # fmt: skip
SECONDS = {"INIT1": 4, "INIT": 61, "C-ECHOED": 61, "ESTABLISHED": 900, "S-RECEIVED": 61, "CLOSED": 61}


def sctp(chunks: str, source: str) -> bytes:
    """A frame with these chunks, of four bytes each."""
    packet = struct.pack("!HHII", 1000, 5060, 7, 0x12345678)
    packet += b"".join(struct.pack("!BBH", CHUNKS[chunk], 0, 4) for chunk in chunks.split())
    return DIRECTOR_MAC + ROUTER_MAC + b"\x08\x00" + ipv4(source, VIP, 132, packet)


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    with Director() as made:
        made.ipvsadm(f"-A --sctp-service {VIP}:5060 -s rr")
        for name in ("rs1", "rs2", "rs3"):
            made.ipvsadm(f"-a --sctp-service {VIP}:5060 -r {NAMES[name]}:5060 -g")
        yield made


def state_of(director: Director, client: str) -> tuple[str, int]:
    """Return the state of the connection, and the seconds until it expires."""
    found = [item for item in director.plane.connections() if str(item.client) == client]
    return (found[0].state, round(found[0].expires + 0.5)) if found else ("-", 0)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_states(director: Director, chunk: str) -> None:
    director.plane.tune({"conn_reuse_mode": 0, "sloppy_sctp": 1})
    for number, (state, expected) in enumerate(zip(STATES, TABLE[chunk].split(), strict=True)):
        client = f"10.{CHUNKS[chunk]}.0.{number + 1}"
        for step in PATHS[state]:
            assert director.send(sctp(step, client))[0] == XDP_TX
        if state != "NONE":
            assert state_of(director, client) == (state, SECONDS[state])
        director.send(sctp(chunk, client))
        assert state_of(director, client) == (expected, SECONDS.get(expected, 0)), state
    held = director.held(KEY)
    states = [item.state for item in director.plane.connections()]
    assert sum(active for active, _ in held.values()) == states.count("ESTABLISHED")
    assert sum(inactive for _, inactive in held.values()) == len(states) - states.count("ESTABLISHED")


def test_an_abort_behind_a_cookie_counts(director: Director) -> None:
    for chunks, expected in (("COOKIE-ECHO ABORT", "CLOSED"), ("COOKIE-ECHO DATA", "ESTABLISHED")):
        client = f"10.200.0.{len(chunks)}"
        director.send(sctp("INIT", client))
        director.send(sctp(chunks, client))
        assert state_of(director, client)[0] == expected


def test_only_init_starts_an_association(director: Director) -> None:
    director.plane.tune({})
    for chunk in CHUNKS:
        frame = sctp(chunk, f"10.201.0.{CHUNKS[chunk] + 1}")
        assert (director.send(frame) == (XDP_PASS, frame)) == (chunk != "INIT"), chunk


def test_an_init_after_the_end_starts_anew(director: Director) -> None:
    director.plane.tune({})
    client = "10.202.0.1"
    first = director.server_of(sctp("INIT", client))
    director.send(sctp("ABORT", client))
    assert director.server_of(sctp("INIT", client)) not in (first, None)
    assert state_of(director, client)[0] == "INIT1"


def test_nothing_but_macs_and_ttl_changes(director: Director) -> None:
    """The checksum stays, right or wrong: it is a CRC over the whole packet, which is unchanged."""
    frame = sctp("INIT DATA", "10.203.0.1")
    verdict, left = director.send(frame)
    assert verdict == XDP_TX
    assert left[:6] in SERVERS.values()
    assert (left[6:12], left[22], left[26:]) == (DIRECTOR_MAC, frame[22] - 1, frame[26:])


@pytest.mark.parametrize("length", [0, 4, 8, 11, 12, 15])
def test_what_is_cut_short_is_left_to_the_stack(director: Director, length: int) -> None:
    whole = sctp("INIT", "10.204.0.1")
    frame = whole[:14] + ipv4("10.204.0.1", VIP, 132, whole[34 : 34 + length])
    assert director.send(frame) == (XDP_PASS, frame)


def test_the_listing(director: Director) -> None:
    assert f"SCTP {VIP}:5060" in " ".join(director.ipvsadm("-Ln").split())


def test_the_rules_that_are_saved_can_be_restored(director: Director) -> None:
    saved = director.ipvsadm("-Sn").splitlines()
    assert saved[0] == f"-A --sctp-service {VIP}:5060 -s rr"
    assert sorted(saved[1:]) == [
        f"-a --sctp-service {VIP}:5060 -r {NAMES[name]}:5060 -g -w 1" for name in ("rs1", "rs2", "rs3")
    ]


def test_connections_are_listed(director: Director) -> None:
    director.send(sctp("INIT", "10.205.0.1"))
    director.send(sctp("COOKIE-ECHO", "10.205.0.1"))
    (mine,) = [line.split() for line in director.ipvsadm("-Lcn").splitlines() if "10.205.0.1:" in line]
    assert (mine[0], mine[2], mine[3:5]) == ("SCTP", "ESTABLISHED", ["10.205.0.1:1000", f"{VIP}:5060"])
