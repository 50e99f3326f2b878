"""The order of a listing: ipvsadm's comparisons and sort, with their overflow.

ipvsadm compares addresses by a 32-bit subtraction, so that 192.0.2.1 comes before 8.8.8.8, which comes before
127.0.0.1, which comes before 192.0.2.1. Such a ring has no right order: the one that appears is that of the
merge sort in glibc's qsort(3) (before 2.37), which is therefore the one used here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pointsman.model.address import Address
from pointsman.model.service import RealServer, ServiceEntry

Item = TypeVar("Item")


def sort_services(entries: list[ServiceEntry]) -> list[ServiceEntry]:
    """Address services by family, transport, address, port; then firewall marks."""
    return _merge_sort(entries, _compare_services)


def sort_servers(servers: list[RealServer]) -> list[RealServer]:
    """Real servers by family, address, port."""
    return _merge_sort(servers, _compare_servers)


def _merge_sort(items: list[Item], compare: Callable[[Item, Item], int]) -> list[Item]:
    if len(items) < 2:
        return items
    middle = len(items) // 2
    left = _merge_sort(items[:middle], compare)
    right = _merge_sort(items[middle:], compare)
    merged: list[Item] = []
    taken_left = taken_right = 0
    while taken_left < len(left) and taken_right < len(right):
        if compare(left[taken_left], right[taken_right]) <= 0:
            merged.append(left[taken_left])
            taken_left += 1
        else:
            merged.append(right[taken_right])
            taken_right += 1
    return merged + left[taken_left:] + right[taken_right:]


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
