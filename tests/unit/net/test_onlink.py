# SPDX-License-Identifier: Apache-2.0
"""The source address in place of a virtual one."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pointsman.model.address import Address
from pointsman.net.addresses import InterfaceAddress
from pointsman.net.onlink import other_sources

VIP6, VIP4 = ip_address("fd00:9::9"), ip_address("10.9.0.9")


def own(index: int, text: str) -> InterfaceAddress:
    address, _, length = text.partition("/")
    return InterfaceAddress(index, ip_address(address), int(length))


# The kernel lists IPv4 by age, IPv6 newest first.
PRESENT = [
    own(1, "127.0.0.1/8"),
    own(2, "10.9.0.9/24"),
    own(2, "10.9.0.11/24"),
    own(3, "10.8.0.11/24"),
    own(1, "::1/128"),
    own(2, "fd00:9::9/64"),
    own(2, "fd00:9::12/64"),
    own(2, "fd00:9::11/64"),
    own(2, "fe80::11/64"),
    own(3, "fd00:8::11/64"),
]


@pytest.mark.parametrize(
    ("kernel", "destination", "expected"),
    [
        (VIP6, "fd00:9::20", ["fd00:9::11", "fd00:9::12", "fd00:8::11"]),
        (VIP6, "fd00:8::20", ["fd00:8::11", "fd00:9::11", "fd00:9::12"]),
        (VIP6, "2001:db8::1", ["fd00:9::11", "fd00:9::12", "fd00:8::11"]),
        (VIP6, "fe80::20", ["fe80::11"]),
        (VIP4, "10.9.0.20", ["10.9.0.11", "10.8.0.11"]),
        (VIP4, "10.8.0.20", ["10.8.0.11", "10.9.0.11"]),
    ],
)
def test_the_best_address_that_is_not_virtual(kernel: Address, destination: str, expected: list[str]) -> None:
    found = other_sources(PRESENT, kernel, ip_address(destination), {VIP4, VIP6}.__contains__)
    assert found == [ip_address(each) for each in expected]


def test_without_another_address_there_is_none() -> None:
    alone = [own(2, "fd00:9::9/64"), own(2, "fe80::11/64")]
    assert other_sources(alone, VIP6, ip_address("fd00:9::20"), VIP6.__eq__) == []
