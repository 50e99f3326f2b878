# SPDX-License-Identifier: Apache-2.0
"""Compute the table that a director wants from configuration, check results and overrides. No I/O.

The rules are keepalived's (check/ipwrapper.c, update_quorum_state and perform_svr_state):

- A real server is alive while all of its checks pass. Without a result a check counts as passed, except
with `alpha` on the real server or its service.

- A dead real server is removed, or stays with weight 0 (`inhibit_on_failure`).

- The quorum is gained when the weights of the alive servers reach quorum + hysteresis. It is lost when
they fall below quorum - hysteresis or to 0.

- A lost quorum replaces the alive servers by the sorry server. Without one the table does not change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceKey, ServiceTable

CheckKey = tuple[ServiceKey, ServerKey, str]
"""Key of a check: its service, its real server, Check.identity. All processes and configurations use it."""

Verdicts = Mapping[CheckKey, bool]
WeightChanges = Mapping[CheckKey, int]
Shares = Mapping[tuple[ServiceKey, ServerKey], float]
"""Share of its weight that a real server gets, above 0 and below 1 (lvs/slow_start.py). Missing: all of
it."""
MOST_WEIGHT = 2**31 - 1
Overrides = Mapping[tuple[ServiceKey, ServerKey], Override]
_NO_OVERRIDE = Override()


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """State of a service's pool. The previous one is the memory of the hysteresis."""

    quorum_up: bool
    living: tuple[RealServer, ...] = ()
    """Alive real servers with their present weight, with or without quorum."""
    inhibited: tuple[RealServer, ...] = ()
    """Dead real servers that stay with weight 0."""
    sorry_server: RealServer | None = None
    """The sorry server while it is in use."""

    @property
    def weight(self) -> int:
        """Sum of the weights, which is compared with the quorum."""
        return sum(server.weight for server in self.living)


def pool_state(
    virtual: VirtualServer,
    verdicts: Verdicts,
    overrides: Overrides,
    before: PoolState | None,
    weight_changes: WeightChanges,
    draining: Collection[tuple[ServiceKey, ServerKey]] = (),
) -> PoolState:
    """Return the state of one virtual server's pool.

    `before`: its last state; None: it starts without quorum. `weight_changes`: weights that checks add to
    those of real servers. `draining`: dead real servers with `drain` whose time is not over; the time of one
    that dies now begins.
    """
    living: list[RealServer] = []
    inhibited: list[RealServer] = []
    for member in virtual.members:
        override = overrides.get((virtual.service.key, member.server.key), _NO_OVERRIDE)
        alive = override.up if override.up is not None else passes_all_checks(virtual, member, verdicts)
        if alive:
            measured = _weight(virtual, member, weight_changes)
            weight = measured if override.weight is None else override.weight
            living.append(_weighing(member.server, weight))
        elif member.inhibit_on_failure or _drains(virtual, member, before, draining):
            inhibited.append(_weighing(member.server, 0))
    quorum_up = _quorum_up(virtual, sum(server.weight for server in living), before)
    return PoolState(
        quorum_up=quorum_up,
        living=tuple(living),
        inhibited=tuple(inhibited),
        sorry_server=None if quorum_up else virtual.sorry_server,
    )


def _weighing(server: RealServer, weight: int) -> RealServer:
    """Return the real server with this weight: the same object, if it has it already."""
    return server if server.weight == weight else msgspec.structs.replace(server, weight=weight)


def _drains(
    virtual: VirtualServer,
    member: PoolMember,
    before: PoolState | None,
    draining: Collection[tuple[ServiceKey, ServerKey]],
) -> bool:
    """True if a dead real server stays in the table for its present connections."""
    if (virtual.service.key, member.server.key) in draining:
        return True
    return bool(member.drain and before) and any(
        server.key == member.server.key for server in (before.living if before else ())
    )


def _weight(virtual: VirtualServer, member: PoolMember, changes: WeightChanges) -> int:
    """Return the configured weight plus the changes of its checks, within the range of IPVS."""
    added = 0
    if changes:  # few configurations have any
        key = (virtual.service.key, member.server.key)
        added = sum(changes.get((*key, check.identity), 0) for check in member.checks)
    return min(max(member.server.weight + added, 0), MOST_WEIGHT)


def passes_all_checks(virtual: VirtualServer, member: PoolMember, verdicts: Verdicts) -> bool:
    """True if all checks of a real server pass."""
    unknown = not (virtual.alpha or member.alpha)
    return all(
        verdicts.get((virtual.service.key, member.server.key, check.identity), unknown)
        for check in member.checks
    )


def restore_verdicts(virtual_servers: Iterable[VirtualServer], actual: ServiceTable) -> dict[CheckKey, bool]:
    """Return check results to start with after a restart: failed servers stay out until their checks pass.

    In a service with servers, a checked real server counts as failed if it is missing, or has weight 0
    with `inhibit_on_failure`. A service without servers gives no information.
    """
    verdicts: dict[CheckKey, bool] = {}
    present = {entry.service.key: entry for entry in actual}
    for virtual in virtual_servers:
        entry = present.get(virtual.service.key)
        if entry is None or not entry.servers:
            continue
        for member in virtual.members:
            found = entry.server(member.server.key)
            inhibited = found is not None and member.inhibit_on_failure and found.weight == 0
            if found is None or (inhibited and member.server.weight > 0):
                verdicts |= {
                    (virtual.service.key, member.server.key, check.identity): False for check in member.checks
                }
    return verdicts


def restore_pools(
    virtual_servers: Iterable[VirtualServer],
    actual: ServiceTable,
    verdicts: Verdicts,
    overrides: Overrides,
    weight_changes: WeightChanges,
    quorums: Mapping[ServiceKey, bool],
) -> dict[ServiceKey, PoolState]:
    """Return pool states to start with after a restart, for `before`.

    A service that is not in the table has none, because it is new. `quorums`: the remembered ones. Others
    are derived from the table, because hysteresis has no other memory.
    """
    present = {entry.service.key: entry for entry in actual}
    pools: dict[ServiceKey, PoolState] = {}
    for virtual in virtual_servers:
        key = virtual.service.key
        if key not in present:
            continue
        pool = pool_state(virtual, verdicts, overrides, PoolState(quorum_up=True), weight_changes)
        up = quorums.get(key, pool.quorum_up and members_serve(virtual, present[key].servers))
        sorry = None if up else virtual.sorry_server
        pools[key] = msgspec.structs.replace(pool, quorum_up=up, sorry_server=sorry)
    return pools


def members_serve(virtual: VirtualServer, servers: Iterable[RealServer]) -> bool:
    """True if the table sends clients to real servers of the pool, not to the sorry server in their place."""
    sorry = virtual.sorry_server
    members = {member.server.key for member in virtual.members} - {sorry.key if sorry else None}
    return any(server.weight > 0 for server in servers if server.key in members)


def _quorum_up(virtual: VirtualServer, weight: int, before: PoolState | None) -> bool:
    if before is None or not before.quorum_up:
        return weight >= virtual.quorum + virtual.hysteresis
    return weight > 0 and weight >= virtual.quorum - virtual.hysteresis


def serving(virtual: VirtualServer, pool: PoolState, shares: Shares) -> tuple[RealServer, ...]:
    """Return the real servers of the table in the order of the configuration, the sorry server last.

    `shares` lower weights in the table only; the quorum uses the full weights.
    """
    sorry = pool.sorry_server
    inside = {server.key: server for server in pool.inhibited}
    if sorry is None:
        inside |= {server.key: _started(virtual, server, shares) for server in pool.living}
        waiting = virtual.sorry_server if virtual.sorry_inhibit else None
        if waiting is None or waiting.key in inside:
            return _ordered(virtual, inside)
        return (*_ordered(virtual, inside), msgspec.structs.replace(waiting, weight=0))
    inside.pop(sorry.key, None)
    return (*_ordered(virtual, inside), sorry)


def _started(virtual: VirtualServer, server: RealServer, shares: Shares) -> RealServer:
    """Return the real server with its present share of its weight, at least 1."""
    share = shares.get((virtual.service.key, server.key), 1.0)
    if share >= 1.0 or server.weight == 0:
        return server
    return msgspec.structs.replace(server, weight=max(1, int(server.weight * share)))


def _ordered(virtual: VirtualServer, inside: Mapping[ServerKey, RealServer]) -> tuple[RealServer, ...]:
    return tuple(inside[member.server.key] for member in virtual.members if member.server.key in inside)
