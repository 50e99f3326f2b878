# SPDX-License-Identifier: Apache-2.0
"""Results of a TCP check: their names, and which of them are failures."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from pointsman.health import check_types, tcp
from pointsman.model.checks import TcpCheck, without_location
from pointsman.model.location import Location

CHECK = TcpCheck(connect_address=ip_address("192.168.100.20"), connect_port=80, connect_timeout=3.0, retry=4)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ECONNREFUSED, "connection refused by 192.168.100.20:80"),
        (errno.EHOSTUNREACH, "no route to host 192.168.100.20:80"),
        (errno.ENETUNREACH, "network of 192.168.100.20:80 unreachable"),
        (errno.EPROTO, "connect to 192.168.100.20:80: Protocol error"),
    ],
)
def test_failures_have_words(code: int, text: str) -> None:
    assert tcp.failure(CHECK, code, "Protocol error") == text
    assert code not in tcp.OUR_OWN_ERRORS


def test_timeout_and_success_name_both_ends() -> None:
    ours = "192.168.100.10"
    assert tcp.timeout(CHECK, ours) == f"connect timeout after 3.0 s from {ours} to 192.168.100.20:80"
    assert tcp.success(CHECK) == "connected to 192.168.100.20:80"


def test_ipv6_targets_are_bracketed() -> None:
    check = TcpCheck(connect_address=ip_address("2001:db8::20"), connect_port=80)
    assert tcp.target(check) == "[2001:db8::20]:80"


def test_several_attempts_are_counted() -> None:
    assert check_types.describe_failures("refused", 1) == "refused"
    assert check_types.describe_failures("refused", 5) == "5 of 5 failed: refused"


def test_equal_checks_at_different_places_are_one_probe() -> None:
    here = TcpCheck(connect_address=CHECK.connect_address, connect_port=80, location=Location("a", 1, 1))
    there = TcpCheck(connect_address=CHECK.connect_address, connect_port=80, location=Location("a", 9, 1))
    assert here != there
    assert without_location(here) == without_location(there)
    assert without_location(here) != without_location(CHECK)
