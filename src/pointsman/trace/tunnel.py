# SPDX-License-Identifier: Apache-2.0
"""Find and decode packets in tunnels to their real servers (IPVS's TUN)."""

from __future__ import annotations

import struct

from pointsman.model.address import Address
from pointsman.packets import ethernet, ip, tcp
from pointsman.packets.classic_bpf import Program
from pointsman.packets.errors import WireError
from pointsman.packets.ethernet import ETH_P_IP, ETH_P_IPV6

_VERSIONS = {ip.IPIP: ETH_P_IP, ip.IN_IPV6: ETH_P_IPV6}
_GUE = 12
"""Bytes of UDP and of GUE without options (draft-ietf-intarea-gue)."""
_GRE_CHECKSUM = 0x8000
_TWO, _THREE = struct.Struct("!HH"), struct.Struct("!BBH")


def open_tunnel(data: bytes, protocol: int, start: int) -> tuple[str, int, int] | None:
    """Return kind, EtherType and offset of the packet behind an outer IP header.

    None: no tunnel, or one that is not IPVS's. Raises WireError when the bytes end too early.
    """
    if protocol in _VERSIONS:
        return "ipip", _VERSIONS[protocol], start
    if protocol == ip.GRE:
        if len(data) < start + _TWO.size:
            raise WireError(f"{len(data)} bytes end inside a GRE header")
        flags, kind = _TWO.unpack_from(data, start)
        known = flags in (0, _GRE_CHECKSUM) and kind in _VERSIONS.values()
        return ("gre", kind, start + (8 if flags else 4)) if known else None
    if protocol == ip.UDP and len(data) > start + _GUE:
        length, inner, flags = _THREE.unpack_from(data, start + 8)
        version = {4: ETH_P_IP, 6: ETH_P_IPV6}.get(data[start + _GUE] >> 4)
        if (length, flags) == (0, 0) and version is not None and _VERSIONS.get(inner) == version:
            return "gue", version, start + _GUE
    return None


def take_requests(program: Program, vip: Address, port: int, number: int, taken: int) -> None:
    """Append to a filter: accept `taken` bytes of a frame with a request for VIP:port in a tunnel.

    `number` is the protocol number of TCP or UDP. Only outer headers without IP options match. Other frames
    go on to the next instruction.
    """
    ether = ip.ether_type(vip.packed)
    inside = next(protocol for protocol, version in _VERSIONS.items() if version == ether)
    for outer, size in ((ETH_P_IP, ip.IPV4_SIZE), (ETH_P_IPV6, ip.IPV6_SIZE)):
        start = ethernet.HEADER_SIZE + size
        gue = [(program.load_byte, 8, 0), (program.load_byte, 9, inside), (program.load_half, 10, 0)]
        for name, protocol, between, tests in (
            ("ipip", inside, 0, []),
            ("gre", ip.GRE, 4, [(program.load_half, 0, 0), (program.load_half, 2, ether)]),
            ("gre csum", ip.GRE, 8, [(program.load_half, 0, _GRE_CHECKSUM), (program.load_half, 2, ether)]),
            ("gue", ip.UDP, _GUE, gue),
        ):
            other = f"not {name} in {outer:#06x}"
            program.load_half(ethernet.TYPE_AT)
            program.unless_equal(outer, other)
            program.load_byte(ethernet.HEADER_SIZE + ip.protocol_at(outer))
            program.unless_equal(protocol, other)
            for load, at, value in tests:
                load(start + at)
                program.unless_equal(value, other)
            _unless_request(program, vip, port, number, start + between, other)
            program.accept(taken)
            program.label(other)


def _unless_request(program: Program, vip: Address, port: int, number: int, at: int, other: str) -> None:
    """Append to a filter: jump to `other` unless a request for VIP:port, without IP options, is at `at`."""
    ether = ip.ether_type(vip.packed)
    size = ip.IPV4_SIZE if vip.version == 4 else ip.IPV6_SIZE
    program.load_byte(at + ip.protocol_at(ether))
    program.unless_equal(number, other)
    program.unless_words(at + ip.destination_at(ether), vip.packed, other)
    program.load_half(at + size + tcp.DESTINATION_PORT_AT)
    program.unless_equal(port, other)
