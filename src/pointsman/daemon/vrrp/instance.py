"""One VRRP instance at work: its machine, and the carrying out of what the machine wants done."""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import Callable
from time import time as wall_clock

from pointsman.control.messages import InstanceChanged
from pointsman.control.vrrp_messages import NotifyEvent
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.addresses import Context, VirtualAddresses
from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.state_file import StateFile
from pointsman.daemon.vrrp.vmac import Ear, Macvlans
from pointsman.model.address import Address
from pointsman.model.tracking import Command
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.addresses import InterfaceAddress
from pointsman.net.arp import Answer
from pointsman.net.netlink import Message
from pointsman.vrrp import prefilter
from pointsman.vrrp.admission import Drop, Guard, admit, build_advert
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.tracking import Readings, judge
from pointsman.vrrp.transitions import (
    AcquireAddresses,
    Announce,
    Effect,
    PriorityChanged,
    ReleaseAddresses,
    Residual,
    SendAdvert,
    StateChanged,
)
from pointsman.vrrp.wire import GROUP, GROUP6, TTL, Advert, ChecksumForm, Datagram, encode

log = logging.getLogger("vrrp")

MOST_ACQUAINTANCES = 256
MOST_WORDINGS = 64
RIVAL_SPACING = 0.1
"""Seconds between two notices of a lower priority, however many adverts of it come."""


class InstanceController:
    """Connects a machine with sockets, addresses, programs and the director.

    `report` is called at every change of state; `agenda` hears whenever the deadline may be another one.
    `socket` None: the interface is not usable at present.
    """

    def __init__(
        self,
        instance: VrrpInstance,
        own_address: Address,
        host: Context,
        memory: StateFile,
        report: Callable[[InstanceChanged], None],
        agenda: DeadlineQueue[InstanceController],
    ) -> None:
        self.instance = instance
        self.socket: AdvertSocket | None = None
        self.counters: collections.Counter[str] = collections.Counter()
        self.static_fault = ""
        """What static address, route or rule it cannot work without (track_group)."""
        self.source_here = True
        """This host has the address that adverts are sent from."""
        self.machine = VrrpMachine(instance, own_address)
        self._belongings = VirtualAddresses(instance, host)
        self.ear: Ear | None = None
        """Where adverts to it are heard."""
        self._virtual = Macvlans(instance, host.netlink, host.links, host.sysctls, lambda: self.ear)
        self._guard = Guard(instance)
        self._host = host
        self._memory = memory
        self._report = report
        self._agenda = agenda
        self._reason = ""
        self._heard_form: ChecksumForm | None = None
        self._worded: dict[tuple[int, Address, ChecksumForm | None], bytes] = {}
        """Adverts as they were sent, by priority, destination and the form heard: most are the same again."""
        self._familiar: tuple[bytes, Address, Advert] | None = None
        """The last packet that was accepted, if for nothing but its bytes; its sender, the advert in it."""
        self._effects: collections.deque[Effect] = collections.deque()
        self._acquaintances: set[Address] = set()
        self._deleted = False
        self._rival_told = float("-inf")
        self._once = LogOnce(log)
        """Forgets at every change of state."""

    @property
    def deadline(self) -> float | None:
        mine, theirs = self.machine.deadline, self._belongings.deadline
        if mine is None or theirs is None:
            return theirs if mine is None else mine
        return min(mine, theirs)

    @property
    def hindrance(self) -> str:
        """Why adverts cannot be sent and received; empty: they can.

        A master can send without its source, as keepalived's does, and hears of others at least on the
        group. Whoever is no master stays none: it would not hear the unicast adverts of one.
        """
        link = self._host.links.get(self.instance.interface)
        own_address = self.machine.own_address
        if link is None or not link.running:
            return "interface down"
        if self.waits_for_address:
            return f"{link.name} has no address to send adverts from"
        if not self.source_here and (
            self.instance.track_source or self.machine.state is not VrrpState.MASTER
        ):
            return f"source address {own_address} is missing"
        return "" if self.socket is not None else f"no socket for adverts from {own_address}"

    @property
    def settled(self) -> bool:
        """Whether an address that comes can be of no importance for it."""
        return self.source_here and not self.hindrance

    @property
    def waits_for_address(self) -> bool:
        """The interface had no address to send adverts from."""
        return self.machine.own_address.is_unspecified

    def start(self, present: list[InterfaceAddress], readings: Readings) -> None:
        """Leave INIT, with what a former process has left behind among the addresses of this host."""
        found, complete = self._belongings.left_behind(present)
        self._virtual.begin(found)
        residual = Residual(addresses=found, last_advert=self._memory.last_advert() if complete else None)
        if found:
            log.info("(%s) virtual addresses of a former process are present", self.instance.name)
        judgement = judge(self.instance, readings)
        now = self._host.clock()
        self.machine.set_priority(now, judgement.priority)
        hindrance = self.hindrance
        if fault := hindrance or judgement.fault or self.static_fault:
            self.machine.fail(now, fault)
        self.machine.start(now, not hindrance, residual)
        self.carry_out()

    def let_go_of(self, before: tuple[VirtualAddress, ...], after: tuple[VirtualAddress, ...]) -> None:
        """Addresses that are not wanted any more leave at once."""
        gone = tuple(entry for entry in before if entry not in after)
        if gone and self.machine.holds_addresses:
            self._belongings.withdraw(gone)

    def adopt(self, instance: VrrpInstance, own_address: Address) -> None:
        """Go on with other settings, in the same state."""
        log.info("(%s) goes on with a changed configuration", instance.name)
        before, self.instance = self.instance, instance
        self._worded.clear()
        if (before.authentication, before.hmac) != (instance.authentication, instance.hmac):
            self._guard = Guard(instance)
        self._belongings.adopt(instance)
        self._virtual.adopt(instance)
        self.machine.reconfigure(self._host.clock(), instance, own_address)
        self._familiar = None
        self._once.clear()
        self.carry_out()

    def retire(self) -> None:
        """Begin to stop: a master serves until another router does, or nobody comes."""
        self.machine.yield_and_stop(self._host.clock())
        self.carry_out()

    def stop(self, deleted: bool = False) -> None:
        """Priority 0 if still master; addresses removed; nothing remembered. `deleted`: by a reload."""
        self._deleted = deleted
        self.machine.stop(self._host.clock())
        self.carry_out()
        self._virtual.remove()
        self._memory.forget()
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counters.items()))
        log.info("(%s) adverts: %s", self.instance.name, counts or "none")

    def deafen(self) -> None:
        """It is heard elsewhere from now on, or nowhere."""
        self._virtual.hush()
        self.socket = self.ear = None

    def knows(self, sender: Address) -> bool:
        """Whether an advert of this sender has been accepted: a flood of others does not drown it."""
        return sender in self._acquaintances

    def counts(self, drop: Drop) -> bool:
        """Count one more packet of a kind that has been logged; False: it has not."""
        if drop.value not in self._once:
            return False
        self.counters["received"] += 1
        self.counters[drop.value] += 1
        return True

    def ignored(self) -> None:
        """A packet of a stranger that nobody has had the time to look at."""
        self.counters["received"] += 1
        self.counters["flood"] += 1
        self._complain("flood", "more packets of strangers than can be looked at: some are dropped unseen")

    def received_again(self, packet: bytes, time: float) -> bool:
        """Take a packet that is like the last accepted one, as most are, undecoded. False: it is not."""
        if self._familiar is None or prefilter.fingerprint(packet) != self._familiar[0]:
            return False
        self.counters["received"] += 1
        if not self.machine.on_repeated_advert(time):
            self._hear(*self._familiar[1:], time)
        return True

    def received(self, datagram: Datagram, time: float, packet: bytes = b"") -> None:
        """A packet for this virtual router id that arrived at `time`, and how it looks as a whole (IPv4)."""
        self.counters["received"] += 1
        verdict = admit(self.instance, self.machine.own_address, datagram, self._guard, time, wall_clock())
        for kind in (verdict.drop, *verdict.oddities):
            if kind is not None:
                self.counters[kind.value] += 1
                self._complain(kind.value, verdict.text)
        if verdict.advert is not None:
            self._heard_form = verdict.advert.form
            if len(self._acquaintances) < MOST_ACQUAINTANCES:
                self._acquaintances.add(datagram.source)
            plain = packet and not verdict.oddities and self._guard.is_stateless
            self._familiar = (
                (prefilter.fingerprint(packet), datagram.source, verdict.advert) if plain else None
            )
            self._hear(datagram.source, verdict.advert, time)

    def _hear(self, source: Address, advert: Advert, time: float) -> None:
        """An advert that was admitted."""
        before, expected = self.machine.state, self.machine.is_yielding
        if self.machine.on_advert(time, source, advert):
            return  # the agenda finds a later deadline by itself
        if before is VrrpState.MASTER and advert.priority and not expected:
            self._rival(source, advert.priority)
        self.carry_out()

    def judge(self, readings: Readings) -> None:
        """Something that this instance depends on may have changed: its interface, or a tracker."""
        now = self._host.clock()
        if self._virtual.ensure() and self.machine.holds_addresses:
            self.machine.on_addresses_lost()
        judgement = judge(self.instance, readings)
        self.machine.set_priority(now, judgement.priority)
        if fault := self.hindrance or judgement.fault or self.static_fault:
            self.machine.fail(now, fault)
        else:
            self.machine.recover(now)
        self.carry_out()

    def address_removed(self, removed: InterfaceAddress) -> None:
        """Some address has vanished from this host."""
        if self.machine.holds_addresses:
            self._belongings.address_removed(removed)
            self._agenda.touch(self)

    def route_removed(self, message: Message) -> None:
        """Some route or rule has vanished from this host."""
        if self.machine.holds_addresses:
            self._belongings.route_removed(message)
            self._agenda.touch(self)

    def answered(self, answer: Answer) -> None:
        """Somebody else has answered for some address."""
        if self.machine.state is not VrrpState.MASTER or not self._belongings.is_conflict(answer):
            return
        self.counters["address_conflict"] += 1
        text = f"another host ({answer.mac.hex(':')}) answers for {answer.address}: announcing it again"
        self._complain(f"conflict {answer.address}", text)
        self._reason = f"another host ({answer.mac.hex(':')}) answers for {answer.address}"
        self._report(self.status())
        self._announce(self.instance.garp_master_repeat)

    def advance(self, now: float) -> None:
        """Let the timers fire that are due at `now`; `speak` and `carry_out` do what follows from it."""
        if self._belongings.advance(now, self.machine.holds_addresses, self.machine.state):
            self.machine.on_addresses_lost()
        self.machine.advance(now)
        self._effects += self.machine.effects()
        self._agenda.touch(self)

    def speak(self) -> None:
        """Send the adverts that come first: those of all instances go before anybody's addresses."""
        while self._effects and isinstance(self._effects[0], SendAdvert):
            self._send(self._effects.popleft().priority)  # type: ignore[union-attr]

    def carry_out(self) -> None:
        """Do what the machine wants done."""
        self._effects += self.machine.effects()
        while self._effects:
            effect = self._effects.popleft()
            match effect:
                case SendAdvert(priority):
                    self._send(priority)
                case AcquireAddresses():
                    self._belongings.take()
                case ReleaseAddresses():
                    self._belongings.release()
                    self._virtual.switch(up=False)
                    if not any(isinstance(each, StateChanged) for each in self._effects):
                        self._report(self.status())
                case Announce(repeat):
                    self._announce(repeat)
                case PriorityChanged(priority):
                    self._priority_changed(priority)
                case StateChanged():
                    self._changed(effect)
        self._agenda.touch(self)

    def status(self) -> InstanceChanged:
        """The present state, as the director is told it."""
        return InstanceChanged(
            instance=self.instance.name,
            state=self.machine.state.value,
            priority=self.machine.priority,
            reason=self._reason,
            holds_addresses=self.machine.holds_addresses,
        )

    def _rival(self, source: Address, priority: int) -> None:
        better = self.machine.state is not VrrpState.MASTER
        text = (
            f"Master received advert from {source} with {'higher' if better else 'lower'} "
            f"or equal priority {priority}, ours {self.machine.priority}"
        )
        self._complain("rival", text)
        now = self._host.clock()
        if not better and now >= self._rival_told + RIVAL_SPACING:
            self._rival_told = now
            self._notify("MASTER_RX_LOWER_PRI", self.instance.notify.lower_priority, None)

    def _complain(self, kind: str, text: str) -> None:
        self._once.warning(kind, "(%s) %s", self.instance.name, text)

    def _send(self, priority: int) -> None:
        if self.machine.holds_addresses:
            self._virtual.switch(up=True)
        # A loser's farewell goes by the base: the switch is to see the virtual MAC address at the winner.
        speaker = self._virtual.voice() or self.socket
        if speaker is None:
            return
        source = self.machine.own_address
        group = self.instance.multicast_group or (GROUP if source.version == 4 else GROUP6)
        for destination in self.instance.unicast_peers or (group,):
            try:
                self._speak(speaker, self._wording(priority, destination), source, destination)
            except OSError as error:
                self.counters["send_failed"] += 1
                self._complain("send", f"cannot send an advert to {destination}: {error.strerror}")
            else:
                self.counters["sent"] += 1
                if self.machine.state is VrrpState.MASTER:
                    self._memory.advertised(self._host.clock())

    def _wording(self, priority: int, destination: Address) -> bytes:
        key = priority, destination, self._heard_form
        if key not in self._worded:
            if len(self._worded) >= MOST_WORDINGS:
                self._worded.clear()
            advert = build_advert(self.instance, priority, self._heard_form)
            self._worded[key] = encode(advert, self.machine.own_address, destination)
        return self._worded[key]

    def _speak(self, speaker: AdvertSocket, advert: bytes, source: Address, destination: Address) -> None:
        """Send an advert as the others want it authenticated. Raises OSError."""
        settings, ttl = self.instance.hmac, self.instance.unicast_ttl
        if self._guard.signer is not None and settings is not None and settings.mode != "receive-only":
            advert = self._guard.signer.sign(advert, source, destination, wall_clock())
        if self._guard.wrapper is not None:
            lifetime = TTL if destination.is_multicast else ttl
            packet = self._guard.wrapper.wrap(advert, source, destination, lifetime, wall_clock())
            speaker.send_packet(packet, destination)
        else:
            speaker.send(advert, source, destination, ttl)

    def _announce(self, repeat: int) -> None:
        failure = self._belongings.announce(repeat)
        if failure is not None:
            self._complain("announce", f"cannot announce the addresses: {failure}")

    def _priority_changed(self, priority: int) -> None:
        log.info("(%s) Changing effective priority to %d", self.instance.name, priority)
        self._report(self.status())
        state = self.machine.state
        if self.instance.notify_priority_changes and state in (VrrpState.MASTER, VrrpState.BACKUP):
            self._notify(f"{state.value}_PRIORITY", None, None)

    def _changed(self, change: StateChanged) -> None:
        self._reason = change.reason
        self._once.clear()
        if change.state is not VrrpState.MASTER:
            with contextlib.suppress(OSError):
                self._memory.not_master()
        log.info("(%s) Entering %s STATE (%s)", self.instance.name, change.state.value, change.reason)
        self._report(self.status())
        wanted = self.instance.notify
        special = {
            VrrpState.MASTER: wanted.master,
            VrrpState.BACKUP: wanted.backup,
            VrrpState.FAULT: wanted.fault,
            VrrpState.INIT: wanted.stop,
        }[change.state]
        word = "STOP" if change.state is VrrpState.INIT else change.state.value
        if self._deleted and change.state is VrrpState.INIT:
            word = "DELETED" if wanted.tells_deleted else VrrpState.FAULT.value
            special = wanted.deleted if wanted.tells_deleted else wanted.fault
        self._notify(word, special, wanted.every)

    def _notify(self, word: str, special: Command | None, every: Command | None) -> None:
        self._host.tell(
            NotifyEvent(
                kind="INSTANCE",
                name=self.instance.name,
                state=word,
                priority=self.machine.priority,
                commands=(special,) if special else (),
                with_arguments=every,
            )
        )
