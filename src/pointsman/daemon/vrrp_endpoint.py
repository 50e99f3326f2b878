"""One advert socket and the instances that share it."""

from __future__ import annotations

import selectors

from pointsman.daemon.vrrp_router import Router
from pointsman.model.address import Address
from pointsman.net.advert_socket import AdvertSocket
from pointsman.net.links import Link


class Endpoint:
    """One socket and the routers that share it, by virtual router id."""

    def __init__(self, interface: str, source: Address | None, family: int) -> None:
        self.interface = interface
        self.source = source
        """None: multicast."""
        self.family = family
        """4 or 6."""
        self.routers: dict[int, Router] = {}
        self.unknown = 0
        """Packets for virtual router ids that nobody here has; other routers may well use them."""
        self._socket: AdvertSocket | None = None
        self._index = 0

    def open(self, link: Link | None, selector: selectors.BaseSelector) -> None:
        """Have a socket on the interface as it is now (it may have been made anew). Raises OSError."""
        if link is not None and self._socket is not None and link.index == self._index:
            return
        if self._socket is not None:
            selector.unregister(self._socket)
            self._socket.close()
            self._share(None)
        if link is not None:
            opened = AdvertSocket(link, self.source, self.family)
            selector.register(opened, selectors.EVENT_READ, self.drain)
            self._index = link.index
            self._share(opened)

    def take(self, router: Router) -> None:
        """This router sends and receives here."""
        self.routers[router.instance.virtual_router_id] = router
        router.socket = self._socket

    def release(self, router: Router) -> None:
        """This router does so no more; one that never did is no matter."""
        if self.routers.get(router.instance.virtual_router_id) is router:
            del self.routers[router.instance.virtual_router_id]
            router.socket = None

    def _share(self, advert_socket: AdvertSocket | None) -> None:
        self._socket = advert_socket
        for router in self.routers.values():
            router.socket = advert_socket

    def drain(self) -> None:
        """Hand every waiting packet to its router."""
        if self._socket is None:
            return
        for arrival in self._socket.receive():
            datagram = arrival.datagram
            router = self.routers.get(datagram.payload[1]) if len(datagram.payload) > 1 else None
            if router is None:
                self.unknown += 1
            else:
                router.received(datagram, arrival.time)
