# SPDX-License-Identifier: Apache-2.0
"""Real servers that answer no client: from which signs on they are told of."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.health.unanswered import unanswered_problems
from pointsman.model.service import ServerKey, ServiceKey, Transport
from pointsman.model.traffic import Unanswered

SERVICE = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.0.2.9"), 80)


def server(number: int) -> ServerKey:
    return ServerKey(ipaddress.ip_address(f"192.0.2.{number}"), 80)


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        (Unanswered(0, 0, 0), False),
        (Unanswered(2, 2, 0), False),
        (Unanswered(3, 0, 0), True),
        (Unanswered(0, 3, 300), True),
        (Unanswered(90, 90, 301), False),
    ],
)
def test_three_connections_in_the_last_minutes_are_told_of(signs: Unanswered, told: bool) -> None:
    assert bool(unanswered_problems({(SERVICE, server(20)): signs})) is told


def test_a_connection_that_repeats_its_syn_and_then_expires_is_counted_once() -> None:
    (line,) = unanswered_problems({(SERVICE, server(20)): Unanswered(7, 5, 12)})
    assert line.startswith(
        "real server 192.0.2.20:80 of TCP 192.0.2.9:80: 7 connections of clients, and it answered none, "
        "the last 12 s ago: the VIP is missing there"
    )


def test_few_are_named_and_the_busiest_first() -> None:
    found = {(SERVICE, server(number)): Unanswered(number, 0, 0) for number in range(20, 26)}
    lines = unanswered_problems(found)
    assert [line.split(":")[0] for line in lines[:3]] == [f"real server 192.0.2.{n}" for n in (25, 24, 23)]
    assert lines[3:] == ["3 more real servers answered no client of a service either"]
