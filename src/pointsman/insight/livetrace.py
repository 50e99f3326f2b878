"""Waits on this host for one connection to VIP:port, and gathers what the host saw of it.

Acts on the network namespace of the calling thread. The filter is in the kernel; nothing is changed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable

import msgspec

from pointsman.daemon import paths
from pointsman.daemon.client import ControlError, ProtocolError, request
from pointsman.daemon.messages import StatusReply, StatusRequest, TableRequest
from pointsman.daemon.pinned import pinned_plane, read_table
from pointsman.insight import doctor_gather, drops
from pointsman.insight.capture import CapturePoint, capture
from pointsman.insight.hops import DIRECTOR, REAL_SERVER, Decision, Drop, Sighting, Trace
from pointsman.insight.hosthops import analyse_host

_AFTER_SYN = 1.5
"""Seconds to wait for the answer to a SYN."""
_POLL = 1.0
"""Seconds between looks at the connection table."""
_LARGE_TABLE = 20_000
"""Connections above which the table is looked at only once, at the end."""


class Watched(msgspec.Struct, frozen=True):
    """A trace of one host, and its whole capture."""

    trace: Trace
    role: str
    hosts: dict[str, str]
    sightings: tuple[Sighting, ...] = ()
    remark: str = ""
    """What could not be looked at, and why."""


class _Table:
    """The running director's connection table, looked at now and then; empty where none runs."""

    def __init__(self, vip: ipaddress.IPv4Address, port: int, client: str) -> None:
        self._wanted = (vip, port)
        self._client = client
        self._old: set[tuple[str, int]] = set()
        self._following = 0.0
        self.runs = False
        self.fresh: list[Decision] = []
        self._exits: dict[str, int] = {}

    def start(self) -> None:
        with contextlib.suppress(ControlError, ProtocolError):
            self._exits = self._read_exits()
            self._old = {key for key, _ in self._read()}
            self.runs = True

    def look(self, last: bool = False) -> bool:
        """Whether a new connection has come since the start."""
        now = time.monotonic()
        if (
            self.fresh
            or not self.runs
            or (not last and (now < self._following or len(self._old) > _LARGE_TABLE))
        ):
            return bool(self.fresh)
        self._following = now + _POLL
        with contextlib.suppress(ControlError, ProtocolError):
            self.fresh = [decision for key, decision in self._read() if key not in self._old][:1]
        return bool(self.fresh)

    def exits(self) -> dict[str, int]:
        """How often each exit was taken since the start."""
        if not self.runs:
            return {}
        with contextlib.suppress(ControlError, ProtocolError):
            now = self._read_exits()
            return {name: count - self._exits.get(name, 0) for name, count in now.items()}
        return {}

    def _read_exits(self) -> dict[str, int]:
        reply = request(StatusRequest(), paths.control_socket())
        return dict(reply.status["exits"]) if isinstance(reply, StatusReply) else {}

    def _read(self) -> list[tuple[tuple[str, int], Decision]]:
        try:
            reply = read_table(pinned_plane(), TableRequest(connections=True))
        except OSError:
            return []
        services = {(item.service.key.address, item.service.key.port): item.service for item in reply.table}
        service = services.get(self._wanted) or services.get((self._wanted[0], 0))
        return [
            (
                (str(item.client), item.client_port),
                Decision(
                    director=socket.gethostname(),
                    server=f"{item.server}:{item.server_port}",
                    state=item.state,
                    scheduler=service.scheduler if service else "",
                    persistent=service is not None and service.persistence is not None,
                ),
            )
            for item in reply.connections
            if (item.virtual, item.virtual_port) == self._wanted
            and item.client_port
            and self._client in ("", str(item.client))
        ]


def watch(
    vip: ipaddress.IPv4Address, port: int, client: str, seconds: float, waiting: Callable[[], None]
) -> Watched:
    """Wait at most `seconds` for a connection (of `client`, if given); `waiting` is called when all is ready.

    Raises OSError when an interface cannot be watched (EPERM without CAP_NET_RAW).
    """
    here = doctor_gather.host()
    table = _Table(vip, port, client)
    table.start()
    role = DIRECTOR if table.runs else REAL_SERVER
    points = [
        CapturePoint(host=here.name, interface=card.name, role=role)
        for card in here.cards
        if card.running and card.mac and not card.loopback
    ]
    mine: list[Sighting] = []

    def enough(sightings: list[Sighting]) -> bool:
        mine[:] = [item for item in sightings if client in ("", item.frame.source, item.frame.destination)]
        opening = next((item for item in mine if item.frame.flags.startswith("S")), None)
        if opening is None:
            return False
        answered = any("." in item.frame.flags or "R" in item.frame.flags for item in mine)
        return answered or time.time() - opening.time > _AFTER_SYN

    with contextlib.ExitStack() as stack:
        remark = ""
        try:
            watcher = stack.enter_context(drops.watching(vip, port))
        except OSError as error:
            watcher, remark = None, drops.reason_not_to(error)
        sightings = capture(points, vip, port, waiting, table.look, seconds, enough)
        dropped = watcher.collect() if watcher else []
    enough(sightings)
    table.look(last=True)
    names = {entry.mac: str(entry.address) for entry in here.neighbours if entry.mac}
    names |= {card.mac: here.name for card in here.cards if card.mac}
    ports = {item.frame.source_port for item in mine} | {item.frame.destination_port for item in mine}
    trace = analyse_host(
        mine,
        str(vip),
        port,
        role,
        names,
        [drop for drop in map(_local, dropped) if drop is not None] if ports else [],
        table.fresh,
        table.exits(),
    )
    return Watched(trace, role, names, tuple(sorted(mine, key=lambda item: item.time)), remark)


def _local(item: drops.KernelDrop) -> Drop | None:
    """A drop in this network namespace; the tracepoint hears of all of them."""
    if item.namespace != os.stat("/proc/thread-self/ns/net").st_ino:
        return None
    try:
        interface = socket.if_indextoname(item.interface) if item.interface else ""
    except OSError:
        interface = ""
    return Drop(
        host=socket.gethostname(),
        interface=interface,
        reason=item.reason,
        function=item.function,
        answer=not item.interface,
    )
