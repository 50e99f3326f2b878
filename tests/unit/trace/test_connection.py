# SPDX-License-Identifier: Apache-2.0
"""The verdict of a trace: the second document's own capture, and what breaks direct routing."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from pointsman.trace import hop_table
from pointsman.trace.connection import Decision, Drop, Place, Sighting, Trace
from pointsman.trace.frames import Frame
from pointsman.trace.verdict import analyse

CLIENT_MAC, ETH7, ETH8 = "00:1a:a0:21:21:65", "de:ad:be:ef:24:46", "00:16:3e:5d:a6:b3"
ETH12, ETH14 = "52:54:00:ba:3d:b9", "52:54:00:c1:a7:5e"
HOSTS = {CLIENT_MAC: "client", ETH7: "lvs", ETH8: "lvs", ETH12: "server", ETH14: "server"}
VIP, PORT = "192.168.7.33", 8000

SYN = Frame(
    source_mac=CLIENT_MAC, destination_mac=ETH7, source="192.168.7.2", source_port=51091,
    destination=VIP, destination_port=PORT, ttl=64, flags="S",
    sequence=3773377896, acknowledgement=0, length=0,
)  # fmt: skip
SYN_ACK = Frame(
    source_mac=ETH14, destination_mac=CLIENT_MAC, source=VIP, source_port=PORT,
    destination="192.168.7.2", destination_port=51091, ttl=64, flags="S.",
    sequence=3629588945, acknowledgement=3773377897, length=0,
)  # fmt: skip


def at(host: str, interface: str, role: str, sends: bool, frame: Frame, **changed: object) -> Sighting:
    return Sighting(Place(host, interface, role, sends), 0.0, msgspec.structs.replace(frame, **changed))


TO_SERVER = {"source_mac": ETH8, "destination_mac": ETH12}
DOCUMENT = [
    at("client", "br_e", "client", True, SYN),
    at("lvs", "eth7", "director", False, SYN),
    at("lvs", "eth8", "director", True, SYN, **TO_SERVER),
    at("server", "eth12", "real server", False, SYN, **TO_SERVER),
    at("server", "eth14", "real server", True, SYN_ACK),
    at("client", "br_e", "client", False, SYN_ACK),
]
"""The six lines of the document's tcpdump analysis."""


def follow(sightings: list[Sighting], step: float = 0.001) -> Trace:
    """The sightings one after the other, handed over in reverse, since captures come in any order."""
    dated = [msgspec.structs.replace(item, time=100 + number * step) for number, item in enumerate(sightings)]
    return analyse(reversed(dated), VIP, PORT, HOSTS)


def texts(trace: Trace) -> list[str]:
    return [finding.text for finding in trace.findings]


def test_the_documents_six_lines_are_direct_routing() -> None:
    trace = follow(DOCUMENT)
    assert trace.ok
    assert [str(hop.place) for hop in (*trace.request, *trace.answer)] == [
        "client:br_e sends", "lvs:eth7 receives", "lvs:eth8 sends",
        "server:eth12 receives", "server:eth14 sends", "client:br_e receives",
    ]  # fmt: skip
    assert [[change.field for change in hop.changes] for hop in (*trace.request, *trace.answer)] == [
        [], [], ["source_mac", "destination_mac"], [], [], [],
    ]  # fmt: skip
    assert texts(trace) == [
        "the director lvs changed only the MACs; it chose server",
        "the answer went from server to the client with the VIP as source, not through the director",
    ]


def test_a_ttl_one_lower_is_what_ipvs_does() -> None:
    lower = [
        msgspec.structs.replace(item, frame=msgspec.structs.replace(item.frame, ttl=63))
        for item in DOCUMENT[2:4]
    ]
    trace = follow([*DOCUMENT[:2], *lower, *DOCUMENT[4:]])
    assert trace.ok
    assert texts(trace)[0] == (
        "the director lvs changed only the MACs (and the TTL 64 -> 63, as IPVS does); it chose server"
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("ttl", 62, "TTL 64 -> 62"),
        ("destination", "192.168.88.20", "destination 192.168.7.33 -> 192.168.88.20"),
        ("destination_port", 8080, "destination port 8000 -> 8080"),
    ],
)
def test_a_director_that_changes_more_is_found_out(field: str, value: object, said: str) -> None:
    rewritten = at("lvs", "eth8", "director", True, SYN, **TO_SERVER, **{field: value})
    trace = follow([*DOCUMENT[:2], rewritten, *DOCUMENT[3:]])
    assert not trace.ok
    assert texts(trace)[0] == f"the director lvs changed more than MACs and TTL: {said}"


def test_a_request_sent_on_with_the_same_destination_mac_is_not_forwarded() -> None:
    trace = follow([*DOCUMENT[:2], at("lvs", "eth8", "director", True, SYN, source_mac=ETH8), *DOCUMENT[3:]])
    assert (
        texts(trace)[0] == "the director lvs forwarded the request without a real server's MAC as destination"
    )


def test_an_answer_through_the_director_is_not_direct_routing() -> None:
    detour = [
        at("server", "eth12", "real server", True, SYN_ACK, source_mac=ETH12, destination_mac=ETH8),
        at("lvs", "eth8", "director", False, SYN_ACK, source_mac=ETH12, destination_mac=ETH8),
        at("lvs", "eth7", "director", True, SYN_ACK, source_mac=ETH7),
        at("client", "br_e", "client", False, SYN_ACK, source_mac=ETH7),
    ]
    trace = follow([*DOCUMENT[:4], *detour])
    assert not trace.ok
    assert texts(trace)[1:] == ["the answer went through the director lvs (hop 6)"]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (0, "no connection was seen: the client sent no SYN to this address and port"),
        (1, f"lost after hop 1 (client:br_e sends, to {ETH7} (lvs)): it did not reach a director"),
        (2, f"lost after hop 2 (lvs:eth7 receives, to {ETH7} (lvs)): "
            "the director lvs received it and did not forward it"),
        (3, f"lost after hop 3 (lvs:eth8 sends, to {ETH12} (server)): no real server received it"),
        (4, "server received the request at hop 4 and sent no answer: "
            "check that the VIP is on its lo, that the service listens, and rp_filter"),
        (5, f"lost after hop 5 (server:eth14 sends, to {CLIENT_MAC} (client)): "
            "the client did not receive the answer"),
    ],
)  # fmt: skip
def test_a_packet_that_is_lost_is_named_with_its_last_hop(seen: int, said: str) -> None:
    trace = follow(DOCUMENT[:seen])
    assert not trace.ok
    assert texts(trace)[-1] == said


def test_a_refusal_says_who_refused() -> None:
    reset: dict[str, Any] = {"flags": "R.", "sequence": 0}
    by_director = follow(
        [
            *DOCUMENT[:2],
            at("lvs", "eth7", "director", True, SYN_ACK, source_mac=ETH7, **reset),
            at("client", "br_e", "client", False, SYN_ACK, source_mac=ETH7, **reset),
        ]
    )
    assert texts(by_director) == [
        "the director lvs itself refused the connection (RST): no service, or no real server"
    ]
    by_server = follow([*DOCUMENT[:4], *(at(*_parts(item), SYN_ACK, **reset) for item in DOCUMENT[4:])])
    assert texts(by_server)[1:] == ["server refused the connection (RST): no program listens there"]


def _parts(item: Sighting) -> tuple[str, str, str, bool]:
    return item.place.host, item.place.interface, item.place.role, item.place.sends


def test_an_answer_from_another_address_than_the_vip_is_named() -> None:
    wrong = [at(*_parts(item), SYN_ACK, source="192.168.88.20") for item in DOCUMENT[4:]]
    assert texts(follow([*DOCUMENT[:4], *wrong]))[1].startswith(
        "server answered from 192.168.88.20:8000, which is not"
    )


def test_a_real_server_that_answers_arp_for_the_vip_is_suspected() -> None:
    past = at("server", "eth14", "real server", False, SYN, destination_mac=ETH14)
    trace = follow([DOCUMENT[0], past, *DOCUMENT[4:]])
    assert texts(trace) == [
        "the request went directly to server (hop 2), not to a director: "
        "check whether that real server answers ARP for the VIP"
    ]


def test_retransmissions_and_other_connections_do_not_confuse() -> None:
    other = at("client", "br_e", "client", True, SYN, source_port=40000, sequence=1)
    health = at(
        "lvs", "eth8", "director", False, SYN_ACK, source="192.168.88.20", destination="192.168.88.10"
    )
    again = [*DOCUMENT[:3], *DOCUMENT[:4], health, *DOCUMENT[4:], other]
    trace = follow(again)
    assert trace.ok
    assert len(trace.request) + len(trace.answer) == 6


def test_only_the_connection_from_the_wanted_port_is_followed() -> None:
    earlier = at("client", "br_e", "client", True, SYN, source_port=40000, sequence=1)
    dated = [msgspec.structs.replace(item, time=float(n)) for n, item in enumerate([earlier, *DOCUMENT])]
    trace = analyse(dated, VIP, PORT, HOSTS, client_port=51091)
    assert trace.ok
    assert {hop.frame.source_port for hop in trace.request} == {51091}


def test_at_the_same_moment_sending_comes_before_receiving() -> None:
    """The kernel stamps a frame once for a bridge port and for the bridge above it."""
    assert follow(DOCUMENT, step=0.0).request[0].place.sends


def test_the_table_marks_changes_and_fits_120_columns_without_colour() -> None:
    console = Console(width=hop_table.WIDTH, record=True, no_color=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    hop_table.show(follow(DOCUMENT), HOSTS, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert not [line for line in lines if "…" in line]
    (changed,) = (line for line in lines if line.strip().startswith("3 "))
    assert f"{ETH8} lvs *" in changed
    assert "both MACs" in changed
    assert lines[-2].startswith("✓ the director lvs changed only the MACs")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_on_a_narrow_terminal_the_hops_are_a_list(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    hop_table.show(follow(DOCUMENT), HOSTS, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    (third,) = (number for number, line in enumerate(lines) if line.startswith("3. "))
    assert "lvs:eth8 director sends" in lines[third]
    assert "   changed: both MACs" in "\n".join(lines[third:])
    assert "…" not in "".join(lines)


def lost_at_the_server(*drops: Drop) -> list[str]:
    """The verdict when the request arrives and nothing comes back."""
    traced = analyse(DOCUMENT[:4], VIP, PORT, HOSTS, drops=drops)
    return [finding.text for finding in traced.findings if not finding.ok]


def test_a_drop_is_told_with_what_it_means_and_what_mends_it() -> None:
    drop = Drop(
        host="server", interface="eth12", reason="IP_RPFILTER", function="ip_rcv_finish_core", answer=False
    )
    assert lost_at_the_server(drop) == [
        "server received the request at hop 4 and sent no answer",
        "the kernel of server dropped the request on eth12 (in ip_rcv_finish_core): IP_RPFILTER, the route "
        "to the client uses another interface than the one the request arrived on. Remedy: "
        "sysctl -w net.ipv4.conf.eth12.rp_filter=2",
    ]


def test_without_a_drop_the_usual_causes_are_named() -> None:
    (text,) = lost_at_the_server()
    assert text.endswith("check that the VIP is on its lo, that the service listens, and rp_filter")


def test_drops_that_mean_nothing_are_not_told() -> None:
    flooded = Drop(host="web", interface="eth0", reason="OTHERHOST", function="ip_rcv", answer=False)
    unknown = Drop(host="web", interface="", reason="FRESH_REASON", function="", answer=True)
    found = lost_at_the_server(flooded, unknown, unknown)
    assert found[1:] == ["the kernel of web dropped the answer: FRESH_REASON"]
    assert analyse(DOCUMENT, VIP, PORT, HOSTS, drops=[unknown]).ok


def test_another_host_that_has_the_vip_too() -> None:
    mail = {"source_mac": CLIENT_MAC, "destination_mac": "02:00:00:00:00:33"}
    refusal = {"flags": "R.", "source_mac": "02:00:00:00:00:33"}
    (finding,) = follow(
        [
            at("client", "br_e", "client", True, SYN, **mail),
            at("mail", "eth0", "mail server", False, SYN, **mail),
            at("mail", "eth0", "mail server", True, SYN_ACK, **refusal),
        ]
    ).findings
    assert finding.text == (
        "the request did not reach a director, but mail (hop 2), which answered itself: it has the VIP too"
    )


def test_an_answer_that_is_sent_to_its_own_sender() -> None:
    itself = {"destination_mac": ETH14}
    found = texts(follow([*DOCUMENT[:4], at("server", "eth14", "real server", True, SYN_ACK, **itself)]))
    assert found[-1].endswith(
        "it was sent to its own sender: check that ARP is on for eth14 (ip link set arp on)"
    )


def test_an_answer_that_a_host_does_not_route_on_is_told_otherwise_than_a_request() -> None:
    drop = Drop(host="lvs", interface="eth8", reason="IP_INADDRERRORS", function="ip_error", answer=True)
    assert "this host does not forward packets (ip_forward is 0)" in lost_at_the_server(drop)[1]
    request = msgspec.structs.replace(drop, answer=False)
    assert "Remedy: if it is a real server, pointsman realserver up" in lost_at_the_server(request)[1]


@pytest.mark.parametrize("receiver", ["tcp_v4_rcv", "tcp_v6_rcv"])
def test_a_gateway_that_is_not_there_is_told_and_no_repeated_request(receiver: str) -> None:
    """The kernel calls both NOT_SPECIFIED: an answer that finds no next hop, and a SYN that comes again."""
    again = Drop(host="web", interface="eth0", reason="NOT_SPECIFIED", function=receiver, answer=False)
    lost = Drop(host="web", interface="", reason="NOT_SPECIFIED", function="neigh_invalidate", answer=True)
    assert lost_at_the_server(again, lost)[1:] == [
        "the kernel of web dropped the answer (in neigh_invalidate): NOT_SPECIFIED, no host answers ARP or "
        "neighbour discovery for the next hop. Remedy: ip neigh; check that the gateway is right"
    ]
    alone = f"the kernel of web dropped the request on eth0 (in {receiver}): NOT_SPECIFIED"
    assert lost_at_the_server(again)[1:] == [alone]
    elsewhere = msgspec.structs.replace(lost, host="other")
    assert alone in lost_at_the_server(again, elsewhere)


def past_the_director(*drops: Drop) -> list[str]:
    """A connection that was made, though not by direct routing: the real server took the request itself."""
    straight = [DOCUMENT[0], at("server", "eth14", "real server", False, SYN), *DOCUMENT[4:]]
    dated = [msgspec.structs.replace(item, time=100 + number) for number, item in enumerate(straight)]
    return [finding.text for finding in analyse(dated, VIP, PORT, HOSTS, drops=drops).findings]


@pytest.mark.parametrize(("host", "answer"), [("client", True), ("server", False)])
def test_what_comes_late_for_a_closed_socket_is_not_told(host: str, answer: bool) -> None:
    late = Drop(host=host, interface="br_e", reason="NO_SOCKET", function="tcp_v4_rcv", answer=answer)
    assert past_the_director(late) == past_the_director()
    filtered = msgspec.structs.replace(late, reason="NETFILTER_DROP")
    assert len(past_the_director(filtered)) == len(past_the_director()) + 1


def test_a_request_for_no_socket_where_nobody_answered_is_told() -> None:
    nobody = Drop(host="server", interface="eth12", reason="NO_SOCKET", function="tcp_v4_rcv", answer=False)
    assert "no program listens there" in lost_at_the_server(nobody)[-1]


def test_the_decision_of_the_data_plane_is_shown() -> None:
    decision = Decision(
        director="lvs", server="192.168.88.20:8000", state="SYN_RECV", scheduler="rr", persistent=False
    )
    traced = analyse(DOCUMENT, VIP, PORT, HOSTS, decisions=[decision])
    assert str(decision) == ("data plane of lvs: 192.168.88.20:8000, now SYN_RECV; chosen: by rr")
    console = Console(width=120, record=True, file=io.StringIO())
    hop_table.show(traced, HOSTS, console)
    assert str(decision) in console.export_text()


def test_another_director_may_be_the_real_server() -> None:
    both = [
        msgspec.structs.replace(item, place=msgspec.structs.replace(item.place, role="director"))
        if item.place.host == "server"
        else item
        for item in DOCUMENT
    ]
    assert texts(follow(both)) == texts(follow(DOCUMENT))
    assert texts(follow(both[:3])) == [
        "the director lvs changed only the MACs; it chose server",
        f"lost after hop 3 (lvs:eth8 sends, to {ETH12} (server)): no real server received it",
    ]


def test_the_director_itself_may_be_the_real_server() -> None:
    seen = [*DOCUMENT[:2], at("lvs", "eth7", "director", True, SYN_ACK), DOCUMENT[5]]
    dated = [msgspec.structs.replace(item, time=float(number)) for number, item in enumerate(seen)]
    chosen = Decision(
        director="lvs", server="192.168.88.10:8000", state="SYN_RECV", scheduler="rr", persistent=False
    )
    itself = msgspec.structs.replace(chosen, local=True)
    trace = analyse(dated, VIP, PORT, HOSTS, decisions=[itself])
    assert trace.ok
    assert texts(trace) == [
        "the director lvs chose itself and changed nothing",
        "the answer went from lvs to the client with the VIP as source",
    ]
    other = analyse(dated, VIP, PORT, HOSTS, decisions=[chosen])
    assert texts(other) == ["the director lvs answered itself and forwarded nothing"]


def test_a_tunnel_is_named_and_is_no_mistake() -> None:
    tunnel = {"tunnel": "ipip 10.2.0.1 > 10.3.0.11", "ttl": 63}
    sightings = [
        *DOCUMENT[:2],
        at("lvs", "eth8", "director", True, SYN, **TO_SERVER, **tunnel),
        at("server", "eth12", "real server", False, SYN, **TO_SERVER, **tunnel),
        *DOCUMENT[4:],
    ]
    trace = follow(sightings)
    assert trace.ok
    assert "in ipip 10.2.0.1 > 10.3.0.11" in [str(change) for change in trace.request[2].changes]
    assert texts(trace)[0] == (
        "the director lvs put it into a tunnel (and the TTL 64 -> 63, as IPVS does): "
        "ipip 10.2.0.1 > 10.3.0.11 through server; it chose 10.3.0.11"
    )
