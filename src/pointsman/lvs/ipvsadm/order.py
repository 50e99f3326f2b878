# SPDX-License-Identifier: Apache-2.0
"""Sort services and real servers as ipvsadm does, with the overflow of its comparisons.

ipvsadm compares addresses by a 32-bit subtraction. So 192.0.2.1 comes before 8.8.8.8, 8.8.8.8 before
127.0.0.1, and 127.0.0.1 before 192.0.2.1. The result for such a ring depends on the algorithm, so this is
the merge sort of glibc's qsort(3) (before 2.37).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pointsman.model.address import Address
from pointsman.model.service import RealServer, ServiceEntry

Item = TypeVar("Item")


def sort_services(entries: list[ServiceEntry]) -> list[ServiceEntry]:
    """Sort by family, transport, address and port, with firewall marks last."""
    return _merge_sort(entries, _compare_services)


def sort_servers(servers: list[RealServer]) -> list[RealServer]:
    """Sort by family, address and port."""
    return _merge_sort(servers, _compare_servers)


def _merge_sort(items: list[Item], compare: Callable[[Item, Item], int]) -> list[Item]:
    if len(items) < 2:
        return items
    middle = len(items) // 2
    left = _merge_sort(items[:middle], compare)
    right = _merge_sort(items[middle:], compare)
    merged: list[Item] = []
    read_left = read_right = 0
    while read_left < len(left) and read_right < len(right):
        if compare(left[read_left], right[read_right]) <= 0:
            merged.append(left[read_left])
            read_left += 1
        else:
            merged.append(right[read_right])
            read_right += 1
    return merged + left[read_left:] + right[read_right:]


def _compare_services(one: ServiceEntry, other: ServiceEntry) -> int:
    a, b = one.service.key, other.service.key
    difference = _int32(a.fwmark - b.fwmark) or a.ipv6 - b.ipv6 or (a.transport or 0) - (b.transport or 0)
    if difference or a.address is None or b.address is None:
        return difference
    return _compare_addresses(a.address, b.address) or a.port - b.port


def _compare_servers(one: RealServer, other: RealServer) -> int:
    a, b = one.key, other.key
    return (
        a.address.version - b.address.version or _compare_addresses(a.address, b.address) or a.port - b.port
    )


def _compare_addresses(one: Address, other: Address) -> int:
    if one.version == 4:
        return _int32(int(one) - int(other))
    return (int(one) > int(other)) - (int(one) < int(other))


def _int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31
