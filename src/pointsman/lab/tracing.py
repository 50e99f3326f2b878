"""One connection through a lab, watched at every interface of every node."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator

import msgspec

from pointsman.insight.capture import CapturePoint, capture
from pointsman.insight.hops import Trace, analyse
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab
from pointsman.lab.topology import Role

_CONNECT_SECONDS = 3.0
_LINGER_SECONDS = 2.0
"""How much longer than the connection attempt the capture may last."""


class Traced(msgspec.Struct, frozen=True):
    """A trace, and how the connection that was watched ended."""

    trace: Trace
    outcome: str


class _Connection(threading.Thread):
    """The client's connection: connect, ask for a page, read the first of the answer."""

    def __init__(self, lab: Lab, client: str, vip: str, port: int, source: str) -> None:
        super().__init__(daemon=True)
        self._target = (vip, port)
        self._socket = lab.node(client).socket()
        self._socket.settimeout(_CONNECT_SECONDS)
        self._socket.bind((source, 0))
        self.port = int(self._socket.getsockname()[1])
        self.outcome = "no answer"

    def run(self) -> None:
        with self._socket as connection:
            try:
                connection.connect(self._target)
                connection.sendall(f"GET / HTTP/1.0\r\nHost: {self._target[0]}\r\n\r\n".encode())
                said = connection.recv(4096)
                self.outcome = said.split(b"\r\n", 1)[0].decode(errors="replace") or "closed without a word"
            except OSError as error:
                self.outcome = str(error)


def trace(lab: Lab, vip: str, port: int, client: str = "client", source: str = "") -> Traced:
    """Make one TCP connection from the client node (from its address `source`, if given) and follow it.

    Raises LabError for an address that is not IPv4, and when an interface cannot be watched.
    """
    try:
        address = ipaddress.IPv4Address(vip)
    except ValueError as error:
        raise LabError(f"{vip}: trace follows IPv4 only, so far") from error
    connection = _Connection(lab, client, vip, port, source)
    try:
        sightings = capture(
            list(capture_points(lab)),
            address,
            port,
            ready=connection.start,
            ended=lambda: not connection.is_alive(),
            seconds=_CONNECT_SECONDS + _LINGER_SECONDS,
        )
    except OSError as error:
        raise LabError(f"cannot capture in {lab.topology.name}: {error}") from error
    finally:
        if connection.is_alive():
            connection.join()
    hosts = lab.topology.hosts_by_mac()
    found = analyse(sightings, vip, port, hosts, connection.port)
    return Traced(found, connection.outcome)


def capture_points(lab: Lab) -> Iterator[CapturePoint]:
    """Every interface of every node. A director's are watched at the bridge port they are plugged into, since
    its XDP program takes frames before a packet socket sees them."""
    for node in lab.nodes.values():
        for card in node.spec.interfaces:
            director = node.spec.role is Role.DIRECTOR
            partner = lab.node(lab.topology.segment(card.segment).node) if director else node
            yield CapturePoint(
                host=node.name,
                interface=card.name,
                role=node.spec.role.value,
                enter=partner.entered,
                tap=node.spec.port(card) if director else "",
                mac=card.mac,
            )
    for segment in lab.topology.segments:
        if segment.addresses:
            node = lab.node(segment.node)
            yield CapturePoint(
                host=node.name, interface=segment.name, role=node.spec.role.value, enter=node.entered
            )
