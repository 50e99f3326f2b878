# SPDX-License-Identifier: Apache-2.0
"""State machine of one BFD session (RFC 5880 section 6): asynchronous mode here, any mode at the neighbour.

    Down --neighbour Down--> Init --neighbour Init or Up--> Up
    Down --neighbour Init--> Up       Up --neighbour Down, or silent for the detection time--> Down

No I/O, no clock, no randomness: `now` and `jitter` go in, effects come out.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pointsman.bfd.wire import Diagnostic, Packet, State
from pointsman.model.bfd import BfdSession

SLOWEST_WHILE_DOWN = 1.0
"""Seconds between packets until the session is up: no session may send faster (section 6.8.3)."""


class Transmit(msgspec.Struct, frozen=True):
    packet: Packet


class Changed(msgspec.Struct, frozen=True):
    """The session is up, or is not up any more."""

    up: bool
    reason: str


Effect = Transmit | Changed


class BfdMachine:
    """One BFD session. A `model.machine.Machine` of `Effect`.

    `discriminator` is not 0 and is unique on this host. `jitter` returns numbers from 0 to 1.
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
        """Seconds. Section 6.8.1 starts with one microsecond. 0: the neighbour wants no packets."""
        self._their_demand = False
        self._polling = False
        self._awaited_tx: float | None = None
        """Present transmit interval, while a longer one waits for the answer to the poll (section 6.8.3)."""
        self._awaited_rx: float | None = None
        """Present receive interval, while a shorter one waits for it."""
        self._transmit_at: float | None = None
        self._last_heard: float | None = None
        self._effects: list[Effect] = []

    @property
    def up(self) -> bool:
        return self.state is State.UP

    @property
    def transmit_interval(self) -> float | None:
        """Seconds between two packets of ours, without jitter. None: none are sent now."""
        if self._their_min_rx == 0 or (self.session.passive and self._their_discriminator == 0):
            return None
        if self._their_demand and self.up and self._their_state is State.UP and not self._polling:
            return None
        return max(self._desired if self._awaited_tx is None else self._awaited_tx, self._their_min_rx)

    @property
    def detection_time(self) -> float:
        """Seconds without a packet after which the neighbour is down. 0: none was received yet."""
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
        """Return the effects since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def start(self, now: float) -> None:
        """Start the session, unless only the neighbour may start it."""
        if self.state is not State.ADMIN_DOWN:
            self._transmit_at = now if self.transmit_interval is not None else None

    def stop(self, now: float) -> None:
        """Tell the neighbour that the session is administratively down, and stop sending."""
        self._enter_state(State.ADMIN_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN, now, "stopping")
        self._transmit_at = self._last_heard = None

    def reconfigure(self, now: float, session: BfdSession) -> None:
        """Use other settings for the same session. The neighbour must confirm them (poll sequence)."""
        before_tx, before_rx = self._desired, self.session.min_rx
        changed = (session.min_tx, session.min_rx) != (self.session.min_tx, before_rx)
        self.session = session
        if self.up and changed:
            self._awaited_tx = before_tx if session.min_tx > before_tx else None
            self._awaited_rx = before_rx if session.min_rx < before_rx else None
            self._polling = True
            self._transmit(now)

    def on_packet(self, now: float, packet: Packet) -> None:
        """Process a packet for this session that arrived at `now` (section 6.8.6, from "Else" on)."""
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
        self._follow_neighbour(packet.state, now)
        if packet.poll:
            self._effects.append(Transmit(msgspec.structs.replace(self._packet(), poll=False, final=True)))
        self._reschedule(now, was_silent)

    def advance(self, now: float) -> None:
        """Fire the timers that are due. Detection is first, so that no later packet says Up."""
        if (due := self._detect_at) is not None and now >= due:
            reason = f"no packet for {self.detection_time * 1000:.0f} ms"
            self._last_heard = None
            self._their_discriminator, self._their_state = 0, State.DOWN
            self._their_demand, self._their_min_rx = False, 1e-6
            if self.state in (State.INIT, State.UP):
                self._enter_state(State.DOWN, Diagnostic.DETECTION_TIME_EXPIRED, now, reason)
        if self.transmit_interval is None:
            self._transmit_at = None
        if self._transmit_at is not None and now >= self._transmit_at:
            self._transmit(now)

    def _follow_neighbour(self, theirs: State, now: float) -> None:
        match self.state, theirs:
            case State.INIT | State.UP, State.ADMIN_DOWN:
                self._go_down(now, "the neighbour is administratively down")
            case State.DOWN, State.DOWN:
                self._enter_state(State.INIT, self.diagnostic, now, "")
            case (State.DOWN, State.INIT) | (State.INIT, State.INIT | State.UP):
                self._enter_state(State.UP, Diagnostic.NONE, now, "the neighbour answers")
            case State.UP, State.DOWN:
                self._go_down(now, "the neighbour says Down")

    def _go_down(self, now: float, reason: str) -> None:
        self._enter_state(State.DOWN, Diagnostic.NEIGHBOUR_SIGNALED_DOWN, now, reason)

    def _enter_state(self, state: State, diagnostic: Diagnostic, now: float, reason: str) -> None:
        before, self.state, self.diagnostic = self.state, state, diagnostic
        self._awaited_tx = self._awaited_rx = None
        # The rate changes from slow to configured: the neighbour must know before it detects by it.
        self._polling = state is State.UP
        if (before is State.UP) is not self.up:
            self._effects.append(Changed(self.up, reason))
        if before is not state and (self.transmit_interval is not None or state is State.ADMIN_DOWN):
            self._transmit(now)

    def _reschedule(self, now: float, was_silent: bool) -> None:
        """Reschedule the next packet. A faster rate takes effect at once, not after a slow interval."""
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
        # Section 6.8.7: up to a quarter less, so that many senders do not synchronize. At most nine tenths if
        # a single missing packet ends the session.
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
