# SPDX-License-Identifier: Apache-2.0
"""Bring the table of a data plane into line with configuration, check results and overrides.

Every change takes the same steps: check results, desired table, reconcile with the actual table, apply.
Refused operations are planned again at the next `sync`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pointsman.control.messages import CheckResult, OverrideRequest, RunProgram, TellServers
from pointsman.control.status import ServiceStatus
from pointsman.daemon.director import status as status_report
from pointsman.daemon.director.carry_over import (
    carry_over,
    checks_of,
    members_of,
    service_keys,
    verdicts,
    weight_changes,
)
from pointsman.daemon.director.notify import notify_orders, quorum_alerts
from pointsman.daemon.director.state_file import KeptOverride, TableState
from pointsman.dataplane.interface import DataPlane
from pointsman.health.alerts import Alert, check_alert, farewell_alerts
from pointsman.lvs.desired import CheckKey, Desired, PoolState, desired, restore_pools, restore_verdicts
from pointsman.lvs.overrides import OverrideBook
from pointsman.lvs.plan_text import differences, step_texts
from pointsman.lvs.reconcile import reconcile
from pointsman.lvs.slow_start import Ramps
from pointsman.lvs.standby import find_standby_services
from pointsman.lvs.transitions import DOWN, LOSSES, UP, Transition, transitions
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.naming import server_name, service_name
from pointsman.model.operations import DeleteService, EditServer, Operation, Refusal, SetTimeouts
from pointsman.model.override import Override
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable

log = logging.getLogger("director")

MAX_DIFFERENCES = 10
"""Differences between table and configuration that `status` lists one by one."""
NOT_IN_TABLE = "not in the table when the director started, and not checked since"


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
        self._config = config
        self._plane = plane
        self.managed = service_keys(config)
        """Services of the configuration in force."""
        self._leaving: frozenset[ServiceKey] = frozenset()
        """Services of a previous configuration that are still in the table."""
        self._timeouts = config.timeouts
        """Timeouts that are not set yet."""
        self._checks = checks_of(config)
        self._services = {virtual.service.key: virtual for virtual in config.virtual_servers}
        self._results: dict[CheckKey, CheckResult] = {}
        """Latest result of each check. A check without a result has not run yet."""
        self._overrides = OverrideBook()
        self._ramps = Ramps()
        self._drains = Ramps()
        self._local: frozenset[Address] = frozenset()
        self._held: dict[str, bool] = {}
        self.table = plane.read()
        """The table after the last `sync`."""
        self._wanted_entries: dict[ServiceKey, ServiceEntry] = {}
        """The services that the last `sync` wanted."""
        self._pools = self._restore(state)
        self.notify_orders: list[RunProgram | TellServers] = []
        """Notify programs to run and FIFO lines to write. The caller sends them and removes them."""
        self.refusals: tuple[Refusal, ...] = ()
        """Operations that the data plane refused at the last `sync`."""

    def _restore(self, state: TableState | None) -> dict[ServiceKey, PoolState]:
        """Restore the state of the previous process. Return the state of each service."""
        present = {entry.service.key for entry in self.table}
        members = {key for key, _ in members_of(self._config)}
        state = state or TableState(results=None)
        results = state.results
        if results is None:
            down = restore_verdicts(self._config.virtual_servers, self.table)
            results = tuple(CheckResult(*key, up=False, reason=NOT_IN_TABLE) for key in down)
        for kept in state.overrides:
            key = (kept.service, kept.server)
            if key in members:
                self._overrides.put(key, kept.override, kept.until)
                log.info(
                    "override restored: %s of %s: %s",
                    server_name(kept.service, kept.server),
                    service_name(kept.service),
                    kept.override.text(),
                )
        for times, kept_times in ((self._ramps, state.ramps), (self._drains, state.drains)):
            for service, server, began, seconds in kept_times:
                if (service, server) in members:
                    times.begin((service, server), began, seconds)
        for result in results:
            check = (result.service, result.server, result.check)
            if result.service in present and check in self._checks:
                self._results[check] = result
        return restore_pools(
            self._config.virtual_servers,
            self.table,
            verdicts(self._results),
            self._overrides.active,
            weight_changes(self._checks, self._results),
            dict(state.quorums),
        )

    def state(self) -> TableState:
        """Return the state that the next process restores after a crash."""
        presumed = {
            (virtual.service.key, member.server.key): not (virtual.alpha or member.alpha)
            for virtual in self._config.virtual_servers
            for member in virtual.members
        }
        return TableState(
            overrides=tuple(
                KeptOverride(*key, override, self._overrides.until(key))
                for key, override in self._overrides.active.items()
            ),
            results=tuple(
                each
                for each in self._results.values()
                if each.up is not presumed[each.service, each.server]
                or each.weight_change
                or each.weight is not None
            ),
            quorums=tuple((key, pool.quorum_up) for key, pool in self._pools.items()),
            ramps=tuple((*key, *ramp) for key, ramp in self._ramps.under_way.items()),
            drains=tuple((*key, *drain) for key, drain in self._drains.under_way.items()),
        )

    def on_check_result(self, result: CheckResult) -> Alert | None:
        """Store a check result. Return the mail about it; None: there is none. `sync` changes the table.

        A result of a check that is not in the configuration is dropped: it was sent before a reload.
        """
        key = (result.service, result.server, result.check)
        if key not in self._checks:
            log.debug("dropped the result of a removed check: %s", result)
            return None
        before = self._results.get(key)
        self._results[key] = result
        log.debug("result: %s of %s: %s", result.server, result.service, result.reason or "passed")
        return check_alert(
            self._config.router_id,
            self._services[result.service],
            result.server,
            result.check,
            up=result.up,
            reason=result.reason,
            was_up=before.up if before else None,
        )

    def set_local_addresses(self, local: frozenset[Address], held: dict[str, bool]) -> None:
        """Store the addresses of this host. `held`: True for each VRRP instance whose addresses are here.

        `sync` changes the table.
        """
        self._local, self._held = local, held

    def sync(self) -> list[Alert]:
        """Bring the actual table into line with the desired one. Return the mails about services.

        Raises OSError.
        """
        actual = self._plane.read()
        wanted = self._wanted(self._config, self._results, actual)
        changes = [
            transition
            for virtual in self._config.virtual_servers
            for transition in transitions(
                virtual, self._pools.get(virtual.service.key), wanted.pools[virtual.service.key]
            )
        ]
        if self._begin_ramps(changes):
            wanted = self._wanted(self._config, self._results, actual)
        for times in (self._ramps, self._drains):
            times.forget_arrived(self._clock())
        self._pools = wanted.pools
        self._wanted_entries = {entry.service.key: entry for entry in wanted.table}
        ours = self.managed | self._leaving
        plan = reconcile(wanted.table, actual, managed=ours)
        if self._timeouts != SetTimeouts():
            plan.append(self._timeouts)
        if log.isEnabledFor(logging.DEBUG):
            for operation in plan:
                log.debug("table: %s", operation.text())
        before = {refusal.operation for refusal in self.refusals}
        self.refusals = tuple(self._plane.apply(plan))
        if self.refusals:
            self.table = self._plane.read()
        else:
            self._leaving = frozenset()
            unmanaged = (entry for entry in actual if entry.service.key not in ours)
            self.table = ServiceTable.of([*unmanaged, *wanted.table])
        if self._timeouts not in {refusal.operation for refusal in self.refusals}:
            self._timeouts = SetTimeouts()
        notified = [transition for transition in changes if self._services[transition.service].leads]
        for transition in notified:
            log.log(logging.WARNING if transition.change in LOSSES else logging.INFO, transition.text)
        for refusal in self.refusals:
            if refusal.operation not in before:
                log.error("%s", refusal.text())
        self._order(notified)
        return quorum_alerts(self._config.router_id, self._services, notified)

    def _order(self, changes: Iterable[Transition]) -> None:
        to_fifos = bool(self._config.server_fifos)
        self.notify_orders += notify_orders(self._services, changes, to_fifos=to_fifos)

    def _wanted(
        self, config: Config, results: Mapping[CheckKey, CheckResult], actual: ServiceTable
    ) -> Desired:
        overrides = self._overrides.active
        draining = {key for key, share in self._drains.shares(self._clock()).items() if share < 1.0}
        shares = {
            key: share
            for key, share in self._ramps.shares(self._clock()).items()
            if key not in overrides or overrides[key].weight is None
        }
        checks = self._checks if config is self._config else checks_of(config)
        wanted = desired(
            config.virtual_servers,
            verdicts(results),
            overrides,
            self._pools,
            weight_changes(checks, results),
            shares,
            draining,
        )
        away = self._standby_services(config, actual)
        table = ServiceTable.of(entry for entry in wanted.table if entry.service.key not in away)
        return Desired(table, wanted.pools) if away else wanted

    def _standby_services(self, config: Config, actual: ServiceTable) -> frozenset[ServiceKey]:
        if not self._local:
            return frozenset()
        present = {entry.service.key for entry in actual}
        return find_standby_services(
            config.virtual_servers, self._local, config.instances, self._held, present
        )

    def _begin_ramps(self, changes: Iterable[Transition]) -> bool:
        """Begin slow start and drain of changed real servers. Return True if a real server changed."""
        moves = [item for item in changes if item.change in UP | DOWN]
        members = dict(members_of(self._config)) if moves else {}
        for item in moves:
            if item.server is not None:
                key, is_up = (item.service, item.server), item.change in UP
                member = members.get(key)
                self._ramps.begin(key, self._clock(), member.slow_start if member and is_up else 0.0)
                self._drains.begin(key, self._clock(), member.drain if member and not is_up else 0.0)
        return bool(moves)

    @property
    def needs_sync(self) -> bool:
        """True if `sync` must be called again soon: for a refused operation, a slow start or a drain."""
        return bool(self.refusals or self._ramps.under_way or self._drains.under_way)

    def plan(self, config: Config) -> list[str]:
        """Return the changes of the table that `reconfigure` and `sync` would make, as text."""
        actual = self._plane.read()
        wanted = self._wanted(config, carry_over(self._config, config, self._results), actual)
        return step_texts(
            reconcile(wanted.table, actual, managed=self.managed | service_keys(config)), actual
        )

    def differences(self, actual: ServiceTable) -> Iterator[list[str]]:
        """Yield for each configured service the differences of the table from the last `sync`.

        Refused operations are left out: `refusals` has them.
        """
        refused = {refusal.operation for refusal in self.refusals}
        present = {entry.service.key: entry for entry in actual}
        for key, entry in self._wanted_entries.items():
            found = ServiceTable((present[key],) if key in present else ())
            plan = reconcile(ServiceTable((entry,)), found)
            yield list(differences([each for each in plan if each not in refused], found))

    def problems(self, differences: Iterable[list[str]]) -> list[str]:
        """Return for `status` the refused operations and these differences; of many only the first ones."""
        texts = [text for each in differences for text in each]
        more = len(texts) - MAX_DIFFERENCES
        texts = texts[:MAX_DIFFERENCES] + ([f"and {more} more differences"] if more > 0 else [])
        said = [f"the table differs from the configuration: {each}; fix: pointsman reload" for each in texts]
        return [*(refusal.text() for refusal in self.refusals), *said]

    def reconfigure(self, config: Config) -> None:
        """Use another configuration; see `carry_over` for the results. `sync` changes the table."""
        self._results = carry_over(self._config, config, self._results)
        self._checks = checks_of(config)
        self._services = {virtual.service.key: virtual for virtual in config.virtual_servers}
        known = {key for key, _ in members_of(config)}
        self._overrides.keep_only(known)
        self._ramps.keep_only(known)
        self._drains.keep_only(known)
        self._leaving |= self.managed - service_keys(config)
        if config.timeouts != self._config.timeouts:
            self._timeouts = config.timeouts.instead_of(self._config.timeouts)
        self._config = config
        self.managed = service_keys(config)

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        """Apply the operations of an administrator at once. Return those that were refused. Raises OSError.

        The weight of a configured real server is kept as an override. Any other difference from the
        configuration is undone by the next `sync`.
        """
        refusals = self._plane.apply(operations)
        refused = {id(refusal.operation) for refusal in refusals}
        edits = [
            operation
            for operation in operations
            if isinstance(operation, EditServer) and id(operation) not in refused
        ]
        configured = {key for key, _ in members_of(self._config)} if edits else set()
        for operation in edits:
            key = (operation.service, operation.server.key)
            if key in configured:
                self._overrides.put(key, Override(weight=operation.server.weight))
        return refusals

    def override(self, request: OverrideRequest, now: float) -> list[str]:
        """Set or release an override. Return the real servers concerned. `sync` changes the table."""
        found = [
            key
            for key, _ in members_of(self._config)
            if key[1].address == request.server
            and request.port in (0, key[1].port)
            and request.service in ("", service_name(key[0]), str(key[0]).partition(" ")[2])
        ]
        for key in found:
            if request.override is None:
                self._overrides.release(key)
            else:
                until = now + request.seconds if request.seconds else None
                self._overrides.put(key, request.override, until)
        return [f"{server_name(*key)} of {service_name(key[0])}" for key in found]

    def expire_overrides(self, now: float) -> bool:
        """Remove expired overrides. Return True if there were any."""
        expired = self._overrides.expire(now)
        for key in expired:
            log.info("override of %s of %s has expired", server_name(*key), service_name(key[0]))
        return bool(expired)

    def shutdown_alerts(self) -> list[Alert]:
        """Return the mails of services with `omega` at the stop. Queue their programs in `notify_orders`."""
        alerts: list[Alert] = []
        for virtual in self._config.virtual_servers:
            pool = self._pools.get(virtual.service.key)
            if not virtual.omega or not virtual.leads or pool is None:
                continue
            gone = PoolState(quorum_up=False)
            self._order(transitions(virtual, pool, gone))
            if pool.quorum_up:
                living = [server.key for server in pool.living]
                alerts += farewell_alerts(self._config.router_id, virtual, living)
        return alerts

    def remove_all(self) -> None:
        """Remove the managed services from the table. Raises OSError."""
        present = {entry.service.key for entry in self._plane.read()}
        self._plane.apply([DeleteService(key) for key in self.managed if key in present])

    def describe(self, table: ServiceTable, next_hops: dict[str, str], now: float) -> Iterator[ServiceStatus]:
        """Yield the services for `status`. `next_hops`: by the address of the real server."""
        away = self._standby_services(self._config, table)
        return status_report.services(
            self._services, table, away, self._results, self._overrides, next_hops, now
        )


def unmanaged_services(plane: DataPlane, managed: frozenset[ServiceKey]) -> list[ServiceKey]:
    """Return the services in the table that were added by hand. Raises OSError."""
    return [entry.service.key for entry in plane.read() if entry.service.key not in managed]
