# SPDX-License-Identifier: Apache-2.0
"""Wait on this host for one connection to VIP:port, and collect what the host saw of it.

Acts on the network namespace of the calling thread. The filter is in the kernel. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

from pointsman.control import paths
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import StatusReply, StatusRequest, TableRequest
from pointsman.control.pinned import pinned_plane, read_table
from pointsman.doctor.gather import read_facts
from pointsman.model.address import Address
from pointsman.trace import drops
from pointsman.trace.capture import CapturePoint, capture
from pointsman.trace.connection import DIRECTOR, REAL_SERVER, Decision, Drop, Sighting, is_opening
from pointsman.trace.decisions import find_decisions
from pointsman.trace.frames import TCP
from pointsman.trace.report import HostReport

_AFTER_SYN = 1.5
"""Seconds to wait for the answer to a SYN."""
_POLL = 1.0
"""Seconds between two reads of the connection table."""
_LARGE_TABLE = 20_000
"""Connections above which the table is read only once, at the end."""


class _Table:
    """Connection table of the running director, read periodically. Empty if no director runs."""

    def __init__(self, vip: Address, port: int, client: str, protocol: str) -> None:
        self._wanted = (vip, port, protocol)
        self._client = client
        self._old: set[tuple[str, int]] = set()
        self._following = 0.0
        self.runs = False
        self.fresh: list[Decision] = []
        self._exits: dict[str, int] = {}

    def start(self) -> None:
        with contextlib.suppress(ControlError, ProtocolError):
            self._exits = self._read_exits()
            self._old = {(item.client, item.client_port) for item in self._read()}
            self.runs = True

    def poll(self, last: bool = False) -> bool:
        """Read the table if it is time. True if there is a new connection since the start."""
        now = time.monotonic()
        if (
            (self.fresh and not last)
            or not self.runs
            or (not last and (now < self._following or len(self._old) > _LARGE_TABLE))
        ):
            return bool(self.fresh)
        self._following = now + _POLL
        with contextlib.suppress(ControlError, ProtocolError):
            self.fresh = [
                item for item in self._read() if (item.client, item.client_port) not in self._old
            ] or self.fresh
        return bool(self.fresh)

    def exits(self) -> dict[str, int]:
        """Return how often each exit was taken since the start."""
        if not self.runs:
            return {}
        with contextlib.suppress(ControlError, ProtocolError):
            now = self._read_exits()
            return {name: count - self._exits.get(name, 0) for name, count in now.items()}
        return {}

    def _read_exits(self) -> dict[str, int]:
        reply = request(StatusRequest(services=False), paths.control_socket())
        return reply.status.exits if isinstance(reply, StatusReply) else {}

    def _read(self) -> list[Decision]:
        try:
            reply = read_table(pinned_plane(), TableRequest(connections=True))
        except OSError:
            return []
        found = find_decisions(
            reply.table, reply.counters, reply.connections, socket.gethostname(), *self._wanted
        )
        return [item for item in found if self._client in ("", item.client)]


class _Seen:
    """Connections that started on this host's interfaces during the trace, and their frames."""

    def __init__(self, vip: str, port: int, client: str, on_connection: Callable[[str, int], None]) -> None:
        self._service = (vip, port)
        self._client = client
        self._on_connection = on_connection
        self._begun: dict[tuple[str, int], float] = {}
        self._taken = 0
        self.mine: list[Sighting] = []

    def on_sightings(self, sightings: list[Sighting]) -> None:
        """Process the sightings that are new since the last call."""
        for item in sightings[self._taken :]:
            frame = item.frame
            if self._client not in ("", frame.source, frame.destination):
                continue
            self.mine.append(item)
            key = (frame.source, frame.source_port)
            if is_opening(frame, *self._service) and key not in self._begun:
                self._begun[key] = item.time
                self._on_connection(*key)
        self._taken = len(sightings)

    def enough(self, sightings: list[Sighting]) -> bool:
        """True if a connection has started, and was answered or has waited long enough."""
        self.on_sightings(sightings)
        if not self._begun:
            return False
        answered = any(
            (item.frame.destination, item.frame.destination_port) in self._begun for item in self.mine
        )
        return answered or time.time() - min(self._begun.values()) > _AFTER_SYN


def _require_capture() -> None:
    """Raise OSError (EPERM) without CAP_NET_RAW. If no interface can be captured now, nothing else would."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


def watch(
    vip: Address,
    port: int,
    client: str,
    seconds: float,
    waiting: Callable[[], None],
    protocol: str = TCP,
    on_connection: Callable[[str, int], None] = lambda _client, _port: None,
    stopped: Callable[[], bool] | None = None,
) -> HostReport:
    """Wait at most `seconds` for a connection (from `client`, if given) and return what this host saw.

    `waiting` is called when all interfaces are captured, `on_connection` for each connection that starts.
    With `stopped`, capture until it returns True.

    Raises OSError if an interface cannot be captured (EPERM without CAP_NET_RAW).
    """
    _require_capture()
    here = read_facts.read_host()
    table = _Table(vip, port, client, protocol)
    table.start()
    role = DIRECTOR if table.runs else REAL_SERVER
    points = [
        CapturePoint(host=here.name, interface=card.name, role=role)
        for card in here.cards
        if card.running and card.mac and not card.loopback
    ]
    seen = _Seen(str(vip), port, client, on_connection)

    def enough(sightings: list[Sighting]) -> bool:
        found = seen.enough(sightings)
        return found if stopped is None else stopped()

    with contextlib.ExitStack() as stack:
        remark = ""
        try:
            watcher = stack.enter_context(drops.watch_drops(vip, port, protocol))
        except OSError as error:
            watcher, remark = None, drops.explain_error(error)
        ended = table.poll if stopped is None else stopped
        sightings = capture(points, vip, port, waiting, ended, seconds, enough, protocol)
        dropped = watcher.collect() if watcher else []
    seen.on_sightings(sightings)
    table.poll(last=True)
    names = {entry.mac: str(entry.address) for entry in here.neighbours if entry.mac}
    names |= {card.mac: here.name for card in here.cards if card.mac}
    return HostReport(
        host=here.name,
        role=role,
        vip=str(vip),
        port=port,
        protocol=protocol,
        sightings=tuple(sorted(seen.mine, key=lambda item: item.time)),
        drops=tuple(
            drop
            for drop in (_to_drop(item, str(vip), port) for item in dropped)
            if drop is not None and client in ("", drop.client)
        ),
        decisions=tuple(table.fresh),
        exits=table.exits(),
        hosts=names,
        own=tuple(card.mac for card in here.cards if card.mac),
        remark=remark,
    )


def _to_drop(item: drops.KernelDrop, vip: str, port: int) -> Drop | None:
    """Return a drop of this network namespace. None: another namespace; the tracepoint covers all of them."""
    if item.namespace != os.stat("/proc/thread-self/ns/net").st_ino:
        return None
    try:
        interface = socket.if_indextoname(item.interface) if item.interface else ""
    except OSError:
        interface = ""
    answer = (item.source, item.source_port) == (vip, port)
    return Drop(
        host=socket.gethostname(),
        interface=interface,
        reason=item.reason,
        function=item.function,
        answer=answer,
        client=item.destination if answer else item.source,
        client_port=item.destination_port if answer else item.source_port,
    )
