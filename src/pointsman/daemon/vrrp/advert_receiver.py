# SPDX-License-Identifier: Apache-2.0
"""Receiver of adverts: gives each packet of a socket to its instance, and limits floods."""

from __future__ import annotations

import logging
import time
from functools import partial
from socket import inet_ntoa

from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.advert_socket import AdvertSocket, Arrival
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.model.address import Address
from pointsman.net.links import Link
from pointsman.vrrp import prefilter
from pointsman.vrrp.ah import parse_router_id
from pointsman.vrrp.dropped import find_intended
from pointsman.vrrp.wire import PROTOCOL, Datagram

log = logging.getLogger("vrrp")

FLOOD_RATE = 2000.0
"""Dropped packets per second above which each read waits for FLOOD_DELAY.

A wakeup costs more than ten packets.
"""
FLOOD_DELAY, RATE_WINDOW = 0.001, 0.02
"""Seconds of the delay, and seconds over which the rate is measured."""
MAX_JUDGED, JUDGE_INTERVAL = 256, 60.0
"""Unknown virtual routers and senders that are looked at, and seconds until they are looked at anew."""
MANY_INSTANCES = 16
"""Number of instances on one socket above which each read waits: their adverts arrive close together."""
MANY_DELAY, DELAY_DIVISOR = 0.005, 50
"""Seconds of that delay. It is at most the shortest advert interval divided by DELAY_DIVISOR."""


class AdvertReceiver:
    """One socket, and the instances that use it, by virtual router id."""

    def __init__(
        self,
        interface: str,
        source: Address | None,
        family: int,
        protocol: int = PROTOCOL,
        group: Address | None = None,
    ) -> None:
        self.interface = interface
        self.source = source
        """Source address of unicast adverts. None: multicast."""
        self.family = family
        """IP version: 4 or 6."""
        self._protocol = protocol
        self._group = group
        self.controllers: dict[int, InstanceController] = {}
        self.unknown = 0
        """Packets for virtual router ids of no instance here. Other routers can use them."""
        self.malformed = 0
        """Packets that are no packets of this protocol."""
        self._unknown_senders = prefilter.TokenBucket()
        self._once = LogOnce(log)
        self._intended: dict[tuple[int, bytes], InstanceController | None] = {}
        """Instance that adverts of an unknown virtual router id and a sender are meant for. None: no one."""
        self._judge_anew_at = float("-inf")
        self._dropped = 0
        self._window_start = 0.0
        self._flooded = False
        self._socket: AdvertSocket | None = None
        self._index = 0
        self._loop: EventLoop | None = None

    @property
    def group_entry(self) -> tuple[int, Address] | None:
        """Interface index and multicast group that need an entry of the neighbour table. None: none do."""
        return self._socket.group_entry if self._socket is not None else None

    def open(self, link: Link | None, loop: EventLoop) -> None:
        """Open the socket, again if the interface was created anew. `link` None: close it. Raises OSError."""
        self._loop = loop
        if link is not None and self._socket is not None and link.index == self._index:
            return
        if self._socket is not None:
            loop.unwatch(self._socket)
            self._socket.close()
            self._set_socket(None)
        if link is not None:
            opened = AdvertSocket(link, self.source, self.family, protocol=self._protocol, group=self._group)
            loop.watch(opened, self.read)
            self._index = link.index
            self._set_socket(opened)

    def add(self, controller: InstanceController) -> None:
        """Let an instance send and receive here."""
        self.controllers[controller.instance.virtual_router_id] = controller
        self._intended.clear()
        controller.socket, controller.receiver = self._socket, self

    def remove(self, controller: InstanceController) -> None:
        """Remove an instance, if it is here."""
        if self.controllers.get(controller.instance.virtual_router_id) is controller:
            del self.controllers[controller.instance.virtual_router_id]
            self._intended.clear()
            controller.detach_receiver()

    def _set_socket(self, advert_socket: AdvertSocket | None) -> None:
        self._socket = advert_socket
        for controller in self.controllers.values():
            controller.socket = advert_socket

    def watch(self, advert_socket: AdvertSocket) -> None:
        """Read this socket, too."""
        if self._loop is not None:
            self._loop.watch(advert_socket, partial(self._read, advert_socket))

    def unwatch(self, advert_socket: AdvertSocket) -> None:
        """Stop reading this socket."""
        if self._loop is not None:
            self._loop.unwatch(advert_socket)

    def read(self) -> None:
        """Give every waiting packet to its instance."""
        if self._socket is not None:
            self._read(self._socket)

    def _read(self, advert_socket: AdvertSocket) -> None:
        if len(self.controllers) > MANY_INSTANCES:
            shortest = min(controller.instance.advert_interval for controller in self.controllers.values())
            time.sleep(min(MANY_DELAY, shortest / DELAY_DIVISOR))
        elif self._is_flooded():
            time.sleep(FLOOD_DELAY)
        for arrival in advert_socket.receive(self._handle_cheaply, self._on_malformed):
            datagram = arrival.datagram
            number = parse_router_id(datagram.payload, self._protocol)
            controller = self.controllers.get(number) if number is not None else None
            if controller is None:
                self.unknown += 1
                self._on_unknown_router(datagram, number, arrival.time)
            else:
                self._admit(controller, arrival)

    def _admit(self, controller: InstanceController, arrival: Arrival) -> None:
        """Give a packet to an instance, unless it is forged or the budget for refused ones is used up."""
        datagram, drops = arrival.datagram, controller.drops
        if not prefilter.is_plain(arrival.packet) and drops.drop_forged(datagram, arrival.time):
            self._dropped += 1
            return
        is_plausible = drops.is_plausible(datagram, arrival.packet, arrival.time)
        budget = controller.known_senders.find_budget(datagram.source, is_plausible)
        unread = not (self._unknown_senders.spend if budget is None else budget.has_any)(arrival.time)
        if unread:
            drops.on_unread_packet()
        elif controller.on_packet(datagram, arrival.time, arrival.packet):
            return
        elif budget is not None:
            budget.spend(arrival.time)
        self._dropped += 1

    def _may_judge(self, key: tuple[int, bytes], now: float) -> bool:
        """True if it is not known yet for whom adverts of this virtual router and sender are."""
        if now >= self._judge_anew_at:
            self._intended.clear()
            self._judge_anew_at = now + JUDGE_INTERVAL
        return key not in self._intended and len(self._intended) < MAX_JUDGED

    def _on_unknown_router(self, datagram: Datagram, number: int | None, now: float) -> None:
        """Tell the instance that an advert of a virtual router that is not here seems to be meant for."""
        key = (number or 0, datagram.source.packed)
        if self._may_judge(key, now):
            silent = [each for each in self.controllers.values() if not _hears(each, datagram.source, now)]
            never = [each.instance for each in silent if not each.has_accepted(datagram.source)]
            found = find_intended((each.instance for each in silent), never, datagram)
            self._intended[key] = next((each for each in silent if each.instance is found), None)
        if (controller := self._intended.get(key)) is not None:
            controller.drops.on_foreign_advert(datagram.source, key[0])

    def _on_malformed(self, text: str) -> None:
        self._dropped += 1
        self.malformed += 1
        self._once.warning("malformed", "%s: a malformed VRRP packet was dropped: %s", self.interface, text)

    def _is_flooded(self) -> bool:
        """True if the rate of dropped packets is high, so that it is better to read many at a time."""
        now = time.monotonic()
        if now - self._window_start > RATE_WINDOW:
            self._flooded = self._dropped > FLOOD_RATE * (now - self._window_start)
            self._window_start, self._dropped = now, 0
        return self._flooded

    def _handle_cheaply(self, packet: bytes, time: float) -> bool:
        """Handle a packet without decoding it. Return False if it must be decoded.

        Handled are packets for no instance here, repeats of the last accepted packet, and packets with an
        error that was logged.
        """
        number = prefilter.parse_router_id(packet)
        if number is None:
            return False
        controller = self.controllers.get(number)
        if controller is None:
            key = (number, packet[12:16])
            if self._may_judge(key, time):
                return False
            self.unknown += 1
            self._dropped += 1
            if (intended := self._intended.get(key)) is not None:
                intended.drops.count_foreign_again(inet_ntoa(packet[12:16]))
            return True
        if controller.on_repeated_packet(packet, time):
            return True
        is_dropped = controller.drops.drop_cheaply(packet, time)
        self._dropped += is_dropped
        return is_dropped


def _hears(controller: InstanceController, sender: Address, now: float) -> bool:
    """True if the last accepted advert is of this sender, and it advertises still."""
    if controller.last_advert is None:
        return False
    source, priority, time = controller.last_advert
    return source == sender and priority > 0 and now - time <= controller.machine.master_down_interval
