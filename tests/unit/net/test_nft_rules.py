# SPDX-License-Identifier: Apache-2.0
"""Rules of nftables as text become expressions; what is not known here is refused."""

from __future__ import annotations

import re
import struct

import pytest

from pointsman.net.netlink import attributes
from pointsman.net.nft_rules import compile_rule
from pointsman.net.nftables import RULES


def told(expression: bytes) -> tuple[str, dict[int, bytes]]:
    """Name and attributes of an expression (NFTA_EXPR_NAME, NFTA_EXPR_DATA)."""
    (element,) = attributes(expression, 0).values()
    found = attributes(element, 0)
    return found[1].rstrip(b"\0").decode(), attributes(found[2], 0)


def test_a_rule_about_an_address_in_a_set() -> None:
    meta, family, payload, lookup, verdict = map(told, compile_rule("ip6 saddr @vips6 drop"))
    assert meta == ("meta", {1: number(1), 2: number(15)})  # into register 1: the protocol family
    assert family[0] == "cmp"
    assert attributes(family[1][3], 0)[1] == bytes([10])  # AF_INET6
    assert payload == ("payload", {1: number(1), 2: number(1), 3: number(8), 4: number(16)})
    assert lookup == ("lookup", {1: b"vips6\0", 2: number(1)})
    assert verdict[0] == "immediate"


def test_a_range_is_two_comparisons() -> None:
    expressions = [told(each) for each in compile_rule("icmpv6 type 135-136 accept")]
    compared = [(each[2], attributes(each[3], 0)[1]) for name, each in expressions if name == "cmp"]
    assert compared[-2:] == [(number(5), bytes([135])), (number(3), bytes([136]))]


def number(value: int) -> bytes:
    return struct.pack("!I", value)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("tcp dport 80 drop", "tcp dport 80 drop"),
        ("ip daddr @vips", "@vips"),
        ("ip daddr @vips drop twice", "drop twice"),
        ("ip daddr 10.0.0.1 drop", "10.0.0.1 drop"),
    ],
)
def test_what_is_not_known_is_refused(text: str, rest: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"nftables rule: {rest!r}")):
        compile_rule(text)


def test_our_own_rules_are_known() -> None:
    assert all(compile_rule(rule) for rules in RULES.values() for rule in rules)
