# SPDX-License-Identifier: Apache-2.0
"""Encapsulations of routes as netlink attributes (linux/lwtunnel.h, mpls_iptunnel.h, seg6_iptunnel.h)."""

from __future__ import annotations

import struct

from pointsman.model.routing import SEGMENT_MODES, Encapsulation
from pointsman.net.netlink import attribute

_RTA_ENCAP_TYPE, _RTA_ENCAP = 21, 22
_TYPES = {"mpls": 1, "ip": 2, "ip6": 4, "seg6": 5}
_MPLS_DST, _MPLS_TTL = 1, 2
_ID, _DST, _SRC, _TTL, _TOS, _FLAGS = range(1, 7)
"""LWTUNNEL_IP_... and LWTUNNEL_IP6_..., which have the same numbers."""
_SEG6_SRH = 1
_SRH = struct.Struct("!BBBBBBH")
_SRH_TYPE = 4
_BOTTOM = 0x100


def encapsulation_attributes(encapsulation: Encapsulation) -> bytes:
    """Return the attributes RTA_ENCAP_TYPE and RTA_ENCAP of a route or next hop."""
    nested = {"mpls": _mpls, "seg6": _seg6}.get(encapsulation.kind, _tunnel)(encapsulation)
    kind = struct.pack("=H", _TYPES[encapsulation.kind])
    return attribute(_RTA_ENCAP_TYPE, kind) + attribute(_RTA_ENCAP, nested)


def _mpls(encapsulation: Encapsulation) -> bytes:
    *outer, last = [label << 12 for label in encapsulation.labels]
    data = attribute(_MPLS_DST, b"".join(struct.pack("!I", each) for each in (*outer, last | _BOTTOM)))
    return data + (attribute(_MPLS_TTL, bytes([encapsulation.ttl])) if encapsulation.ttl is not None else b"")


def _tunnel(encapsulation: Encapsulation) -> bytes:
    fields = (
        (_ID, "!Q", encapsulation.identifier),
        (_DST, "", encapsulation.destination),
        (_SRC, "", encapsulation.source),
        (_TTL, "B", encapsulation.ttl),
        (_TOS, "B", encapsulation.tos),
        (_FLAGS, "!H", encapsulation.flags),
    )
    return b"".join(
        attribute(kind, struct.pack(form, value) if isinstance(value, int) else value.packed)
        for kind, form, value in fields
        if value is not None
    )


def _seg6(encapsulation: Encapsulation) -> bytes:
    """Return the segment routing header; its segment list begins with the last segment (RFC 8754 section 2).

    In mode inline the kernel writes the packet's own destination into the last place.
    """
    segments = [each.packed for each in encapsulation.segments]
    if encapsulation.mode == "inline":
        segments.append(bytes(16))
    last = len(segments) - 1
    header = _SRH.pack(0, 2 * len(segments), _SRH_TYPE, last, last, 0, 0) + b"".join(reversed(segments))
    return attribute(_SEG6_SRH, struct.pack("=i", SEGMENT_MODES[encapsulation.mode]) + header)
