# SPDX-License-Identifier: Apache-2.0
"""State of each service's pool, and the entry that the table has to have for it. No I/O.

Everything is kept by service, so that an event costs what its service costs. `now` is a monotonic clock in
seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from pointsman.control.messages import CheckResult
from pointsman.daemon.director.check_results import (
    CheckResults,
    ResultsOfService,
    by_check,
    carry_over,
    verdicts,
    weight_changes,
)
from pointsman.daemon.director.services import ServiceIndex
from pointsman.daemon.director.state_file import KeptOverride, TableState
from pointsman.lvs.desired import (
    CheckKey,
    PoolState,
    members_serve,
    pool_state,
    restore_pools,
    restore_verdicts,
    serving,
)
from pointsman.lvs.overrides import MemberKey, OverrideBook
from pointsman.lvs.slow_start import Ramps
from pointsman.lvs.standby import find_candidates, is_standby
from pointsman.lvs.transitions import DOWN, UP, Transition, transitions
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.naming import server_name, service_name
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable

log = logging.getLogger("director")

_NOT_IN_TABLE = "not in the table when the director started, and not checked since"
Candidates = Mapping[ServiceKey, frozenset[str]]


class ServicePools:
    """The pools of one configuration, with all that decides about them."""

    def __init__(self, config: Config, table: ServiceTable, state: TableState) -> None:
        """`state`: that of the previous process; `table`: what is in force."""
        self.index = ServiceIndex(config)
        self.results = CheckResults(self.index)
        self.overrides = OverrideBook()
        self.ramps = Ramps()
        self.drains = Ramps()
        self._local: frozenset[Address] = frozenset()
        self._held: Mapping[str, bool] = {}
        self._candidates: Candidates = {}
        """Services that are in the table only while one of these instances holds its addresses."""
        self._pools = self._restore(table, state)
        self._quorums: dict[ServiceKey, bool] = {}
        """The quorums that a restart could not derive from the table."""

    def _restore(self, table: ServiceTable, state: TableState) -> dict[ServiceKey, PoolState]:
        """Restore the state of the previous process. Return the state of each service."""
        _restore_overrides(state, self.index, self.overrides, self.ramps, self.drains)
        _restore_results(state, self.index, table, self.results)
        if state.stopped:
            return {}
        present = [entry.service.key for entry in table if entry.service.key in self.index.services]
        passed: dict[CheckKey, bool] = {}
        weights: dict[CheckKey, int] = {}
        for key in present:
            passed |= verdicts(self.results.of(key))
            weights |= weight_changes(self.index.services[key], self.results.of(key))
        return restore_pools(
            *(self.index.services.values(), table, passed),
            *(self.overrides.active, weights, dict(state.quorums)),
        )

    def state(self) -> TableState:
        """Return the state that the next process restores after a crash: what the table does not show."""
        return TableState(
            overrides=tuple(
                KeptOverride(*key, override, self.overrides.until(key))
                for key, override in self.overrides.active.items()
            ),
            results=self.results.unexpected,
            quorums=tuple(self._quorums.items()),
            ramps=tuple((*key, *ramp) for key, ramp in self.ramps.under_way.items()),
            drains=tuple((*key, *drain) for key, drain in self.drains.under_way.items()),
        )

    @property
    def moving(self) -> set[ServiceKey]:
        """Services with a slow start or a drain."""
        return self.ramps.services() | self.drains.services()

    def forget_arrived(self, now: float) -> None:
        """End the slow starts and drains whose time is over."""
        self.ramps.forget_arrived(now)
        self.drains.forget_arrived(now)

    def pool(self, key: ServiceKey) -> PoolState | None:
        """Return the state of a service's pool; None: it is not computed yet."""
        return self._pools.get(key)

    def advance(self, virtual: VirtualServer, now: float) -> list[Transition]:
        """Compute the present state of a service's pool. Return its changes."""
        key = virtual.service.key
        before, results = self._pools.get(key), self.results.of(key)
        pool = self._pool(virtual, results, now)
        changes = transitions(virtual, before, pool)
        if self._begin_ramps(changes, now):
            pool = self._pool(virtual, results, now)
        self._pools[key] = pool
        return changes

    def _pool(self, virtual: VirtualServer, results: ResultsOfService, now: float) -> PoolState:
        draining = {key for key, share in _shares(self.drains, virtual, now).items() if share < 1.0}
        return pool_state(
            *(virtual, verdicts(results), self.overrides.active, self._pools.get(virtual.service.key)),
            *(weight_changes(virtual, results), draining),
        )

    def _begin_ramps(self, changes: Iterable[Transition], now: float) -> bool:
        """Begin slow start and drain of changed real servers. Return True if a real server changed."""
        moves = [item for item in changes if item.change in UP | DOWN]
        for item in moves:
            if item.server is not None:
                key, is_up = (item.service, item.server), item.change in UP
                member = self.index.member(*key)
                self.ramps.begin(key, now, member.slow_start if member and is_up else 0.0)
                self.drains.begin(key, now, member.drain if member and not is_up else 0.0)
        return bool(moves)

    def entry(self, virtual: VirtualServer, is_present: bool, now: float) -> ServiceEntry | None:
        """Return the entry that a service has to have. None: it has to stay out of the table.

        `is_present`: it is in the table.
        """
        key, pool = virtual.service.key, self._pools[virtual.service.key]
        entry = self._entry(virtual, pool, is_present, self._candidates, now)
        if pool.quorum_up and entry is not None and members_serve(virtual, entry.servers):
            self._quorums.pop(key, None)
        else:
            self._quorums[key] = pool.quorum_up
        return entry

    def _entry(
        self, virtual: VirtualServer, pool: PoolState, is_present: bool, candidates: Candidates, now: float
    ) -> ServiceEntry | None:
        key, overrides = virtual.service.key, self.overrides.active
        if key in candidates and is_standby(candidates[key], self._held, is_present):
            return None
        shares = {
            member: share
            for member, share in _shares(self.ramps, virtual, now).items()
            if member not in overrides or overrides[member].weight is None
        }
        return ServiceEntry(virtual.service, serving(virtual, pool, shares))

    def forecast(
        self,
        index: ServiceIndex,
        more: Collection[ServiceKey],
        is_present: Callable[[ServiceKey], bool],
        now: float,
    ) -> Iterator[tuple[ServiceKey, ServiceEntry | None]]:
        """Yield the entry that each changed service would have with another configuration, and `more`."""
        candidates = find_candidates(index.services.values(), self._local, index.config.instances)
        changed = {each.service.key for each in index.changed_since(self.index)}
        for key in filter(changed.union(more).__contains__, index.services):
            virtual, results = index.services[key], self.results.of(key)
            if key in changed:
                results = by_check(carry_over(self.index, virtual, results))
            pool = self._pool(virtual, results, now)
            yield key, self._entry(virtual, pool, is_present(key), candidates, now)

    def set_local_addresses(self, local: frozenset[Address], held: Mapping[str, bool]) -> list[ServiceKey]:
        """Store the addresses of this host. Return the services that this concerns.

        `held`: True for each VRRP instance whose addresses are here.
        """
        before, self._held = self._held, held
        concerned: list[ServiceKey] = []
        if local != self._local:
            self._local = local
            concerned = self._find_candidates()
        moved = {name for name in {**before, **held} if before.get(name) is not held.get(name)}
        return concerned + [key for key, names in self._candidates.items() if names & moved]

    def _find_candidates(self) -> list[ServiceKey]:
        """Find the services with this host among their real servers. Return those that differ."""
        before = self._candidates
        found = find_candidates(self.index.services.values(), self._local, self.index.config.instances)
        self._candidates = found
        return [key for key in dict.fromkeys((*before, *found)) if before.get(key) != found.get(key)]

    def standby(self, is_present: Callable[[ServiceKey], bool]) -> set[ServiceKey]:
        """Return the services that have to stay out of the table. `is_present`: True if it is in there."""
        return {
            key for key, names in self._candidates.items() if is_standby(names, self._held, is_present(key))
        }

    def reconfigure(self, index: ServiceIndex) -> list[ServiceKey]:
        """Use another configuration. Return the services that have changed."""
        changed = index.changed_since(self.index)
        self.results.reconfigure(index, changed)
        for key in self.index.services.keys() - index.services.keys():
            self._pools.pop(key, None)
            self._quorums.pop(key, None)
        for times in (self.overrides, self.ramps, self.drains):
            times.keep_only(index)
        self.index = index
        return [each.service.key for each in changed] + self._find_candidates()


def _shares(times: Ramps, virtual: VirtualServer, now: float) -> dict[MemberKey, float]:
    """Return the shares of a service's real servers that are in transition."""
    if not times.under_way:
        return {}
    keys = ((virtual.service.key, member.server.key) for member in virtual.members)
    return {key: share for key in keys if (share := times.share(key, now)) is not None}


def _restore_overrides(
    state: TableState, index: ServiceIndex, overrides: OverrideBook, ramps: Ramps, drains: Ramps
) -> None:
    """Restore overrides, slow starts and drains of the real servers that are configured."""
    for kept in state.overrides:
        key = (kept.service, kept.server)
        if key in index:
            overrides.put(key, kept.override, kept.until)
            where = server_name(*key), service_name(kept.service)
            log.info("override restored: %s of %s: %s", *where, kept.override.text())
    for times, kept_times in ((ramps, state.ramps), (drains, state.drains)):
        for service, server, began, seconds in kept_times:
            if (service, server) in index:
                times.begin((service, server), began, seconds)


def _restore_results(
    state: TableState, index: ServiceIndex, table: ServiceTable, results: CheckResults
) -> None:
    """Restore the results of configured checks of services in the table, without results those it shows."""
    known: Sequence[CheckResult] | None = state.results
    if known is None:
        down = restore_verdicts(index.services.values(), table)
        known = [CheckResult(*key, up=False, reason=_NOT_IN_TABLE) for key in down]
    present = {entry.service.key for entry in table}
    for result in known:
        if result.service in present and results.is_configured(result):
            results.put(result)
