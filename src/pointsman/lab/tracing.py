# SPDX-License-Identifier: Apache-2.0
"""Trace one connection through a lab, captured on every interface of every node."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator

import msgspec

from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import TableReply, TableRequest
from pointsman.doctor.facts import join_words
from pointsman.doctor.gather import probe as wire_probe
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab
from pointsman.lab.node import Node
from pointsman.lab.topologies.topology import Role
from pointsman.model.address import Address, format_endpoint, resolution_protocol
from pointsman.model.wording import count
from pointsman.trace import drops, host_verdict
from pointsman.trace.capture import CapturePoint, capture
from pointsman.trace.connection import DIRECTOR, REAL_SERVER, Decision, Drop, Finding, Sighting, Trace
from pointsman.trace.decisions import find_decisions
from pointsman.trace.frames import TCP, UDP
from pointsman.trace.report import HostReport
from pointsman.trace.verdict import analyse

_PAGE = "GET / HTTP/1.0\r\nHost: {}\r\n\r\n"
_NOBODY = bytes.fromhex("02000000beef")
_CONNECT_SECONDS = 3.0
_LINGER_SECONDS = 2.0
"""Seconds that the capture may continue after the connection attempt."""


class Traced(msgspec.Struct, frozen=True):
    """A trace, and the outcome of its connection."""

    trace: Trace
    outcome: str
    sightings: tuple[Sighting, ...] = ()
    """Every captured frame in order of time."""
    remark: str = ""
    """Parts of the trace that were not possible, and the reasons."""
    hosts: dict[str, str] = {}
    """Names by MAC address."""
    report: HostReport | None = None
    """Everything that a single host saw, for `--merge`."""


class _Connection(threading.Thread):
    """The client's connection: connect, send a request, read the start of the answer."""

    def __init__(self, lab: Lab, client: str, vip: Address, port: int, source: str, protocol: str) -> None:
        super().__init__(daemon=True)
        self._target = (str(vip), port)
        self._asks = (
            b"pointsman trace\n" if protocol == UDP else _PAGE.format(format_endpoint(vip, port)).encode()
        )
        family = socket.AF_INET if vip.version == 4 else socket.AF_INET6
        kind = socket.SOCK_DGRAM if protocol == UDP else socket.SOCK_STREAM
        self._socket = lab.node(client).socket(family, kind)
        self._socket.settimeout(_CONNECT_SECONDS)
        self._socket.bind((source, 0))
        self.port = int(self._socket.getsockname()[1])
        self.outcome = "no answer"

    def run(self) -> None:
        with self._socket as connection:
            try:
                connection.connect(self._target)
                connection.sendall(self._asks)
                said = connection.recv(4096)
                self.outcome = said.split(b"\r\n", 1)[0].decode(errors="replace") or "closed, no answer"
            except OSError as error:
                self.outcome = error.strerror or str(error)


def trace(
    lab: Lab, vip: str, port: int, client: str = "client", source: str = "", protocol: str = TCP
) -> Traced:
    """Make one connection from the client node (from its address `source`, if given) and trace it.

    With UDP: one datagram and its answer. Raises LabError if `vip` is not an address, or an interface
    cannot be captured.
    """
    try:
        address = ipaddress.ip_address(vip)
    except ValueError as error:
        raise LabError(f"{vip!r} is not an IP address") from error
    vip = str(address)
    connection = _Connection(lab, client, address, port, source, protocol)
    dropped: list[drops.KernelDrop] = []
    remark = ""
    counted = _read_exits(lab)
    with contextlib.ExitStack() as stack:
        try:
            watcher = stack.enter_context(drops.watch_drops(address, port, protocol))
        except OSError as error:
            watcher, remark = None, drops.explain_error(error)
        try:
            sightings = capture(
                list(capture_points(lab)),
                address,
                port,
                ready=connection.start,
                ended=lambda: not connection.is_alive(),
                seconds=_CONNECT_SECONDS + _LINGER_SECONDS,
                protocol=protocol,
            )
        except OSError as error:
            raise LabError(f"cannot capture in {lab.topology.name}: {error}") from error
        finally:
            if connection.is_alive():
                connection.join()
        dropped = watcher.collect() if watcher else []
    found = analyse(
        sightings,
        vip,
        port,
        lab.topology.hosts_by_mac(),
        connection.port,
        _locate_drops(lab, dropped, vip, connection.port),
        _read_decisions(lab, address, port, connection.port, protocol),
    )
    found = _add_counts(found, counted, _read_exits(lab))
    found = _add_arp_conflict(_add_arp_failure(found, lab, client, vip), lab, address)
    ordered = sorted(sightings, key=lambda sighting: sighting.time)
    return Traced(found, connection.outcome, tuple(ordered), remark, lab.topology.hosts_by_mac())


def _read_exits(lab: Lab) -> dict[str, dict[str, int]]:
    """Return how often each director's data plane dropped a packet, by the name of the exit."""
    return {name: dict(reply.counters.exits) for name, reply in _read_tables(lab, TableRequest())}


def _read_tables(lab: Lab, asked: TableRequest) -> Iterator[tuple[str, TableReply]]:
    """Yield the tables of each running director, except those with too many connections to list."""
    for node in lab.nodes.values():
        if node.spec.role is not Role.DIRECTOR:
            continue
        with contextlib.suppress(ControlError, ProtocolError):  # no director runs there
            reply = request(asked, node.run_directory / "control.sock")
            if isinstance(reply, TableReply):
                yield node.name, reply


def _add_counts(found: Trace, before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> Trace:
    """Add what the data plane counted, if a director kept the request."""
    kept = [
        hop.place.host for hop in found.request[-1:] if hop.place.role == DIRECTOR and not hop.place.sends
    ]
    reasons = host_verdict.DROPPED | ({} if found.decisions else host_verdict.UNDECIDED)
    more = [
        Finding(
            False,
            f"the data plane of {name} counted {reason} {count(times, 'time')} during the trace: {text}",
        )
        for name in kept
        for reason, text in reasons.items()
        if (times := after.get(name, {}).get(reason, 0) - before.get(name, {}).get(reason, 0)) > 0
    ]
    return msgspec.structs.replace(found, findings=(*found.findings, *more))


def _add_arp_conflict(found: Trace, lab: Lab, vip: Address) -> Trace:
    """Add a finding if other hosts would have got the connection, or none.

    That is: other hosts than the receiver answer ARP for the VIP where the request was sent, or no host
    does.
    """
    arrival = next(
        (number for number, hop in enumerate(found.request) if hop.place.role in (DIRECTOR, REAL_SERVER)), 0
    )
    if not arrival or vip.version == 6:  # the kernel would use the answers
        return found
    sender = found.request[arrival - 1].place
    with lab.node(sender.host).entered():
        macs = wire_probe.who_has([(sender.interface, vip)], {vip}, disguise=_NOBODY).macs(vip)
    if len(macs) == 1:
        return found
    names = lab.topology.hosts_by_mac()
    who = join_words(f"{mac} ({names[mac]})" if mac in names else mac for mac in macs) or "no host"
    place = f"{sender.host}:{sender.interface}"
    text = f"{who} answer ARP for {vip} at {place}: the next request may not reach the director"
    if not macs:
        text = f"no host answers ARP for {vip}: the entry in the neighbour table of {place} will expire"
    return msgspec.structs.replace(found, findings=(*found.findings, Finding(False, text)))


def _add_arp_failure(found: Trace, lab: Lab, client: str, vip: str) -> Trace:
    """Add a finding if the request did not reach a director, because no host answered ARP there."""
    if any(hop.place.role == DIRECTOR for hop in found.request):
        return found
    node = lab.node(found.request[-1].place.host if found.request else client)
    silence = _find_unanswered_arp(node, vip)
    if not silence:
        return found
    others = tuple(
        finding for finding in found.findings if found.request
    )  # otherwise the only finding is that nothing was seen
    return msgspec.structs.replace(found, findings=(*others, Finding(False, silence)))


def _find_unanswered_arp(node: Node, vip: str) -> str:
    """Return a text about ARP requests on the path to the VIP that no host answered. Empty: none."""
    try:
        (route,) = json.loads(node.run(["ip", "-j", "route", "get", vip]).stdout)
        target, interface = route.get("gateway", vip), route["dev"]
        said = node.run(["ip", "-j", "neighbour", "show", "to", target, "dev", interface]).stdout
        states = {state for entry in json.loads(said) for state in entry["state"]}
    except (LabError, ValueError, KeyError):
        return ""  # no route, or no address on the interface: another error reports it
    if not states & {"INCOMPLETE", "FAILED"}:
        return ""
    searched = resolution_protocol(ipaddress.ip_address(target))
    return f"no host answers {searched}: {node.name} asks for {target} on {interface}"


def _locate_drops(lab: Lab, dropped: list[drops.KernelDrop], vip: str, client_port: int) -> Iterator[Drop]:
    """Yield the drops of this connection by node and interface. Drops outside the lab are not included."""
    nodes = {node.inode: node for node in lab.nodes.values()}
    for item in dropped:
        answer = (item.source, item.destination_port) == (vip, client_port)
        node = nodes.get(item.namespace)
        if node is None or not (answer or item.source_port == client_port):
            continue
        with node.entered():
            try:
                interface = socket.if_indextoname(item.interface) if item.interface else ""
            except OSError:
                interface = ""
        yield Drop(
            host=node.name, interface=interface, reason=item.reason, function=item.function, answer=answer
        )


def _read_decisions(lab: Lab, vip: Address, port: int, client_port: int, protocol: str) -> Iterator[Decision]:
    """Yield the entries of each director's connection table for this connection."""
    for name, reply in _read_tables(lab, TableRequest(connections=True)):
        node = lab.node(name)
        cards = [node.addresses(card.name) for card in node.spec.interfaces]
        own = {ipaddress.ip_interface(text).ip for addresses in cards for text in addresses}
        read = (reply.table, reply.counters, reply.connections)
        for item in find_decisions(*read, node.name, vip, port, protocol, own):
            if item.client_port == client_port:
                yield item


def capture_points(lab: Lab) -> Iterator[CapturePoint]:
    """Yield every interface of every node as a capture point.

    A director's interface is captured at its bridge port, because its XDP program takes frames before a
    packet socket sees them.
    """
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
