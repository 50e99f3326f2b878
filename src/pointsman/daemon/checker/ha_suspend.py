"""ha_suspend: whose virtual address is on this host, told at every change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from pointsman.model.address import Address
from pointsman.model.health import VirtualServer
from pointsman.model.service import ServiceKey, VirtualService
from pointsman.net import addresses
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket

log = logging.getLogger("checker")


class HaSuspend:
    """Services with `ha_suspend`, and which of them wait for their address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._on_change = on_change
        self._guarded: dict[ServiceKey, frozenset[Address]] = {}
        self._present: frozenset[Address] = frozenset()
        self._monitor: NetlinkMonitor | None = None

    def use(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Look after these services from now on."""
        self._guarded = {
            virtual.service.key: _addresses(virtual.service)
            for virtual in virtual_servers
            if virtual.ha_suspend and _addresses(virtual.service)
        }
        if self._guarded and self._monitor is None:
            groups = NetlinkMonitor.IPV4_ADDRESS | NetlinkMonitor.IPV6_ADDRESS
            self._monitor = NetlinkMonitor(groups)
            self._loop.add_reader(self._monitor.fileno(), self._changed)
        if self._guarded:
            self._look()
        else:
            self.close()

    def waits(self, service: ServiceKey) -> bool:
        """Whether this service is not to be checked at present."""
        return service in self._guarded and not self._guarded[service] & self._present

    def close(self) -> None:
        """Follow nothing any more."""
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    def _changed(self) -> None:
        assert self._monitor is not None
        with contextlib.suppress(NetlinkOverrunError):  # what was lost is seen by looking at the whole
            self._monitor.read()
        before = self._present
        self._look()
        if self._present != before:
            self._on_change()

    def _look(self) -> None:
        try:
            with NetlinkSocket() as netlink:
                self._present = frozenset(found.address for found in addresses.addresses(netlink))
        except OSError as error:
            log.error("the addresses of this host cannot be read, ha_suspend stays as it is: %s", error)


def _addresses(service: VirtualService) -> frozenset[Address]:
    """Where clients find it; none for a mark that is set elsewhere."""
    if service.key.address is not None:
        return frozenset({service.key.address})
    return frozenset(front.address for front in service.fronts)
