# SPDX-License-Identifier: Apache-2.0
"""Description of a lab: nodes, their interfaces and routes, and the segments (bridges) that connect them."""

from __future__ import annotations

import enum

import msgspec


class Role(enum.Enum):
    """Role of a node, in the words of the hop table."""

    CLIENT = "client"
    ROUTER = "router"
    DIRECTOR = "director"
    REAL_SERVER = "real server"
    GATEWAY = "gateway"
    MAIL = "mail server"
    SWITCH = "switch"


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """An Ethernet: a bridge in one of the nodes."""

    name: str
    node: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """Addresses of the bridge itself with prefix length. Its node is then a host of this Ethernet."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface that is connected to a segment."""

    name: str
    segment: str
    mac: str
    addresses: tuple[str, ...] = ()
    """With prefix length."""


class Route(msgspec.Struct, frozen=True):
    destination: str
    """A prefix, or `default`."""
    gateway: str


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    role: Role
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    forwarding: bool = False

    def port(self, interface: Interface) -> str:
        """Return the bridge port of this interface, for example `web-01.ens224`."""
        return f"{self.name}.{interface.name}"


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    summary: str
    vip: str = ""
    port: int = 0
    """Port of the service that the topology demonstrates."""
    segments: tuple[Segment, ...]
    nodes: tuple[NodeSpec, ...]

    def node(self, name: str) -> NodeSpec:
        """Return the node with this name. Raises KeyError."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def segment(self, name: str) -> Segment:
        """Return the segment with this name. Raises KeyError."""
        found = next((segment for segment in self.segments if segment.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def with_role(self, role: Role) -> list[NodeSpec]:
        return [node for node in self.nodes if node.role is role]

    def hosts_by_mac(self) -> dict[str, str]:
        """Return the node names by MAC address, including bridges that are hosts."""
        found = {card.mac: node.name for node in self.nodes for card in node.interfaces}
        found.update({segment.mac: segment.node for segment in self.segments if segment.mac})
        return found
