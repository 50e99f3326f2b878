# SPDX-License-Identifier: Apache-2.0
"""Many VRRP machines on one simulated segment with a virtual clock, and a watch on how many are master."""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import random

import msgspec

from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.vrrp.admission import admit, build_advert
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import Announce, SendAdvert, StateChanged
from pointsman.vrrp.wire import GROUP, Advert, Datagram, encode

MASTER, BACKUP = VrrpState.MASTER, VrrpState.BACKUP
DELAY = 0.0005
"""Seconds from sender to receiver."""
MOST_LOST_IN_A_ROW = 2
"""Adverts of one sender that one receiver misses at most one after the other (when `bounded`): a third would
be the death of the master by the protocol's own rule."""
SLOWEST, FASTEST = 0.98, 1.02
"""Clocks go at these rates at most: two in a hundred, a thousand times what crystals do."""
VIP = VirtualAddress(address=ipaddress.ip_address("10.9.200.1"), prefix_length=16, device="eth0")
DAY = 86_400.0


class Station:
    """A router on the segment: its machine, its receive queue, and whether its process is stalled."""

    def __init__(self, machine: VrrpMachine) -> None:
        self.machine = machine
        self.alive = False
        self.side = 0
        """Stations hear only those on their own side of a partition."""
        self.stalled = False
        self.rate = 1.0
        """Seconds of its own clock per second."""
        self.drains_first = True
        self.queue: list[tuple[float, Datagram]] = []
        self.called_at = float("inf")
        """The latest time of the segment's next call."""

    @property
    def works(self) -> bool:
        return self.alive and not self.stalled

    @property
    def due(self) -> float:
        """The next deadline, on the clock of the segment."""
        deadline = self.machine.deadline if self.works else None
        return float("inf") if deadline is None else deadline / self.rate


class Watch:
    """The longest time with no master or several masters, on each side of the segment.

    Time counts from the last disturbance: a bound of the protocol begins with what it bounds.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._since: dict[tuple[int, str], float] = {}
        self.longest = {"none": 0.0, "several": 0.0}
        """Seconds."""

    def look(self) -> None:
        """Take note of the present; called after everything that may have changed it."""
        now = self._segment.now
        working: dict[int, int] = {}
        masters: dict[int, int] = {}
        for station in self._segment.stations:
            if station.works:
                working[station.side] = working.get(station.side, 0) + 1
                if station.machine.state is MASTER:
                    masters[station.side] = masters.get(station.side, 0) + 1
        wrong = {
            (side, "several" if masters.get(side, 0) > 1 else "none")
            for side in working
            if masters.get(side, 0) != 1
        }
        for key in list(self._since):
            if key not in wrong:
                self._ended(key, now)
        for key in wrong:
            self._since.setdefault(key, now)

    def disturbed(self) -> None:
        """Start a new measurement: later faults have another cause."""
        for key in list(self._since):
            self._ended(key, self._segment.now)
        self.look()

    def _ended(self, key: tuple[int, str], now: float) -> None:
        since = self._since.pop(key)
        self.longest[key[1]] = max(self.longest[key[1]], now - since)


class Segment:
    """The wire, the clock and a record of what happened. Every run follows from its seed."""

    def __init__(self, instances: list[VrrpInstance], seed: int = 0, loss: float = 0.0) -> None:
        self.now = 0.0
        self.loss = loss
        self.bounded = False
        """Never more than MOST_LOST_IN_A_ROW."""
        self.duplication = 0.0
        self.jitter = 0.0
        """Seconds by which a packet may be late; packets may overtake each other then."""
        self.random = random.Random(seed)
        self.stations = [
            Station(VrrpMachine(instance, ipaddress.IPv4Address("10.9.0.1") + number))
            for number, instance in enumerate(instances)
        ]
        self.changes: list[tuple[float, int, VrrpState]] = []
        self.announced_by: int | None = None
        """The station that sent the last gratuitous ARP: a client's packets go there."""
        self.events = 0
        self.watch = Watch(self)
        self.most_lost = 0
        """Consecutive packets lost between two stations."""
        self._lost: dict[tuple[int, int], int] = {}
        self._order = itertools.count()
        self._calendar: list[tuple[float, int, int | None]] = []
        """(when, order, station to look at; None: a packet arrives, which is then in `_flying`)."""
        self._flying: dict[int, tuple[Datagram, list[int]]] = {}
        self._payloads: dict[tuple[int, int], bytes] = {}
        self._adverts: dict[bytes, Advert] = {}

    def start(self, *numbers: int) -> None:
        for number in numbers:
            self.stations[number].alive = True
            station = self.stations[number]
            station.machine.start(self.now * station.rate, link_up=True)
            self.carry_out(number)
        self.watch.disturbed()

    def stop(self, number: int) -> None:
        self.stations[number].machine.stop(self.now * self.stations[number].rate)
        self.carry_out(number)
        self.stations[number].alive = False
        self.watch.disturbed()

    def kill(self, number: int) -> None:
        """End a process, also a stalled one: it never wakes."""
        station = self.stations[number]
        station.alive = station.stalled = False
        station.queue.clear()
        self.watch.disturbed()

    def stall(self, number: int) -> None:
        self.stations[number].stalled = True
        self.watch.disturbed()

    def move(self, number: int, side: int) -> None:
        """Move a station to a side of the partition."""
        self.stations[number].side = side
        self.watch.disturbed()

    def hand_over(self, number: int) -> None:
        station = self.stations[number]
        station.machine.yield_master(self.now * station.rate)
        self.carry_out(number)
        self.watch.disturbed()

    def restart(self, number: int) -> None:
        """A new process, which knows nothing."""
        station = self.stations[number]
        station.stalled = False
        station.queue.clear()
        station.machine = VrrpMachine(station.machine.instance, station.machine.own_address)
        self.start(number)

    def wake(self, number: int) -> None:
        """End a stall: the queue is read before timers fire, or (to show why not) after it."""
        station = self.stations[number]
        station.stalled = False
        if not station.drains_first:
            station.machine.advance(self.now * station.rate)
            self.carry_out(number)
        for arrived, datagram in station.queue:
            self._deliver(number, arrived, datagram)
        station.queue.clear()
        station.machine.advance(self.now * station.rate)
        self.carry_out(number)
        self.watch.disturbed()

    def run_until(self, end: float) -> None:
        while self._calendar and self._calendar[0][0] <= end:
            self.now, order, number = heapq.heappop(self._calendar)
            self.events += 1
            if number is None:
                datagram, receivers = self._flying.pop(order)
                for receiver in receivers:
                    self._arrive(receiver, datagram)
            else:
                self._call(number)
        self.now = end

    def masters(self) -> list[int]:
        return [n for n, s in enumerate(self.stations) if s.alive and s.machine.state is MASTER]

    def carry_out(self, number: int) -> None:
        """Do what a machine wants done, and see to it that it is called again in time."""
        station = self.stations[number]
        for effect in station.machine.effects():
            match effect:
                case SendAdvert(priority):
                    self._send(number, priority)
                case Announce():
                    self.announced_by = number
                case StateChanged():
                    self.changes.append((self.now, number, effect.state))
                    self.watch.look()
        if station.due < station.called_at:
            self._call_at(number, station.due)

    def _call_at(self, number: int, when: float) -> None:
        self.stations[number].called_at = when
        heapq.heappush(self._calendar, (max(when, self.now), next(self._order), number))

    def _call(self, number: int) -> None:
        """Its timers may have been put off since this was entered in the calendar."""
        station = self.stations[number]
        if station.called_at > self.now:
            return  # an older entry: there is another
        station.called_at = float("inf")
        if station.due <= self.now:
            # A hair later, so that the way to the own clock and back cannot end before the deadline.
            station.machine.advance(self.now * station.rate + 1e-9)
            self.carry_out(number)
        elif station.due != float("inf"):
            self._call_at(number, station.due)

    def _arrive(self, number: int, datagram: Datagram) -> None:
        station = self.stations[number]
        if station.stalled:
            station.queue.append((self.now, datagram))
        elif station.alive:
            self._deliver(number, self.now, datagram)

    def _deliver(self, number: int, arrived: float, datagram: Datagram) -> None:
        station = self.stations[number]
        machine = station.machine
        advert = self._adverts.get(datagram.payload)
        if advert is None:
            verdict = admit(machine.instance, machine.own_address, datagram)
            assert verdict.advert is not None, verdict.text
            advert = self._adverts[datagram.payload] = verdict.advert
        machine.on_advert(arrived * station.rate, datagram.source, advert)
        self.carry_out(number)

    def _send(self, number: int, priority: int) -> None:
        sender = self.stations[number]
        source = sender.machine.own_address
        payload = self._payloads.get((number, priority))
        if payload is None:
            payload = encode(build_advert(sender.machine.instance, priority), source, GROUP)
            self._payloads[number, priority] = payload
        datagram = Datagram(source=source, destination=GROUP, ttl=255, payload=payload)
        heard_by = [n for n, each in enumerate(self.stations) if n != number and each.side == sender.side]
        if not (self.loss or self.duplication or self.jitter):
            self._fly(datagram, heard_by, DELAY)
            return
        for other in heard_by:
            for _ in range(1 + (self.random.random() < self.duplication)):
                if not self._loses(number, other):
                    self._fly(datagram, [other], DELAY + self.random.random() * self.jitter)

    def _loses(self, sender: int, receiver: int) -> bool:
        lost = self._lost.get((sender, receiver), 0)
        if self.random.random() >= self.loss or (self.bounded and lost >= MOST_LOST_IN_A_ROW):
            self._lost[sender, receiver] = 0
            return False
        self._lost[sender, receiver] = lost + 1
        self.most_lost = max(self.most_lost, lost + 1)
        return True

    def _fly(self, datagram: Datagram, receivers: list[int], delay: float) -> None:
        order = next(self._order)
        self._flying[order] = datagram, receivers
        heapq.heappush(self._calendar, (self.now + delay, order, None))


def routers(*priorities: int, **changes: object) -> list[VrrpInstance]:
    """Instances of one virtual router that differ in priority only."""
    first = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51, addresses=(VIP,))
    return [msgspec.structs.replace(first, priority=priority, **changes) for priority in priorities]


def disturb(segment: Segment, what: str, number: int) -> None:
    """One of the things that happen to routers, where it can happen."""
    station = segment.stations[number]
    match what:
        case "split":
            segment.move(number, 1)
        case "heal":
            segment.move(number, 0)
        case "kill" if station.alive:
            segment.kill(number)
        case "stop" if station.works:
            segment.stop(number)
        case "start" if not station.alive:
            segment.restart(number)
        case "stall" if station.alive:
            segment.stall(number)
        case "wake" if station.stalled and station.alive:
            segment.wake(number)
        case "hand over" if station.works:
            segment.hand_over(number)
