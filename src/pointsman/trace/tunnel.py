"""Frames that bear a packet in a tunnel to its real server (IPVS's TUN): found, and taken apart."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pointsman.model.address import Address

IPV4, IPV6 = 0x0800, 0x86DD
_IPIP, _UDP, _IN_IPV6, _GRE = 4, 17, 41, 47
_GUE = 12
"""Bytes of UDP and of GUE without options (draft-ietf-intarea-gue)."""
Instruction = tuple[int, int, int, int]
Test = tuple[int, int, int]
"""A load of classic BPF, its offset, and what must be there."""
WORD, HALF, BYTE = 0x20, 0x28, 0x30


def open_tunnel(data: bytes, protocol: int, start: int) -> tuple[str, int, int] | None:
    """What stands behind an outer IP header: the tunnel's kind, its packet's EtherType, where that begins.

    None: no tunnel, or one that is not IPVS's. Raises struct.error when the bytes end too early.
    """
    if protocol in (_IPIP, _IN_IPV6):
        return "ipip", IPV4 if protocol == _IPIP else IPV6, start
    if protocol == _GRE:
        flags, kind = struct.unpack_from("!HH", data, start)
        known = flags in (0, 0x8000) and kind in (IPV4, IPV6)
        return ("gre", kind, start + (8 if flags else 4)) if known else None
    if protocol == _UDP and len(data) > start + _GUE:
        length, inner, flags = struct.unpack_from("!BBH", data, start + 8)
        version = data[start + _GUE] >> 4
        if (length, flags) == (0, 0) and (inner, version) in ((_IPIP, 4), (_IN_IPV6, 6)):
            return "gue", IPV4 if version == 4 else IPV6, start + _GUE
    return None


def tests(vip: Address, port: int, number: int) -> Iterator[list[Test]]:
    """For each kind of tunnel what a frame has to have that bears a request for VIP:port; IP without options.

    `number` is that of TCP or UDP.
    """
    for ethertype, place, header in ((IPV4, 23, 20), (IPV6, 20, 40)):
        inside = _IPIP if vip.version == 4 else _IN_IPV6
        start = 14 + header
        ether = IPV4 if vip.version == 4 else IPV6
        for protocol, between, more in (
            (inside, 0, []),
            (_GRE, 4, [(HALF, start, 0), (HALF, start + 2, ether)]),
            (_GRE, 8, [(HALF, start, 0x8000), (HALF, start + 2, ether)]),
            (_UDP, _GUE, [(BYTE, start + 8, 0), (BYTE, start + 9, inside), (HALF, start + 10, 0)]),
        ):
            outer = [(HALF, 12, ethertype), (BYTE, place, protocol), *more]
            yield [*outer, *_request(vip, port, number, start + between)]


def _request(vip: Address, port: int, number: int, at: int) -> list[Test]:
    words = struct.unpack(f"!{vip.max_prefixlen // 32}I", vip.packed)
    protocol, target, ports = (9, 16, 20) if vip.version == 4 else (6, 24, 40)
    return [
        (BYTE, at + protocol, number),
        *((WORD, at + target + 4 * n, word) for n, word in enumerate(words)),
        (HALF, at + ports + 2, port),
    ]


def program(blocks: Iterator[list[Test]], taken: int) -> list[Instruction]:
    """Classic BPF that takes so many bytes of a frame that passes all tests of a block, and else none."""
    found: list[Instruction] = []
    for block in blocks:
        for number, (load, offset, value) in enumerate(block):
            left = 2 * (len(block) - number) - 1
            found += [(load, 0, 0, offset), (0x15, 0, left, value)]
        found.append((0x06, 0, 0, taken))
    return [*found, (0x06, 0, 0, 0)]
