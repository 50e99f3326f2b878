"""A director and a real server on one cable, for tests of what goes past the director's own stack."""

from __future__ import annotations

import os
import subprocess

VIP, REAL = "192.0.2.9", "192.0.2.20"
LISTEN = """
import socket
listener = socket.create_server(("0.0.0.0", 80))
print("on", flush=True)
while True:
    listener.accept()[0].close()
"""


class Cable:
    """A director and a real server on one cable; the real server listens on every address of its own."""

    def __init__(self, program: str = LISTEN) -> None:
        """`program` is the real server's, in Python; it says when it is on."""
        self._program = program
        self.director, self.real = (f"pmt-health-{os.getpid()}-{end}" for end in ("d", "r"))
        for name in (self.director, self.real):
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.run(name, "ip link set lo up")
        self.run(self.director, f"ip link add eth0 type veth peer name eth0 netns {self.real}")
        for name, address in ((self.director, "192.0.2.10"), (self.real, REAL)):
            self.run(name, f"ip addr add {address}/24 dev eth0")
            self.run(name, "ip link set eth0 up")
        self.run(self.real, "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
        self._listener: subprocess.Popen[bytes] | None = None
        self.listen()

    def run(self, namespace: str, command: str) -> None:
        subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", *command.split()], check=True)

    def listen(self) -> None:
        self._listener = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.real}", "python3", "-c", self._program],
            stdout=subprocess.PIPE,
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
        for name in (self.director, self.real):
            subprocess.run(["ip", "netns", "del", name], check=False)
