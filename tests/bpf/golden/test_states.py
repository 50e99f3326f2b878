# SPDX-License-Identifier: Apache-2.0
"""Golden 3: states, timeouts, counts and reuse of connections, as IPVS had them after every packet."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from tests.support.program_run import NAMES, VIP, Director, golden, tcp, udp

from pointsman.model.service import ServiceKey, Transport
from pointsman.model.traffic import Connection
from pointsman.model.tunables import parse

pytestmark = pytest.mark.root

RECORDED = golden("3_conn_states")
SECURE = RECORDED["secure_tcp=3 (tcp_states_dos)"]
TUNED = [
    (settings, story)
    for settings, stories in (
        ("conn_reuse_mode=0", RECORDED["conn_reuse_mode=0"]),
        ("conn_reuse_mode=2", RECORDED["conn_reuse_mode=2"]),
        ("sloppy_tcp=1", RECORDED["sloppy_tcp=1"]),
        ("secure_tcp=3", SECURE["stories"]),
    )
    for story in stories
]
CLIENT = "10.3.0.1"
PATHS = {
    "SYN_RECV": "S",
    "SYNACK": "S",
    "ESTABLISHED": "S A",
    "FIN_WAIT": "S A FA",
    "TIME_WAIT": "S FA",
    "CLOSE": "S A R",
}


def service(director: Director, port: int, transport: str = "-t") -> ServiceKey:
    """rr over rs1, rs2, rs3, as in the recording: the first connection goes to rs3."""
    director.setup([f"-A {transport} {VIP}:{port} -s rr"])
    director.setup(
        [f"-a {transport} {VIP}:{port} -r {NAMES[name]}:{port} -g" for name in ("rs1", "rs2", "rs3")]
    )
    return ServiceKey.of(
        Transport.TCP if transport == "-t" else Transport.UDP, ipaddress.ip_address(VIP), port
    )


def counts(director: Director, key: ServiceKey) -> tuple[int, int]:
    held = director.held(key).values()
    return sum(active for active, _ in held), sum(inactive for _, inactive in held)


def only_connection(director: Director) -> Connection | None:
    found = list(director.plane.connections())
    assert len(found) < 2
    return found[0] if found else None


def check_step(director: Director, key: ServiceKey, step: dict[str, Any], went: str | None) -> None:
    expected = step["result"]
    if expected is None or expected.startswith("tcp"):
        assert went == "pass", step
    else:
        assert went == NAMES[expected], step
    connection = only_connection(director)
    assert (connection.state if connection else None) == step["state"], step
    if connection:
        assert int(connection.expires) == step["expires_s"], step
    assert counts(director, key) == (step["active"], step["inact"]), step


def play(director: Director, story: dict[str, Any], expected_steps: int) -> None:
    port = int(story["virtual"].rsplit(":", 1)[1])
    key = service(director, port)
    client, client_port = story["client"].split(":")
    assert len(story["steps"]) == expected_steps
    for step in story["steps"]:
        if "wait_s" in step:
            director.wait(int(step["wait_s"]))
            connection = only_connection(director)
            assert connection is not None
            assert int(connection.expires) == step["expires_s"], step
            continue
        flags = re.fullmatch(r"tcp flags=(\w+)( data=\d+)?", step["sent"])
        assert flags, step
        letters = "" if flags[1] == "none" else flags[1]
        check_step(director, key, step, director.server_of(tcp(letters, client, int(client_port), port)))


@pytest.mark.parametrize("story", RECORDED["stories"], ids=lambda story: story["name"])
def test_story(story: dict[str, Any]) -> None:
    with Director() as director:
        play(director, story, len(story["steps"]))


@pytest.mark.parametrize(
    ("settings", "story"), TUNED, ids=[f"{settings} {story['name']}" for settings, story in TUNED]
)
def test_story_with_another_setting(settings: str, story: dict[str, Any]) -> None:
    with Director() as director:
        director.plane.tune(parse([settings]))
        play(director, story, len(story["steps"]))


def test_timeouts_set_by_ipvsadm() -> None:
    changed = RECORDED["after ipvsadm --set 30 7 20"]
    for story in changed["stories"]:
        with Director() as director:
            director.ipvsadm("--set 30 7 20")
            assert director.ipvsadm("-L --timeout") == changed["timeout"]["stdout"]
            play(director, story, len(story["steps"]))


def test_zero_keeps_a_timeout() -> None:
    with Director() as director:
        director.setup(["--set 30 7 20", "--set 0 0 9"])
        assert director.ipvsadm("-L --timeout") == RECORDED["after ipvsadm --set 0 0 9"]["timeout"]["stdout"]


def test_nothing_is_left_out_in_silence() -> None:
    played = {"stories", "state_machine", "udp", "after ipvsadm --set 30 7 20", "after ipvsadm --set 0 0 9"}
    texts = {"set errors", "Lcn_header_and_lines", "Lc_resolved"}  # ipvsadm's own, replayed in tests/unit/lvs
    files = {"proc_net_ip_vs_conn", "proc_net_ip_vs", "proc_net_ip_vs_conn_sync"}  # of IPVS only
    about = {"topic", "kernel", "how_recorded"}
    tuned = {"conn_reuse_mode=0", "conn_reuse_mode=2", "sloppy_tcp=1", "secure_tcp=3 (tcp_states_dos)"}
    assert set(RECORDED) == played | texts | files | about | tuned
    assert len(TUNED) == 17
    assert len(SECURE["state_machine"]) == 80
    assert len(RECORDED["stories"]) == 20
    assert len(RECORDED["state_machine"]) == 80


@pytest.mark.parametrize(
    "transition", RECORDED["state_machine"], ids=lambda item: f"{item['from']}-{item['flags']}"
)
def test_transition(transition: dict[str, Any]) -> None:
    check_transition(transition, {})


@pytest.mark.parametrize(
    "transition", SECURE["state_machine"], ids=lambda item: f"{item['from']}-{item['flags']}"
)
def test_transition_with_secure_tcp(transition: dict[str, Any]) -> None:
    check_transition(transition, {"secure_tcp": 3})


def check_transition(transition: dict[str, Any], settings: dict[str, int]) -> None:
    with Director() as director:
        director.plane.tune(settings)
        key = service(director, 80)
        for flags in PATHS[transition["from"]].split():
            assert director.server_of(tcp(flags, CLIENT, 1000, 80)) == NAMES["rs3"]
        before = only_connection(director)
        assert before is not None
        assert before.state == transition["from"]
        assert list(counts(director, key)) == transition["counters_before"]
        flags = "" if transition["flags"] == "none" else transition["flags"]
        went = director.server_of(tcp(flags, CLIENT, 1000, 80))
        if transition["to"] is None:
            # The old entry ends and a packet with SYN and RST starts no new one. The kernel has removed it
            # by the time of its listing; here it goes when its 10 or 120 s are over.
            assert went == "pass"
            return
        assert (went == NAMES["rs3"]) == transition["same_server"]
        after = only_connection(director)
        assert after is not None
        assert after.state == transition["to"]
        assert int(after.expires) == transition["expires_s"]
        assert list(counts(director, key)) == transition["counters_after"]


def test_datagrams_of_one_port_stay_together() -> None:
    recorded = RECORDED["udp"][0]
    client, client_port = recorded["client"].split(":")
    with Director() as director:
        key = service(director, 53, "-u")
        for step in recorded["steps"]:
            check_step(director, key, step, director.server_of(udp(client, int(client_port), 53)))


def test_an_idle_connection_leaves_when_its_time_is_over() -> None:
    with Director() as director:
        key = service(director, 80)
        director.send(tcp("S", CLIENT, 1000, 80))
        director.wait(59)
        assert counts(director, key) == (1, 0)
        director.wait(1)
        assert counts(director, key) == (0, 0)
        assert only_connection(director) is None


def test_every_packet_starts_the_timer_anew() -> None:
    with Director() as director:
        key = service(director, 80)
        director.send(tcp("S", CLIENT, 1000, 80))
        director.send(tcp("A", CLIENT, 1000, 80))
        for _ in range(3):
            director.wait(899)
            assert director.server_of(tcp("A", CLIENT, 1000, 80)) == NAMES["rs3"]
        director.wait(900)
        assert counts(director, key) == (0, 0)
