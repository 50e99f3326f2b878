"""One advert socket and the instances that share it."""

from __future__ import annotations

import logging
import time
from functools import partial

from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.model.address import Address
from pointsman.net.links import Link
from pointsman.vrrp import prefilter
from pointsman.vrrp.ah import parse_router_id
from pointsman.vrrp.wire import PROTOCOL

log = logging.getLogger("vrrp")

FLOOD = 2000.0
"""Refused packets a second above which reading waits for BREATH: waking up costs more than ten packets."""
BREATH, WINDOW = 0.001, 0.02
"""Seconds; and over how many the rate is taken."""
CROWD = 16
"""Routers on one socket above which reading always waits: their adverts come one close upon the other."""
LONG_BREATH, SHARE = 0.005, 50
"""Seconds that it then waits, and part of the shortest advert interval that this must not exceed."""


class AdvertReceiver:
    """One socket and the routers that share it, by virtual router id."""

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
        """None: multicast."""
        self.family = family
        """4 or 6."""
        self._protocol = protocol
        self._group = group
        self.routers: dict[int, InstanceController] = {}
        self.unknown = 0
        """Packets for virtual router ids that nobody here has; other routers may well use them."""
        self.malformed = 0
        """Packets for nobody at all, because they are none of this protocol."""
        self._strangers = prefilter.TokenBucket()
        self._once = LogOnce(log)
        self._refused = 0
        self._since = 0.0
        self._pressing = False
        self._socket: AdvertSocket | None = None
        self._index = 0
        self._loop: EventLoop | None = None

    def open(self, link: Link | None, loop: EventLoop) -> None:
        """Have a socket on the interface as it is now (it may have been made anew). Raises OSError."""
        self._loop = loop
        if link is not None and self._socket is not None and link.index == self._index:
            return
        if self._socket is not None:
            loop.unwatch(self._socket)
            self._socket.close()
            self._share(None)
        if link is not None:
            opened = AdvertSocket(link, self.source, self.family, protocol=self._protocol, group=self._group)
            loop.watch(opened, self.drain)
            self._index = link.index
            self._share(opened)

    def take(self, router: InstanceController) -> None:
        """This router sends and receives here."""
        self.routers[router.instance.virtual_router_id] = router
        router.socket, router.ear = self._socket, self

    def release(self, router: InstanceController) -> None:
        """This router does so no more; one that never did is no matter."""
        if self.routers.get(router.instance.virtual_router_id) is router:
            del self.routers[router.instance.virtual_router_id]
            router.deafen()

    def _share(self, advert_socket: AdvertSocket | None) -> None:
        self._socket = advert_socket
        for router in self.routers.values():
            router.socket = advert_socket

    def listen(self, advert_socket: AdvertSocket) -> None:
        """On this one, too."""
        if self._loop is not None:
            self._loop.watch(advert_socket, partial(self._drain, advert_socket))

    def ignore(self, advert_socket: AdvertSocket) -> None:
        """This one no more."""
        if self._loop is not None:
            self._loop.unwatch(advert_socket)

    def drain(self) -> None:
        """Hand every waiting packet to its router."""
        if self._socket is not None:
            self._drain(self._socket)

    def _drain(self, advert_socket: AdvertSocket) -> None:
        if len(self.routers) > CROWD:
            shortest = min(router.instance.advert_interval for router in self.routers.values())
            time.sleep(min(LONG_BREATH, shortest / SHARE))
        elif self._pressed():
            time.sleep(BREATH)
        for arrival in advert_socket.receive(self._takes, self._refuses):
            datagram = arrival.datagram
            number = parse_router_id(datagram.payload, self._protocol)
            router = self.routers.get(number) if number is not None else None
            if router is None:
                self.unknown += 1
            elif router.knows(datagram.source) or self._strangers.spend(arrival.time):
                router.received(datagram, arrival.time, arrival.packet)
            else:
                router.ignored()
                self._refused += 1

    def _refuses(self, text: str) -> None:
        self._refused += 1
        self.malformed += 1
        self._once.warning(
            "malformed", "%s: a packet that is no VRRP packet was dropped: %s", self.interface, text
        )

    def _pressed(self) -> bool:
        """Whether so much has been refused lately that packets are better read many at a time."""
        now = time.monotonic()
        if now - self._since > WINDOW:
            self._pressing = self._refused > FLOOD * (now - self._since)
            self._since, self._refused = now, 0
        return self._pressing

    def _takes(self, packet: bytes, time: float) -> bool:
        """Whether a packet is for nobody here, wrong in a way that has been told of already, or familiar."""
        number = prefilter.parse_router_id(packet)
        if number is None:
            return False
        router = self.routers.get(number)
        if router is None:
            self.unknown += 1
            self._refused += 1
            return True
        if router.received_again(packet, time):
            return True
        drop = prefilter.cheap_reject(packet)
        if drop is None or not router.counts(drop):
            return False
        self._refused += 1
        return True
