"""The changes of state of a VRRP instance as one table, and the effects that a machine asks for.

`TRANSITIONS` is the whole truth about changes of state (section 6.4 of RFC 3768 and RFC 5798, keepalived's
FAULT, and handing over); docs/vrrp.md shows it.
"""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.vrrp import VrrpState


class SendAdvert(msgspec.Struct, frozen=True):
    priority: int


class TakeAddresses(msgspec.Struct, frozen=True):
    """Put the virtual addresses on their interfaces; those that are there already stay as they are."""


class ReleaseAddresses(msgspec.Struct, frozen=True):
    """Take the virtual addresses away; those that are not there are no matter."""


class Announce(msgspec.Struct, frozen=True):
    """Send this many gratuitous ARP requests or neighbour advertisements for every virtual address."""

    repeat: int


class StateChanged(msgspec.Struct, frozen=True):
    previous: VrrpState
    state: VrrpState
    reason: str


class PriorityChanged(msgspec.Struct, frozen=True):
    """A tracker has changed the effective priority."""

    priority: int


Effect = SendAdvert | TakeAddresses | ReleaseAddresses | Announce | StateChanged | PriorityChanged


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
    START_WITHOUT_LINK = "fault at start"
    MASTER_DOWN = "no advert from a master"
    BETTER_ADVERT = "a better router advertises"
    OVERSLEPT = "another router has become master during a stall"
    FAULT = "interface down, or something tracked has failed"
    RECOVERY = "no fault any more"
    RECOVERY_AS_OWNER = "no fault any more, address owner"
    HANDED_OVER = "another router has taken over as asked"
    GROUP_BACKUP = "its sync group is no longer master"
    RETIRED = "handed over before stopping"
    STOP = "stopping"


class Action(enum.Enum):
    """What a transition does; each is a method of the machine."""

    WAIT = "wait for the master-down interval"
    TAKE_OVER = "advert first, then addresses, then announcements"
    RELEASE = "take the addresses away"
    RESIGN = "advert with priority 0"
    FAREWELL = "one more advert with the own priority"
    CALL_WINNER = "one more advert with priority 1"


_INIT, _BACKUP, _MASTER, _FAULT = VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT

TRANSITIONS: dict[tuple[VrrpState, Event], tuple[VrrpState, tuple[Action, ...]]] = {
    (_INIT, Event.START): (_BACKUP, (Action.WAIT,)),
    (_INIT, Event.START_AS_OWNER): (_MASTER, (Action.TAKE_OVER,)),
    (_INIT, Event.RESUME): (_MASTER, (Action.TAKE_OVER,)),
    (_INIT, Event.START_WITHOUT_LINK): (_FAULT, (Action.RELEASE,)),
    (_BACKUP, Event.MASTER_DOWN): (_MASTER, (Action.TAKE_OVER,)),
    (_BACKUP, Event.FAULT): (_FAULT, (Action.RELEASE,)),
    (_BACKUP, Event.STOP): (_INIT, (Action.RELEASE,)),
    # The farewell makes the winner announce itself again: without it a client may keep the loser's MAC
    # address for half a minute after a split has healed (the winner need not have heard of a second master).
    (_MASTER, Event.BETTER_ADVERT): (_BACKUP, (Action.RELEASE, Action.FAREWELL, Action.WAIT)),
    (_MASTER, Event.OVERSLEPT): (_BACKUP, (Action.RELEASE, Action.CALL_WINNER, Action.WAIT)),
    (_MASTER, Event.FAULT): (_FAULT, (Action.RESIGN, Action.RELEASE)),
    # Whoever takes over as asked may have a lower priority than ours: the call must not beat it.
    (_MASTER, Event.HANDED_OVER): (_BACKUP, (Action.RELEASE, Action.CALL_WINNER, Action.WAIT)),
    (_MASTER, Event.GROUP_BACKUP): (_BACKUP, (Action.RESIGN, Action.RELEASE, Action.WAIT)),
    (_MASTER, Event.RETIRED): (_INIT, (Action.RELEASE,)),
    (_MASTER, Event.STOP): (_INIT, (Action.RESIGN, Action.RELEASE)),
    (_FAULT, Event.RECOVERY): (_BACKUP, (Action.WAIT,)),
    (_FAULT, Event.RECOVERY_AS_OWNER): (_MASTER, (Action.TAKE_OVER,)),
    (_FAULT, Event.STOP): (_INIT, ()),
}
"""(state, event) -> (next state, actions in order). A pair that is missing changes nothing."""
