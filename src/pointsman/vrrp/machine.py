# SPDX-License-Identifier: Apache-2.0
"""State machine of one VRRP instance (section 6.4 of RFC 3768 and RFC 5798, and keepalived's FAULT).

    start / resume --> BACKUP or MASTER       no advert for the master-down interval --> MASTER
    better advert  --> BACKUP                 fault --> FAULT, recovery --> BACKUP
    stop           --> INIT

`transitions.TRANSITIONS` contains all changes of state. Methods contain what a state does without a change.
No I/O and no clock: `now` goes in, effects come out in the order of their execution.

Yielding (`yield_master`, `yield_and_stop`, a lower priority): the master sends priority 0, but keeps the
addresses until another router advertises, and for a short time after that. So every packet finds a host with
the address. If no router takes over, it continues as master.
"""

from __future__ import annotations

from pointsman.model.address import Address
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance, VrrpState
from pointsman.vrrp.admission import interval_in_centiseconds
from pointsman.vrrp.advertising import Advertising
from pointsman.vrrp.announcing import Announcements
from pointsman.vrrp.heard_master import DownTimer, HeardMaster
from pointsman.vrrp.preemption import Preemption
from pointsman.vrrp.reannouncing import REQUEST_PRIORITY, ReannounceRequests
from pointsman.vrrp.transitions import (
    GROUP_MASTER,
    TRANSITIONS,
    AcquireAddresses,
    Action,
    Announce,
    Effect,
    Event,
    PriorityChanged,
    ReleaseAddresses,
    Residual,
    SendAdvert,
    StateChanged,
)
from pointsman.vrrp.wire import Advert
from pointsman.vrrp.yielding import Yielding

_BACKUP, _MASTER, _FAULT = VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT


class VrrpMachine:
    """State of one virtual router on this router. A `model.machine.Machine` of `Effect`."""

    def __init__(self, instance: VrrpInstance, own_address: Address) -> None:
        self.instance = instance
        self.own_address = own_address
        self.state = VrrpState.INIT
        self.priority = instance.priority
        """Effective priority. Trackers change it (`set_priority`)."""
        self.holds_addresses = False
        """True if the virtual addresses are on this host: as master, or left from before a restart."""
        self.grouped = False
        """Member of a sync group: it requests mastership by `wants_master` instead of taking over alone."""
        self.wants_master = False
        self.fault = ""
        """Reason why this instance cannot work. Empty: it can."""
        self.is_undecided = False
        """True while a tracker without a result may still stop or lower it: it does not become master."""
        self._group_fault = ""
        self._advertising = Advertising(interval_in_centiseconds(instance) / 100)
        self._master = HeardMaster(self._advertising.interval)
        self._down = DownTimer()
        self._not_before = float("-inf")
        """End of the startup delay."""
        self._announcements = Announcements(instance)
        self._preemption = Preemption()
        self._yielding = Yielding()
        self._requests = ReannounceRequests()
        self._best_rival = 0
        """Highest priority in adverts of other routers since this process started."""
        self._effects: list[Effect] = []

    @property
    def skew(self) -> float:
        """Seconds that depend on the priority: the best backup waits least (RFC 3768, RFC 5798, 6.1)."""
        scale = 1.0 if self.instance.version == 2 else self._master.interval
        return (256 - self.priority) / 256 * scale

    @property
    def master_down_interval(self) -> float:
        """Seconds without an advert after which the master is down."""
        return self.instance.down_timer_adverts * self._master.interval + self.skew

    @property
    def is_yielding(self) -> bool:
        """True if this master waits for another router to take over."""
        return self._yielding.is_active

    @property
    def deadline(self) -> float | None:
        """Time of the next call of `advance`. None: no timer runs."""
        if self.state is _BACKUP:
            return None if self.is_undecided else self._down.at
        timers = (self._advertising.at, self._announcements.deadline, self._yielding.deadline)
        return min([timer for timer in timers if timer is not None], default=None)

    def effects(self) -> list[Effect]:
        """Return the effects since the last call, in order."""
        taken, self._effects = self._effects, []
        return taken

    def start(self, now: float, link_up: bool, residual: Residual | None = None) -> None:
        """Leave INIT. `residual`: what an earlier process has left. A killed master continues at once."""
        if self.state is not VrrpState.INIT:
            return
        residual = residual or Residual()
        self._not_before = now + self.instance.startup_delay
        self.holds_addresses = residual.addresses
        if not link_up and not self.fault:
            self.fault = "interface down"
        if self.fault or self._group_fault:
            self._fire(Event.START_WITHOUT_LINK, now, self.fault or self._group_fault)
        elif residual.was_master_within(self.master_down_interval, now):
            self._fire(Event.RESUME, now)
        else:
            self._begin(Event.START, Event.START_AS_OWNER, now)

    def stop(self, now: float) -> None:
        """Stop at once. A master sends priority 0."""
        self._fire(Event.STOP, now)

    def yield_and_stop(self, now: float) -> None:
        """Stop. A master first waits until another router has taken over, or for the longest patience."""
        if self.state is _MASTER:
            self._yielding.is_stopping = True
            self._start_yielding(now, "stopping")
        else:
            self.stop(now)

    def yield_master(self, now: float) -> bool:
        """Let another router become master, although this one can continue. Return False if not master."""
        if self.state is not _MASTER:
            return False
        self._preemption.has_yielded = True
        self._start_yielding(now, "switchover on request")
        return True

    def fail(self, now: float, reason: str) -> None:
        """Set a fault with this reason."""
        self.fault = reason
        self._apply_fault(now)

    def recover(self, now: float) -> None:
        """Clear the fault."""
        self.fault = ""
        self._apply_fault(now)

    def set_group_fault(self, now: float, reason: str) -> None:
        """Set or clear the fault of another member of the sync group. Empty `reason`: all members work."""
        self._group_fault = reason
        self._apply_fault(now)

    def become_master(self, now: float) -> None:
        """Become master together with the sync group."""
        why = self._master.why_replaced(self.master_down_interval) if self.wants_master else GROUP_MASTER
        self._fire(Event.MASTER_DOWN, now, why)

    def on_group_backup(self, now: float) -> None:
        """Become backup together with the sync group."""
        self._fire(Event.GROUP_BACKUP, now)

    def set_priority(self, now: float, priority: int) -> None:
        """Set the effective priority of the trackers. A master with a better rival yields."""
        if priority == self.priority or OWNER_PRIORITY in (self.priority, priority):
            return
        self._down.repeat_wait = None
        lowered, self.priority = priority < self.priority, priority
        self._effects.append(PriorityChanged(priority))
        if self.state is not _MASTER or self._yielding.is_active:
            return
        if lowered and self._best_rival > priority:
            self._start_yielding(now, f"the priority here fell to {priority}, below {self._best_rival}")
        else:
            self._advertise(now)

    def reconfigure(self, now: float, instance: VrrpInstance, own_address: Address) -> None:
        """Use other settings for the same virtual router. The state stays.

        The effective priority follows with the next `set_priority`. A master sends an advert at once.
        """
        self._down.repeat_wait = None
        before, self.instance, self.own_address = self.instance, instance, own_address
        self._advertising.interval = interval_in_centiseconds(instance) / 100
        if instance.version == 2 or self.state is _MASTER:
            self._master.interval = self._advertising.interval
        if instance.nopreempt or not instance.preempt_delay:
            self._preemption.reset()
        self._announcements.reconfigure(instance, now)
        if self.state is not _MASTER or self._yielding.is_active:
            self._announcements.stop()
            return
        self._advertise(now)
        if before.moving_addresses != instance.moving_addresses:
            self._effects += [AcquireAddresses(), Announce(instance.garp_master_repeat)]
            self._announcements.schedule_second_burst(now, instance.garp_master_delay)
        elif (before.routes, before.rules) != (instance.routes, instance.rules):
            self._effects.append(AcquireAddresses())

    def on_addresses_lost(self) -> None:
        """Another program has removed a virtual address. A master restores and announces it."""
        if self.state is _MASTER:
            self._effects += [AcquireAddresses(), Announce(self.instance.garp_master_repeat)]

    def on_advert(self, now: float, source: Address, advert: Advert) -> bool:
        """Process an accepted advert that arrived at `now`.

        Return True if its only effect is that `deadline` may be later.
        """
        if self.priority == OWNER_PRIORITY and self.instance.owner_ignores_adverts:
            return False
        self._down.repeat_wait = None
        wait = self._down.at
        if advert.priority:
            self._best_rival = max(self._best_rival, advert.priority)
        if self.state is _BACKUP:
            self._on_advert_as_backup(now, source, advert)
        elif self.state is _MASTER and self._yielding.is_active:
            self._on_advert_while_yielding(now, source, advert)
        elif self.state is _MASTER:
            self._on_advert_as_master(now, source, advert)
        if self.state is not _BACKUP or self._effects:
            return False
        return wait is not None and self._down.at is not None and self._down.at >= wait

    def on_repeated_advert(self, now: float) -> bool:
        """Process the same advert from the same router as the last one, at another time.

        Return True if the state is then as after `on_advert`, with a later `deadline`. Return False if the
        advert must be processed by `on_advert`.
        """
        return self._down.on_repeat(now)

    def advance(self, now: float) -> None:
        """Fire the timers that are due."""
        if self._down.at is not None and now >= self._down.at and not self.is_undecided:
            self._master_is_down(now)
        yielding = self._yielding
        if yielding.release_at is not None and now >= yielding.release_at:
            event = Event.YIELDED_AND_STOPPED if yielding.is_stopping else Event.YIELDED
            self._fire(event, now, yielding.reason)
        elif yielding.resume_at is not None and now >= yielding.resume_at:
            self._continue_as_master(now)
        if self._advertising.at is not None and now >= self._advertising.at:
            self._advertise(now)
        self._effects += [Announce(packets) for packets in self._announcements.due(now)]

    def _apply_fault(self, now: float) -> None:
        if reason := self.fault or self._group_fault:
            self._fire(Event.FAULT, now, reason)
        else:
            self._begin(Event.RECOVERY, Event.RECOVERY_AS_OWNER, now)

    def _begin(self, event: Event, owner_event: Event, now: float) -> None:
        """Fire the event that begins the work. An owner waits only for the startup delay and for trackers.

        All others wait for the startup delay and then for the master-down interval.
        """
        is_owner = self.priority == OWNER_PRIORITY and not self.grouped
        held = self.is_undecided or now < self._not_before
        before = self.state
        self._fire(owner_event if is_owner and not held else event, now)
        if self.state is _BACKUP and before is not _BACKUP:
            self._down.at = max(now, self._not_before) + (0 if is_owner else self.master_down_interval)

    def _master_is_down(self, now: float) -> None:
        self._down.stop()
        self._preemption.has_yielded = False
        if self.grouped:
            self.wants_master = True
        else:
            self._fire(Event.MASTER_DOWN, now, self._master.why_replaced(self.master_down_interval))

    def _advertise(self, now: float) -> None:
        self._effects.append(SendAdvert(self.priority))
        self._advertising.sent(now)

    def _on_advert_as_backup(self, now: float, source: Address, advert: Advert) -> None:
        if advert.priority == 0:
            if not self.wants_master:
                self._master.on_resigned(source)
                self._down.at = now + self.skew
            return
        self._release()
        demoted = self._master.is_demoted(source, advert, self.priority)
        if not self._preemption.accepts(self.instance, now, self.priority, advert.priority):
            self._master.on_worse(source, advert, self.priority)
            if demoted and self._down.at is not None:
                # The master itself is now worse than this router and waits for it, as after priority 0.
                self._down.at = min(self._down.at, now + self.skew)
            return
        self.wants_master = False
        self._master.accept(source, advert, self.priority)
        self._master.learn_interval(advert, self.instance.version)
        self._down.at = now + self.master_down_interval
        if self._requests.is_due(now, self._advertising.spacing):
            self._effects.append(SendAdvert(REQUEST_PRIORITY))
        if not self._requests.left and advert.priority >= self.priority:
            self._down.repeat_wait = self.master_down_interval

    def _on_advert_as_master(self, now: float, source: Address, advert: Advert) -> None:
        rank = (advert.priority, source.packed)
        # A router that could not advertise for so long that another became master was no master meanwhile.
        stalled = now - self._advertising.last > self.master_down_interval and (
            self.instance.nopreempt or advert.priority == self.priority
        )
        better = rank > (self.priority, self.own_address.packed)
        if advert.priority and (stalled or better):
            self._master.learn_interval(advert, self.instance.version)
            self._master.accept(source, advert, self.priority)
            event = Event.BETTER_ADVERT if better else Event.STALLED
            ranks = f"{source} has priority {advert.priority}, here it is {self.priority}"
            if better and advert.priority == self.priority:
                ranks = f"{source} has the same priority {self.priority} and the higher address"
            self._fire(event, now, f"{event.value}: {ranks}")
        elif advert.priority and self.instance.lower_prio_no_advert:
            return
        elif self._advertising.may_answer(now):
            self._advertise(now)
            if advert.priority:
                self._effects.append(Announce(self.instance.garp_lower_prio_repeat))
                self._announcements.schedule_second_burst(now, self.instance.garp_lower_prio_delay)

    def _start_yielding(self, now: float, cause: str) -> None:
        if self._yielding.is_active:
            return
        self._effects.append(SendAdvert(0))
        self._advertising.at = None
        self._announcements.stop()
        scale = 1.0 if self.instance.version == 2 else self._advertising.interval
        self._yielding.begin(now, scale, cause)

    def _on_advert_while_yielding(self, now: float, source: Address, advert: Advert) -> None:
        if advert.priority and self._yielding.on_successor(now, source):
            self._master.learn_interval(advert, self.instance.version)

    def _continue_as_master(self, now: float) -> None:
        if self._yielding.is_stopping:
            self._fire(Event.YIELDED_AND_STOPPED, now, self._yielding.reason)
            return
        self._yielding.end()
        self._preemption.has_yielded = False
        self._best_rival = 0
        self._advertise(now)
        self._effects.append(Announce(self.instance.garp_master_repeat))
        self._announcements.start_refresh(now)

    def _fire(self, event: Event, now: float, reason: str = "") -> None:
        transition = TRANSITIONS.get((self.state, event))
        if transition is None:
            return
        previous, (self.state, actions) = self.state, transition
        self._master.claim = ""
        self._down.stop()
        self._advertising.at = None
        self._yielding.end()
        self._announcements.stop()
        self._preemption.reset()
        self.wants_master = False
        self._requests.left = 0
        for action in actions:
            self._act(action, now)
        self._effects.append(StateChanged(previous, self.state, reason or event.value))

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Action.WAIT:
                self._down.at = now + self.master_down_interval
            case Action.TAKE_OVER:
                self._take_over(now)
            case Action.RELEASE:
                self._release()
            case Action.RESIGN:
                self._effects.append(SendAdvert(0))
            case Action.FAREWELL:
                self._effects.append(SendAdvert(self.priority))
                self._requests.begin(now, self._advertising.spacing)
            case Action.REQUEST_REANNOUNCE:
                self._effects.append(SendAdvert(REQUEST_PRIORITY))
                self._requests.begin(now, self._advertising.spacing)

    def _take_over(self, now: float) -> None:
        self._master.interval = self._advertising.interval
        self._preemption.has_yielded = False
        self.holds_addresses = True
        self._advertise(now)
        self._effects += [AcquireAddresses(), Announce(self.instance.garp_master_repeat)]
        self._announcements.schedule_second_burst(now, self.instance.garp_master_delay)
        self._announcements.start_refresh(now)

    def _release(self) -> None:
        if self.holds_addresses:
            self.holds_addresses = False
            self._effects.append(ReleaseAddresses())
