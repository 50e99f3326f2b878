# SPDX-License-Identifier: Apache-2.0
"""Hosts on one switch, made of network namespaces, and the programs that tests run on them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from pointsman.lab import namespace
from pointsman.lab.node import forget

_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_TIMESTAMP = (socket.SOL_SOCKET, _SO_TIMESTAMPNS)


class Host:
    """A host with one interface, eth0."""

    def __init__(self, switch: str, prefix: str, name: str, address: str) -> None:
        self.name = name
        self.address = ipaddress.IPv4Address(address.split("/")[0])
        self.namespace = f"{prefix}-{name}"
        self.port = f"port-{name}"
        self._switch = switch
        self._processes: list[subprocess.Popen[bytes]] = []
        namespace.create(self.namespace)
        with namespace.entered(self.namespace):
            # No wait for duplicate detection: link-local addresses are there at once.
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        with namespace.entered(switch):
            ip("link", "add", "name", self.port, "type", "veth", "peer", "eth0", "netns", self.namespace)
            ip("link", "set", self.port, "master", "br0", "up")
        self.ip("addr", "add", address, "dev", "eth0")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")

    def ip(self, *arguments: str) -> str:
        with namespace.entered(self.namespace):
            return ip(*arguments)

    def addresses(self) -> list[str]:
        """Return the addresses of eth0, as ADDRESS/PREFIX."""
        lines = self.ip("-4", "-o", "addr", "show", "dev", "eth0").splitlines()
        return [line.split()[3] for line in lines]

    def mac(self) -> bytes:
        with namespace.entered(self.namespace):
            link = ip("-o", "link", "show", "dev", "eth0")
        return bytes.fromhex(link.split("link/ether ")[1].split()[0].replace(":", ""))

    def neighbour(self, address: str) -> bytes | None:
        """Return the MAC address of another host, from this host's neighbour table."""
        words = self.ip("neigh", "show", address, "dev", "eth0").split()
        if "lladdr" not in words:
            return None
        return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))

    def plug(self, connected: bool) -> None:
        """Set the carrier, as if the cable were plugged in or pulled."""
        with namespace.entered(self._switch):
            ip("link", "set", self.port, "up" if connected else "down")

    def isolate(self, isolated: bool) -> None:
        """Take the host off the switch, or back. The carrier stays, so no host notices the split."""
        with namespace.entered(self._switch):
            ip("link", "set", self.port, *(["nomaster"] if isolated else ["master", "br0"]))

    def start(self, *command: str, log: Path | None = None, **options: object) -> subprocess.Popen[bytes]:
        """Run a program on this host; it is killed at the end of the test."""
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
            stack.enter_context(namespace.entered(self.namespace))
            process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                command, stdout=output, stderr=output, start_new_session=True, **options
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        forget(namespace.inode(self.namespace))
        namespace.delete(self.namespace)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class Switch:
    """A bridge without spanning tree, with every host that a test has connected."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts: list[Host] = []
        self._prefix = f"pmt-vrrp-{os.getpid()}"
        self.namespace = f"{self._prefix}-sw"
        namespace.create(self.namespace)
        with namespace.entered(self.namespace):
            ip("link", "add", "name", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
            ip("link", "set", "br0", "up")

    def host(self, name: str, address: str) -> Host:
        host = Host(self.namespace, self._prefix, name, address)
        self.hosts.append(host)
        return host

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        namespace.delete(self.namespace)


@contextlib.contextmanager
def switch(directory: Path) -> Iterator[Switch]:
    """Make a switch, and remove it with all hosts and programs."""
    made = Switch(directory)
    try:
        yield made
    finally:
        made.close()


class Capture:
    """A capture of the frames of a host, at its port of the switch."""

    def __init__(self, made: Switch, host: Host) -> None:
        with namespace.entered(made.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 25)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((host.port, 3))
        self._socket.setblocking(False)
        self._mac = host.mac()
        self._arrivals: list[tuple[float, bytes]] = []

    def arrivals(self) -> list[tuple[float, bytes]]:
        """Return every frame with the time (of day, in seconds) at which the kernel saw it.

        However late a test reads: an interval between two frames is what it was on the wire.
        """
        while True:
            try:
                frame, extra, _, sender = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return self._arrivals
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # told once, when the port goes down
                    raise
                continue
            if sender[2] != socket.PACKET_OUTGOING:
                (seen,) = [data for level, kind, data in extra if (level, kind) == _TIMESTAMP]
                seconds, nanoseconds = struct.unpack("@ll", seen)
                self._arrivals.append((seconds + nanoseconds / 1e9, frame))

    def all_frames(self) -> list[bytes]:
        """Return the frames from any MAC address."""
        return [frame for _, frame in self.arrivals()]

    def frames(self) -> list[bytes]:
        """Return those from the MAC address that the host's eth0 had at the beginning."""
        return [frame for frame in self.all_frames() if frame[6:12] == self._mac]

    def adverts(self) -> list[bytes]:
        """Return the IP packets of protocol 112."""
        return [packet for _, packet in self.timed_adverts()]

    def timed_adverts(self) -> list[tuple[float, bytes]]:
        """Return the IP packets of protocol 112, with their times."""
        return [
            (seen, frame[14:])
            for seen, frame in self.arrivals()
            if frame[6:12] == self._mac and frame[12:14] == b"\x08\x00" and frame[23] == 112
        ]

    def longest_pause(self) -> float:
        """Return the longest time between two adverts, in seconds."""
        return max(later - earlier for (earlier, _), (later, _) in pairwise(self.timed_adverts()))

    def close(self) -> None:
        self._socket.close()
