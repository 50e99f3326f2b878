# SPDX-License-Identifier: Apache-2.0
"""A compiler of nftables rules: from text as `nft list ruleset` prints it to netlink attributes.

Only the phrases of this project's own rules are supported. Layouts:
include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from pointsman.net.netlink import attribute
from pointsman.packets.ip import ICMPV6

NESTED, LIST_ELEMENT = 0x8000, 1

_IIF, _OIF, _NFPROTO, _L4PROTO = 4, 5, 15, 16
"""Keys of the expression meta."""
_EQUAL, _AT_MOST, _AT_LEAST = 0, 3, 5
_NETWORK, _TRANSPORT = 1, 2
_VERDICT, _FIRST, _SECOND = 0, 1, 2
"""Registers. The second follows an IPv6 address in the first; together they are one key of a set."""
_VERDICTS = {"drop": 0, "accept": 1}
_IPV4, _IPV6 = 2, 10
_ADDRESSES = {
    "ip saddr": (_IPV4, 12, 4),
    "ip daddr": (_IPV4, 16, 4),
    "ip6 saddr": (_IPV6, 8, 16),
    "ip6 daddr": (_IPV6, 24, 16),
}
"""Family, offset in the IP header, bytes."""
_INTERFACES = {"iif": _IIF, "oif": _OIF}


def compile_rule(text: str) -> list[bytes]:
    """Return the expressions of a rule. Raises ValueError for a phrase that is not supported."""
    found: list[bytes] = []
    rest = text
    while rest:
        for pattern, make in _PHRASES:
            if match := pattern.match(rest):
                found += make(match[1])
                rest = rest[match.end() :]
                break
        else:
            raise ValueError(f"unsupported phrase in an nftables rule: {rest!r} in {text!r}")
    return found


def text_attribute(kind: int, text: str) -> bytes:
    """Return an attribute with a string."""
    return attribute(kind, text.encode() + b"\0")


def number_attribute(kind: int, value: int) -> bytes:
    """Return an attribute with a 4-byte number in network byte order, as nf_tables has them."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def nest(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that contains attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def _address(words: str) -> list[bytes]:
    family, offset, size = _ADDRESSES[words]
    return [_meta(_NFPROTO), _compare(_EQUAL, family), _payload(_NETWORK, offset, size)]


def _icmpv6_type(_words: str) -> list[bytes]:
    version = [_meta(_NFPROTO), _compare(_EQUAL, _IPV6)]
    return [*version, _meta(_L4PROTO), _compare(_EQUAL, ICMPV6), _payload(_TRANSPORT, 0, 1)]


def _range(words: str) -> list[bytes]:
    first, last = map(int, words.split("-"))
    return [_compare(_AT_LEAST, first), _compare(_AT_MOST, last)]


def _interface(word: str) -> list[bytes]:
    return [_meta(_INTERFACES[word], _SECOND)]


def _lookup(name: str) -> list[bytes]:
    return [_expression("lookup", text_attribute(1, name), number_attribute(2, _FIRST))]


def _verdict(word: str) -> list[bytes]:
    verdict = nest(2, nest(2, number_attribute(1, _VERDICTS[word])))
    return [_expression("immediate", number_attribute(1, _VERDICT), verdict)]


_PHRASES: tuple[tuple[re.Pattern[str], Callable[[str], list[bytes]]], ...] = (
    (re.compile(r"(ip6? [sd]addr) "), _address),
    (re.compile(r"(icmpv6 type) "), _icmpv6_type),
    (re.compile(r"(\d{1,3}-\d{1,3}) "), _range),
    (re.compile(r"\. ([io]if) "), _interface),
    (re.compile(r"@(\w+) "), _lookup),
    (re.compile(r"(drop|accept)$"), _verdict),
)


def _expression(name: str, *content: bytes) -> bytes:
    return nest(LIST_ELEMENT, text_attribute(1, name), nest(2, *content))


def _meta(key: int, register: int = _FIRST) -> bytes:
    return _expression("meta", number_attribute(1, register), number_attribute(2, key))


def _payload(base: int, offset: int, size: int) -> bytes:
    numbers = (_FIRST, base, offset, size)
    return _expression("payload", *(number_attribute(kind, value) for kind, value in enumerate(numbers, 1)))


def _compare(operator: int, value: int) -> bytes:
    """Return an expression that compares the first byte of the first register."""
    number = nest(3, attribute(1, bytes([value])))
    return _expression("cmp", number_attribute(1, _FIRST), number_attribute(2, operator), number)
