# SPDX-License-Identifier: Apache-2.0
"""Controller of one VRRP instance: gives events to its state machine, and applies the machine's effects."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from time import time as wall_clock

from pointsman.control.messages import InstanceChanged
from pointsman.control.vrrp_messages import instance_event, lower_priority_event, priority_event
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.addresses import Context, VirtualAddresses
from pointsman.daemon.vrrp.advert_drops import AdvertDrops
from pointsman.daemon.vrrp.advert_sender import AdvertSender
from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.preflight import find_network_fault
from pointsman.daemon.vrrp.reports import LastAdvert
from pointsman.daemon.vrrp.state_file import StateFile
from pointsman.daemon.vrrp.trackers import Trackers
from pointsman.daemon.vrrp.vmac import Macvlans, PacketReader
from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.addresses import InterfaceAddress
from pointsman.net.arp import AddressAnswer
from pointsman.net.links import is_missing
from pointsman.net.netlink import Message
from pointsman.vrrp import prefilter
from pointsman.vrrp.admission import Guard, admit
from pointsman.vrrp.known_senders import KnownSenders
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.reannouncing import HeardRequests
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
from pointsman.vrrp.wire import Advert, Datagram

log = logging.getLogger("vrrp")

LOWER_PRIORITY_INTERVAL = 0.1
"""Minimum seconds between two MASTER_RX_LOWER_PRI events, however many adverts arrive."""


class InstanceController:
    """Connection of one state machine to sockets, addresses, programs and the director.

    `report` is called at every change of state. `deadlines` is touched when the deadline may have changed.
    """

    def __init__(
        self,
        instance: VrrpInstance,
        own_address: Address,
        context: Context,
        state_file: StateFile,
        report: Callable[[InstanceChanged], None],
        deadlines: DeadlineQueue[InstanceController],
    ) -> None:
        self.instance = instance
        self.socket: AdvertSocket | None = None
        """Socket of the receiver. None: the interface cannot be used now."""
        self.counters: collections.Counter[str] = collections.Counter()
        self.static_fault = ""
        """Reason for FAULT: a static object of the track_group is missing. Empty: none is."""
        self.last_advert: LastAdvert | None = None
        self.has_source = True
        """True if this host has the source address of the adverts."""
        self.machine = VrrpMachine(instance, own_address)
        self._addresses = VirtualAddresses(instance, context)
        self.receiver: PacketReader | None = None
        """Receiver of its adverts."""
        self._macvlans = Macvlans(
            instance, context.netlink, context.links, context.sysctls, lambda: self.receiver
        )
        self._guard = Guard(instance)
        self._sender = AdvertSender(instance, self._guard)
        self._context = context
        self._state_file = state_file
        self._report = report
        self._deadlines = deadlines
        self._reason = ""
        self._last_accepted: tuple[bytes, Address, Advert] | None = None
        """Fingerprint, source, and advert, so that a repeat is not decoded. None: more than bytes counted."""
        self._effects: collections.deque[Effect] = collections.deque()
        self.known_senders = KnownSenders()
        self._deleted = False
        self._lower_priority_at = float("-inf")
        self._requests = HeardRequests()
        self._once = LogOnce(log)
        """It is cleared at every change of state."""
        self.drops = AdvertDrops(instance, self._guard, self.counters, self._once, context.dropped)

    @property
    def deadline(self) -> float | None:
        mine, theirs = self.machine.deadline, self._addresses.deadline
        return mine if theirs is None or (mine is not None and mine < theirs) else theirs

    @property
    def network_fault(self) -> str:
        """Reason in the network why it cannot serve. Empty: it can."""
        return find_network_fault(
            *(self.instance, self.machine, self._context.links),
            has_source=self.has_source,
            has_socket=self.socket is not None,
        )

    @property
    def is_settled(self) -> bool:
        """True if a new local address cannot change this instance's state."""
        return self.has_source and not self.network_fault

    @property
    def is_waiting_for_address(self) -> bool:
        """True if the interface had no source address for adverts."""
        return self.machine.own_address.is_unspecified

    def start(self, present: list[InterfaceAddress], trackers: Trackers) -> None:
        """Leave INIT. `present`: all addresses of this host, also those that an earlier process has left."""
        found, complete = self._addresses.find_residual(present)
        self._macvlans.start(found)
        residual = Residual(addresses=found, last_advert=self._state_file.last_advert() if complete else None)
        if found:
            log.info("(%s) found virtual addresses of an earlier process", self.instance.name)
        now, network_fault = self._context.clock(), self.network_fault
        if fault := self._judge(now, trackers):
            self.machine.fail(now, fault)
        self.machine.start(now, not network_fault, residual)
        self.apply_effects()

    def remove_addresses(self, before: tuple[VirtualAddress, ...], after: tuple[VirtualAddress, ...]) -> None:
        """Remove the addresses that are not in the new configuration."""
        gone = tuple(entry for entry in before if entry not in after)
        if gone and self.machine.holds_addresses:
            self._addresses.remove(gone)

    def reconfigure(self, instance: VrrpInstance, own_address: Address) -> None:
        """Use other settings. The state stays."""
        before, self.instance = self.instance, instance
        if (before.authentication, before.hmac) != (instance.authentication, instance.hmac):
            self._guard = Guard(instance)
        self.drops.reconfigure(instance, self._guard)
        self._sender.reconfigure(instance, self._guard)
        self._addresses.reconfigure(instance)
        self._macvlans.reconfigure(instance)
        self.machine.reconfigure(self._context.clock(), instance, own_address)
        self._last_accepted = None
        self._once.clear()
        self.apply_effects()

    def yield_and_stop(self) -> None:
        """Begin to stop. A master serves until another router has taken over, or until its patience ends."""
        self.machine.yield_and_stop(self._context.clock())
        self.apply_effects()

    def stop(self, deleted: bool = False) -> None:
        """Stop at once: send priority 0 if master, remove addresses and the state file.

        `deleted`: a reload has removed the instance.
        """
        self._deleted = deleted
        self.machine.stop(self._context.clock())
        self.apply_effects()
        self._macvlans.remove()
        self._state_file.remove()
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counters.items()))
        log.info("(%s) adverts: %s", self.instance.name, counts or "none")

    def detach_receiver(self) -> None:
        """Use no receiver, until another one is set."""
        self._macvlans.close_tx()
        self.socket = self.receiver = None

    def has_accepted(self, sender: Address) -> bool:
        """True if an advert of this sender was accepted."""
        return sender in self.known_senders

    def on_repeated_packet(self, packet: bytes, time: float) -> bool:
        """Process a packet that repeats the last accepted one. Return False if it does not.

        Most packets do. They are not decoded.
        """
        if self._last_accepted is None or prefilter.fingerprint(packet) != self._last_accepted[0]:
            return False
        self.counters["received"] += 1
        self.last_advert = self._last_accepted[1], self._last_accepted[2].priority, time
        if not self.machine.on_repeated_advert(time):
            self._on_advert(*self._last_accepted[1:], time)
        return True

    def on_packet(self, datagram: Datagram, time: float, packet: bytes = b"") -> bool:
        """Process a packet (IPv4: all its bytes are `packet`). Return True if it is accepted."""
        self.counters["received"] += 1
        verdict = admit(self.instance, self.machine.own_address, datagram, self._guard, time, wall_clock())
        self.drops.on_verdict(verdict, datagram)
        if verdict.advert is not None:
            self._sender.checksum_form = verdict.advert.form
            self.last_advert = datagram.source, verdict.advert.priority, time
            if self.known_senders.add(datagram.source):
                text = "(%s) first advert of %s: priority %d"
                log.debug(text, self.instance.name, datagram.source, verdict.advert.priority)
            is_cacheable = packet and not verdict.oddities and self._guard.is_stateless
            self._last_accepted = (
                (prefilter.fingerprint(packet), datagram.source, verdict.advert) if is_cacheable else None
            )
            self._on_advert(datagram.source, verdict.advert, time)
        return verdict.advert is not None

    def _on_advert(self, source: Address, advert: Advert, time: float) -> None:
        """Process an accepted advert."""
        before, was_yielding = self.machine.state, self.machine.is_yielding
        if self.machine.on_advert(time, source, advert):
            return  # DeadlineQueue.due notices a later deadline
        if before is VrrpState.MASTER and advert.priority and not was_yielding:
            self._on_rival(source, advert.priority)
        self.apply_effects()

    def update_faults(self, trackers: Trackers) -> None:
        """Update fault and priority after a change of the interface, a static object or a tracker."""
        now = self._context.clock()
        if self._macvlans.ensure() and self.machine.holds_addresses:
            self.machine.on_addresses_lost()
        if fault := self._judge(now, trackers):
            self.machine.fail(now, fault)
        else:
            self.machine.recover(now)
        self.apply_effects()

    def _judge(self, now: float, trackers: Trackers) -> str:
        """Set the priority. Return the reason of a fault, or an empty text."""
        judgement = trackers.judge(self.instance)
        if judgement.awaited and not self.machine.is_undecided:
            text = "(%s) does not become master before the first result of %s"
            log.info(text, self.instance.name, ", ".join(judgement.awaited))
        self.machine.is_undecided = bool(judgement.awaited) or trackers.is_table_awaited
        self.machine.set_priority(now, judgement.priority)
        return self.network_fault or judgement.fault or self.static_fault

    def on_address_removed(self, removed: InterfaceAddress) -> None:
        """Process the removal of an address from this host."""
        if self.machine.holds_addresses:
            self._addresses.on_address_removed(removed)
            self._deadlines.touch(self)

    def on_route_removed(self, message: Message) -> None:
        """Process the removal of a route or rule from this host."""
        if self.machine.holds_addresses:
            self._addresses.on_route_removed(message)
            self._deadlines.touch(self)

    def recheck(self) -> None:
        """Check all addresses, routes and rules, because notifications of the kernel were lost."""
        if self.machine.holds_addresses:
            self._addresses.recheck()
            self._deadlines.touch(self)

    def on_answer(self, answer: AddressAnswer) -> None:
        """Process an ARP or neighbour discovery answer of another host."""
        if self.machine.state is not VrrpState.MASTER or not self._addresses.is_conflict(answer):
            return
        self.counters["address_conflict"] += 1
        text = f"another host ({answer.mac.hex(':')}) answers for {answer.address}: announcing it again"
        self._warn(f"conflict {answer.address}", text)
        self._report(self.status())
        self._announce(self.instance.garp_master_repeat)

    def _end_conflicts(self, now: float) -> None:
        """Report that hosts which answered for the addresses do so no more."""
        for address in self._addresses.conflicts.expire(now):
            self._once.forget(f"conflict {address}")
            log.info("(%s) no other host answers for %s any more", self.instance.name, address)
            self._report(self.status())

    def advance(self, now: float) -> None:
        """Fire the timers that are due. `send_adverts` and `apply_effects` apply the effects."""
        if self._addresses.advance(now, self.machine.holds_addresses, self.machine.state):
            self.machine.on_addresses_lost()
        self._end_conflicts(now)
        self.machine.advance(now)
        self._effects += self.machine.effects()
        self._deadlines.touch(self)

    def send_adverts(self) -> None:
        """Send the adverts that come first in the effects, before any instance changes its addresses."""
        while self._effects and isinstance(self._effects[0], SendAdvert):
            self._send_advert(self._effects.popleft().priority)  # type: ignore[union-attr]

    def apply_effects(self) -> None:
        """Apply the effects of the machine."""
        self._effects += self.machine.effects()
        while self._effects:
            effect = self._effects.popleft()
            match effect:
                case SendAdvert(priority):
                    self._send_advert(priority)
                case AcquireAddresses():
                    self._addresses.acquire()
                case ReleaseAddresses():
                    # Of an address that is not ours, only another master is a reason to remove it.
                    self._addresses.release(keeps_foreign=self.machine.state is not VrrpState.BACKUP)
                    self._macvlans.set_up(up=False)
                    if not any(isinstance(each, StateChanged) for each in self._effects):
                        self._report(self.status())
                case Announce(repeat):
                    self._announce(repeat)
                case PriorityChanged(priority):
                    self._on_priority_changed(priority)
                case StateChanged():
                    self._on_state_changed(effect)
        self._deadlines.touch(self)

    def status(self) -> InstanceChanged:
        """Return the present state as a report for the director."""
        return InstanceChanged(
            instance=self.instance.name,
            state=self.machine.state.value,
            priority=self.machine.priority,
            reason=self._reason,
            holds_addresses=self.machine.holds_addresses,
            conflict=self._addresses.conflicts.text if self.machine.state is VrrpState.MASTER else "",
        )

    def _on_rival(self, source: Address, priority: int) -> None:
        better = self.machine.state is not VrrpState.MASTER
        now = self._context.clock()
        if not better and self._requests.is_request(now, priority, self.instance.advert_interval):
            log.info("(%s) %s asks this new master to announce its addresses", self.instance.name, source)
            return
        text = (
            f"Master received advert from {source} with {'higher' if better else 'lower'} "
            f"or equal priority {priority}, ours {self.machine.priority}"
        )
        self._warn("rival", text)
        if not better and now >= self._lower_priority_at + LOWER_PRIORITY_INTERVAL:
            self._lower_priority_at = now
            self._context.notify(lower_priority_event(self.instance, self.machine.priority))

    def _warn(self, kind: str, text: str) -> None:
        self._once.warning(kind, "(%s) %s", self.instance.name, text)

    def _send_advert(self, priority: int) -> None:
        if self.machine.holds_addresses:
            self._macvlans.set_up(up=True)
        # The last advert of a former master leaves by the base: the switch must see the virtual MAC address
        # at the new master.
        tx_socket = self._macvlans.tx_socket() or self.socket
        if tx_socket is None:
            return
        source = self.machine.own_address
        for destination in self._sender.destinations(source):
            try:
                self._sender.send(tx_socket, priority, source, destination)
            except OSError as error:
                self.counters["send_failed"] += 1
                self._warn_of_failed_send(destination, error)
            else:
                self.counters["sent"] += 1
                if self.machine.state is VrrpState.MASTER:
                    self._state_file.record_advert(self._context.clock())

    def _warn_of_failed_send(self, destination: Address, error: OSError) -> None:
        """Warn that an advert cannot be sent, unless its interface is down or missing: FAULT says so."""
        link = self._context.links.get(self.instance.interface)
        if link is not None and link.running and not is_missing(error):
            self._warn("send", f"cannot send an advert to {destination}: {error.strerror}")

    def _announce(self, repeat: int) -> None:
        failure = self._addresses.announce(repeat)
        if failure is not None:
            self._warn("announce", f"cannot announce the addresses: {failure}")

    def _on_priority_changed(self, priority: int) -> None:
        log.info("(%s) Changing effective priority to %d", self.instance.name, priority)
        self._report(self.status())
        state = self.machine.state
        if self.instance.notify_priority_changes and state in (VrrpState.MASTER, VrrpState.BACKUP):
            self._context.notify(priority_event(self.instance, state, priority))

    def _on_state_changed(self, change: StateChanged) -> None:
        self._reason = change.reason
        self._once.clear()
        if change.state is VrrpState.BACKUP and self._addresses.has_foreign:
            self.machine.holds_addresses = True
        if change.state is not VrrpState.MASTER:
            self._state_file.record_not_master()
        level = logging.WARNING if change.state is VrrpState.FAULT else logging.INFO
        log.log(level, "(%s) Entering %s STATE (%s)", self.instance.name, change.state.value, change.reason)
        self._report(self.status())
        event = instance_event(self.instance, change.state, self.machine.priority, self._deleted)
        self._context.notify(event)
