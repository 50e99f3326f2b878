# SPDX-License-Identifier: Apache-2.0
"""A director and a real server on one cable, for tests of what goes past the director's own stack."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

import pytest
from tests.support.namespaces import Namespaces

VIP, REAL = "192.0.2.9", "192.0.2.20"


class Way(NamedTuple):
    """The addresses of one family."""

    vip: str
    real: str
    director: str
    ip: str
    """The command, with the family."""
    length: int
    """The length of the network's prefix."""
    host: int
    """Bits of an address."""
    forwarding: str
    """The sysctl that makes the real server a router."""

    def at(self, address: str, port: int) -> str:
        return f"[{address}]:{port}" if self.host == 128 else f"{address}:{port}"


IPV4 = Way(VIP, REAL, "192.0.2.10", "ip -4", 24, 32, "net.ipv4.ip_forward")
IPV6 = Way("2001:db8::9", "2001:db8::20", "2001:db8::10", "ip -6", 64, 128, "net.ipv6.conf.all.forwarding")
BOTH = pytest.mark.parametrize("way", [IPV4, IPV6], ids=["IPv4", "IPv6"])
LISTEN = """
import socket
listener = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
print("on", flush=True)
while True:
    listener.accept()[0].close()
"""


class Cable(Namespaces):
    """A director and a real server on one cable; the real server listens on every address of its own."""

    def __init__(self, program: str = LISTEN) -> None:
        """`program` is the real server's, in Python; it says when it is on."""
        super().__init__("health", "d", "r")
        self._program = program
        self.director, self.real = self.names.values()
        self.make()
        for name in (self.director, self.real):
            # Without an address of its own yet a host cannot ask for neighbours.
            self.run(name, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0")
        self.run(self.director, f"ip link add eth0 type veth peer name eth0 netns {self.real}")
        for name in (self.director, self.real):
            for way in (IPV4, IPV6):
                address = way.director if name == self.director else way.real
                self.run(name, f"{way.ip} addr add {address}/{way.length} dev eth0")
            self.run(name, "ip link set eth0 up")
        self.run(self.real, "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
        self._listener: subprocess.Popen[bytes] | None = None
        self.listen()

    def bear(self, namespace: str, way: Way, device: str) -> None:
        """Give the VIP to a host."""
        self.run(namespace, f"{way.ip} addr add {way.vip}/{way.host} dev {device}")

    def listen(self) -> None:
        self._listener = subprocess.Popen(
            self.command(self.real, "python3", "-c", self._program), stdout=subprocess.PIPE
        )
        assert self._listener.stdout is not None
        assert self._listener.stdout.readline() == b"on\n"

    def kill(self) -> None:
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait()
            self._listener = None

    def close(self) -> None:
        self.kill()
        super().close()
