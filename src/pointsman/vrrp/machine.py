"""The VRRP state machine of one instance (section 6.4 of RFC 3768 and RFC 5798, and keepalived's FAULT).

    start / resume --> BACKUP or MASTER       no advert for the master-down interval --> MASTER
    better advert  --> BACKUP                 fault --> FAULT, mended --> BACKUP
    stop           --> INIT

`transitions.TRANSITIONS` is the whole truth about changes of state; what a state does without leaving it is
in methods. No I/O and no clock: `now` comes in, effects go out in the order in which they are to be done.

Handing over (`hand_over`, `retire`, a demotion): the master says priority 0, but keeps the addresses until
another router advertises, and a moment longer; so no packet finds nobody. If nobody comes, it goes on.
"""

from __future__ import annotations

from pointsman.model.address import Address
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance, VrrpState
from pointsman.vrrp.admission import interval_in_centiseconds
from pointsman.vrrp.announcing import Announcements
from pointsman.vrrp.preemption import Preemption
from pointsman.vrrp.transitions import (
    TRANSITIONS,
    Action,
    Announce,
    Effect,
    Event,
    PriorityChanged,
    ReleaseAddresses,
    Residual,
    SendAdvert,
    StateChanged,
    TakeAddresses,
)
from pointsman.vrrp.wire import Advert

ANSWER_SPACING = 0.5
"""Adverts out of turn (answers to a rival) are at least this part of an interval apart, so that a flood of
foreign adverts cannot make us flood the segment too."""
GRACE = 0.05
"""Seconds that addresses stay after another router has taken over as asked: it must take and announce them
first. A packet that still comes here meanwhile is served here."""
CALLS = 2
"""Adverts of priority 1 in answer to the next ones of a winner: a farewell may have been lost on the way."""
PATIENCE_MARGIN = 0.25
"""Seconds added to the longest skew while waiting for somebody to take over as asked."""
LONGEST_PATIENCE = 3.0

_BACKUP, _MASTER, _FAULT = VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT


class VrrpMachine:
    """One virtual router as one of its routers sees it. A `model.machine.Machine` of `Effect`."""

    def __init__(self, instance: VrrpInstance, own_address: Address) -> None:
        self.instance = instance
        self.own_address = own_address
        self.state = VrrpState.INIT
        self.priority = instance.priority
        """The effective one: trackers change it (`set_priority`)."""
        self.holds_addresses = False
        """The virtual addresses are here: as master, or still from before a restart."""
        self.grouped = False
        """Member of a sync group: it asks (`wants_master`) instead of taking over alone."""
        self.wants_master = False
        self.fault = ""
        """Why this instance cannot work; empty: it can."""
        self._group_fault = ""
        self._own_interval = interval_in_centiseconds(instance) / 100
        self._master_interval = self._own_interval
        self._master_address: Address | None = None
        self._master_down_at: float | None = None
        self._advert_at: float | None = None
        self._announcements = Announcements(instance)
        self._preemption = Preemption()
        self._resume_at: float | None = None
        """While handing over: when to go on (or to end) because nobody has come."""
        self._let_go_at: float | None = None
        """Somebody has come: when to take the addresses away."""
        self._retiring = False
        self._calls_left = 0
        """How often the winner will still be asked to announce itself again."""
        self._call_after = float("-inf")
        self._echo: float | None = None
        """Seconds to wait, if another advert like the last one would do just that; None: it may do more."""
        self._best_rival = 0
        """The highest priority that another router has advertised since this process has started."""
        self._last_advert = float("-inf")
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
        return self.instance.down_timer_adverts * self._master_interval + self.skew

    @property
    def handing_over(self) -> bool:
        """Still master, but only until another router advertises."""
        return self._resume_at is not None

    @property
    def deadline(self) -> float | None:
        """When `advance` wants to be called."""
        if self.state is _BACKUP:
            return self._master_down_at
        timers = (
            *(self._master_down_at, self._advert_at, self._announcements.deadline),
            *(self._resume_at, self._let_go_at),
        )
        return min([timer for timer in timers if timer is not None], default=None)

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
        if not link_up and not self.fault:
            self.fault = "interface down"
        if self.fault or self._group_fault:
            self._fire(Event.START_WITHOUT_LINK, now, self.fault or self._group_fault)
        elif self._may_resume(now, residual):
            self._fire(Event.RESUME, now)
        elif self.priority == OWNER_PRIORITY and not self.grouped:
            self._fire(Event.START_AS_OWNER, now)
        else:
            self._fire(Event.START, now)
            if self._master_down_at is not None:
                self._master_down_at += self.instance.startup_delay

    def stop(self, now: float) -> None:
        """Give up for good, at once: a master says so with priority 0."""
        self._fire(Event.STOP, now)

    def retire(self, now: float) -> None:
        """Give up for good, but as master only when another router serves, or when nobody comes for it."""
        if self.state is _MASTER:
            self._retiring = True
            self._hand_over(now)
        else:
            self.stop(now)

    def hand_over(self, now: float) -> bool:
        """Let another router be master although this one can go on. False: this one is not master."""
        if self.state is not _MASTER:
            return False
        self._preemption.stands_back = True
        self._hand_over(now)
        return True

    def fail(self, now: float, reason: str) -> None:
        """This instance cannot work, for this reason."""
        self.fault = reason
        self._judge(now)

    def recover(self, now: float) -> None:
        """This instance can work again."""
        self.fault = ""
        self._judge(now)

    def fail_with_group(self, now: float, reason: str) -> None:
        """Another member of the sync group cannot work; empty: all can."""
        self._group_fault = reason
        self._judge(now)

    def interface_down(self, now: float) -> None:
        self.fail(now, "interface down")

    def interface_up(self, now: float) -> None:
        self.recover(now)

    def take_over(self, now: float) -> None:
        """The whole sync group can be master."""
        self._fire(Event.MASTER_DOWN, now)

    def leave_with_group(self, now: float) -> None:
        """Another member of the sync group has had to give way."""
        self._fire(Event.GROUP_BACKUP, now)

    def set_priority(self, now: float, priority: int) -> None:
        """Trackers want this effective priority. A master that is worse then than a rival hands over."""
        if priority == self.priority or OWNER_PRIORITY in (self.priority, priority):
            return
        self._echo = None
        lowered, self.priority = priority < self.priority, priority
        self._effects.append(PriorityChanged(priority))
        if self.state is not _MASTER or self._resume_at is not None:
            return
        if lowered and self._best_rival > priority:
            self._hand_over(now)
        else:
            self._advertise(now)

    def adopt(self, now: float, instance: VrrpInstance, own_address: Address) -> None:
        """Go on with other settings of the same virtual router; the state stays.

        The effective priority follows with the next `set_priority`. A master tells the others at once.
        """
        self._echo = None
        before, self.instance, self.own_address = self.instance, instance, own_address
        self._own_interval = interval_in_centiseconds(instance) / 100
        if instance.version == 2 or self.state is _MASTER:
            self._master_interval = self._own_interval
        if instance.nopreempt or not instance.preempt_delay:
            self._preemption.reset()
        self._announcements.adopt(instance, now)
        if self.state is not _MASTER or self._resume_at is not None:
            self._announcements.stop()
            return
        self._advertise(now)
        if before.moving_addresses != instance.moving_addresses:
            self._effects += [TakeAddresses(), Announce(instance.garp_master_repeat)]
            self._announcements.once_more(now, instance.garp_master_delay)
        elif (before.routes, before.rules) != (instance.routes, instance.rules):
            self._effects.append(TakeAddresses())

    def addresses_lost(self) -> None:
        """Somebody else has taken a virtual address away: a master puts it back and announces it."""
        if self.state is _MASTER:
            self._effects += [TakeAddresses(), Announce(self.instance.garp_master_repeat)]

    def advert_received(self, now: float, source: Address, advert: Advert) -> bool:
        """An advert that was admitted; `now` is when it arrived.

        True: nothing has come of it but that `deadline` may be later than before.
        """
        if self.priority == OWNER_PRIORITY and self.instance.owner_ignores_adverts:
            return False
        self._echo = None
        wait = self._master_down_at
        if advert.priority:
            self._best_rival = max(self._best_rival, advert.priority)
        if self.state is _BACKUP:
            self._received_as_backup(now, source, advert)
        elif self.state is _MASTER and self._resume_at is not None:
            self._received_while_handing_over(now, advert)
        elif self.state is _MASTER:
            self._received_as_master(now, source, advert)
        if self.state is not _BACKUP or self._effects:
            return False
        return wait is not None and self._master_down_at is not None and self._master_down_at >= wait

    def heard_again(self, now: float) -> bool:
        """The same advert from the same router as the last one, at another time.

        False: to be received like any other. True: all is as if it had been, and `deadline` is later.
        """
        if self._echo is None or self._master_down_at is None or now + self._echo < self._master_down_at:
            return False
        self._master_down_at = now + self._echo
        return True

    def advance(self, now: float) -> None:
        """Let the timers fire that are due."""
        if self._master_down_at is not None and now >= self._master_down_at:
            self._master_is_down(now)
        if self._let_go_at is not None and now >= self._let_go_at:
            self._fire(Event.RETIRED if self._retiring else Event.HANDED_OVER, now)
        elif self._resume_at is not None and now >= self._resume_at:
            self._nobody_came(now)
        if self._advert_at is not None and now >= self._advert_at:
            # From the deadline, not from now, so that small delays do not add up; after a stall, from now.
            following = self._advert_at + self._own_interval
            self._advertise(now)
            if following > now:
                self._advert_at = following
        self._effects += [Announce(packets) for packets in self._announcements.due(now)]

    def _judge(self, now: float) -> None:
        if reason := self.fault or self._group_fault:
            self._fire(Event.FAULT, now, reason)
        else:
            owner = self.priority == OWNER_PRIORITY and not self.grouped
            self._fire(Event.RECOVERY_AS_OWNER if owner else Event.RECOVERY, now)

    def _may_resume(self, now: float, residual: Residual) -> bool:
        if not residual.addresses or residual.last_advert is None:
            return False
        return 0 <= now - residual.last_advert < self.master_down_interval

    def _master_is_down(self, now: float) -> None:
        self._master_down_at = self._echo = None
        self._preemption.stands_back = False
        if self.grouped:
            self.wants_master = True
        else:
            self._fire(Event.MASTER_DOWN, now)

    def _advertise(self, now: float) -> None:
        self._effects.append(SendAdvert(self.priority))
        self._last_advert = now
        self._advert_at = now + self._own_interval

    def _received_as_backup(self, now: float, source: Address, advert: Advert) -> None:
        if advert.priority == 0:
            if not self.wants_master:
                self._master_down_at = now + self.skew
            return
        self._release()
        demoted = source == self._master_address and advert.priority < self.priority
        if not self._preemption.accepts(self.instance, now, self.priority, advert.priority):
            if demoted and self._master_down_at is not None:
                # The master itself has become worse than we are: it waits for us, as after priority 0.
                self._master_down_at = min(self._master_down_at, now + self.skew)
            return
        self.wants_master = False
        self._master_address = source if advert.priority >= self.priority else None
        if self.instance.version == 3:
            self._master_interval = max(advert.interval, 1) / 100
        self._master_down_at = now + self.master_down_interval
        if self._calls_left and now >= self._call_after:
            self._calls_left -= 1
            self._call_winner(now)
        if not self._calls_left and advert.priority >= self.priority:
            self._echo = self.master_down_interval

    def _call_winner(self, now: float) -> None:
        self._call_after = now + ANSWER_SPACING * self._own_interval
        self._effects.append(SendAdvert(1))

    def _received_as_master(self, now: float, source: Address, advert: Advert) -> None:
        rank = (advert.priority, source.packed)
        # Whoever could not advertise for so long that another became master was no master meanwhile.
        overslept = now - self._last_advert > self.master_down_interval and (
            self.instance.nopreempt or advert.priority == self.priority
        )
        better = rank > (self.priority, self.own_address.packed)
        if advert.priority and (overslept or better):
            if self.instance.version == 3:
                self._master_interval = max(advert.interval, 1) / 100
            self._master_address = source if advert.priority >= self.priority else None
            self._fire(Event.BETTER_ADVERT if better else Event.OVERSLEPT, now)
        elif now >= self._answer_after and not (advert.priority and self.instance.lower_prio_no_advert):
            self._answer_after = now + ANSWER_SPACING * self._own_interval
            self._advertise(now)
            if advert.priority:
                self._effects.append(Announce(self.instance.garp_lower_prio_repeat))
                self._announcements.once_more(now, self.instance.garp_lower_prio_delay)

    def _hand_over(self, now: float) -> None:
        if self._resume_at is not None:
            return
        self._effects.append(SendAdvert(0))
        self._advert_at = None
        self._announcements.stop()
        scale = 1.0 if self.instance.version == 2 else self._own_interval
        self._resume_at = now + min(scale + PATIENCE_MARGIN, LONGEST_PATIENCE)

    def _received_while_handing_over(self, now: float, advert: Advert) -> None:
        if advert.priority == 0 or self._let_go_at is not None:
            return
        if self.instance.version == 3:
            self._master_interval = max(advert.interval, 1) / 100
        self._let_go_at = now + GRACE

    def _nobody_came(self, now: float) -> None:
        if self._retiring:
            self._fire(Event.RETIRED, now)
            return
        self._resume_at = None
        self._preemption.stands_back = False
        self._best_rival = 0
        self._advertise(now)
        self._effects.append(Announce(self.instance.garp_master_repeat))
        self._announcements.begin_refreshing(now)

    def _fire(self, event: Event, now: float, reason: str = "") -> None:
        transition = TRANSITIONS.get((self.state, event))
        if transition is None:
            return
        previous, (self.state, actions) = self.state, transition
        self._master_down_at = self._advert_at = self._resume_at = self._let_go_at = None
        self._announcements.stop()
        self._preemption.reset()
        self.wants_master = False
        self._calls_left = 0
        self._echo = None
        for action in actions:
            self._act(action, now)
        self._effects.append(StateChanged(previous, self.state, reason or event.value))

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
                self._calls_left, self._call_after = CALLS, now + ANSWER_SPACING * self._own_interval
            case Action.CALL_WINNER:
                self._calls_left = CALLS
                self._call_winner(now)

    def _take_over(self, now: float) -> None:
        self._master_interval = self._own_interval
        self._preemption.stands_back = False
        self.holds_addresses = True
        self._advertise(now)
        self._effects += [TakeAddresses(), Announce(self.instance.garp_master_repeat)]
        self._announcements.once_more(now, self.instance.garp_master_delay)
        self._announcements.begin_refreshing(now)

    def _release(self) -> None:
        if self.holds_addresses:
            self.holds_addresses = False
            self._effects.append(ReleaseAddresses())
