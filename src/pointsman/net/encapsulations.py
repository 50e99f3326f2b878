"""What routes put around packets, as netlink attributes (linux/lwtunnel.h and its relatives)."""

from __future__ import annotations

import struct

from pointsman.model.routing import SEGMENT_MODES, Encapsulation
from pointsman.net.netlink import attribute

_RTA_ENCAP_TYPE, _RTA_ENCAP = 21, 22
_TYPES = {"mpls": 1, "ip": 2, "ip6": 4, "seg6": 5}
_MPLS_DST, _MPLS_TTL = 1, 2
_ID, _DST, _SRC, _TTL, _TOS, _FLAGS = range(1, 7)
"""LWTUNNEL_IP_... and LWTUNNEL_IP6_..., which are alike."""
_SEG6_SRH = 1
_SRH = struct.Struct("!BBBBBBH")
_SRH_TYPE = 4
_BOTTOM = 0x100


def encapsulate(around: Encapsulation) -> bytes:
    """The attributes of a route or of a next hop."""
    inside = {"mpls": _mpls, "seg6": _seg6}.get(around.kind, _tunnel)(around)
    return attribute(_RTA_ENCAP_TYPE, struct.pack("=H", _TYPES[around.kind])) + attribute(_RTA_ENCAP, inside)


def _mpls(around: Encapsulation) -> bytes:
    *outer, last = [label << 12 for label in around.labels]
    data = attribute(_MPLS_DST, b"".join(struct.pack("!I", each) for each in (*outer, last | _BOTTOM)))
    return data + (attribute(_MPLS_TTL, bytes([around.ttl])) if around.ttl is not None else b"")


def _tunnel(around: Encapsulation) -> bytes:
    fields = (
        (_ID, "!Q", around.identifier),
        (_DST, "", around.destination),
        (_SRC, "", around.source),
        (_TTL, "B", around.ttl),
        (_TOS, "B", around.tos),
        (_FLAGS, "!H", around.flags),
    )
    return b"".join(
        attribute(kind, struct.pack(form, value) if isinstance(value, int) else value.packed)
        for kind, form, value in fields
        if value is not None
    )


def _seg6(around: Encapsulation) -> bytes:
    """The segment routing header (RFC 8754), its list the wrong way round.

    Inline, the kernel puts the packet's own destination into the last place.
    """
    segments = [each.packed for each in around.segments]
    if around.mode == "inline":
        segments.append(bytes(16))
    last = len(segments) - 1
    header = _SRH.pack(0, 2 * len(segments), _SRH_TYPE, last, last, 0, 0) + b"".join(reversed(segments))
    return attribute(_SEG6_SRH, struct.pack("=i", SEGMENT_MODES[around.mode]) + header)
