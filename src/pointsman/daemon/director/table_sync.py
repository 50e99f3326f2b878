# SPDX-License-Identifier: Apache-2.0
"""Bring the table of a data plane into line with configuration, check results and overrides.

An event marks the services that it concerns. `sync` computes these only: their pools, their wanted entries,
the operations from the actual entries to the wanted ones. All services are computed at the start only.
Refused operations are planned again at the next `sync`.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from pointsman.control.client_messages import OverrideRequest
from pointsman.control.messages import CheckResult, RunProgram, TellServers
from pointsman.control.status import ServiceStatus
from pointsman.daemon.director import status as status_report
from pointsman.daemon.director.notify import log_transitions, notify_orders, quorum_alerts
from pointsman.daemon.director.service_state import ServicePools
from pointsman.daemon.director.services import ServiceIndex
from pointsman.daemon.director.state_file import TableState
from pointsman.dataplane.interface import DataPlane
from pointsman.health.alerts import Alert, check_alert, farewell_alerts
from pointsman.lvs.desired import PoolState
from pointsman.lvs.plan_text import differences, step_texts
from pointsman.lvs.reconcile import reconcile
from pointsman.lvs.transitions import Transition, transitions
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.naming import server_name, service_name
from pointsman.model.operations import (
    DeleteService,
    EditServer,
    Flush,
    Operation,
    Refusal,
    SetTimeouts,
    service_of,
)
from pointsman.model.override import Override
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable

log = logging.getLogger("director")

MAX_DIFFERENCES = 10
"""Differences between table and configuration that `status` lists one by one."""
MAX_RETRIES = 250
"""Services with refused operations that one `sync` tries again."""
RAMP_STEP = 1.0
"""Seconds between two changes of the weights of slow starts."""


class TableSync:
    """Keeps the services of one configuration in force on one data plane. Other services are left alone."""

    def __init__(
        self,
        config: Config,
        plane: DataPlane,
        state: TableState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`state`: that of the previous process; None: restore what the table shows. Raises OSError."""
        self._clock = clock
        self._plane = plane
        table = plane.read()
        self._pools = ServicePools(config, table, state or TableState(results=None))
        self._planned = self.index
        """The index of the last configuration that was planned."""
        self._dirty = dict.fromkeys(self.index.services)
        """Services that the next `sync` computes, in the order of the events. The values mean nothing."""
        self._leaving = set(plane.unattended.kept() - self.managed)
        """Services of a previous configuration that are still in the table."""
        self._dirty |= dict.fromkeys(self._leaving)
        self._timeouts = config.timeouts
        """Timeouts that are not set yet."""
        self._ramps_due = float("-inf")
        """Time of the next change of the weights of slow starts and drains."""
        self._wanted: dict[ServiceKey, ServiceEntry] = {}
        """The services that the last `sync` wanted."""
        self._refused: dict[ServiceKey | None, list[Refusal]] = {}
        """Refused operations by the service that they change; None: timeouts."""
        self.notify_orders: list[RunProgram | TellServers] = []
        """Notify programs to run and FIFO lines to write. The caller sends them and removes them."""
        self.changed = {entry.service.key for entry in table}
        """Services of the table that are new to the caller or have changed. It removes them."""

    @property
    def index(self) -> ServiceIndex:
        """Index of the configuration in force."""
        return self._pools.index

    @property
    def managed(self) -> Set[ServiceKey]:
        """Services of the configuration in force."""
        return self.index.services.keys()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Operations that the data plane refused the last time."""
        return tuple(itertools.chain.from_iterable(self._refused.values()))

    def state(self) -> TableState:
        """Return the state that the next process restores after a crash."""
        return self._pools.state()

    def on_check_result(self, result: CheckResult) -> Alert | None:
        """Store a check result. Return the mail about it; None: there is none. `sync` changes the table.

        A result of a check that is not in the configuration is dropped: it was sent before a reload.
        """
        member = self.index.member(result.service, result.server)
        if member is None or not self._pools.results.is_configured(result):
            log.debug("dropped the result of a removed check: %s", result)
            return None
        if self._pools.results.changes_server(result):
            self._dirty[result.service] = None
        before = self._pools.results.put(result)
        log.debug("result: %s of %s: %s", result.server, result.service, result.reason or "passed")
        return check_alert(
            *(self.index.config.router_id, self.index.services[result.service], member, result.check),
            up=result.up,
            reason=result.reason,
            was_up=before.up if before else None,
        )

    def set_local_addresses(self, local: frozenset[Address], held: dict[str, bool]) -> None:
        """Store the addresses of this host. `held`: True for each VRRP instance whose addresses are here.

        `sync` changes the table.
        """
        self._dirty |= dict.fromkeys(self._pools.set_local_addresses(local, held))

    def sync(self) -> list[Alert]:
        """Bring the marked services in the table into line. Return the mails about services.

        Raises OSError.
        """
        now = self._clock()
        changes: list[Transition] = []
        plan: list[Operation] = []
        deleted: list[Operation] = []
        keys = self._take_due(now)
        for key in keys:
            actual, virtual = self._plane.entry(key), self.index.services.get(key)
            wanted: ServiceEntry | None = None
            if virtual is not None:
                changes += self._pools.advance(virtual, now)
                wanted = self._pools.entry(virtual, actual is not None, now)
            elif key not in self._leaving:
                continue
            self._wanted.pop(key, None)
            if wanted is not None:
                self._wanted[key] = wanted
            (deleted if wanted is None else plan).extend(reconcile(_table(wanted), _table(actual)))
        self._apply(keys, [*plan, *deleted])
        if now >= self._ramps_due:
            self._pools.forget_arrived(now)
            self._ramps_due = now + RAMP_STEP
        notified = [each for each in changes if self.index.services[each.service].leads]
        log_transitions(notified)
        self._order(notified)
        return quorum_alerts(self.index.config.router_id, self.index.services, notified)

    def _take_due(self, now: float) -> list[ServiceKey]:
        """Return the services to compute: those that are marked, refused or in slow start or drain."""
        due, self._dirty = self._dirty, {}
        due |= dict.fromkeys(key for key in itertools.islice(self._refused, MAX_RETRIES) if key is not None)
        if now >= self._ramps_due:
            due |= dict.fromkeys(self._pools.moving)
        return list(due)

    def _apply(self, keys: Iterable[ServiceKey], plan: list[Operation]) -> None:
        """Apply the operations on these services, and what else is due. Log what is refused now."""
        if self._timeouts != SetTimeouts():
            plan.append(self._timeouts)
        if log.isEnabledFor(logging.DEBUG):
            for operation in plan:
                log.debug("table: %s", operation.text())
        refusals = self._plane.apply(plan) if plan else []
        before = {each.operation for key in (*keys, None) for each in self._refused.pop(key, ())}
        for refusal in refusals:
            self._refused.setdefault(service_of(refusal.operation), []).append(refusal)
            if refusal.operation not in before:
                log.error("%s", refusal.text())
        if None not in self._refused:
            self._timeouts = SetTimeouts()
        self._leaving.difference_update(key for key in keys if key not in self._refused)
        self.changed.update(key for operation in plan if (key := service_of(operation)) is not None)

    def _order(self, changes: Iterable[Transition]) -> None:
        to_fifos = bool(self.index.config.server_fifos)
        self.notify_orders += notify_orders(self.index, changes, to_fifos=to_fifos)

    @property
    def needs_sync(self) -> bool:
        """True if `sync` must be called again soon: for a refused operation, a slow start or a drain."""
        return bool(self._refused or self._pools.moving)

    def plan(self, config: Config) -> list[str]:
        """Return the changes of the table that `reconfigure` and `sync` would make, as text.

        Differences that the table has from the last `sync` are among them: the next one corrects them.
        """
        self._dirty |= dict.fromkeys(self._differing())
        index = self._indexed(config)
        marked = {key for key in (*self._dirty, *self._refused) if key is not None}
        texts: list[str] = []
        for key, wanted in self._pools.forecast(index, marked, self._is_present, self._clock()):
            actual = _table(self._plane.entry(key))
            texts += step_texts(reconcile(_table(wanted), actual), actual)
        gone = [key for key in (*self.managed, *self._leaving) if key not in index.services]
        return texts + [DeleteService(key).text() for key in gone if self._is_present(key)]

    def _is_present(self, key: ServiceKey) -> bool:
        return self._plane.entry(key) is not None

    def _indexed(self, config: Config) -> ServiceIndex:
        """Return the index of a configuration; made once for `plan` and `reconfigure`."""
        if self._planned.config is not config:
            self._planned = ServiceIndex(config)
        return self._planned

    def _differing(self) -> Iterator[ServiceKey]:
        """Yield the services whose entries differ from those that the last `sync` wanted."""
        for key, entry in self._wanted.items():
            if self._plane.entry(key) != entry:
                yield key

    def differences(self, actual: ServiceTable) -> Iterator[list[str]]:
        """Yield for each configured service the differences of the table from the last `sync`.

        Refused operations are left out: `refusals` has them. Services may change meanwhile.
        """
        refused = {refusal.operation for refusal in self.refusals}
        present = {entry.service.key: entry for entry in actual}
        for key, entry in list(self._wanted.items()):
            found = present.get(key)
            plan = [] if found == entry else reconcile(_table(entry), _table(found))
            yield list(differences([each for each in plan if each not in refused], _table(found)))

    def problems(self, differences: Iterable[list[str]]) -> list[str]:
        """Return for `status` the refused operations and these differences; of many only the first ones."""
        texts = [text for each in differences for text in each]
        more = len(texts) - MAX_DIFFERENCES
        texts = texts[:MAX_DIFFERENCES] + ([f"and {more} more differences"] if more > 0 else [])
        said = [f"the table differs from the configuration: {each}; fix: pointsman reload" for each in texts]
        return [*(refusal.text() for refusal in self.refusals), *said]

    def reconfigure(self, config: Config) -> None:
        """Use another configuration; see `carry_over` for the results. `sync` changes the table."""
        index, before = self._indexed(config), self.index
        self._dirty |= dict.fromkeys(self._pools.reconfigure(index))
        self._leaving |= before.services.keys() - index.services.keys()
        self._leaving -= index.services.keys()
        self._dirty |= dict.fromkeys(self._leaving)
        if config.timeouts != before.config.timeouts:
            self._timeouts = config.timeouts.instead_of(before.config.timeouts)

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        """Apply the operations of an administrator at once. Return those that were refused. Raises OSError.

        The weight of a configured real server is kept as an override. Any other difference from the
        configuration is undone by the next `sync`.
        """
        for operation in operations:
            if isinstance(operation, Flush):
                self._note_change(*(entry.service.key for entry in self._plane.read()))
            elif (changed := service_of(operation)) is not None:
                self._note_change(changed)
        refusals = self._plane.apply(operations)
        refused = {id(refusal.operation) for refusal in refusals}
        for operation in operations:
            if isinstance(operation, EditServer) and id(operation) not in refused:
                key = (operation.service, operation.server.key)
                if key in self.index:
                    self._pools.overrides.put(key, Override(weight=operation.server.weight))
        return refusals

    def _note_change(self, *keys: ServiceKey) -> None:
        """Note that the table has changed by hand."""
        self.changed.update(keys)
        self._dirty |= dict.fromkeys(key for key in keys if key in self.managed)

    def override(self, request: OverrideRequest, now: float) -> list[str]:
        """Set or release an override. Return the real servers concerned. `sync` changes the table."""
        found = [
            key
            for key in self.index.members_at(request.server)
            if request.port in (0, key[1].port)
            and request.service in ("", service_name(key[0]), str(key[0]).partition(" ")[2])
        ]
        for key in found:
            self._dirty[key[0]] = None
            if request.override is None:
                self._pools.overrides.release(key)
            else:
                until = now + request.seconds if request.seconds else None
                self._pools.overrides.put(key, request.override, until)
        return [f"{server_name(*key)} of {service_name(key[0])}" for key in found]

    def expire_overrides(self, now: float) -> bool:
        """Remove expired overrides. Return True if there were any."""
        expired = self._pools.overrides.expire(now)
        for key in expired:
            self._dirty[key[0]] = None
            log.info("override of %s of %s has expired", server_name(*key), service_name(key[0]))
        return bool(expired)

    def shutdown_alerts(self) -> list[Alert]:
        """Return the mails of services with `omega` at the stop. Queue their programs in `notify_orders`."""
        alerts: list[Alert] = []
        for key, virtual in self.index.services.items():
            pool = self._pools.pool(key)
            if not virtual.omega or not virtual.leads or pool is None:
                continue
            self._order(transitions(virtual, pool, PoolState(quorum_up=False)))
            if pool.quorum_up:
                living = [server.key for server in pool.living]
                alerts += farewell_alerts(self.index.config.router_id, virtual, living)
        return alerts

    def remove_all(self) -> None:
        """Remove the managed services from the table. Raises OSError."""
        self.apply([DeleteService(key) for key in self.managed if self._is_present(key)])

    def describe(
        self,
        table: ServiceTable,
        next_hops: dict[str, str],
        now: float,
        counts: status_report.ConnectionCounts | None = None,
    ) -> Iterator[ServiceStatus]:
        """Yield the services for `status`. `next_hops`: by the address of the real server."""
        standby = self._pools.standby(self._is_present)
        pools = self._pools
        return status_report.services(
            self.index.services, table, standby, pools.results, pools.overrides, next_hops, now, counts
        )


def unmanaged_services(plane: DataPlane, managed: Set[ServiceKey]) -> list[ServiceKey]:
    """Return the services in the table that were added by hand. Raises OSError."""
    return [entry.service.key for entry in plane.read() if entry.service.key not in managed]


def _table(entry: ServiceEntry | None) -> ServiceTable:
    return ServiceTable(() if entry is None else (entry,))
