# SPDX-License-Identifier: Apache-2.0
"""Build a topology in the kernel: namespaces, bridges, veth pairs, addresses, routes."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from pointsman.lab import namespace
from pointsman.lab.topologies.topology import Interface, NodeSpec, Segment, Topology
from pointsman.net import addresses, links, virtual_links
from pointsman.net.netlink import NetlinkSocket

_QUIET = {
    "net/ipv4/conf/{0}/rp_filter": "0",
    "net/ipv4/conf/{0}/arp_ignore": "0",
    "net/ipv4/conf/{0}/arp_announce": "0",
    "net/ipv4/conf/{0}/send_redirects": "0",
    "net/ipv4/conf/{0}/accept_redirects": "0",
}
"""Kernel defaults. A new namespace copies the host's own settings instead."""


def addresses_of(name: str, interface: str) -> list[str]:
    """Return the IPv4 addresses of an interface with prefix length. Empty if it does not exist."""
    with namespace.entered(name), NetlinkSocket() as netlink:
        link = links.links(netlink).get(interface)
        held = addresses.addresses(netlink) if link else []
    return [
        f"{each.address}/{each.prefix_length}"
        for each in held
        if link and each.index == link.index and each.address.version == 4
    ]


def set_link(name: str, interface: str, up: bool) -> None:
    """Set the link of an interface up or down. Raises OSError."""
    with namespace.entered(name), NetlinkSocket() as netlink:
        virtual_links.set_state(netlink, socket.if_nametoindex(interface), up)


def flush(name: str, interface: str) -> None:
    """Remove every address from an interface. Raises OSError."""
    _ip(name, f"addr flush dev {interface}")


def build(topology: Topology, prefix: str) -> None:
    """Create all kernel objects of the topology. Raises OSError."""
    for node in topology.nodes:
        namespace.create(f"{prefix}-{node.name}")
        with namespace.entered(f"{prefix}-{node.name}"):
            _set_sysctls(node)
        _ip(f"{prefix}-{node.name}", "link set lo up")
    for segment in topology.segments:
        _make_bridge(segment, prefix)
    for node in topology.nodes:
        for interface in node.interfaces:
            _plug_in(node, interface, topology.segment(interface.segment), prefix)
    for node in topology.nodes:
        configure(node, prefix)


def configure(node: NodeSpec, prefix: str) -> None:
    """Bring a node's interfaces up with exactly its own addresses and routes, as a fresh boot does."""
    lines = []
    for interface in node.interfaces:
        lines += [
            f"addr flush dev {interface.name}",
            *(f"addr add {address} dev {interface.name}" for address in interface.addresses),
            f"link set dev {interface.name} up",
        ]
    lines += [f"route replace {entry.destination} via {entry.gateway}" for entry in node.routes]
    _ip(f"{prefix}-{node.name}", *lines)


def _set_sysctls(node: NodeSpec) -> None:
    root = Path("/proc/sys")
    for scope in ("all", "default"):
        for key, value in _QUIET.items():
            (root / key.format(scope)).write_text(value)
    (root / "net/ipv4/ip_forward").write_text("1" if node.forwarding else "0")


def _make_bridge(segment: Segment, prefix: str) -> None:
    address = f"address {segment.mac}" if segment.mac else ""
    _ip(
        f"{prefix}-{segment.node}",
        f"link add name {segment.name} {address} type bridge stp_state 0 mcast_snooping 0",
        *(f"addr add {each} dev {segment.name}" for each in segment.addresses),
        f"link set dev {segment.name} up",
    )


def _plug_in(node: NodeSpec, interface: Interface, segment: Segment, prefix: str) -> None:
    port = node.port(interface)
    peer = f"peer name {interface.name} address {interface.mac} netns {prefix}-{node.name}"
    _ip(
        f"{prefix}-{segment.node}",
        f"link add name {port} type veth {peer}",
        f"link set dev {port} master {segment.name} up",
    )


def _ip(name: str, *lines: str) -> None:
    """Carry out commands of ip(8) in a namespace, up to the first that fails. Raises OSError."""
    with namespace.entered(name):
        done = subprocess.run(
            ["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise OSError(f"{name}: ip {'; ip '.join(lines)}: {done.stderr.strip()}")
