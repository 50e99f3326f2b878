"""The VRRP state machine of one instance (section 6.4 of RFC 3768 and RFC 5798, and keepalived's FAULT).

    start / resume --> BACKUP or MASTER       no advert for the master-down interval --> MASTER
    better advert  --> BACKUP                 interface down --> FAULT, up again --> BACKUP
    stop           --> INIT

`TRANSITIONS` is the whole truth about changes of state; what a state does without leaving it is in methods.
No I/O and no clock: `now` comes in, effects go out in the order in which they must be carried out.
"""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance, VrrpState
from pointsman.vrrp.admission import interval_in_centiseconds
from pointsman.vrrp.wire import Advert

OWNER_PRIORITY = 255
"""The priority of the router that really has the virtual addresses; it never waits."""
ADVERTS_TO_MISS = 3
"""Adverts of the master that must be missing before it counts as gone."""
ANSWER_SPACING = 0.5
"""Adverts out of turn (answers to a rival) are at least this part of an interval apart, so that a flood of
foreign adverts cannot make us flood the segment too."""


class SendAdvert(msgspec.Struct, frozen=True):
    priority: int


class TakeAddresses(msgspec.Struct, frozen=True):
    """Put the virtual addresses on their interfaces; those that are there already stay as they are."""


class ReleaseAddresses(msgspec.Struct, frozen=True):
    """Take the virtual addresses away; those that are not there are no matter."""


class Announce(msgspec.Struct, frozen=True):
    """Send this many gratuitous ARP requests for every virtual address."""

    repeat: int


class StateChanged(msgspec.Struct, frozen=True):
    previous: VrrpState
    state: VrrpState
    reason: str


Effect = SendAdvert | TakeAddresses | ReleaseAddresses | Announce | StateChanged


class Residual(msgspec.Struct, frozen=True):
    """What an earlier process of this instance has left behind."""

    addresses: bool = False
    """All virtual addresses are on their interfaces."""
    last_advert: float | None = None
    """When it sent its last advert as master, on the clock of `now`; None: unknown, or it was not master."""


class Event(enum.Enum):
    """What can make an instance change its state."""

    START = "starting"
    START_AS_OWNER = "starting as address owner"
    RESUME = "going on where a former process was ended"
    START_WITHOUT_LINK = "interface down at start"
    MASTER_DOWN = "no advert from a master"
    BETTER_ADVERT = "a better router advertises"
    LINK_DOWN = "interface down"
    LINK_UP = "interface up"
    LINK_UP_AS_OWNER = "interface up, address owner"
    STOP = "stopping"


class Action(enum.Enum):
    """What a transition does; each is a method of the machine."""

    WAIT = "wait for the master-down interval"
    TAKE_OVER = "advert first, then addresses, then gratuitous ARP"
    RELEASE = "take the addresses away"
    RESIGN = "advert with priority 0"
    FAREWELL = "one more advert with the own priority"


_INIT, _BACKUP, _MASTER, _FAULT = VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT

TRANSITIONS: dict[tuple[VrrpState, Event], tuple[VrrpState, tuple[Action, ...]]] = {
    (_INIT, Event.START): (_BACKUP, (Action.WAIT,)),
    (_INIT, Event.START_AS_OWNER): (_MASTER, (Action.TAKE_OVER,)),
    (_INIT, Event.RESUME): (_MASTER, (Action.TAKE_OVER,)),
    (_INIT, Event.START_WITHOUT_LINK): (_FAULT, (Action.RELEASE,)),
    (_BACKUP, Event.MASTER_DOWN): (_MASTER, (Action.TAKE_OVER,)),
    (_BACKUP, Event.LINK_DOWN): (_FAULT, (Action.RELEASE,)),
    (_BACKUP, Event.STOP): (_INIT, (Action.RELEASE,)),
    # The farewell makes the winner announce itself again: without it a client may keep the loser's MAC
    # address for half a minute after a split has healed (the winner need not have heard of a second master).
    (_MASTER, Event.BETTER_ADVERT): (_BACKUP, (Action.RELEASE, Action.FAREWELL, Action.WAIT)),
    (_MASTER, Event.LINK_DOWN): (_FAULT, (Action.RESIGN, Action.RELEASE)),
    (_MASTER, Event.STOP): (_INIT, (Action.RESIGN, Action.RELEASE)),
    (_FAULT, Event.LINK_UP): (_BACKUP, (Action.WAIT,)),
    (_FAULT, Event.LINK_UP_AS_OWNER): (_MASTER, (Action.TAKE_OVER,)),
    (_FAULT, Event.STOP): (_INIT, ()),
}
"""(state, event) -> (next state, actions in order). A pair that is missing changes nothing."""


class VrrpMachine:
    """One virtual router as one of its routers sees it. A `model.machine.Machine` of `Effect`."""

    def __init__(self, instance: VrrpInstance, own_address: Address) -> None:
        self.instance = instance
        self.own_address = own_address
        self.state = VrrpState.INIT
        self.priority = instance.priority
        self.holds_addresses = False
        """The virtual addresses are here: as master, or still from before a restart."""
        self._own_interval = interval_in_centiseconds(instance) / 100
        self._master_interval = self._own_interval
        self._master_down_at: float | None = None
        self._advert_at: float | None = None
        self._announce_again_at: float | None = None
        self._refresh_at: float | None = None
        self._preempt_at: float | None = None
        """When a lower-priority master may be replaced (preempt_delay); None: none has been seen."""
        self._answer_after = float("-inf")
        self._effects: list[Effect] = []

    @property
    def skew(self) -> float:
        """Seconds by which the better of several backups is earlier (RFC 3768 and RFC 5798, section 6.1)."""
        scale = 1.0 if self.instance.version == 2 else self._master_interval
        return (256 - self.priority) / 256 * scale

    @property
    def master_down_interval(self) -> float:
        """Seconds of silence after which the master counts as gone."""
        return ADVERTS_TO_MISS * self._master_interval + self.skew

    @property
    def deadline(self) -> float | None:
        """When `advance` wants to be called."""
        timers = (self._master_down_at, self._advert_at, self._announce_again_at, self._refresh_at)
        return min((timer for timer in timers if timer is not None), default=None)

    def effects(self) -> list[Effect]:
        """What is to be done since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def start(self, now: float, link_up: bool, residual: Residual | None = None) -> None:
        """Leave INIT. `residual` tells what a former process has left; a killed master goes on at once."""
        if self.state is not VrrpState.INIT:
            return
        residual = residual or Residual()
        self.holds_addresses = residual.addresses
        if not link_up:
            self._fire(Event.START_WITHOUT_LINK, now)
        elif self._may_resume(now, residual):
            self._fire(Event.RESUME, now)
        elif self.priority == OWNER_PRIORITY:
            self._fire(Event.START_AS_OWNER, now)
        else:
            self._fire(Event.START, now)

    def stop(self, now: float) -> None:
        """Give up for good: a master says so with priority 0."""
        self._fire(Event.STOP, now)

    def interface_down(self, now: float) -> None:
        self._fire(Event.LINK_DOWN, now)

    def interface_up(self, now: float) -> None:
        owner = self.priority == OWNER_PRIORITY
        self._fire(Event.LINK_UP_AS_OWNER if owner else Event.LINK_UP, now)

    def addresses_lost(self) -> None:
        """Somebody else has taken a virtual address away: a master puts it back and announces it."""
        if self.state is VrrpState.MASTER:
            self._effects += [TakeAddresses(), Announce(self.instance.garp_master_repeat)]

    def advert_received(self, now: float, source: Address, advert: Advert) -> None:
        """An advert that was admitted; `now` is when it arrived."""
        if self.state is VrrpState.BACKUP:
            self._received_as_backup(now, advert)
        elif self.state is VrrpState.MASTER:
            self._received_as_master(now, source, advert)

    def advance(self, now: float) -> None:
        """Let the timers fire that are due."""
        if self._master_down_at is not None and now >= self._master_down_at:
            self._fire(Event.MASTER_DOWN, now)
        if self._advert_at is not None and now >= self._advert_at:
            self._effects.append(SendAdvert(self.priority))
            # From the deadline, not from now, so that small delays do not add up; after a stall, from now.
            following = self._advert_at + self._own_interval
            self._advert_at = following if following > now else now + self._own_interval
        if self._announce_again_at is not None and now >= self._announce_again_at:
            self._announce_again_at = None
            self._effects.append(Announce(self.instance.garp_master_repeat))
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at = now + self.instance.garp_master_refresh
            self._effects.append(Announce(self.instance.garp_master_refresh_repeat))

    def _may_resume(self, now: float, residual: Residual) -> bool:
        if not residual.addresses or residual.last_advert is None:
            return False
        return 0 <= now - residual.last_advert < self.master_down_interval

    def _received_as_backup(self, now: float, advert: Advert) -> None:
        if advert.priority == 0:
            self._master_down_at = now + self.skew
            return
        self._release()
        if not self._accepts(now, advert):
            return
        if self.instance.version == 3:
            self._master_interval = max(advert.interval, 1) / 100
        self._master_down_at = now + self.master_down_interval

    def _accepts(self, now: float, advert: Advert) -> bool:
        """Whether this master may go on. If not, the master-down timer is left running and ends it."""
        if advert.priority >= self.priority:
            self._preempt_at = None
            return True
        if self.instance.nopreempt:
            return True
        if self._preempt_at is None:
            self._preempt_at = now + self.instance.preempt_delay
        return now < self._preempt_at

    def _received_as_master(self, now: float, source: Address, advert: Advert) -> None:
        rank = (advert.priority, source.packed)
        if advert.priority and rank > (self.priority, self.own_address.packed):
            if self.instance.version == 3:
                self._master_interval = max(advert.interval, 1) / 100
            self._fire(Event.BETTER_ADVERT, now)
        elif now >= self._answer_after:
            self._answer_after = now + ANSWER_SPACING * self._own_interval
            self._effects.append(SendAdvert(self.priority))
            self._advert_at = now + self._own_interval
            if advert.priority:
                self._effects.append(Announce(self.instance.garp_master_repeat))
                self._schedule_second_announcement(now)

    def _fire(self, event: Event, now: float) -> None:
        transition = TRANSITIONS.get((self.state, event))
        if transition is None:
            return
        previous, (self.state, actions) = self.state, transition
        self._master_down_at = self._advert_at = None
        self._announce_again_at = self._refresh_at = self._preempt_at = None
        for action in actions:
            self._act(action, now)
        self._effects.append(StateChanged(previous, self.state, event.value))

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Action.WAIT:
                self._master_down_at = now + self.master_down_interval
            case Action.TAKE_OVER:
                self._take_over(now)
            case Action.RELEASE:
                self._release()
            case Action.RESIGN:
                self._effects.append(SendAdvert(0))
            case Action.FAREWELL:
                self._effects.append(SendAdvert(self.priority))

    def _take_over(self, now: float) -> None:
        self._master_interval = self._own_interval
        self.holds_addresses = True
        repeat = self.instance.garp_master_repeat
        self._effects += [SendAdvert(self.priority), TakeAddresses(), Announce(repeat)]
        self._advert_at = now + self._own_interval
        self._schedule_second_announcement(now)
        if self.instance.garp_master_refresh > 0:
            self._refresh_at = now + self.instance.garp_master_refresh

    def _schedule_second_announcement(self, now: float) -> None:
        if self.instance.garp_master_delay > 0:
            self._announce_again_at = now + self.instance.garp_master_delay

    def _release(self) -> None:
        if self.holds_addresses:
            self.holds_addresses = False
            self._effects.append(ReleaseAddresses())
