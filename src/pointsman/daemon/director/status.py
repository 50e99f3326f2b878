"""Parts of what the director says of itself to `pointsman status`."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.control.messages import InstanceChanged, SessionChanged
from pointsman.dataplane.interface import Capabilities
from pointsman.model.config import Config
from pointsman.model.next_hop import NextHop
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket


def data_plane(capabilities: Capabilities) -> dict[str, Any]:
    """The data plane, and with each interface what keeps packets from coming by it: `link`."""
    try:
        with NetlinkSocket() as netlink:
            here = links(netlink)
    except OSError:
        here = {}
    found: dict[str, Any] = msgspec.to_builtins(capabilities)
    for attachment in found["attachments"]:
        link = here.get(attachment["interface"])
        attachment["link"] = ""
        if link is not None and not link.running:
            attachment["link"] = "no carrier" if link.up else "down"
    return found


def instance(config: Config, report: InstanceChanged, seconds: float) -> dict[str, Any]:
    """A VRRP instance that has been in its state for so long; anyone may look, so no password."""
    told = {**msgspec.to_builtins(report), "for": seconds}
    known = next((item for item in config.instances if item.name == report.instance), None)
    if known is None:
        return told
    return told | {
        "interface": known.interface,
        "virtual_router_id": known.virtual_router_id,
        "advert_interval": known.advert_interval,
        "unicast_peers": [str(peer) for peer in known.unicast_peers],
        "addresses": [
            {"address": str(item.address), "prefix_length": item.prefix_length, "device": item.device}
            for item in known.addresses
        ],
    }


def sessions(config: Config, told: Mapping[str, SessionChanged]) -> list[dict[str, object]]:
    """The BFD sessions; one that has not been heard of yet is not up."""
    found: list[dict[str, object]] = []
    for each in config.bfd:
        last = told.get(each.name)
        up, reason = (last.up, last.reason) if last else (False, "not started yet")
        found.append({"name": each.name, "neighbour": str(each.neighbour), "up": up, "reason": reason})
    return found


def hop_text(hop: NextHop) -> str:
    """`52:54:00:ba:3d:b9 eth8`, and through whom when that is not the server itself."""
    if hop.destination is None:
        return "not resolved"
    try:
        name = socket.if_indextoname(hop.index)
    except OSError:
        name = f"interface {hop.index}"
    through = f" through {hop.gateway}" if hop.gateway is not None else ""
    return f"{hop.destination.hex(':')} {name}{through}"
