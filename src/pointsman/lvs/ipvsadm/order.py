# SPDX-License-Identifier: Apache-2.0
"""Sort services and real servers as ipvsadm does, with the overflow of its comparisons.

ipvsadm compares addresses by a 32-bit subtraction. So 192.0.2.1 comes before 8.8.8.8, 8.8.8.8 before
127.0.0.1, and 127.0.0.1 before 192.0.2.1. The result for such a ring depends on the algorithm, so this is
the merge sort of glibc's qsort(3) (before 2.37).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from pointsman.model.address import Address
from pointsman.model.service import ServerKey, ServiceKey

Item = TypeVar("Item")


def sort_services(items: list[Item], key_of: Callable[[Item], ServiceKey]) -> list[Item]:
    """Sort services by family, transport, address and port, with firewall marks last."""
    ranks = [_rank(key_of(item)) for item in items]
    if _is_line([rank.fwmark for rank in ranks]) and _is_line(
        [rank.address for rank in ranks if rank.version == 4]
    ):
        return _by_rank(items, ranks)
    return _merge_sort(items, lambda one, other: _compare_services(key_of(one), key_of(other)))


def sort_servers(items: list[Item], key_of: Callable[[Item], ServerKey]) -> list[Item]:
    """Sort real servers by family, address and port."""
    ranks = [_rank_of_place(key.address, key.port) for key in map(key_of, items)]
    if _is_line([address for version, address, _ in ranks if version == 4]):
        return _by_rank(items, ranks)
    return _merge_sort(items, lambda one, other: _compare_servers(key_of(one), key_of(other)))


def _is_line(numbers: list[int]) -> bool:
    """True if no difference overflows: these numbers are in a line and not in a ring."""
    return not numbers or max(numbers) - min(numbers) < 2**31


def _by_rank(items: list[Item], ranks: Sequence[tuple[int, ...]]) -> list[Item]:
    return [items[index] for index in sorted(range(len(items)), key=ranks.__getitem__)]


class _Rank(NamedTuple):
    fwmark: int
    ipv6: bool
    transport: int
    version: int
    address: int
    port: int


def _rank(key: ServiceKey) -> _Rank:
    place = _rank_of_place(key.address, key.port) if key.address is not None else (0, 0, 0)
    return _Rank(key.fwmark, key.ipv6, key.transport or 0, *place)


def _rank_of_place(address: Address, port: int) -> tuple[int, int, int]:
    return address.version, int(address), port


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


def _compare_services(a: ServiceKey, b: ServiceKey) -> int:
    difference = _int32(a.fwmark - b.fwmark) or a.ipv6 - b.ipv6 or (a.transport or 0) - (b.transport or 0)
    if difference or a.address is None or b.address is None:
        return difference
    return _compare_addresses(a.address, b.address) or a.port - b.port


def _compare_servers(a: ServerKey, b: ServerKey) -> int:
    return (
        a.address.version - b.address.version or _compare_addresses(a.address, b.address) or a.port - b.port
    )


def _compare_addresses(one: Address, other: Address) -> int:
    if one.version == 4:
        return _int32(int(one) - int(other))
    return (int(one) > int(other)) - (int(one) < int(other))


def _int32(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31
