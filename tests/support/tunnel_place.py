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
        for name, addresses, routes in (
            (
                self.client,
                {
                    "c0": f"{CLIENT}/24 {CLIENT6}/64",
                    "c1": "10.4.0.2/24 fd00:4::2/64",
                    "c2": "10.6.0.2/24",
                },
                [],
            ),
            (
                self.director,
                {
                    "d0": f"10.1.0.1/24 fd00:1::1/64 {VIP}/32 {VIP6}/128",
                    "d1": "10.2.0.1/24 fd00:2::1/64",
                    "d2": "10.5.0.1/24",
                },
                ["default via 10.2.0.254", "default via fd00:2::fe"],
            ),
            (
                self.router,
                {
                    "g0": "10.2.0.254/24 fd00:2::fe/64",
                    "g1": "10.3.0.254/24 fd00:3::fe/64",
                    "g2": "10.4.0.254/24 fd00:4::fe/64",
                },
                [f"{CLIENT}/32 via 10.4.0.2", f"{CLIENT6}/128 via fd00:4::2"],
            ),
            (
                self.far,
                {"s0": f"{FAR}/24 {FAR6}/64", "lo": f"{VIP}/32 {VIP6}/128"},
                ["default via 10.3.0.254", "default via fd00:3::fe"],
            ),
            (
                self.near,
                {"n0": f"{NEAR}/24", "n1": "10.6.0.12/24", "lo": f"{VIP}/32"},
                [f"{CLIENT}/32 via 10.6.0.2"],
            ),
        ):
            self.ip(
                name,
                *(
                    f"address add {address} dev {interface}{' nodad' if ':' in address else ''}"
                    for interface, several in addresses.items()
                    for address in several.split()
                ),
                *(f"route add {route}" for route in routes),
            )
        offload.complete_checksums(self.director, "d1")

    def _cable(self, one: str, first: str, other: str, second: str) -> None:
        self.ip(one, f"link add {first} type veth peer name {second} netns {other}")
        for name, interface in ((one, first), (other, second)):
            self.sysctl(
                name,
                *(f"net.ipv4.conf.{place}.rp_filter=0" for place in ("all", "default", interface)),
                *(
                    f"net.{family}.conf.all.forwarding={int(name == self.router)}"
                    for family in ("ipv4", "ipv6")
                ),
            )
            self.ip(name, f"link set {interface} up")

    def decapsulate(self) -> None:
        """Create the real servers' ends of all tunnels (ip-tunnel(8), ip-fou(8)), with default MTUs."""
        self.ip(
            self.far,
            "link set tunl0 up",
            "link set sit0 up",
            f"link add t46 type ip6tnl local {FAR6} remote any mode any",
            "link set t46 up",
            f"link add g4 type gre local {FAR} remote any",
            f"link add g6 type ip6gre local {FAR6} remote any",
            f"fou add port {GUE_PORT} gue",
            "link set g4 up",
            "link set g6 up",
        )
        self.run(self.far, f"ip -6 fou add port {GUE_PORT} gue")
        self.sysctl(self.far, "net.ipv4.conf.all.rp_filter=0")

    def insist_on_checksums(self, wanted: bool) -> None:
        """Set GRE checksums: Linux accepts only packets with a checksum, or only packets without."""
        checksums = "icsum" if wanted else "noicsum"
        for device, address, kind in (("g4", FAR, "gre"), ("g6", FAR6, "ip6gre")):
            self.ip(
                self.far,
                f"link delete {device}",
                f"link add {device} type {kind} local {address} remote any {checksums}",
                f"link set {device} up",
            )

    def down(self) -> None:
        XdpDataPlane.remove(self.pins)
        self.close()
