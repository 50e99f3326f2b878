"""Keeps a data plane's table as configuration, checks and administrator want it.

Every change takes the same way: results of checks -> desired table -> reconcile with the actual one -> apply.
What was refused is planned again at the next `settle`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pointsman.control.messages import CheckResult, OverrideRequest, RunProgram, TellServers
from pointsman.control.status import ServiceStatus
from pointsman.daemon.director import status as status_report
from pointsman.daemon.director.carry_over import carried_over, checks_of, members_of, service_keys
from pointsman.daemon.director.state_file import KeptOverride, TableState
from pointsman.dataplane.interface import DataPlane
from pointsman.health.alerts import Alert, check_alert, farewell_alerts, quorum_alert
from pointsman.lvs.desired import CheckKey, Desired, PoolState, desired, restore_pools, restore_verdicts
from pointsman.lvs.overrides import OverrideBook
from pointsman.lvs.plan_text import differences, step_texts
from pointsman.lvs.reconcile import reconcile
from pointsman.lvs.slow_start import Ramps
from pointsman.lvs.standby import find_standby_services
from pointsman.lvs.transitions import DOWN, UP, Change, Transition, fifo_line, notify_command, transitions
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.health import PoolMember
from pointsman.model.naming import server_name, service_name
from pointsman.model.operations import DeleteService, EditServer, Operation, Refusal, SetTimeouts
from pointsman.model.override import Override
from pointsman.model.service import ServiceKey, ServiceTable

log = logging.getLogger("director")

MOST_TOLD = 10
"""Differences between the table and the configuration that are told one by one."""
FOUND_OUT = "it was not in the table when the director started, and has not been checked since"


class TableSync:
    """The table of one configuration on one data plane. Services that it does not name are left alone."""

    def __init__(
        self,
        config: Config,
        plane: DataPlane,
        memory: TableState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory`: what an earlier keeper of this data plane has known; None: the table must tell."""
        self._clock = clock
        self._config = config
        self._plane = plane
        self.managed = service_keys(config)
        self._leaving: frozenset[ServiceKey] = frozenset()
        """Services of a former configuration that are still to be taken out of the table."""
        self._timeouts = config.timeouts
        """Those that are still to be set."""
        self._checks = checks_of(config)
        self._results: dict[CheckKey, CheckResult] = {}
        """The latest of each check; one that is not here has not run."""
        self._overrides = OverrideBook()
        self._ramps = Ramps()
        self._drains = Ramps()
        self._own: frozenset[Address] = frozenset()
        self._held: dict[str, bool] = {}
        self.table = plane.read()
        """The table as the last `settle` has left it."""
        self._pools = self._recall(memory)
        self.programs: list[RunProgram | TellServers] = []
        """Notify programs that are to be run, and lines for FIFOs; whoever runs them empties it."""
        self.refusals: tuple[Refusal, ...] = ()

    def _recall(self, memory: TableState | None) -> dict[ServiceKey, PoolState]:
        """Go on where an earlier keeper ended; the states that its services were in."""
        present = {entry.service.key for entry in self.table}
        members = {key for key, _ in members_of(self._config)}
        if memory is None:
            down = restore_verdicts(self._config.virtual_servers, self.table)
            memory = TableState(results=tuple(CheckResult(*key, up=False, reason=FOUND_OUT) for key in down))
        for kept in memory.overrides:
            key = (kept.service, kept.server)
            if key in members:
                self._overrides.put(key, kept.override, kept.until)
                log.info(
                    "still by hand: %s of %s: %s",
                    server_name(kept.service, kept.server),
                    service_name(kept.service),
                    kept.override.text(),
                )
        for times, kept_times in ((self._ramps, memory.ramps), (self._drains, memory.drains)):
            for service, server, began, seconds in kept_times:
                if (service, server) in members:
                    times.begin((service, server), began, seconds)
        for result in memory.results:
            check = (result.service, result.server, result.check)
            if result.service in present and check in self._checks:
                self._results[check] = result
        return restore_pools(
            self._config.virtual_servers,
            self.table,
            _verdicts(self._results),
            self._overrides.active,
            _weight_changes(self._checks, self._results),
            dict(memory.quorums),
        )

    def remember(self) -> TableState:
        """What a keeper after this one needs to know to go on as if nothing had happened."""
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

    def take(self, result: CheckResult) -> Alert | None:
        """Take in a check's result; the mail about it, if anybody wants one. `settle` carries it out.

        A result of a check that the configuration in force does not have is dropped: it was sent before a
        reload.
        """
        key = (result.service, result.server, result.check)
        if key not in self._checks:
            log.debug("dropped a result of a check that is no more: %s", result)
            return None
        before = self._results.get(key)
        self._results[key] = result
        return check_alert(
            self._config,
            result.service,
            result.server,
            result.check,
            up=result.up,
            reason=result.reason,
            was_up=before.up if before else None,
        )

    def stand(self, own: frozenset[Address], held: dict[str, bool]) -> None:
        """Take in this host's addresses, and which VRRP instances hold theirs here; `settle` acts on it."""
        self._own, self._held = own, held

    def settle(self) -> list[Alert]:
        """Bring the actual table to the desired one; mails about what this did to the services."""
        actual = self._plane.read()
        wanted = self._wanted(self._config, self._results, actual)
        told = [
            transition
            for virtual in self._config.virtual_servers
            for transition in transitions(
                virtual, self._pools.get(virtual.service.key), wanted.pools[virtual.service.key]
            )
        ]
        if self._start_slowly(told):
            wanted = self._wanted(self._config, self._results, actual)
        for times in (self._ramps, self._drains):
            times.forget_arrived(self._clock())
        self._pools = wanted.pools
        ours = self.managed | self._leaving
        plan = reconcile(wanted.table, actual, managed=ours)
        if self._timeouts != SetTimeouts():
            plan.append(self._timeouts)
        before = {refusal.operation for refusal in self.refusals}
        self.refusals = tuple(self._plane.apply(plan))
        if self.refusals:
            self.table = self._plane.read()
        else:
            self._leaving = frozenset()
            foreign = (entry for entry in actual if entry.service.key not in ours)
            self.table = ServiceTable.of([*foreign, *wanted.table])
        if self._timeouts not in {refusal.operation for refusal in self.refusals}:
            self._timeouts = SetTimeouts()
        leading = {virtual.service.key for virtual in self._config.virtual_servers if virtual.leads}
        for transition in told:
            if transition.service in leading:
                log.info("%s", transition.text)
        for refusal in self.refusals:
            if refusal.operation not in before:
                log.error("cannot %s: %s", refusal.operation.text(), refusal.detail or refusal.reason)
        heard = [transition for transition in told if transition.service in leading]
        self.programs += self._programs(heard)
        return self._alerts(heard)

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
            _verdicts(results),
            overrides,
            self._pools,
            _weight_changes(checks, results),
            shares,
            draining,
        )
        away = self._on_standby(config, actual)
        table = ServiceTable.of(entry for entry in wanted.table if entry.service.key not in away)
        return Desired(table, wanted.pools) if away else wanted

    def _on_standby(self, config: Config, actual: ServiceTable) -> frozenset[ServiceKey]:
        if not self._own:
            return frozenset()
        present = {entry.service.key for entry in actual}
        return find_standby_services(config.virtual_servers, self._own, config.instances, self._held, present)

    def _start_slowly(self, told: Iterable[Transition]) -> bool:
        """Begin and end the time of real servers that come and go slowly; whether there is any such news."""
        news = [item for item in told if item.change in UP | DOWN]
        members = dict(members_of(self._config)) if news else {}
        for item in news:
            if item.server is not None:
                key, comes = (item.service, item.server), item.change in UP
                member = members.get(key)
                self._ramps.begin(key, self._clock(), member.slow_start if member and comes else 0.0)
                self._drains.begin(key, self._clock(), member.drain if member and not comes else 0.0)
        return bool(news)

    @property
    def unsettled(self) -> bool:
        """Whether the table has to be gone over again by and by: something was refused, or starts slowly."""
        return bool(self.refusals or self._ramps.under_way or self._drains.under_way)

    def plan(self, config: Config) -> list[str]:
        """What `adopt` of this configuration and the next `settle` would do to the table, in words."""
        actual = self._plane.read()
        wanted = self._wanted(config, carried_over(self._config, config, self._results), actual)
        return step_texts(
            reconcile(wanted.table, actual, managed=self.managed | service_keys(config)), actual
        )

    def problems(self, actual: ServiceTable) -> list[str]:
        """For `status`: what was refused, and where somebody has changed the table behind our back."""
        refused = {refusal.operation for refusal in self.refusals}
        wanted = self._wanted(self._config, self._results, actual).table
        plan = reconcile(wanted, actual, managed=self.managed)
        found = list(differences([each for each in plan if each not in refused], actual))
        more = [f"and {len(found) - MOST_TOLD} more differences"] if len(found) > MOST_TOLD else []
        return [
            *refusal_texts(self.refusals),
            *(
                f"the table differs from the configuration: {text}; mend: pointsman reload"
                for text in [*found[:MOST_TOLD], *more]
            ),
        ]

    def adopt(self, config: Config) -> None:
        """Keep another configuration from now on; checks that stay, or change, keep their results."""
        self._results = carried_over(self._config, config, self._results)
        self._checks = checks_of(config)
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
        """An administrator's own operations, at once.

        A weight given to a configured real server outlives health events; anything else that contradicts the
        configuration lasts until the next of them.
        """
        refusals = self._plane.apply(operations)
        refused = {refusal.operation for refusal in refusals}
        configured = {key for key, _ in members_of(self._config)}
        for operation in operations:
            if not isinstance(operation, EditServer) or operation in refused:
                continue
            key = (operation.service, operation.server.key)
            if key in configured:
                self._overrides.put(key, Override(weight=operation.server.weight))
        return refusals

    def override(self, request: OverrideRequest, now: float) -> list[str]:
        """Take an administrator's word about a real server; who it was about. `settle` carries it out."""
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

    def expire(self, now: float) -> bool:
        """End the overrides whose time is over; whether there were any."""
        over = self._overrides.expire(now)
        for key in over:
            log.info("override of %s of %s is over", server_name(*key), service_name(key[0]))
        return bool(over)

    def farewell(self) -> list[Alert]:
        """The mails, and in `programs` the programs, of services with `omega` at the stop."""
        alerts: list[Alert] = []
        for virtual in self._config.virtual_servers:
            pool = self._pools.get(virtual.service.key)
            if not virtual.omega or not virtual.leads or pool is None:
                continue
            gone = PoolState(quorum_up=False)
            self.programs += self._programs(transitions(virtual, pool, gone))
            if pool.quorum_up:
                alerts += farewell_alerts(self._config, virtual, [server.key for server in pool.living])
        return alerts

    def withdraw(self) -> None:
        """Take the managed services out of the table."""
        present = {entry.service.key for entry in self._plane.read()}
        self._plane.apply([DeleteService(key) for key in self.managed if key in present])

    def describe(
        self, table: ServiceTable, next_hops: dict[str, str], now: float
    ) -> tuple[ServiceStatus, ...]:
        """The services for `status`; `next_hops` by address of the real server."""
        away = self._on_standby(self._config, table)
        return status_report.services(
            self._config, table, away, self._results.values(), self._overrides, next_hops, now
        )

    def _programs(self, told: Iterable[Transition]) -> list[RunProgram | TellServers]:
        """What the configuration wants to have run and told at these transitions, in their order."""
        services = {virtual.service.key: virtual for virtual in self._config.virtual_servers}
        found: list[RunProgram | TellServers] = []
        for item in told:
            virtual = services[item.service]
            if (command := notify_command(virtual, item)) is not None:
                found.append(RunProgram(command, virtual.secure_commands))
            if self._config.server_fifos and (line := fifo_line(virtual, item)) is not None:
                found.append(TellServers(line))
        return found

    def _alerts(self, told: Iterable[Transition]) -> list[Alert]:
        changes = {Change.QUORUM_GAINED: True, Change.QUORUM_LOST: False}
        found = [
            quorum_alert(self._config, item.service, up=changes[item.change], detail=item.detail)
            for item in told
            if item.change in changes
        ]
        return [alert for alert in found if alert is not None]


def _verdicts(results: Mapping[CheckKey, CheckResult]) -> dict[CheckKey, bool]:
    return {key: result.up for key, result in results.items()}


def _weight_changes(
    checks: Mapping[CheckKey, PoolMember], results: Mapping[CheckKey, CheckResult]
) -> dict[CheckKey, int]:
    """What each check adds to the configured weight of its real server."""
    changes: dict[CheckKey, int] = {}
    for key, result in results.items():
        if result.weight is not None:
            changes[key] = result.weight - checks[key].server.weight + result.weight_change
        elif result.weight_change:
            changes[key] = result.weight_change
    return changes


def foreign_services(plane: DataPlane, managed: frozenset[ServiceKey]) -> list[ServiceKey]:
    """The services in the table that were put in by hand."""
    return [entry.service.key for entry in plane.read() if entry.service.key not in managed]


def refusal_texts(refusals: Iterable[Refusal]) -> list[str]:
    """Refusals for a person."""
    return [f"cannot {refusal.operation.text()}: {refusal.detail or refusal.reason}" for refusal in refusals]
