"""The state machine of one BFD session (RFC 5880 section 6): asynchronous mode here, any mode there.

    Down --neighbour Down--> Init --neighbour Init or Up--> Up
    Down --neighbour Init--> Up       Up --neighbour Down, or silent for the detection time--> Down

No I/O, no clock, no chance: `now` and `jitter` come in, effects go out.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.bfd.wire import Diagnostic, Packet, State
from pointsman.model.bfd import BfdSession

SLOWEST_WHILE_DOWN = 1.0
"""Seconds; no session sends faster before it is up (section 6.8.3)."""


class Transmit(msgspec.Struct, frozen=True):
    packet: Packet


class Changed(msgspec.Struct, frozen=True):
    """The session has gone up, or is no longer up."""

    up: bool
    reason: str


Effect = Transmit | Changed


class BfdMachine:
    """One session. A `model.machine.Machine` of `Effect`.

    `discriminator` is not 0 and no other session's here. `jitter` gives numbers from 0 to 1.
    """

    def __init__(self, session: BfdSession, discriminator: int, jitter: Callable[[], float]) -> None:
        self.session = session
        self.discriminator = discriminator
        self.state = State.DOWN
        self.diagnostic = Diagnostic.NONE
        self._jitter = jitter
        self._their_state = State.DOWN
        self._their_discriminator = 0
        self._their_multiplier = 0
        self._their_min_tx = 0.0
        self._their_min_rx = 1e-6
        """Seconds; section 6.8.1 begins with one microsecond. 0: they want none."""
        self._their_demand = False
        self._polling = False
        self._awaited_tx: float | None = None
        """A longer interval counts when the neighbour has answered the poll (section 6.8.3)."""
        self._awaited_rx: float | None = None
        """So does a shorter interval that we can receive at."""
        self._transmit_at: float | None = None
        self._last_heard: float | None = None
        self._effects: list[Effect] = []

    @property
    def up(self) -> bool:
        return self.state is State.UP

    @property
    def transmit_interval(self) -> float | None:
        """Seconds between two packets of ours, without jitter; None: none are sent now."""
        if self._their_min_rx == 0 or (self.session.passive and self._their_discriminator == 0):
            return None
        if self._their_demand and self.up and self._their_state is State.UP and not self._polling:
            return None
        return max(self._desired if self._awaited_tx is None else self._awaited_tx, self._their_min_rx)

    @property
    def detection_time(self) -> float:
        """Seconds of silence after which the neighbour is gone; 0: it has not been heard yet."""
        own = self.session.min_rx if self._awaited_rx is None else self._awaited_rx
        return self._their_multiplier * max(own, self._their_min_tx)

    @property
    def deadline(self) -> float | None:
        timers = (self._transmit_at, self._detect_at)
        return min((timer for timer in timers if timer is not None), default=None)

    @property
    def _desired(self) -> float:
        return self.session.min_tx if self.up else max(SLOWEST_WHILE_DOWN, self.session.idle_tx)

    @property
    def _detect_at(self) -> float | None:
        return None if self._last_heard is None else self._last_heard + self.detection_time

    def effects(self) -> list[Effect]:
        """What is to be done since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def start(self, now: float) -> None:
        """Begin to look for the neighbour, unless it shall begin."""
        if self.state is not State.ADMIN_DOWN:
            self._transmit_at = now if self.transmit_interval is not None else None

    def stop(self, now: float) -> None:
        """Tell the neighbour that this end is switched off, and be silent."""
        self._enter(State.ADMIN_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN, now, "stopping")
        self._transmit_at = self._last_heard = None

    def adopt(self, now: float, session: BfdSession) -> None:
        """Go on with other settings of the same session; the neighbour has to agree (poll sequence)."""
        before_tx, before_rx = self._desired, self.session.min_rx
        changed = (session.min_tx, session.min_rx) != (self.session.min_tx, before_rx)
        self.session = session
        if self.up and changed:
            self._awaited_tx = before_tx if session.min_tx > before_tx else None
            self._awaited_rx = before_rx if session.min_rx < before_rx else None
            self._polling = True
            self._transmit(now)

    def received(self, now: float, packet: Packet) -> None:
        """A packet for this session that arrived at `now` (section 6.8.6, from "Else" on)."""
        if self.state is State.ADMIN_DOWN:
            return
        was_silent = self.transmit_interval is None
        self._their_discriminator, self._their_state = packet.own, packet.state
        self._their_demand = packet.demand
        self._their_min_rx, self._their_min_tx = packet.min_rx / 1e6, packet.min_tx / 1e6
        self._their_multiplier = packet.multiplier
        self._last_heard = now
        if packet.final and self._polling:
            self._polling = False
            self._awaited_tx = self._awaited_rx = None
        self._follow(packet.state, now)
        if packet.poll:
            self._effects.append(Transmit(msgspec.structs.replace(self._packet(), poll=False, final=True)))
        self._reschedule(now, was_silent)

    def advance(self, now: float) -> None:
        """Let the timers fire that are due. Detection first: no packet shall say Up any more then."""
        if (due := self._detect_at) is not None and now >= due:
            reason = f"nothing heard for {self.detection_time * 1000:.0f} ms"
            self._last_heard = None
            self._their_discriminator, self._their_state = 0, State.DOWN
            self._their_demand, self._their_min_rx = False, 1e-6
            if self.state in (State.INIT, State.UP):
                self._enter(State.DOWN, Diagnostic.DETECTION_TIME_EXPIRED, now, reason)
        if self.transmit_interval is None:
            self._transmit_at = None
        if self._transmit_at is not None and now >= self._transmit_at:
            self._transmit(now)

    def _follow(self, theirs: State, now: float) -> None:
        match self.state, theirs:
            case State.INIT | State.UP, State.ADMIN_DOWN:
                self._enter(State.DOWN, Diagnostic.NEIGHBOUR_SIGNALED_DOWN, now, "the neighbour is off")
            case State.DOWN, State.DOWN:
                self._enter(State.INIT, self.diagnostic, now, "")
            case (State.DOWN, State.INIT) | (State.INIT, State.INIT | State.UP):
                self._enter(State.UP, Diagnostic.NONE, now, "the neighbour answers")
            case State.UP, State.DOWN:
                self._enter(State.DOWN, Diagnostic.NEIGHBOUR_SIGNALED_DOWN, now, "the neighbour says Down")

    def _enter(self, state: State, diagnostic: Diagnostic, now: float, reason: str) -> None:
        before, self.state, self.diagnostic = self.state, state, diagnostic
        self._awaited_tx = self._awaited_rx = None
        # From the slow rate to the configured one: the neighbour has to know before it detects by it.
        self._polling = state is State.UP
        if (before is State.UP) is not self.up:
            self._effects.append(Changed(self.up, reason))
        if before is not state and (self.transmit_interval is not None or state is State.ADMIN_DOWN):
            self._transmit(now)

    def _reschedule(self, now: float, was_silent: bool) -> None:
        """A faster rate counts at once; it does not wait for the end of a slow interval."""
        interval = self.transmit_interval
        if interval is None:
            self._transmit_at = None
        elif was_silent or self._transmit_at is None:
            self._transmit_at = now
        else:
            self._transmit_at = min(self._transmit_at, now + interval)

    def _transmit(self, now: float) -> None:
        self._effects.append(Transmit(self._packet()))
        interval = self.transmit_interval
        if interval is None or self.state is State.ADMIN_DOWN:
            self._transmit_at = None
            return
        # Section 6.8.7: up to a quarter less, so that many senders do not fall into step; never above
        # nine tenths when a single missing packet ends the session.
        shortest, longest = (0.75, 0.9) if self.session.multiplier == 1 else (0.75, 1.0)
        self._transmit_at = now + interval * (longest - (longest - shortest) * self._jitter())

    def _packet(self) -> Packet:
        return Packet(
            state=self.state,
            diagnostic=self.diagnostic,
            poll=self._polling,
            multiplier=self.session.multiplier,
            own=self.discriminator,
            yours=self._their_discriminator,
            min_tx=round(self._desired * 1e6),
            min_rx=round(self.session.min_rx * 1e6),
        )
