# SPDX-License-Identifier: Apache-2.0
"""The slots of sh, dh and mh: the server for each hash value, assigned as the kernel assigns them.

Pure functions. The packet path looks a slot up (bpf/sched_hash.h). Here the slots are filled by the rules of
ip_vs_sh.c, ip_vs_dh.c and ip_vs_mh.c (Maglev: Eisenbud et al., NSDI 2016), with the kernel's fixed keys.
Servers are given newest first. A slot contains the position of its server in that list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, repeat
from typing import NamedTuple

NONE = 0xFFFF
"""The value of a slot without a server."""
SLOTS = {"sh": 256, "dh": 256, "mh": 4093}
"""Number of slots by scheduler (CONFIG_IP_VS_SH_TAB_BITS, CONFIG_IP_VS_MH_TAB_INDEX: 8 and 12)."""
_IN_ELEMENT = 4
_MH = SLOTS["mh"]
_OFFSET_KEY, _SKIP_KEY = 2654435761, 2654446892
_MH_BITS = 12
_ONES = (1 << 64) - 1

_NAMES = ("flag-1", "flag-2", "flag-3", "sh-fallback", "sh-port", "mh-fallback", "mh-port")


class Candidate(NamedTuple):
    """The facts of a server that its slots depend on."""

    address: int
    """The address as a number, most significant byte first; for IPv6 the XOR of its four words."""
    port: int
    weight: int
    last_weight: int
    """The last weight that was not 0; 0 if there was none."""


def length_of(scheduler: str) -> int:
    """Return the number of elements that the slots occupy in `pm_members`."""
    return -(-SLOTS.get(scheduler, 0) // _IN_ELEMENT)


def elements_of(scheduler: str, servers: Sequence[Candidate]) -> list[int]:
    """Return the slots as elements of `pm_members`: four to an element, the first in the lowest bits."""
    if scheduler not in SLOTS:
        return []
    places = slots_of(scheduler, servers)
    places += [NONE] * (-len(places) % _IN_ELEMENT)
    return [
        places[at] | places[at + 1] << 16 | places[at + 2] << 32 | places[at + 3] << 48
        for at in range(0, len(places), _IN_ELEMENT)
    ]


def slots_of(scheduler: str, servers: Sequence[Candidate]) -> list[int]:
    """Return the position of the server in each slot."""
    if not servers:
        return [NONE] * SLOTS[scheduler]
    if scheduler == "mh":
        return _mh_slots(servers)
    turns = [1 if scheduler == "dh" else max(1, server.weight) for server in servers]
    round_ = chain.from_iterable(repeat(place, count) for place, count in enumerate(turns))
    once = [place for place, _ in zip(round_, range(SLOTS[scheduler]), strict=False)]
    return [once[slot % len(once)] for slot in range(SLOTS[scheduler])]


def _mh_slots(servers: Sequence[Candidate]) -> list[int]:
    """Fill slots as ip_vs_mh_populate(): servers in turn take the first free slot of their permutation."""
    slots = [NONE] * _MH
    turns = _turns([server.last_weight for server in servers])
    numbers = [server.address + server.port & 0xFFFFFFFF for server in servers]
    at = [half_sip(number, _OFFSET_KEY) % _MH for number in numbers]
    skips = [half_sip(number, _SKIP_KEY) % (_MH - 1) + 1 for number in numbers]
    left = _MH if any(turns) else 0
    while left:
        for place, count in enumerate(turns):
            for _ in range(min(count, left)):
                slot, skip = at[place], skips[place]
                while slots[slot] != NONE:
                    slot = (slot + skip) % _MH
                slots[slot], at[place] = place, slot
                left -= 1
    return slots


def _turns(weights: Sequence[int]) -> list[int]:
    step = math.gcd(*weights) or 1
    shift = max(0, (max(weights) // step).bit_length() - _MH_BITS // 2)
    return [(weight // step >> shift) or int(weight > 0) for weight in weights]


def half_sip(number: int, key: int) -> int:
    """Return hsiphash() of a 32-bit number on a 64-bit kernel: SipHash-1-3 with both key halves equal."""
    last = number | 4 << 56
    v0, v1 = 0x736F6D6570736575 ^ key, 0x646F72616E646F6D ^ key
    v2, v3 = 0x6C7967656E657261 ^ key, 0x7465646279746573 ^ key ^ last
    for step in range(4):
        if step == 1:
            v0, v2 = v0 ^ last, v2 ^ 0xFF
        v0 = v0 + v1 & _ONES
        v1 = _rotate(v1, 13) ^ v0
        v0 = _rotate(v0, 32)
        v2 = v2 + v3 & _ONES
        v3 = _rotate(v3, 16) ^ v2
        v0 = v0 + v3 & _ONES
        v3 = _rotate(v3, 21) ^ v0
        v2 = v2 + v1 & _ONES
        v1 = _rotate(v1, 17) ^ v2
        v2 = _rotate(v2, 32)
    return (v0 ^ v1 ^ v2 ^ v3) & 0xFFFFFFFF


def _rotate(number: int, bits: int) -> int:
    return (number << bits | number >> 64 - bits) & _ONES


def number_of_flags(flags: frozenset[str]) -> int:
    """Return scheduler flags as in service.options. Raises ValueError for a flag that does not exist."""
    return sum(1 << _NAMES.index(flag) for flag in flags)


def flags_of(number: int) -> frozenset[str]:
    """Return the names of the flags in service.options."""
    return frozenset(name for bit, name in enumerate(_NAMES) if number >> bit & 1)


def hashes_port(scheduler: str, flags: frozenset[str]) -> bool:
    """True if the client's port is hashed (IP_VS_SVC_F_SCHED2 of sh and mh)."""
    return scheduler in ("sh", "mh") and not flags.isdisjoint({f"{scheduler}-port", "flag-2"})


def falls_back(scheduler: str, flags: frozenset[str]) -> bool:
    """True if another slot is tried when the server is not available (IP_VS_SVC_F_SCHED1 of sh and mh)."""
    return scheduler in ("sh", "mh") and not flags.isdisjoint({f"{scheduler}-fallback", "flag-1"})
