"""Builds a topology in the kernel: namespaces, bridges, virtual cables, addresses, routes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute

from pointsman.lab import namespace
from pointsman.lab.topology import Interface, NodeSpec, Segment, Topology

_QUIET = {
    "net/ipv4/conf/{0}/rp_filter": "0",
    "net/ipv4/conf/{0}/arp_ignore": "0",
    "net/ipv4/conf/{0}/arp_announce": "0",
    "net/ipv4/conf/{0}/send_redirects": "0",
    "net/ipv4/conf/{0}/accept_redirects": "0",
}
"""A new namespace copies the host's own settings; a lab starts from the kernel's defaults instead."""


@contextlib.contextmanager
def netlink(name: str) -> Iterator[IPRoute]:
    """A netlink socket inside the namespace."""
    with namespace.entered(name):
        route = IPRoute()
    try:
        yield route
    finally:
        route.close()


def index_of(route: IPRoute, interface: str) -> int:
    """Raises LookupError when there is no such interface."""
    found = route.link_lookup(ifname=interface)
    if not found:
        raise LookupError(f"no interface {interface}")
    return int(found[0])


def addresses_of(name: str, interface: str) -> list[str]:
    """The IPv4 addresses an interface bears now, with prefix length; none when it does not exist."""
    with netlink(name) as route, contextlib.suppress(LookupError):
        dump = route.get_addr(family=2, index=index_of(route, interface))
        return [f"{item.get_attr('IFA_LOCAL')}/{item['prefixlen']}" for item in dump]
    return []


def build(topology: Topology, prefix: str) -> None:
    """Make everything of the topology that the kernel has to know. Raises OSError or NetlinkError."""
    for node in topology.nodes:
        namespace.create(f"{prefix}-{node.name}")
        with namespace.entered(f"{prefix}-{node.name}"):
            _set_sysctls(node)
        with netlink(f"{prefix}-{node.name}") as route:
            route.link("set", index=1, state="up")
    for segment in topology.segments:
        _make_bridge(segment, prefix)
    for node in topology.nodes:
        for interface in node.interfaces:
            _plug_in(node, interface, topology.segment(interface.segment), prefix)
    for node in topology.nodes:
        configure(node, prefix)


def configure(node: NodeSpec, prefix: str) -> None:
    """Bring a node's interfaces up with exactly its own addresses and routes, as a fresh boot does."""
    with netlink(f"{prefix}-{node.name}") as route:
        for interface in node.interfaces:
            index = index_of(route, interface.name)
            route.flush_addr(index=index)
            _add_addresses(route, index, interface.addresses)
            route.link("set", index=index, state="up")
        for entry in node.routes:
            route.route("replace", dst=entry.destination, gateway=entry.gateway)


def set_link(name: str, interface: str, up: bool) -> None:
    """Pull the cable of an interface, or plug it in again."""
    with netlink(name) as route:
        route.link("set", index=index_of(route, interface), state="up" if up else "down")


def flush(name: str, interface: str) -> None:
    """Take every address off an interface."""
    with netlink(name) as route:
        route.flush_addr(index=index_of(route, interface))


def _set_sysctls(node: NodeSpec) -> None:
    root = Path("/proc/sys")
    for scope in ("all", "default"):
        for key, value in _QUIET.items():
            (root / key.format(scope)).write_text(value)
    (root / "net/ipv4/ip_forward").write_text("1" if node.forwarding else "0")


def _make_bridge(segment: Segment, prefix: str) -> None:
    with netlink(f"{prefix}-{segment.node}") as route:
        settings = {"address": segment.mac} if segment.mac else {}
        route.link("add", ifname=segment.name, kind="bridge", br_stp_state=0, br_mcast_snooping=0, **settings)
        index = index_of(route, segment.name)
        _add_addresses(route, index, segment.addresses)
        route.link("set", index=index, state="up")


def _plug_in(node: NodeSpec, interface: Interface, segment: Segment, prefix: str) -> None:
    port = node.port(interface)
    with (
        netlink(f"{prefix}-{segment.node}") as route,
        namespace.path(f"{prefix}-{node.name}").open() as target,
    ):
        peer = {"ifname": interface.name, "address": interface.mac, "net_ns_fd": target.fileno()}
        route.link("add", ifname=port, kind="veth", peer=peer)
        route.link("set", index=index_of(route, port), master=index_of(route, segment.name), state="up")


def _add_addresses(route: IPRoute, index: int, addresses: tuple[str, ...]) -> None:
    for address in addresses:
        host, prefix_length = address.split("/")
        route.addr("add", index=index, address=host, prefixlen=int(prefix_length))
