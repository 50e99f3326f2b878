# SPDX-License-Identifier: Apache-2.0
"""Services whose connections are kept while no director is in charge, and the grace for unknown ones.

The packet path serves a kept service's known connections only (bpf/flows.h). The kernel's clock ends them at
control.keep_until (bpf/expiry.h).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pointsman.dataplane.xdp.kernel.flags import ServiceFlag
from pointsman.dataplane.xdp.kernel.layout import GRACE_ALWAYS, Control, Service
from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import Tables
from pointsman.model.service import ServiceKey


class Unattended:
    """The part of the packet path that depends on whether a director is in charge."""

    def __init__(self, tables: Tables, store: Store) -> None:
        self._tables, self._store = tables, store

    @property
    def _control(self) -> Control:
        return self._tables.control

    def _services(self) -> dict[ServiceKey, Service]:
        return {key: self._tables.services[entry.service] for key, entry in self._store.entries()}

    def keep(self, keys: Collection[ServiceKey], seconds: int) -> None:
        """Serve only known connections of these services, for at most `seconds`."""
        self._control.keep_until = max(1, self._control.now + seconds)
        for key, service in self._services().items():
            if key in keys:
                service.flags |= ServiceFlag.KEPT

    def kept(self) -> frozenset[ServiceKey]:
        """Return the services that `keep` was called for and `resume` was not."""
        return frozenset(key for key, service in self._services().items() if service.flags & ServiceFlag.KEPT)

    def connections(self) -> int:
        """Return how many connections and templates there are, also of deleted services."""
        numbers = range(1, self._store.servers.highest + 1)
        loads = (self._tables.loads[index] for index in numbers)
        return sum(load.active + load.inactive + load.persistent for load in loads)

    def seconds_left(self) -> int:
        """Return for how many seconds kept connections are still served."""
        return max(0, self._control.keep_until - self._control.now)

    def resume(self) -> None:
        """Serve all services again."""
        for service in self._services().values():
            service.flags &= ~ServiceFlag.KEPT
        self._control.keep_until = 0

    def set_grace(self, seconds: Mapping[ServiceKey, int | None]) -> None:
        """Set for how long packets of unknown established connections are not refused. None: always."""
        for key, wanted in seconds.items():
            if (index := self._store.index_of(key)) is None:
                continue
            service = self._tables.services[index]
            if wanted is None:
                service.grace_until = GRACE_ALWAYS
            else:
                service.grace_until = self._control.now + wanted if wanted else 0
