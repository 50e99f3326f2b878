# SPDX-License-Identifier: Apache-2.0
"""Encode a trace as a pcapng file: one interface per place, and a comment per packet that Wireshark shows.

Format: draft-ietf-opsawg-pcapng. Pure: bytes out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from pointsman.trace.connection import Hop, Sighting, Trace
from pointsman.trace.frames import SNAP_LENGTH

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_ETHERNET = 1
_END, _COMMENT = 0, 1
_NAME, _DESCRIPTION = 2, 3
_FLAGS, _INBOUND, _OUTBOUND = 2, 1, 2


def encode(trace: Trace, sightings: Iterable[Sighting]) -> bytes:
    """Encode all frames in the given order. Comments of frames that are hops contain the changes."""
    listed = list(sightings)
    places = list(dict.fromkeys((item.place.host, item.place.interface, item.place.role) for item in listed))
    verdict = "\n".join(f"{'ok' if finding.ok else 'WRONG'}: {finding.text}" for finding in trace.findings)
    section = struct.pack("<IHHq", _MAGIC, 1, 0, -1) + _options([(_COMMENT, verdict.encode())])
    blocks = [_block(_SECTION, section)]
    for host, interface, role in places:
        options = [
            (_NAME, f"{host}:{interface}".encode()),
            (_DESCRIPTION, role.encode()),
        ]
        blocks.append(_block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, SNAP_LENGTH) + _options(options)))
    hops = [*trace.request, *trace.answer]
    for item in listed:
        number = places.index((item.place.host, item.place.interface, item.place.role))
        blocks.append(_block(_PACKET, _packet_block(number, item, _comment(item, hops))))
    return b"".join(blocks)


def _packet_block(interface: int, item: Sighting, comment: str) -> bytes:
    microseconds = round(item.time * 1e6)  # the format's default resolution, and about that of a float
    length = max(len(item.data), _wire_length(item.data))
    head = (interface, microseconds >> 32, microseconds & 0xFFFFFFFF, len(item.data), length)
    flags = struct.pack("<I", _OUTBOUND if item.place.sends else _INBOUND)
    return (
        struct.pack("<IIIII", *head)
        + _pad(item.data)
        + _options([(_COMMENT, comment.encode()), (_FLAGS, flags)])
    )


def _wire_length(data: bytes) -> int:
    """Return the length of an IP frame on the network, whose captured bytes may be fewer."""
    if len(data) < 20:
        return len(data)
    over_ipv6 = data[12:14] == b"\x86\xdd"
    (length,) = struct.unpack_from("!H", data, 18 if over_ipv6 else 16)
    return 14 + int(length) + (40 if over_ipv6 else 0)


def _comment(item: Sighting, hops: Sequence[Hop]) -> str:
    hop = next((hop for hop in hops if hop.place == item.place and hop.frame == item.frame), None)
    if hop is None:
        return str(item.place)
    changed = f"; changed: {', '.join(map(str, hop.changes))}" if hop.changes else ""
    return f"hop {hop.number}: {item.place}{changed}"


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    listed = [(code, value) for code, value in options if value]
    return b"".join(struct.pack("<HH", code, len(value)) + _pad(value) for code, value in listed) + (
        struct.pack("<HH", _END, 0)
    )


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)
