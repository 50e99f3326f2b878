# SPDX-License-Identifier: Apache-2.0
"""Source addresses of probes: never a virtual address, if this host has another one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from pointsman.model.address import Address
from pointsman.model.checks import NetworkCheck
from pointsman.model.health import VirtualServer
from pointsman.net.addresses import IFA_PROTOS_OF_VRRP, InterfaceAddress, addresses
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket
from pointsman.net.onlink import is_usable, kernel_source, other_sources

KEPT = 60.0
"""Seconds for which a choice is used while the addresses of this host do not change. Routes may change."""
MAX_KEPT = 20_000


class Choice(NamedTuple):
    """The source of probes to one destination."""

    source: Address | None
    """The address to bind to. None: the kernel chooses."""
    until: float
    """Time at which it has to be chosen again."""
    generation: int
    """Number of changes of this host's addresses before the choice."""


NO_CHOICE = Choice(None, 0.0, -1)
"""It is never valid."""


class ProbeSources:
    """Sources of probes. The kernel's choice is used unless it is a virtual address."""

    def __init__(self) -> None:
        """Raises OSError if netlink cannot be used."""
        self._services: frozenset[Address] = frozenset()
        self._present: list[InterfaceAddress] | None = None
        """Addresses of this host. None: they have to be read."""
        self._moving: frozenset[Address] = frozenset()
        self._choices: dict[tuple[Address, str, int], Choice] = {}
        self._generation = 0
        self._followed = 0.0
        self._monitor = NetlinkMonitor(NetlinkMonitor.IPV4_ADDRESS | NetlinkMonitor.IPV6_ADDRESS)

    def reconfigure(self, virtual_servers: Iterable[VirtualServer]) -> None:
        """Use the addresses of these services."""
        services = (virtual.service.key.address for virtual in virtual_servers)
        self._services = frozenset(address for address in services if address is not None)
        self._forget()

    def is_valid(self, choice: Choice, now: float) -> bool:
        """Return True if a choice is still good at this time. Changes are read once for each `now`."""
        if now != self._followed:
            self._follow()
            self._followed = now
        return choice.generation == self._generation and now < choice.until

    def choose(self, check: NetworkCheck) -> Choice:
        """Return the source of a probe."""
        now = time.monotonic()
        self._follow()
        key = (check.connect_address, check.bind_interface, check.fwmark)
        known = self._choices.get(key)
        if known is None or known.until <= now:
            if len(self._choices) >= MAX_KEPT:
                self._choices.clear()
            known = self._choices[key] = Choice(self._choose(*key), now + KEPT, self._generation)
        return known

    def close(self) -> None:
        """Close the netlink socket."""
        self._monitor.close()

    def _follow(self) -> None:
        try:
            changed = bool(self._monitor.read())
        except NetlinkOverrunError:
            changed = True
        if changed:
            self._present = None
            self._forget()

    def _forget(self) -> None:
        self._choices.clear()
        self._generation += 1

    def _choose(self, destination: Address, interface: str, mark: int) -> Address | None:
        kernel = kernel_source(destination, interface, mark)
        if kernel is None or kernel == destination:
            return None
        present = self._addresses()
        if not self._is_virtual(kernel):
            return None
        others = other_sources(present, kernel, destination, self._is_virtual)
        return next(filter(is_usable, others), None)

    def _addresses(self) -> list[InterfaceAddress]:
        if self._present is None:
            try:
                with NetlinkSocket() as netlink:
                    self._present = addresses(netlink)
            except OSError:
                return []
            self._moving = frozenset(
                each.address for each in self._present if each.proto in IFA_PROTOS_OF_VRRP
            )
        return self._present

    def _is_virtual(self, address: Address) -> bool:
        return address in self._services or address in self._moving


_sources: list[ProbeSources] = []


def probe_sources() -> ProbeSources:
    """Return the sources of this process. Raises OSError if netlink cannot be used."""
    if not _sources:
        _sources.append(ProbeSources())
    return _sources[0]
