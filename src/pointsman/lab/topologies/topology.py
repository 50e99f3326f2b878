"""What a lab consists of: nodes, their interfaces and routes, and the segments (bridges) they plug into."""

from __future__ import annotations

import enum

import msgspec


class Role(enum.Enum):
    """What a node is for; the words of the hop table."""

    CLIENT = "client"
    ROUTER = "router"
    DIRECTOR = "director"
    REAL_SERVER = "real server"
    GATEWAY = "gateway"
    MAIL = "mail server"
    SWITCH = "switch"


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """An Ethernet: a bridge that lives in one of the nodes."""

    name: str
    node: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """With prefix length, on the bridge itself: its node is then a host of this Ethernet."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """A network card plugged into a segment."""

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
        """The bridge port this interface is plugged into: `web-01.ens224`."""
        return f"{self.name}.{interface.name}"


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    summary: str
    vip: str = ""
    port: int = 0
    """The service that it is about."""
    segments: tuple[Segment, ...]
    nodes: tuple[NodeSpec, ...]

    def node(self, name: str) -> NodeSpec:
        """Raises KeyError."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def segment(self, name: str) -> Segment:
        """Raises KeyError."""
        found = next((segment for segment in self.segments if segment.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def with_role(self, role: Role) -> list[NodeSpec]:
        return [node for node in self.nodes if node.role is role]

    def hosts_by_mac(self) -> dict[str, str]:
        """Node names by MAC address, bridges that are hosts included."""
        found = {card.mac: node.name for node in self.nodes for card in node.interfaces}
        found.update({segment.mac: segment.node for segment in self.segments if segment.mac})
        return found
