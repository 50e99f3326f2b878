# SPDX-License-Identifier: Apache-2.0
"""Firewall-mark services: the fronts of a mark, and the choice between several fronts with the same key."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from pointsman.dataplane.xdp.allocation import FullError, IndexAllocator
from pointsman.dataplane.xdp.frontends import FrontendTable
from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.kernel.flags import ServiceFlag
from pointsman.dataplane.xdp.kernel.layout import Mark
from pointsman.dataplane.xdp.server_lists import RefusedError
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.service import Front, ServiceKey


class MarkedFronts:
    """The fronts of firewall-mark services, by service.

    A mark takes precedence over an address and port, as in IPVS. A removed front stays, hidden, for its
    connections until its service is idle.
    """

    def __init__(self, tables: Tables, fronts: FrontendTable, numbers: Callable[[], IndexAllocator]) -> None:
        self._tables = tables
        self._fronts = fronts
        self._numbers = numbers
        self._live: dict[int, dict[ServiceKey, int]] = {}
        self._retired: dict[int, set[int]] = {}

    def restore(self, service: int, key: ServiceKey, number: int) -> None:
        """Note a front of this service that an earlier director has added."""
        if self._fronts.visible(key) == number:
            self._live.setdefault(service, {})[key] = number
        else:
            self._retired.setdefault(service, set()).add(number)

    def fronts_of(self, service: int) -> frozenset[Front]:
        """Return the destinations whose packets belong to this service."""
        return frozenset(_front_of(key) for key in self._live.get(service, ()))

    def numbers_in_use(self) -> Iterable[int]:
        for live in self._live.values():
            yield from live.values()
        for retired in self._retired.values():
            yield from retired

    def set_fronts(self, service: int, wanted: frozenset[Front], ipv6: bool) -> None:
        """Replace the fronts of a service. Raises RefusedError; then the old ones stay in force."""
        live = self._live.setdefault(service, {})
        keys = {ServiceKey.of(front.transport, front.address, front.port) for front in wanted}
        self._check(service, keys, ipv6)
        added: list[ServiceKey] = []
        try:
            for key in sorted(keys - live.keys(), key=str):
                live[key] = self._add(service, key)
                added.append(key)
        except RefusedError:
            for key in added:
                self._free(live.pop(key))
            raise
        for key in live.keys() - keys:
            self._retired.setdefault(service, set()).add(live.pop(key))
            self.update_visible(key)
        for key in keys:
            self.update_visible(key)

    def _check(self, service: int, keys: set[ServiceKey], ipv6: bool) -> None:
        for key in keys:
            if key.ipv6 != ipv6 or key.transport not in (6, 17):
                raise RefusedError("unsupported", f"{key} for a mark of {'IPv6' if ipv6 else 'IPv4'}")
            other = next((mine for mine, live in self._live.items() if key in live and mine != service), None)
            if other is not None:
                raise RefusedError("exists", f"{key} bears mark {self._tables.services[other].mark} already")

    def _add(self, service: int, key: ServiceKey) -> int:
        try:
            number = self._numbers().allocate()
        except FullError:
            raise RefusedError("full", "the table of services") from None
        try:
            self._fronts.add(key, service, number)
        except FullError:
            self._numbers().free(number)
            raise RefusedError("full", "the table of services") from None
        return number

    def _free(self, number: int) -> None:
        self._fronts.remove(number)
        self._numbers().free(number)

    def remove_service(self, service: int) -> None:
        """Remove all fronts of a service that is gone."""
        keys = list(self._live.get(service, ()))
        for number in [*self._live.pop(service, {}).values(), *self._retired.pop(service, ())]:
            self._free(number)
        for key in keys:
            self.update_visible(key)

    def update_service(self, service: int) -> None:
        """Update the mark and its fronts after the service was added or deleted. Raises OSError."""
        self._write_mark(service)
        for key in self._live.get(service, ()):
            self.update_visible(key)

    def _write_mark(self, service: int) -> None:
        """Write the mark of a service to `pm_marks`; delete it there if the service is deleted."""
        entry = self._tables.services[service]
        if not entry.mark or self._tables.for_reading:
            return
        table, ipv6 = self._tables.descriptors["pm_marks"], bool(entry.flags & ServiceFlag.IPV6)
        key = (entry.mark | ipv6 << 32).to_bytes(8, "little")
        if not entry.flags & ServiceFlag.DELETED:
            libbpf.map_update(table, key, bytes(Mark(service, entry.group)))
            return
        with contextlib.suppress(FileNotFoundError):
            libbpf.map_delete(table, key)

    def update_visible(self, key: ServiceKey) -> None:
        """Let packets to this address find a mark, else an address service, else a deleted service."""
        if not self._live:
            return
        every_port = any(self._rank(number) == 3 for number in self._fronts.at_port(key, 0))
        for port in [key.port] if key.port else self._fronts.ports_at(key):
            numbers = self._fronts.at_port(key, port)
            if not numbers:
                continue
            best = max(numbers, key=self._rank)
            covered = every_port and self._rank(best) < 3
            for number in numbers:
                if number != best or covered or not self._rank(best):
                    self._fronts.hide(number)
            if not covered and self._rank(best):
                self._fronts.show(best)

    def _rank(self, number: int) -> int:
        """Return 3 for a mark in force, 2 for an address in force, 1 for a deleted service, else 0."""
        service = self._fronts.service_of(number)
        if any(number in retired for retired in self._retired.values()):
            return 0
        if self._tables.services[service].flags & ServiceFlag.DELETED:
            return 1
        return 3 if self._tables.services[service].mark else 2


def _front_of(key: ServiceKey) -> Front:
    assert key.transport is not None and key.address is not None
    return Front(key.transport, key.address, key.port)
