"""One VRRP instance at work: its machine, and the carrying out of what the machine wants done."""

from __future__ import annotations

import collections
import contextlib
import errno
import logging
from collections.abc import Callable

from pointsman.daemon.messages import InstanceChanged
from pointsman.daemon.vrrp_memory import Memory
from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.net.addresses import InterfaceAddress, addresses, assign, withdraw
from pointsman.net.advert_socket import AdvertSocket
from pointsman.net.arp import Announcer
from pointsman.net.links import Link
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.admission import admit, own_advert
from pointsman.vrrp.machine import (
    Announce,
    ReleaseAddresses,
    Residual,
    SendAdvert,
    StateChanged,
    TakeAddresses,
    VrrpMachine,
)
from pointsman.vrrp.wire import GROUP, Datagram, encode

RECHECK_SPACING = 1.0
"""Seconds between two looks whether the virtual addresses are still there, however often they vanish."""

log = logging.getLogger("vrrp")


class Host:
    """What all instances of a process share."""

    def __init__(self, netlink: NetlinkSocket, links: dict[str, Link], clock: Callable[[], float]) -> None:
        self.netlink = netlink
        self.links = links
        self.clock = clock
        self.announcer = Announcer()


class Router:
    """Connects a machine with sockets, addresses and the director.

    `report` is called at every change of state. `socket` None: the interface is not usable at present.
    """

    def __init__(
        self,
        instance: VrrpInstance,
        own_address: Address,
        host: Host,
        memory: Memory,
        report: Callable[[InstanceChanged], None],
    ) -> None:
        self.instance = instance
        self.socket: AdvertSocket | None = None
        self.counters: collections.Counter[str] = collections.Counter()
        self._machine = VrrpMachine(instance, own_address)
        self._host = host
        self._memory = memory
        self._report = report
        self._reason = ""
        self._said: set[str] = set()
        """Complaints that were logged since the last change of state; each is logged once."""
        self._recheck_at: float | None = None
        self._recheck_not_before = float("-inf")

    @property
    def deadline(self) -> float | None:
        timers = (self._machine.deadline, self._recheck_at)
        return min((timer for timer in timers if timer is not None), default=None)

    @property
    def link_up(self) -> bool:
        """The interface runs and adverts can be sent and received on it."""
        link = self._host.links.get(self.instance.interface)
        return link is not None and link.running and self.socket is not None

    def start(self, present: list[InterfaceAddress]) -> None:
        """Leave INIT, with what a former process has left behind among the addresses of this host."""
        found = [match for entry in self.instance.addresses if (match := self._find(entry, present))]
        complete = len(found) == len(self.instance.addresses) and all(match.mark for match in found)
        residual = Residual(
            addresses=bool(found), last_advert=self._memory.last_advert() if complete else None
        )
        if found:
            log.info("(%s) virtual addresses of a former process are present", self.instance.name)
        self._machine.start(self._host.clock(), self.link_up, residual)
        self._carry_out()

    def stop(self) -> None:
        """Priority 0 if master; addresses removed."""
        self._machine.stop(self._host.clock())
        self._carry_out()
        self._memory.forget()
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counters.items()))
        log.info("(%s) adverts: %s", self.instance.name, counts or "none")

    def received(self, datagram: Datagram, time: float) -> None:
        """A packet for this virtual router id that arrived at `time`."""
        self.counters["received"] += 1
        verdict = admit(self.instance, self._machine.own_address, datagram)
        for kind in (verdict.drop, *verdict.oddities):
            if kind is not None:
                self.counters[kind.value] += 1
                self._complain(kind.value, verdict.text)
        if verdict.advert is not None:
            before = self._machine.state
            self._machine.advert_received(time, datagram.source, verdict.advert)
            if before is VrrpState.MASTER and verdict.advert.priority:
                self._rival(datagram.source, verdict.advert.priority)
            self._carry_out()

    def link_changed(self) -> None:
        """The interface may have gone up or down."""
        if self.link_up:
            self._machine.interface_up(self._host.clock())
        else:
            self._machine.interface_down(self._host.clock())
        self._carry_out()

    def address_removed(self, removed: InterfaceAddress) -> None:
        """Some address has vanished from this host."""
        if self._machine.holds_addresses and any(
            self._is(entry, removed) for entry in self.instance.addresses
        ):
            self._recheck_at = max(self._host.clock(), self._recheck_not_before)

    def advance(self, now: float) -> None:
        """Let the timers fire that are due at `now`."""
        if self._recheck_at is not None and now >= self._recheck_at:
            self._recheck_at = None
            self._recheck_not_before = now + RECHECK_SPACING
            self._check_addresses()
        self._machine.advance(now)
        self._carry_out()

    def status(self) -> InstanceChanged:
        """The present state, as the director is told it."""
        return InstanceChanged(
            instance=self.instance.name,
            state=self._machine.state.value,
            priority=self._machine.priority,
            reason=self._reason,
            holds_addresses=self._machine.holds_addresses,
        )

    def _check_addresses(self) -> None:
        present = addresses(self._host.netlink)
        missing = [entry for entry in self.instance.addresses if self._find(entry, present) is None]
        if missing and self._machine.state is VrrpState.MASTER:
            names = ", ".join(str(entry.address) for entry in missing)
            log.warning("(%s) somebody has removed %s: putting it back", self.instance.name, names)
            self._machine.addresses_lost()

    def _find(self, entry: VirtualAddress, present: list[InterfaceAddress]) -> InterfaceAddress | None:
        return next((found for found in present if self._is(entry, found)), None)

    def _is(self, entry: VirtualAddress, found: InterfaceAddress) -> bool:
        link = self._host.links.get(entry.device)
        return (
            link is not None
            and (found.index, found.address) == (link.index, entry.address)
            and found.prefix_length == entry.prefix_length
        )

    def _rival(self, source: Address, priority: int) -> None:
        better = self._machine.state is not VrrpState.MASTER
        text = (
            f"Master received advert from {source} with {'higher' if better else 'lower'} "
            f"or equal priority {priority}, ours {self._machine.priority}"
        )
        self._complain("rival", text)

    def _complain(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            log.warning("(%s) %s", self.instance.name, text)

    def _carry_out(self) -> None:
        for effect in self._machine.effects():
            match effect:
                case SendAdvert(priority):
                    self._send(priority)
                case TakeAddresses():
                    self._take()
                case ReleaseAddresses():
                    self._release()
                case Announce(repeat):
                    self._announce(repeat)
                case StateChanged():
                    self._changed(effect)

    def _send(self, priority: int) -> None:
        if self.socket is None:
            return
        source = self._machine.own_address
        advert = own_advert(self.instance, priority)
        for destination in self.instance.unicast_peers or (GROUP,):
            try:
                self.socket.send(encode(advert, source, destination), source, destination)
            except OSError as error:
                self.counters["send_failed"] += 1
                self._complain("send", f"cannot send an advert to {destination}: {error.strerror}")
            else:
                self.counters["sent"] += 1
                if self._machine.state is VrrpState.MASTER:
                    self._memory.advertised(self._host.clock())

    def _take(self) -> None:
        for entry, error in assign(self._host.netlink, self._host.links, self.instance.addresses):
            log.error("(%s) cannot add %s to %s: %s", self.instance.name, entry.address, entry.device, error)

    def _release(self) -> None:
        for entry, error in withdraw(self._host.netlink, self._host.links, self.instance.addresses):
            if error.errno != errno.EADDRNOTAVAIL and entry.device in self._host.links:
                log.error(
                    "(%s) cannot remove %s from %s: %s",
                    *(self.instance.name, entry.address, entry.device, error),
                )

    def _announce(self, repeat: int) -> None:
        failure = self._host.announcer.announce(self._host.links, self.instance.addresses, repeat)
        if failure is not None:
            self._complain("announce", f"cannot send gratuitous ARP: {failure}")

    def _changed(self, change: StateChanged) -> None:
        self._reason = change.reason
        self._said.clear()
        if change.state is not VrrpState.MASTER:
            with contextlib.suppress(OSError):
                self._memory.not_master()
        log.info("(%s) Entering %s STATE (%s)", self.instance.name, change.state.value, change.reason)
        self._report(self.status())
