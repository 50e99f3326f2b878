"""The BFD process: sessions with neighbours, and nothing else; VRRP, checker and director hear of changes.

A process of its own, punctual like VRRP's, because sessions may run at 10 ms. As there, whatever arrived
before a timer was due is read before that timer fires (event_loop.py).
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
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.runtime.realtime import become_punctual
from pointsman.model.bfd import BfdSession
from pointsman.model.config import Config
from pointsman.model.tracking import TrackKind

EXIT_OK, EXIT_ENVIRONMENT = 0, 3

PATIENCE = 3.0
"""Seconds that a session which was up when a former process was killed has to come up again untold: who
restarts within it has lost nothing."""
SENDER_PAUSE = 1.0
"""Seconds between attempts to have a sender (its source address may come later)."""
MEMORY = "bfd.up"
"""The file in the run directory with the names of the sessions that are up; an orderly stop removes it."""
_MOST_PENDING = 1024

log = logging.getLogger("bfd")


def clock() -> float:
    """Seconds since boot, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Channels(msgspec.Struct, frozen=True):
    """SOCK_SEQPACKET, each."""

    director: socket.socket
    vrrp: socket.socket
    checker: socket.socket


def run(sessions: tuple[BfdSession, ...], channels: Channels, run_directory: Path) -> int:
    """Run the sessions until SIGTERM. The exit code: 0 stopped in order, 3 the ports cannot be had.

    Director and checker hear SessionChanged, VRRP a TrackerValue; a Resync of theirs asks for all again.
    From the director come configurations.
    """
    try:
        process = BfdProcess(sessions, channels, run_directory)
    except OSError as error:
        print(
            f"pointsman bfd: cannot listen for BFD: {error.strerror}; is another BFD daemon here?",
            file=sys.stderr,
        )
        return EXIT_ENVIRONMENT
    process.run()
    return EXIT_OK


class Neighbour:
    """One session at work: machine, sender, and what was told of it."""

    def __init__(self, session: BfdSession, discriminator: int, told_down_at: float) -> None:
        self.machine = BfdMachine(session, discriminator, random.random)
        self.told: messages.SessionChanged | None = None
        self.told_down_at = told_down_at
        """When a session that does not come up is told of, at the first time."""
        self._sender: Sender | None = None
        self._sender_not_before = float("-inf")
        self._once = LogOnce(log)

    @property
    def session(self) -> BfdSession:
        return self.machine.session

    @property
    def deadline(self) -> float | None:
        timers = (self.machine.deadline, self.told_down_at if self.told is None else None)
        return min((timer for timer in timers if timer is not None), default=None)

    def transmit(self, packet: Packet, now: float) -> None:
        """Send, if there is a way at present; a failure is logged once, until a packet goes out."""
        try:
            if self._sender is None:
                if now < self._sender_not_before:
                    return
                self._sender_not_before = now + SENDER_PAUSE
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
    """The sessions at work. Raises OSError when the ports cannot be had."""

    def __init__(self, sessions: Sequence[BfdSession], channels: Channels, run_directory: Path) -> None:
        self._channels = channels
        self._memory = run_directory / MEMORY
        self._loop = EventLoop(clock, log)
        self._receivers: dict[tuple[int, int], Receiver] = {}
        self._neighbours: dict[int, Neighbour] = {}
        """By our discriminator."""
        self._discriminators = iter(random.sample(range(1, 1 << 31), 1 << 12))
        self._counters: collections.Counter[str] = collections.Counter()
        self._once = LogOnce(log)
        self._pending: dict[socket.socket, collections.deque[bytes]] = {
            channel: collections.deque(maxlen=_MOST_PENDING)
            for channel in (channels.director, channels.vrrp, channels.checker)
        }
        self._adopt(sessions, self._remembered())

    def run(self) -> None:
        """Work until SIGTERM, then tell every neighbour that this end is switched off."""
        self._prepare()
        while not self._loop.stopping:
            self._loop.turn(self)
            self._flush()
        for neighbour in self._neighbours.values():
            neighbour.machine.stop(clock())
            self._carry_out(neighbour)
        self._memory.unlink(missing_ok=True)
        log.info("Stopped; packets dropped: %s", dict(self._counters) or "none")

    def _prepare(self) -> None:
        self._loop.stop_on(signal.SIGTERM, signal.SIGINT)
        ends = self._channels
        self._listen_to(Inbox(ends.director, messages.bfd_order_decoder, "director", log))
        for channel, name in ((ends.vrrp, "VRRP process"), (ends.checker, "checker")):
            asking: Inbox[messages.Resync] = Inbox(channel, messages.resync_decoder, name, log)
            self._listen_to(asking)
        if refused := become_punctual():
            log.warning("BFD may be late under load, refused: %s", ", ".join(refused))

    def _listen_to(self, inbox: Inbox[messages.BfdOrder]) -> None:
        self._loop.watch(inbox.channel, partial(self._hear, inbox))

    @property
    def deadline(self) -> float | None:
        """Return when the first session wants to be called."""
        deadlines = [neighbour.deadline for neighbour in self._neighbours.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def advance(self, now: float) -> None:
        """Let every session whose time has come send, or give its neighbour up."""
        for neighbour in self._neighbours.values():
            if neighbour.deadline is None or neighbour.deadline > now:
                continue
            neighbour.machine.advance(now)
            self._carry_out(neighbour)
            if neighbour.told is None and now >= neighbour.told_down_at:
                self._tell(neighbour, False, "the neighbour has not answered yet")

    # configuration

    def _adopt(self, sessions: Sequence[BfdSession], remembered: frozenset[str] = frozenset()) -> None:
        """Go on with these sessions; those with the same neighbour, source and port change in place."""
        self._listen(sessions)
        wanted = {_identity(session): session for session in sessions}
        for discriminator, neighbour in list(self._neighbours.items()):
            if _identity(neighbour.session) not in wanted:
                neighbour.machine.stop(clock())
                self._carry_out(neighbour)
                neighbour.close()
                del self._neighbours[discriminator]
        known = {_identity(neighbour.session): neighbour for neighbour in self._neighbours.values()}
        for identity, session in wanted.items():
            now = clock()
            if identity in known:
                known[identity].machine.reconfigure(now, session)
                self._carry_out(known[identity])
            else:
                patience = PATIENCE if session.name in remembered else 0.0
                self._add(Neighbour(session, next(self._discriminators), now + patience), now)

    def _add(self, neighbour: Neighbour, now: float) -> None:
        self._neighbours[neighbour.machine.discriminator] = neighbour
        neighbour.machine.start(now)
        self._carry_out(neighbour)

    def _listen(self, sessions: Sequence[BfdSession]) -> None:
        wanted: set[tuple[int, int]] = {
            (each.neighbour.version, MULTIHOP_PORT if each.multihop else PORT) for each in sessions
        }
        for key in wanted - self._receivers.keys():
            receiver = Receiver(*key)
            self._receivers[key] = receiver
            multihop = key[1] == MULTIHOP_PORT
            self._loop.watch(receiver, partial(self._drain, receiver, multihop))
        for key in self._receivers.keys() - wanted:
            self._loop.unwatch(self._receivers[key])
            self._receivers.pop(key).close()

    def _hear(self, inbox: Inbox[messages.BfdOrder]) -> None:
        """Carry out one order."""
        match inbox.receive():
            case messages.NewConfiguration(config=Config() as config):
                try:
                    self._adopt(config.bfd)
                except OSError as error:
                    log.error("BFD goes on as it was: %s", error)
            case messages.Resync():
                self._tell_all(inbox.channel)
        if inbox.closed:
            self._loop.unwatch(inbox.channel)

    # packets

    def _drain(self, receiver: Receiver, multihop: bool) -> None:
        for arrival in receiver.receive():
            try:
                packet = decode(arrival.payload)
                neighbour = self._find(packet, arrival.source, multihop)
                _check_distance(neighbour.session, arrival.ttl)
            except BadPacketError as error:
                self._drop(str(error), arrival.source)
                continue
            neighbour.machine.on_packet(arrival.time, packet)
            self._carry_out(neighbour)

    def _find(self, packet: Packet, source: object, multihop: bool) -> Neighbour:
        """By our discriminator, or before the neighbour knows that by its address (RFC 5881 section 3)."""
        for neighbour in [self._neighbours.get(packet.yours)] if packet.yours else self._neighbours.values():
            if neighbour is not None and (neighbour.session.neighbour, neighbour.session.multihop) == (
                source,
                multihop,
            ):
                return neighbour
        raise BadPacketError("there is no such session")

    def _drop(self, reason: str, source: object) -> None:
        kind = reason if len(self._counters) < 64 else "other"
        self._counters[kind] += 1
        self._once.warning(kind, "a packet from %s is dropped: %s (logged once)", source, kind)

    def _carry_out(self, neighbour: Neighbour) -> None:
        for effect in neighbour.machine.effects():
            if isinstance(effect, Transmit):
                neighbour.transmit(effect.packet, clock())
            else:
                self._changed(neighbour, effect)

    def _changed(self, neighbour: Neighbour, change: Changed) -> None:
        if change.up or neighbour.told is not None or clock() >= neighbour.told_down_at:
            self._tell(neighbour, change.up, change.reason)

    # telling

    def _tell(self, neighbour: Neighbour, up: bool, reason: str) -> None:
        session = neighbour.session
        log.info("(%s) %s: %s", session.name, "Up" if up else "Down", reason)
        neighbour.told = messages.SessionChanged(session.name, up, reason)
        for channel in self._pending:
            self._queue(channel, neighbour)
        names = [each.told.session for each in self._neighbours.values() if each.told and each.told.up]
        with contextlib.suppress(OSError):
            self._memory.write_text(json.dumps(names))

    def _tell_all(self, channel: socket.socket) -> None:
        self._pending[channel].clear()
        for neighbour in self._neighbours.values():
            self._queue(channel, neighbour)

    def _queue(self, channel: socket.socket, neighbour: Neighbour) -> None:
        told, session = neighbour.told, neighbour.session
        if told is None:
            return
        if channel is self._channels.vrrp:
            if session.for_vrrp:
                reading = TrackerValue(TrackKind.BFD, session.name, int(told.up))
                self._pending[channel].append(msgspec.json.encode(reading))
        elif channel is self._channels.director or session.for_checker:
            self._pending[channel].append(messages.encode(told))

    def _flush(self) -> None:
        """Send what is pending; never waits. What does not fit goes with a later turn."""
        for channel, pending in self._pending.items():
            with contextlib.suppress(OSError):
                while pending:
                    channel.send(pending[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    pending.popleft()

    def _remembered(self) -> frozenset[str]:
        try:
            return frozenset(msgspec.json.decode(self._memory.read_bytes(), type=list[str]))
        except (OSError, msgspec.MsgspecError):
            return frozenset()


def _check_distance(session: BfdSession, ttl: int) -> None:
    """RFC 5881 section 5: what has come through a router is no neighbour's. Raises BadPacketError."""
    if session.max_hops is not None and ttl < TTL - session.max_hops:
        raise BadPacketError(f"TTL {ttl}, and max_hops is {session.max_hops}")


def _identity(session: BfdSession) -> tuple[object, ...]:
    return session.name, session.neighbour, session.source, session.multihop, session.ttl, session.passive
