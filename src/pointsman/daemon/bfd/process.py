# SPDX-License-Identifier: Apache-2.0
"""The BFD process: runs the sessions, and reports changes to VRRP, checker and director.

It is a separate process with real-time priority, like VRRP's, because sessions may run at 10 ms. A packet
that arrived before a timer was due is read before that timer fires (event_loop.py).
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from pointsman.bfd.machine import BfdMachine, Changed, Transmit
from pointsman.bfd.wire import MULTIHOP_PORT, PORT, TTL, BadPacketError, Packet, decode, encode
from pointsman.control import messages
from pointsman.control.vrrp_messages import TrackerValue
from pointsman.daemon.bfd.socket import Receiver, Sender
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.runtime.realtime import become_punctual
from pointsman.model.bfd import BfdSession
from pointsman.model.config import Config
from pointsman.model.decoding import InvalidDataError, decoding
from pointsman.model.tracking import TrackKind

EXIT_OK, EXIT_ENVIRONMENT = 0, 3

RESTART_TIME = 3.0
"""Seconds in which a session that was up before a crash may come up again. Until then no down is reported."""
SENDER_RETRY = 1.0
"""Seconds between two attempts to open a sender. Its source address may be added later."""
STATE_FILE = "bfd.up"
"""File in the run directory with the names of the sessions that are up. An orderly stop removes it."""
_MAX_PENDING = 1024
"""Reports that wait for one channel. If there are more, the oldest is dropped."""
_MAX_REASONS = 64
"""Different reasons that are counted separately for dropped packets."""

log = logging.getLogger("bfd")


def clock() -> float:
    """Return the seconds since boot, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Channels(msgspec.Struct, frozen=True):
    """Sockets (SOCK_SEQPACKET) to the other processes, by their names."""

    director: socket.socket
    vrrp: socket.socket
    checker: socket.socket


def run(
    sessions: tuple[BfdSession, ...],
    channels: Channels,
    run_directory: Path,
    heartbeat: Heartbeat | None = None,
    serial: int = 0,
) -> int:
    """Run the sessions until SIGTERM. Return the exit code: 0 orderly stop, 3 a port cannot be opened.

    Director and checker get a SessionChanged for each change, VRRP gets a TrackerValue. A Resync from one of
    them requests all values again. The director sends configurations.
    """
    try:
        process = BfdProcess(sessions, channels, run_directory, heartbeat, serial)
    except OSError as error:
        print(
            f"pointsman bfd: cannot listen for BFD: {error.strerror}; is another BFD daemon running?",
            file=sys.stderr,
        )
        return EXIT_ENVIRONMENT
    process.run()
    return EXIT_OK


class Neighbour:
    """One running session: its machine, its sender, and the last report about it."""

    def __init__(self, session: BfdSession, discriminator: int, report_down_at: float) -> None:
        self.machine = BfdMachine(session, discriminator, random.random)
        self.reported: messages.SessionChanged | None = None
        self.report_down_at = report_down_at
        """Time of the first report about a session that does not come up."""
        self._sender: Sender | None = None
        self._sender_not_before = float("-inf")
        self._once = LogOnce(log)

    @property
    def session(self) -> BfdSession:
        return self.machine.session

    @property
    def deadline(self) -> float | None:
        timers = (self.machine.deadline, self.report_down_at if self.reported is None else None)
        return min((timer for timer in timers if timer is not None), default=None)

    def transmit(self, packet: Packet, now: float) -> None:
        """Send a packet if possible. A failure is logged once, and again only after a packet was sent."""
        try:
            if self._sender is None:
                if now < self._sender_not_before:
                    return
                self._sender_not_before = now + SENDER_RETRY
                port = MULTIHOP_PORT if self.session.multihop else PORT
                self._sender = Sender(self.session.neighbour, self.session.source, self.session.ttl, port)
            self._sender.send(encode(packet))
        except OSError as error:
            name, neighbour = self.session.name, self.session.neighbour
            self._once.warning(error.errno, "(%s) cannot send to %s: %s", name, neighbour, error.strerror)
        else:
            self._once.clear()

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class BfdProcess:
    """All running sessions. Raises OSError if a port cannot be opened."""

    def __init__(
        self,
        sessions: Sequence[BfdSession],
        channels: Channels,
        run_directory: Path,
        heartbeat: Heartbeat | None = None,
        serial: int = 0,
    ) -> None:
        self._channels = channels
        self._serial = serial
        self._state_file = run_directory / STATE_FILE
        self._loop = EventLoop(clock, log, heartbeat)
        self._receivers: dict[tuple[int, int], Receiver] = {}
        self._neighbours: dict[int, Neighbour] = {}
        """Sessions by the local discriminator."""
        self._discriminators = iter(random.sample(range(1, 1 << 31), 1 << 12))
        self._counters: collections.Counter[str] = collections.Counter()
        self._once = LogOnce(log)
        self._pending: dict[socket.socket, collections.deque[bytes]] = {
            channel: collections.deque(maxlen=_MAX_PENDING)
            for channel in (channels.director, channels.vrrp, channels.checker)
        }
        self._reconfigure(sessions, self._read_state_file())

    def run(self) -> None:
        """Work until SIGTERM, then send AdminDown to every neighbour."""
        self._prepare()
        while not self._loop.stopping:
            self._loop.turn(self)
            self._flush()
        for neighbour in self._neighbours.values():
            neighbour.machine.stop(clock())
            self._apply_effects(neighbour)
        with contextlib.suppress(OSError):
            self._state_file.unlink(missing_ok=True)
        log.info("Stopped; packets dropped: %s", dict(self._counters) or "none")

    def _prepare(self) -> None:
        self._loop.stop_on(signal.SIGTERM, signal.SIGINT)
        channels = self._channels
        self._watch(Inbox(channels.director, messages.bfd_order_decoder, "director", log, self._serial))
        for channel, name in ((channels.vrrp, "VRRP process"), (channels.checker, "checker")):
            resyncs: Inbox[messages.Resync] = Inbox(channel, messages.resync_decoder, name, log)
            self._watch(resyncs)
        if refused := become_punctual():
            log.warning("BFD packets may be late under load, refused by the kernel: %s", ", ".join(refused))

    def _watch(self, inbox: Inbox[messages.BfdOrder]) -> None:
        self._loop.watch(inbox.channel, partial(self._on_order, inbox))

    @property
    def deadline(self) -> float | None:
        """Time of the next call of `advance`. None: no timer runs."""
        deadlines = [neighbour.deadline for neighbour in self._neighbours.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def advance(self, now: float) -> None:
        """Fire the timers that are due: send packets, detect neighbours that are down."""
        for neighbour in self._neighbours.values():
            if neighbour.deadline is None or neighbour.deadline > now:
                continue
            neighbour.machine.advance(now)
            self._apply_effects(neighbour)
            if neighbour.reported is None and now >= neighbour.report_down_at:
                self._report(neighbour, False, "the neighbour has not answered yet")

    # configuration

    def _reconfigure(self, sessions: Sequence[BfdSession], were_up: frozenset[str] = frozenset()) -> None:
        """Run these sessions. A session with the same identity keeps its state.

        Raises OSError if a port cannot be opened. Then the sessions are unchanged.
        """
        self._open_receivers(sessions)
        wanted = {_identity(session): session for session in sessions}
        for discriminator, neighbour in list(self._neighbours.items()):
            if _identity(neighbour.session) not in wanted:
                neighbour.machine.stop(clock())
                self._apply_effects(neighbour)
                neighbour.close()
                del self._neighbours[discriminator]
        known = {_identity(neighbour.session): neighbour for neighbour in self._neighbours.values()}
        for identity, session in wanted.items():
            now = clock()
            if identity in known:
                known[identity].machine.reconfigure(now, session)
                self._apply_effects(known[identity])
            else:
                delay = RESTART_TIME if session.name in were_up else 0.0
                self._add(Neighbour(session, next(self._discriminators), now + delay), now)

    def _add(self, neighbour: Neighbour, now: float) -> None:
        self._neighbours[neighbour.machine.discriminator] = neighbour
        neighbour.machine.start(now)
        self._apply_effects(neighbour)

    def _open_receivers(self, sessions: Sequence[BfdSession]) -> None:
        wanted: set[tuple[int, int]] = {
            (each.neighbour.version, MULTIHOP_PORT if each.multihop else PORT) for each in sessions
        }
        for key in wanted - self._receivers.keys():
            receiver = Receiver(*key)
            self._receivers[key] = receiver
            multihop = key[1] == MULTIHOP_PORT
            self._loop.watch(receiver, partial(self._on_packets, receiver, multihop))
        for key in self._receivers.keys() - wanted:
            self._loop.unwatch(self._receivers[key])
            self._receivers.pop(key).close()

    def _on_order(self, inbox: Inbox[messages.BfdOrder]) -> None:
        """Execute one message of another process."""
        match inbox.receive():
            case messages.NewConfiguration(config=Config() as config):
                try:
                    self._reconfigure(config.bfd)
                except OSError as error:
                    log.error("BFD keeps the old configuration: %s", error)
            case messages.Resync():
                self._report_all(inbox.channel)
        if inbox.closed:
            self._loop.unwatch(inbox.channel)

    # packets

    def _on_packets(self, receiver: Receiver, multihop: bool) -> None:
        for arrival in receiver.receive():
            try:
                packet = decode(arrival.payload)
                neighbour = self._find(packet, arrival.source, multihop)
                _check_distance(neighbour.session, arrival.ttl)
            except BadPacketError as error:
                self._drop(str(error), arrival.source)
                continue
            neighbour.machine.on_packet(arrival.time, packet)
            self._apply_effects(neighbour)

    def _find(self, packet: Packet, source: object, multihop: bool) -> Neighbour:
        """Return the session of a packet. Raises BadPacketError if there is none.

        The local discriminator selects it. Before the neighbour knows that, its address does (RFC 5881
        section 3).
        """
        for neighbour in [self._neighbours.get(packet.yours)] if packet.yours else self._neighbours.values():
            if neighbour is not None and (neighbour.session.neighbour, neighbour.session.multihop) == (
                source,
                multihop,
            ):
                return neighbour
        raise BadPacketError("there is no such session")

    def _drop(self, reason: str, source: object) -> None:
        kind = reason if len(self._counters) < _MAX_REASONS else "other"
        self._counters[kind] += 1
        self._once.warning(kind, "a packet from %s is dropped: %s (logged once)", source, kind)

    def _apply_effects(self, neighbour: Neighbour) -> None:
        for effect in neighbour.machine.effects():
            if isinstance(effect, Transmit):
                neighbour.transmit(effect.packet, clock())
            else:
                self._on_changed(neighbour, effect)

    def _on_changed(self, neighbour: Neighbour, change: Changed) -> None:
        if change.up or neighbour.reported is not None or clock() >= neighbour.report_down_at:
            self._report(neighbour, change.up, change.reason)

    # reports

    def _report(self, neighbour: Neighbour, up: bool, reason: str) -> None:
        session = neighbour.session
        level = logging.INFO if up else logging.WARNING
        log.log(level, "(%s) %s: %s", session.name, "Up" if up else "Down", reason)
        neighbour.reported = messages.SessionChanged(session.name, up, reason)
        for channel in self._pending:
            self._queue(channel, neighbour)
        names = [
            each.reported.session for each in self._neighbours.values() if each.reported and each.reported.up
        ]
        try:
            self._state_file.write_text(json.dumps(names))
        except OSError as error:
            text = "cannot write %s: %s; after a crash all sessions begin as down"
            self._once.warning("state", text, self._state_file, error.strerror)

    def _report_all(self, channel: socket.socket) -> None:
        self._pending[channel].clear()
        for neighbour in self._neighbours.values():
            self._queue(channel, neighbour)

    def _queue(self, channel: socket.socket, neighbour: Neighbour) -> None:
        report, session = neighbour.reported, neighbour.session
        if report is None:
            return
        if channel is self._channels.vrrp:
            if session.for_vrrp:
                value = TrackerValue(TrackKind.BFD, session.name, int(report.up))
                self._pending[channel].append(msgspec.json.encode(value))
        elif channel is self._channels.director or session.for_checker:
            self._pending[channel].append(messages.encode(report))

    def _flush(self) -> None:
        """Send the pending reports without blocking. A report that does not fit waits for a later turn."""
        for channel, pending in self._pending.items():
            with contextlib.suppress(OSError):
                while pending:
                    channel.send(pending[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    pending.popleft()

    def _read_state_file(self) -> frozenset[str]:
        """Return the names of the sessions that were up before a crash."""
        try:
            with decoding():
                return frozenset(msgspec.json.decode(self._state_file.read_bytes(), type=list[str]))
        except (OSError, InvalidDataError):
            return frozenset()


def _check_distance(session: BfdSession, ttl: int) -> None:
    """Raise BadPacketError if the packet has passed too many routers (RFC 5881 section 5)."""
    if session.max_hops is not None and ttl < TTL - session.max_hops:
        raise BadPacketError(f"TTL {ttl}, and max_hops is {session.max_hops}")


def _identity(session: BfdSession) -> tuple[object, ...]:
    """Return the settings that cannot change while a session runs."""
    return session.name, session.neighbour, session.source, session.multihop, session.ttl, session.passive
