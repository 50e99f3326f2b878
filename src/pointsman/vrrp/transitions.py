# SPDX-License-Identifier: Apache-2.0
"""State transitions of a VRRP instance as one table, and the effects of its machine.

`TRANSITIONS` contains all changes of state (section 6.4 of RFC 3768 and RFC 5798, keepalived's FAULT, and
yielding). docs/vrrp.md shows it.
"""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.vrrp import VrrpState


class SendAdvert(msgspec.Struct, frozen=True):
    priority: int


class AcquireAddresses(msgspec.Struct, frozen=True):
    """Add the virtual addresses to their interfaces. Those that exist stay unchanged."""


class ReleaseAddresses(msgspec.Struct, frozen=True):
    """Remove the virtual addresses. Missing ones are no error."""


class Announce(msgspec.Struct, frozen=True):
    """Send this number of gratuitous ARP requests or neighbour advertisements for every virtual address."""

    repeat: int


class StateChanged(msgspec.Struct, frozen=True):
    previous: VrrpState
    state: VrrpState
    reason: str


class PriorityChanged(msgspec.Struct, frozen=True):
    """A tracker has changed the effective priority."""

    priority: int


Effect = SendAdvert | AcquireAddresses | ReleaseAddresses | Announce | StateChanged | PriorityChanged


class Residual(msgspec.Struct, frozen=True):
    """State that an earlier process of this instance has left."""

    addresses: bool = False
    """True if all virtual addresses are on their interfaces."""
    last_advert: float | None = None
    """Time of its last advert as master, on the clock of `now`. None: unknown, or it was not master."""

    def was_master_within(self, seconds: float, now: float) -> bool:
        """True if it was master with all its addresses, and so recently."""
        if not self.addresses or self.last_advert is None:
            return False
        return 0 <= now - self.last_advert < seconds


class Event(enum.Enum):
    """Causes of state changes."""

    START = "starting"
    START_AS_OWNER = "starting as address owner"
    RESUME = "continuing as master after an earlier process"
    START_WITHOUT_LINK = "fault at start"
    MASTER_DOWN = "no advert from a master"
    BETTER_ADVERT = "a better router advertises"
    STALLED = "another router became master during a stall"
    FAULT = "interface down, or a tracked object has failed"
    RECOVERY = "no fault any more"
    RECOVERY_AS_OWNER = "no fault any more, address owner"
    YIELDED = "another router has taken over on request"
    GROUP_BACKUP = "its sync group is no longer master"
    YIELDED_AND_STOPPED = "yielded before stopping"
    STOP = "stopping"


GROUP_MASTER = "its sync group becomes master"
"""Reason of a member that becomes master with the others."""


class Action(enum.Enum):
    """Actions of a transition. Each is a method of the machine."""

    WAIT = "wait for the master-down interval"
    TAKE_OVER = "send an advert, add the addresses, announce them"
    RELEASE = "remove the addresses"
    RESIGN = "send an advert with priority 0"
    FAREWELL = "send one more advert with the own priority"
    REQUEST_REANNOUNCE = "send an advert with priority 1"


_INIT, _BACKUP, _MASTER, _FAULT = VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT

TRANSITIONS: dict[tuple[VrrpState, Event], tuple[VrrpState, tuple[Action, ...]]] = {
    (_INIT, Event.START): (_BACKUP, (Action.WAIT,)),
    (_INIT, Event.START_AS_OWNER): (_MASTER, (Action.TAKE_OVER,)),
    (_INIT, Event.RESUME): (_MASTER, (Action.TAKE_OVER,)),
    (_INIT, Event.START_WITHOUT_LINK): (_FAULT, (Action.RELEASE,)),
    (_BACKUP, Event.MASTER_DOWN): (_MASTER, (Action.TAKE_OVER,)),
    (_BACKUP, Event.FAULT): (_FAULT, (Action.RELEASE,)),
    (_BACKUP, Event.STOP): (_INIT, (Action.RELEASE,)),
    # The farewell advert makes the winner announce itself again. Without it a client may keep the loser's MAC
    # address for half a minute after a split has healed, because the winner need not have noticed a second
    # master.
    (_MASTER, Event.BETTER_ADVERT): (_BACKUP, (Action.RELEASE, Action.FAREWELL, Action.WAIT)),
    (_MASTER, Event.STALLED): (_BACKUP, (Action.RELEASE, Action.REQUEST_REANNOUNCE, Action.WAIT)),
    (_MASTER, Event.FAULT): (_FAULT, (Action.RESIGN, Action.RELEASE)),
    # A router that takes over on request may have a lower priority: the request must not beat it.
    (_MASTER, Event.YIELDED): (_BACKUP, (Action.RELEASE, Action.REQUEST_REANNOUNCE, Action.WAIT)),
    (_MASTER, Event.GROUP_BACKUP): (_BACKUP, (Action.RESIGN, Action.RELEASE, Action.WAIT)),
    (_MASTER, Event.YIELDED_AND_STOPPED): (_INIT, (Action.RELEASE,)),
    (_MASTER, Event.STOP): (_INIT, (Action.RESIGN, Action.RELEASE)),
    (_FAULT, Event.RECOVERY): (_BACKUP, (Action.WAIT,)),
    (_FAULT, Event.RECOVERY_AS_OWNER): (_MASTER, (Action.TAKE_OVER,)),
    (_FAULT, Event.STOP): (_INIT, ()),
}
"""(state, event) -> (next state, actions in order). Other pairs change nothing."""
