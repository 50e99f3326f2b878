"""One connection through a lab, watched at every interface of every node."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator

import msgspec

from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.messages import TableReply, TableRequest
from pointsman.doctor.facts import join_words
from pointsman.doctor.gather import probe as wire_probe
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab
from pointsman.lab.node import Node
from pointsman.lab.topologies.topology import Role
from pointsman.model.address import Address, bracketed, resolution
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
"""How much longer than the connection attempt the capture may last."""


class Traced(msgspec.Struct, frozen=True):
    """A trace, and how the connection that was watched ended."""

    trace: Trace
    outcome: str
    sightings: tuple[Sighting, ...] = ()
    """Every frame that was captured, in the order of time."""
    remark: str = ""
    """What could not be looked at, and why."""
    hosts: dict[str, str] = {}
    """Names by MAC address."""
    report: HostReport | None = None
    """Everything a single host saw, for `--merge`."""


class _Connection(threading.Thread):
    """The client's connection: connect, ask for a page, read the first of the answer."""

    def __init__(self, lab: Lab, client: str, vip: Address, port: int, source: str, protocol: str) -> None:
        super().__init__(daemon=True)
        self._target = (str(vip), port)
        self._asks = b"pointsman trace\n" if protocol == UDP else _PAGE.format(bracketed(vip, port)).encode()
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
                self.outcome = said.split(b"\r\n", 1)[0].decode(errors="replace") or "closed without a word"
            except OSError as error:
                self.outcome = error.strerror or str(error)


def trace(
    lab: Lab, vip: str, port: int, client: str = "client", source: str = "", protocol: str = TCP
) -> Traced:
    """Make one connection from the client node (from its address `source`, if given) and follow it; with UDP
    one datagram and its answer.

    Raises LabError for what is no address, and when an interface cannot be watched.
    """
    try:
        address = ipaddress.ip_address(vip)
    except ValueError as error:
        raise LabError(f"{vip!r} is not an IP address") from error
    vip = str(address)
    connection = _Connection(lab, client, address, port, source, protocol)
    dropped: list[drops.KernelDrop] = []
    remark = ""
    counted = _exits(lab)
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
        _located(lab, dropped, vip, connection.port),
        _decisions(lab, address, port, connection.port, protocol),
    )
    found = _with_counts(found, counted, _exits(lab))
    found = _with_rivals(_with_silence(found, lab, client, vip), lab, address)
    ordered = sorted(sightings, key=lambda sighting: sighting.time)
    return Traced(found, connection.outcome, tuple(ordered), remark, lab.topology.hosts_by_mac())


def _exits(lab: Lab) -> dict[str, dict[str, int]]:
    """How often each director's data plane has given a packet up, by the name of its reason."""
    return {name: dict(reply.counters.exits) for name, reply in _tables(lab, TableRequest())}


def _tables(lab: Lab, asked: TableRequest) -> Iterator[tuple[str, TableReply]]:
    """What each running director has in its tables; nothing of one that has too many connections to list."""
    for node in lab.nodes.values():
        if node.spec.role is not Role.DIRECTOR:
            continue
        with contextlib.suppress(ControlError, ProtocolError):  # no director runs there
            reply = request(asked, node.run_directory / "control.sock")
            if isinstance(reply, TableReply):
                yield node.name, reply


def _with_counts(found: Trace, before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> Trace:
    """The trace; when a director kept the request, with what its data plane counted meanwhile."""
    kept = [
        hop.place.host for hop in found.request[-1:] if hop.place.role == DIRECTOR and not hop.place.sends
    ]
    reasons = host_verdict.DROPPED | ({} if found.decisions else host_verdict.UNDECIDED)
    more = [
        Finding(False, f"the data plane of {name} counted {reason} {times} times meanwhile: {text}")
        for name in kept
        for reason, text in reasons.items()
        if (times := after.get(name, {}).get(reason, 0) - before.get(name, {}).get(reason, 0)) > 0
    ]
    return msgspec.structs.replace(found, findings=(*found.findings, *more))


def _with_rivals(found: Trace, lab: Lab, vip: Address) -> Trace:
    """The trace, and whether others would have got the connection: who answers for the VIP where it was sent
    to, besides the one that got it, or nobody any more."""
    arrival = next(
        (number for number, hop in enumerate(found.request) if hop.place.role in (DIRECTOR, REAL_SERVER)), 0
    )
    if not arrival or vip.version == 6:  # a solicitation cannot be disguised: its answers would be believed
        return found
    sender = found.request[arrival - 1].place
    with lab.node(sender.host).entered():
        macs = wire_probe.who_has([(sender.interface, vip)], {vip}, disguise=_NOBODY).macs(vip)
    if len(macs) == 1:
        return found
    names = lab.topology.hosts_by_mac()
    who = join_words(f"{mac} ({names[mac]})" if mac in names else mac for mac in macs) or "nobody"
    place = f"{sender.host}:{sender.interface}"
    text = f"{who} answer ARP for {vip} at {place}: whoever asks next may miss the director"
    if not macs:
        text = f"nobody answers ARP for {vip}: {place} still knew where it was, and will forget it"
    return msgspec.structs.replace(found, findings=(*found.findings, Finding(False, text)))


def _with_silence(found: Trace, lab: Lab, client: str, vip: str) -> Trace:
    """The trace, and when the request got stuck before a director, whether nobody answered ARP there."""
    if any(hop.place.role == DIRECTOR for hop in found.request):
        return found
    node = lab.node(found.request[-1].place.host if found.request else client)
    silence = _unanswered(node, vip)
    if not silence:
        return found
    others = tuple(finding for finding in found.findings if found.request)  # else: only that nothing was seen
    return msgspec.structs.replace(found, findings=(*others, Finding(False, silence)))


def _unanswered(node: Node, vip: str) -> str:
    """Whom this host's ARP requests on the way to the VIP were for, when nobody has answered them."""
    try:
        (route,) = json.loads(node.run(["ip", "-j", "route", "get", vip]).stdout)
        target, interface = route.get("gateway", vip), route["dev"]
        said = node.run(["ip", "-j", "neighbour", "show", "to", target, "dev", interface]).stdout
        states = {state for entry in json.loads(said) for state in entry["state"]}
    except (LabError, ValueError, KeyError):
        return ""  # it has no route, or no address of the interface: its own error says so
    if not states & {"INCOMPLETE", "FAILED"}:
        return ""
    searched = resolution(ipaddress.ip_address(target))
    return f"nobody answers {searched}: {node.name} asks for {target} on {interface} in vain"


def _located(lab: Lab, dropped: list[drops.KernelDrop], vip: str, client_port: int) -> Iterator[Drop]:
    """The drops of this connection, by node and interface; those outside the lab are not ours."""
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


def _decisions(lab: Lab, vip: Address, port: int, client_port: int, protocol: str) -> Iterator[Decision]:
    """What each director has in its connection table about this connection."""
    for name, reply in _tables(lab, TableRequest(connections=True)):
        node = lab.node(name)
        cards = [node.addresses(card.name) for card in node.spec.interfaces]
        own = {ipaddress.ip_interface(text).ip for addresses in cards for text in addresses}
        read = (reply.table, reply.counters, reply.connections)
        for item in find_decisions(*read, node.name, vip, port, protocol, own):
            if item.client_port == client_port:
                yield item


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
