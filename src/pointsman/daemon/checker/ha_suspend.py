# SPDX-License-Identifier: Apache-2.0
"""ha_suspend: suspend the checks of services whose virtual address is not on this host."""

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
    """Services with `ha_suspend`. Calls `on_change` when addresses of this host change."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._on_change = on_change
        self._addresses: dict[ServiceKey, frozenset[Address]] = {}
        self._present: frozenset[Address] = frozenset()
        self._monitor: NetlinkMonitor | None = None

    def reconfigure(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Follow the virtual addresses of these services. Raises OSError."""
        self._addresses = {
            virtual.service.key: _addresses(virtual.service)
            for virtual in virtual_servers
            if virtual.ha_suspend and _addresses(virtual.service)
        }
        if self._addresses and self._monitor is None:
            groups = NetlinkMonitor.IPV4_ADDRESS | NetlinkMonitor.IPV6_ADDRESS
            self._monitor = NetlinkMonitor(groups)
            self._loop.add_reader(self._monitor.fileno(), self._on_address_change)
        if self._addresses:
            self._read_addresses()
        else:
            self.close()

    def is_suspended(self, service: ServiceKey) -> bool:
        """True if this service is not checked, because its virtual address is not here."""
        return service in self._addresses and not self._addresses[service] & self._present

    def close(self) -> None:
        """Stop following addresses."""
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None

    def _on_address_change(self) -> None:
        assert self._monitor is not None
        with contextlib.suppress(NetlinkOverrunError):  # all addresses are read anyway
            self._monitor.read()
        before = self._present
        self._read_addresses()
        if self._present != before:
            self._on_change()

    def _read_addresses(self) -> None:
        try:
            with NetlinkSocket() as netlink:
                self._present = frozenset(found.address for found in addresses.addresses(netlink))
        except OSError as error:
            log.error("cannot read the addresses of this host, keeping the state of ha_suspend: %s", error)


def _addresses(service: VirtualService) -> frozenset[Address]:
    """Return the virtual addresses; none for a firewall mark that is not set by us."""
    if service.key.address is not None:
        return frozenset({service.key.address})
    return frozenset(front.address for front in service.fronts)
