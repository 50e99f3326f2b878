# SPDX-License-Identifier: Apache-2.0
"""Choices of the kernel's schedulers (tests/golden), replayed on a data plane."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from tests.support.program_run import SMALL, Director, golden, tcp, udp

from pointsman.model.service import ServiceKey, Transport

CASES = golden("1_schedulers_order")["cases"]
HASHED = golden("1_schedulers_hash")["cases"]
ROOMY = replace(SMALL, connections=1 << 16)
"""Sizes for thousands of connections that all find an entry."""
LETTERS = {"syn": "S", "ack": "A", "fin": "FA", "rst": "R"}


def needs_a_mark(case: dict[str, Any]) -> bool:
    return "virtual" in case and case["virtual"].startswith("fwmark")


HASHED_IN_SCOPE = [case for case in HASHED if "virtual" in case and not needs_a_mark(case)]
MARKED = [case for case in HASHED if needs_a_mark(case)]


def replay(director: Director, case: dict[str, Any]) -> None:
    """Replay the events of a recorded case; fail at the first difference."""
    if needs_a_mark(case):
        replay_marked(director, case)
        return
    transport, place = case["virtual"].split()
    address, port = place.rsplit(":", 1)
    key = ServiceKey.of(Transport[transport.upper()], ipaddress.ip_address(address.strip("[]")), int(port))
    director.setup(case["setup"])
    for number, event in enumerate(case["events"]):
        where = f"event {number} {event}"
        match event:
            case ["cmd", command]:
                director.ipvsadm(command)
            case ["wait_s", seconds]:
                director.wait(round(seconds))
            case ["table", rows]:
                held = director.held(key)
                assert held == {
                    row["dest"].rsplit(":", 1)[0].strip("[]"): (row["active"], row["inact"]) for row in rows
                }, where
            case ["udp", client, client_port, expected]:
                assert is_as_recorded(director.server_of(udp(client, client_port, int(port))), expected), (
                    where
                )
            case [kind, client, client_port, expected]:
                frame = tcp(LETTERS[kind], client, client_port, int(port))
                assert is_as_recorded(director.server_of(frame), expected), where


def replay_marked(director: Director, case: dict[str, Any], borne: bool = False) -> None:
    """Replay with a mark for every address in the events, or with packets that have the mark (`borne`)."""
    mark = int(case["virtual"].split()[1])
    director.setup(case["setup"])
    if not borne:
        director.mark(mark, {(event[4], 0) for event in case["events"] if event[0] in LETTERS})
    for number, event in enumerate(case["events"]):
        where = f"event {number} {event}"
        match event:
            case ["cmd", command]:
                director.ipvsadm(command)
            case ["table", rows]:
                held = {row["dest"].rsplit(":", 1)[0]: (row["active"], row["inact"]) for row in rows}
                assert director.held(ServiceKey.mark(mark)) == held, where
            case [kind, client, client_port, expected, destination]:
                frame = tcp(LETTERS[kind], client, client_port, 80, target=destination)
                assert is_as_recorded(director.server_of(frame, mark * borne), expected), where


def is_as_recorded(went: str | None, result: str | None) -> bool:
    """Compare a result. A packet that the recorded director's own stack answered is passed to the stack here.

    Refusals by ICMP are limited, in the recording and here, but time passes otherwise here.
    """
    if result is None or result.startswith("icmp"):
        return went in ("refused", None)
    return went == ("pass" if result.startswith("tcp") else result)
