# SPDX-License-Identifier: Apache-2.0
"""Client, director, a router, a real server behind it and one beside it, each in a namespace."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.namespaces import Namespaces

from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.lab import offload

VIP, VIP6 = "10.1.0.9", "fd00:1::9"
CLIENT, CLIENT6 = "10.1.0.2", "fd00:1::2"
FAR, FAR6 = "10.3.0.11", "fd00:3::11"
NEAR = "10.5.0.12"
TUNNEL_MODULES = ("ipip", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou", "fou6")
GUE_PORT = 6080


class TunnelNetwork(Namespaces):
    """client -c0-d0- director -d1-g0- router -g1-s0- far; director -d2-n0- near. Replies bypass it."""

    def __init__(self) -> None:
        super().__init__("tunnels", *"cdrfn")
        self.client, self.director, self.router, self.far, self.near = self.names.values()
        self.pins = Path(f"/sys/fs/bpf/pmt-tunnels-{os.getpid()}")

    def up(self) -> None:
        self.make()
        self._cable(self.client, "c0", self.director, "d0")
        self._cable(self.director, "d1", self.router, "g0")
        self._cable(self.router, "g1", self.far, "s0")
        self._cable(self.router, "g2", self.client, "c1")
        self._cable(self.director, "d2", self.near, "n0")
        self._cable(self.near, "n1", self.client, "c2")
        for name, interface, addresses in (
            (self.client, "c0", f"{CLIENT}/24 {CLIENT6}/64"),
            (self.director, "d0", f"10.1.0.1/24 fd00:1::1/64 {VIP}/32 {VIP6}/128"),
            (self.director, "d1", "10.2.0.1/24 fd00:2::1/64"),
            (self.router, "g0", "10.2.0.254/24 fd00:2::fe/64"),
            (self.router, "g1", "10.3.0.254/24 fd00:3::fe/64"),
            (self.router, "g2", "10.4.0.254/24 fd00:4::fe/64"),
            (self.client, "c1", "10.4.0.2/24 fd00:4::2/64"),
            (self.far, "s0", f"{FAR}/24 {FAR6}/64"),
            (self.far, "lo", f"{VIP}/32 {VIP6}/128"),
            (self.director, "d2", "10.5.0.1/24"),
            (self.near, "n0", f"{NEAR}/24"),
            (self.near, "lo", f"{VIP}/32"),
            (self.near, "n1", "10.6.0.12/24"),
            (self.client, "c2", "10.6.0.2/24"),
        ):
            for address in addresses.split():
                quick = " nodad" if ":" in address else ""
                self.run(name, f"ip address add {address} dev {interface}{quick}")
        for name, route in (
            (self.director, "default via 10.2.0.254"),
            (self.director, "default via fd00:2::fe"),
            (self.far, "default via 10.3.0.254"),
            (self.far, "default via fd00:3::fe"),
            (self.router, f"{CLIENT}/32 via 10.4.0.2"),
            (self.router, f"{CLIENT6}/128 via fd00:4::2"),
            (self.near, f"{CLIENT}/32 via 10.6.0.2"),
        ):
            self.run(name, f"ip route add {route}")
        offload.complete_checksums(self.director, "d1")

    def _cable(self, one: str, first: str, other: str, second: str) -> None:
        self.run(one, f"ip link add {first} type veth peer name {second} netns {other}")
        for name, interface in ((one, first), (other, second)):
            for place in ("all", "default", interface):
                self.run(name, f"sysctl -qw net.ipv4.conf.{place}.rp_filter=0")
            for family in ("ipv4", "ipv6"):
                value = int(name == self.router)
                self.run(name, f"sysctl -qw net.{family}.conf.all.forwarding={value}")
            self.run(name, f"ip link set {interface} up")

    def decapsulate(self) -> None:
        """Create the real servers' ends of all tunnels (ip-tunnel(8), ip-fou(8)), with default MTUs."""
        for command in (
            "ip link set tunl0 up",
            "ip link set sit0 up",
            f"ip link add t46 type ip6tnl local {FAR6} remote any mode any",
            "ip link set t46 up",
            f"ip link add g4 type gre local {FAR} remote any",
            f"ip link add g6 type ip6gre local {FAR6} remote any",
            f"ip fou add port {GUE_PORT} gue",
            f"ip -6 fou add port {GUE_PORT} gue",
            "sysctl -qw net.ipv4.conf.all.rp_filter=0",
        ):
            self.run(self.far, command)
        for device in ("g4", "g6"):
            self.run(self.far, f"ip link set {device} up")

    def insist_on_checksums(self, wanted: bool) -> None:
        """Set GRE checksums: Linux accepts only packets with a checksum, or only packets without."""
        for device, address, kind in (("g4", FAR, "gre"), ("g6", FAR6, "ip6gre")):
            self.run(self.far, f"ip link delete {device}")
            self.run(
                self.far,
                f"ip link add {device} type {kind} local {address} remote any {'' if wanted else 'no'}icsum",
            )
            self.run(self.far, f"ip link set {device} up")

    def down(self) -> None:
        XdpDataPlane.remove(self.pins)
        self.close()
