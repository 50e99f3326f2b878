# SPDX-License-Identifier: Apache-2.0
"""The verdict about one host, from what it alone saw."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.trace.connection import Decision, Drop, Place, Sighting, Trace
from pointsman.trace.frames import Frame
from pointsman.trace.report import HostReport, judge_report

VIP, PORT = "192.168.7.33", 8000
ROUTER, DIRECTOR, SERVER, CLIENT = (f"02:00:00:00:00:0{number}" for number in range(4))
HOSTS = {SERVER: "server"}
SYN = Frame(
    source_mac=DIRECTOR, destination_mac=SERVER, source="192.168.7.2", source_port=5000,
    destination=VIP, destination_port=PORT, ttl=63, flags="S", sequence=100, acknowledgement=0, length=0,
)  # fmt: skip
SYN_ACK = Frame(
    source_mac=SERVER, destination_mac=CLIENT, source=VIP, source_port=PORT,
    destination="192.168.7.2", destination_port=5000, ttl=64, flags="S.",
    sequence=900, acknowledgement=101, length=0,
)  # fmt: skip
DECISION = Decision(
    director="host",
    client="192.168.7.2",
    client_port=5000,
    server="192.168.88.20:8000",
    state="SYN_RECV",
    scheduler="rr",
    persistent=False,
)


def seen(interface: str, role: str, sends: bool, frame: Frame, **changed: Any) -> Sighting:
    place = Place("host", interface, role, sends)
    return Sighting(place, float(sends), msgspec.structs.replace(frame, **changed))


def alone_as(role: str, *sightings: Sighting, **more: Any) -> Trace:
    decisions = more.get("decisions", ())
    whose = {"host": "host", "client": "192.168.7.2", "client_port": 5000}
    report = HostReport(
        host="host", role=role, vip=VIP, port=PORT, sightings=sightings, hosts=HOSTS,
        drops=tuple(msgspec.structs.replace(drop, **whose) for drop in more.get("drops", ())),
        decisions=tuple(msgspec.structs.replace(item, director="host") for item in decisions),
        exits=more.get("exits", {}),
    )  # fmt: skip
    return judge_report(report)


def server(*sightings: Sighting, **more: Any) -> Trace:
    return alone_as("real server", *sightings, **more)


def director(*sightings: Sighting, **more: Any) -> Trace:
    return alone_as("director", *sightings, **more)


ARRIVAL = seen("eth12", "real server", False, SYN)
IN, OUT = (
    seen("eth7", "director", False, SYN, source_mac=CLIENT, destination_mac=DIRECTOR),
    seen("eth8", "director", True, SYN),
)


def bad(trace: Trace) -> list[str]:
    return [finding.text for finding in trace.findings if not finding.ok]


def test_a_real_server_that_takes_and_answers() -> None:
    trace = server(ARRIVAL, seen("eth14", "real server", True, SYN_ACK))
    assert [finding.text for finding in trace.findings] == [
        f"the request arrived on eth12 from {DIRECTOR}",
        f"the answer left on eth14 to {CLIENT}",
    ]
    assert trace.ok


def test_a_real_server_whose_kernel_drops() -> None:
    drop = Drop(host="host", interface="eth12", reason="NETFILTER_DROP", function="nft", answer=False)
    found = bad(server(ARRIVAL, drops=[drop, drop]))
    assert found[0] == "no answer left this host"
    assert found[1].startswith("the kernel of host dropped the request on eth12 (in nft): NETFILTER_DROP")
    assert len(found) == 2


def test_a_real_server_that_refuses_or_answers_wrongly() -> None:
    assert "RST" in bad(server(ARRIVAL, seen("eth14", "real server", True, SYN_ACK, flags="R.")))[0]
    wrong = seen("eth14", "real server", True, SYN_ACK, source="192.168.7.99")
    assert "192.168.7.99, which is not the VIP" in bad(server(ARRIVAL, wrong))[0]
    back = seen("eth12", "real server", True, SYN_ACK, destination_mac=DIRECTOR)
    assert "the sender of the request" in bad(server(ARRIVAL, back))[0]


def test_what_comes_out_of_a_tunnel_may_go_back_to_the_same_router() -> None:
    within = "ipip 10.2.0.1 > 10.3.0.11"
    arrival = seen("eth12", "real server", False, SYN, tunnel=within)
    back = seen("eth12", "real server", True, SYN_ACK, destination_mac=DIRECTOR)
    found = server(arrival, back)
    assert bad(found) == []
    assert found.findings[0].text == f"the request arrived on eth12 from {DIRECTOR} in {within}"
    left = director(seen("eth8", "director", True, SYN, tunnel=within))
    assert left.findings[0].text == f"the request left on eth8 to {SERVER} (server) in {within}"


def test_nothing_arrived() -> None:
    assert bad(server())[0].startswith("no request arrived here")
    assert bad(director()) == ["no new connection to this service was seen"]


def test_a_director_in_tc_mode_is_seen_sending() -> None:
    trace = director(IN, OUT, decisions=[DECISION])
    assert [finding.text for finding in trace.findings][:1] == [
        f"the request left on eth8 to {SERVER} (server)"
    ]
    assert trace.ok


def test_a_director_says_that_it_cannot_see_the_answer() -> None:
    note = director(IN, OUT, decisions=[DECISION]).findings[-1]
    assert (note.note, "192.168.88.20: pointsman trace --here" in note.text) == (True, True)
    assert director(IN, OUT).findings[-1].note
    going_on = msgspec.structs.replace(DECISION, state="ESTABLISHED")
    last = director(IN, OUT, decisions=[going_on]).findings[-1]
    assert (last.note, last.text) == (False, "the client went on (ESTABLISHED), so the answer reached it")
    alone = msgspec.structs.replace(DECISION, local=True)
    assert not any(finding.note for finding in director(decisions=[alone]).findings)
    assert not any(finding.note for finding in director().findings)


def test_a_director_in_xdp_mode_is_known_by_its_connection_table() -> None:
    trace = director(decisions=[DECISION], exits={"no_service": 99})
    assert trace.ok
    assert "was sent to 192.168.88.20:8000" in trace.findings[0].text


def test_a_director_that_could_not_forward_says_why() -> None:
    found = bad(director(IN, decisions=[DECISION], exits={"no_neighbour": 2, "no_destination": 7}))
    assert found == [
        "the data plane counted no_neighbour 2 times during the trace: the real server's MAC address is "
        "unknown: "
        "run pointsman doctor"
    ]
    assert "no real server accepts new connections" in bad(director(IN, exits={"no_destination": 1}))[0]


def test_answers_must_not_pass_a_director() -> None:
    passing = seen("eth7", "director", True, SYN_ACK)
    assert (
        "received the answer: answers should not" in bad(director(IN, OUT, passing, decisions=[DECISION]))[0]
    )
