# SPDX-License-Identifier: Apache-2.0
"""Golden 2: persistence templates of the kernel's IPVS, and how long they live."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.support.program_run import VIP, Director, golden, tcp, udp

pytestmark = pytest.mark.root

CASES = {case["name"]: case for case in golden("2_persistence")["cases"]}
POLLED = "-p 5: template life with and without connections (polled)"
LEFT_OUT = {
    "tcp :80 -p 600 -M 24 (what does ipvsadm make of it)": "our ipvsadm refuses the mask 0.0.0.24",
}
REPLAYED = [case for name, case in CASES.items() if name not in LEFT_OUT and name != POLLED]
LETTERS = {"syn": "S", "ack": "A", "data": "PA", "fin": "FA", "rst": "R"}


def test_nothing_is_left_out_in_silence() -> None:
    assert set(LEFT_OUT) < set(CASES)
    assert len(CASES) == 24
    assert len(REPLAYED) == 22


def went_to(director: Director, event: list[Any], mark: int) -> str | None:
    kind, client, client_port, port = event[:4]
    mark *= port in (80, 443)  # as iptables had it in the recording
    if kind == "udp":
        return director.server_of(udp(client, client_port, port), mark)
    return director.server_of(tcp(LETTERS[kind], client, client_port, port), mark)


def without_times(lines: list[str]) -> list[str]:
    return sorted(" ".join(re.sub(r"\d\d:\d\d", "", line).split()) for line in lines)


def without_spare_blanks(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()[1:]]


def needs_a_mark(case: dict[str, Any]) -> bool:
    return any("-f 5" in command for command in case["setup"])


@pytest.mark.parametrize("case", REPLAYED, ids=lambda case: case["name"])
def test_every_choice_and_every_entry(case: dict[str, Any]) -> None:
    """Where there is a mark, the configuration decides which packets have it."""
    replay(case, borne=0)


@pytest.mark.parametrize(
    "case", [case for case in REPLAYED if needs_a_mark(case)], ids=lambda case: case["name"]
)
def test_the_same_of_packets_that_bear_the_mark(case: dict[str, Any]) -> None:
    replay(case, borne=5)


def replay(case: dict[str, Any], borne: int) -> None:
    settings: dict[str, int] = {}
    with Director() as director:
        director.setup(case["setup"])
        if needs_a_mark(case) and not borne:
            director.mark(5, [(VIP, 80), (VIP, 443)])
        for number, event in enumerate(case["events"]):
            where = f"event {number} {event}"
            match event:
                case ["cmd", command]:
                    printed = director.ipvsadm(command)
                    director.sweep()  # the kernel has its moment, too, before the next packet
                case ["sleep_s", seconds]:
                    director.wait(round(seconds))
                case ["sysctl", name, value]:
                    settings[name] = value
                    director.plane.tune(settings)
                case ["Lcn", lines]:
                    listed = director.ipvsadm("-Lcn").splitlines()[2:]
                    assert without_times(listed) == without_times(lines), where
                case ["Ln", text]:
                    assert without_spare_blanks(director.ipvsadm("-Ln")) == without_spare_blanks(text), where
                case ["Ln --persistent-conn", text]:
                    listed_text = director.ipvsadm("-Ln --persistent-conn")
                    assert without_spare_blanks(listed_text) == without_spare_blanks(text), where
                case ["proc_ip_vs_conn", _]:
                    pass  # the same as Lcn, in a file that only IPVS has
                case ["Sn", text]:
                    assert printed == text, where
                case _:
                    expected = event[4]
                    assert is_as_recorded(went_to(director, event, borne), expected, event[0]), where


def is_as_recorded(went: str | None, result: str | None, kind: str) -> bool:
    """Refusals by ICMP are limited; RSTs, and some of the ICMP for UDP, are the stack's."""
    if result is not None and result.startswith("icmp"):
        return went in ("refused", None) or (kind == "udp" and went == "pass")
    return went == ("pass" if result is not None and result.startswith("tcp") else result)


def leaving(director: Director, seconds: int) -> dict[str, int]:
    """After how many seconds each entry (client:port; port 0 is a template) had left."""
    gone: dict[str, int] = {}
    present = entries(director)
    for second in range(1, seconds + 1):
        director.wait(1)
        now = entries(director)
        gone |= dict.fromkeys(present - now, second)
        present = now
    assert not present
    return gone


def entries(director: Director) -> set[str]:
    return {f"{item.client}:{item.client_port}" for item in director.plane.connections()}


def test_a_template_that_is_held_is_given_sixty_seconds_more() -> None:
    """The polled case: the recorded moments, less the kernel's timer slack."""
    case = CASES[POLLED]
    timeline = next(value for key, value in case.items() if key.startswith("timeline"))
    recorded = {item[1]: item[0] for item in timeline if item[3] == "gone"}
    with Director() as director:
        director.setup(case["setup"])
        for event in case["events"]:
            if event[0] == "cmd":
                director.ipvsadm(event[1])
            elif event[0] in LETTERS:
                assert went_to(director, event, 0) == event[4]
        assert len(director.plane.counters().services[0].servers) == 3
        gone = leaving(director, 70)
    assert set(gone) == set(recorded)
    for name, second in gone.items():
        assert second <= recorded[name] + 0.5, name
        assert second > recorded[name] - 6, name


def test_a_mask_that_is_edited_still_releases_the_old_templates() -> None:
    with Director() as director:
        director.setup(["-A -t 192.168.100.9:80 -s rr -p 30", "-a -t 192.168.100.9:80 -r 192.168.100.11 -g"])
        director.send(tcp("S", "10.0.0.77", 1000, 80))
        director.ipvsadm("-E -t 192.168.100.9:80 -s rr -p 30 -M 255.255.255.0")
        director.send(tcp("S", "10.0.0.78", 1000, 80))
        assert entries(director) == {"10.0.0.77:0", "10.0.0.77:1000", "10.0.0.0:0", "10.0.0.78:1000"}
        leaving(director, 100)
