# SPDX-License-Identifier: Apache-2.0
"""Build BFD sessions from bfd_instance blocks."""

from __future__ import annotations

from pointsman.conf.build.tracking import read_weight
from pointsman.conf.keywords.settings import Setting, read_block
from pointsman.conf.text.problems import Findings
from pointsman.model.bfd import BfdSession
from pointsman.model.tracking import TrackKind

_UNLIMITED = (-1, 255)
_WORD = len("bfd_instance")


def build_sessions(settings: list[Setting], findings: Findings) -> dict[str, BfdSession]:
    """Return the sessions by name. Blocks with errors are reported and left out."""
    found: dict[str, BfdSession] = {}
    for setting in settings:
        session = _build_session(setting, findings)
        if session is None:
            continue
        if session.name in found:
            text = f"bfd_instance {session.name} is repeated"
            findings.error(setting.location, text, "give each session its own name", _WORD)
        for other in found.values():
            if (other.neighbour, other.multihop) == (session.neighbour, session.multihop):
                text = f"bfd_instance {other.name} has the same neighbour {session.neighbour}"
                findings.error(setting.location, text, "give each session its own neighbor_ip", _WORD)
        found[session.name] = session
    return found


def _build_session(setting: Setting, findings: Findings) -> BfdSession | None:
    block = read_block(setting.block, "bfd_instance", findings)
    neighbour, source = block.address("neighbor_ip"), block.address("source_ip")
    if neighbour is None:
        if block.absent("neighbor_ip"):
            text = f"bfd_instance {setting.value} has no neighbor_ip"
            findings.error(setting.location, text, "add neighbor_ip ADDRESS", _WORD)
        return None
    if source is not None and source.version != neighbour.version:
        text = f"source_ip {source} and neighbor_ip {neighbour} are of different families"
        findings.error(setting.location, text, "make both IPv4, or both IPv6", _WORD)
    multihop = bool(block.get("multihop", bool))
    hops = block.get("max_hops", int)
    added, reverse = read_weight(block, TrackKind.BFD, 0, findings)
    return BfdSession(
        name=str(setting.value),
        neighbour=neighbour,
        source=source,
        min_rx=block.get("min_rx", float) or 0.01,
        min_tx=block.get("min_tx", float) or 0.01,
        idle_tx=block.get("idle_tx", float) or 1.0,
        multiplier=block.get("multiplier", int) or 5,
        passive=block.has("passive"),
        ttl=block.get("ttl", int) or 255,
        max_hops=None if hops in _UNLIMITED or (hops is None and multihop) else hops or 0,
        multihop=multihop,
        weight=added,
        reverse=reverse,
        for_vrrp=block.has("vrrp") or not block.has("checker"),
        for_checker=block.has("checker") or not block.has("vrrp"),
        location=setting.location,
    )
