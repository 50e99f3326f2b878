"""The table a director wants: configuration, verdicts and the administrator's word, put together without I/O.

The rules are keepalived's (check/ipwrapper.c, update_quorum_state and perform_svr_state):

- a real server is alive while all of its checks pass; one without a verdict yet counts as passing, unless the
  real server or its service starts down (`alpha`);
- a dead one leaves the table, or stays with weight 0 (`inhibit_on_failure`);
- the quorum is up from the moment the weights of the living reach quorum + hysteresis, until they fall below
  quorum - hysteresis or to nothing;
- a lost quorum puts the sorry server in the place of the living; without one it changes nothing in the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceEntry, ServiceKey, ServiceTable

CheckKey = tuple[ServiceKey, ServerKey, str]
"""A check: its service, its real server, Check.identity. It is the same in all processes and generations."""

Verdicts = Mapping[CheckKey, bool]
WeightChanges = Mapping[CheckKey, int]
Shares = Mapping[tuple[ServiceKey, ServerKey], float]
"""How much of its weight a real server gets, above 0 and below 1 (lvs/slow_start.py); missing: all of it."""
MOST_WEIGHT = 2**31 - 1
Overrides = Mapping[tuple[ServiceKey, ServerKey], Override]


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """What a service's real servers amount to; the previous one decides where hysteresis lies."""

    quorum_up: bool
    living: tuple[RealServer, ...] = ()
    """Alive, with the weight in force, whether the quorum lets them serve or not."""
    inhibited: tuple[RealServer, ...] = ()
    """Dead and kept at weight 0."""
    sorry_server: RealServer | None = None
    """The sorry server, while it serves."""

    @property
    def weight(self) -> int:
        """The sum the quorum is measured by."""
        return sum(server.weight for server in self.living)


PoolStates = Mapping[ServiceKey, PoolState]


class Desired(msgspec.Struct, frozen=True):
    """The wanted table, and the state to hand in next time."""

    table: ServiceTable
    pools: dict[ServiceKey, PoolState]


def desired(
    virtual_servers: Iterable[VirtualServer],
    verdicts: Verdicts,
    overrides: Overrides | None = None,
    before: PoolStates | None = None,
    weight_changes: WeightChanges | None = None,
    shares: Shares | None = None,
    draining: Collection[tuple[ServiceKey, ServerKey]] = (),
) -> Desired:
    """The table that these verdicts ask for, services and real servers in the order of the configuration.

    `before` is `pools` of the previous call; a service it does not know starts without quorum.
    `weight_changes`: what checks that measure add to the weight of their real server.
    `draining`: dead real servers with `drain` whose time is not over. One that dies now begins its time.
    `shares` lower weights in the table only: a quorum is measured by the full ones.
    Raises ValueError when two virtual servers have the same key.
    """
    pools: dict[ServiceKey, PoolState] = {}
    entries: list[ServiceEntry] = []
    for virtual in virtual_servers:
        key = virtual.service.key
        pools[key] = pool_state(
            virtual, verdicts, overrides or {}, (before or {}).get(key), weight_changes or {}, draining
        )
        entries.append(ServiceEntry(virtual.service, _serving(virtual, pools[key], shares or {})))
    return Desired(ServiceTable.of(entries), pools)


def pool_state(
    virtual: VirtualServer,
    verdicts: Verdicts,
    overrides: Overrides,
    before: PoolState | None,
    weight_changes: WeightChanges,
    draining: Collection[tuple[ServiceKey, ServerKey]] = (),
) -> PoolState:
    """Who of one virtual server's pool lives, and whether that is a quorum."""
    living: list[RealServer] = []
    inhibited: list[RealServer] = []
    for member in virtual.members:
        override = overrides.get((virtual.service.key, member.server.key), Override())
        alive = override.up if override.up is not None else passes(virtual, member, verdicts)
        if alive:
            measured = _weight(virtual, member, weight_changes)
            weight = measured if override.weight is None else override.weight
            living.append(msgspec.structs.replace(member.server, weight=weight))
        elif member.inhibit_on_failure or _drains(virtual, member, before, draining):
            inhibited.append(msgspec.structs.replace(member.server, weight=0))
    quorum_up = _quorum_up(virtual, sum(server.weight for server in living), before)
    return PoolState(
        quorum_up=quorum_up,
        living=tuple(living),
        inhibited=tuple(inhibited),
        sorry_server=None if quorum_up else virtual.sorry_server,
    )


def _drains(
    virtual: VirtualServer,
    member: PoolMember,
    before: PoolState | None,
    draining: Collection[tuple[ServiceKey, ServerKey]],
) -> bool:
    """Whether a dead real server is still to serve the connections that it has."""
    if (virtual.service.key, member.server.key) in draining:
        return True
    return bool(member.drain and before) and any(
        server.key == member.server.key for server in (before.living if before else ())
    )


def _weight(virtual: VirtualServer, member: PoolMember, changes: WeightChanges) -> int:
    """The configured weight and what its checks add to it, within what IPVS can hold."""
    key = (virtual.service.key, member.server.key)
    added = sum(changes.get((*key, check.identity), 0) for check in member.checks)
    return min(max(member.server.weight + added, 0), MOST_WEIGHT)


def passes(virtual: VirtualServer, member: PoolMember, verdicts: Verdicts) -> bool:
    """Whether all checks of a real server pass."""
    unknown = not (virtual.alpha or member.alpha)
    return all(
        verdicts.get((virtual.service.key, member.server.key, check.identity), unknown)
        for check in member.checks
    )


def found_down(virtual_servers: Iterable[VirtualServer], actual: ServiceTable) -> dict[CheckKey, bool]:
    """Verdicts to begin with after a restart: what an earlier director had removed stays out until it passes.

    In a service that has any server, a checked real server that is missing, or that was kept at weight 0 by
    `inhibit_on_failure`, counts as failing. A service without servers tells nothing, and nobody loses by it.
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


def found_pools(
    virtual_servers: Iterable[VirtualServer],
    actual: ServiceTable,
    verdicts: Verdicts,
    overrides: Overrides,
    weight_changes: WeightChanges,
    quorums: Mapping[ServiceKey, bool],
) -> dict[ServiceKey, PoolState]:
    """States to begin with after a restart, for `before`; a service that the table lacks has none: it is new.

    `quorums`: those that are remembered. Any other is read off the table, as hysteresis has no other memory.
    """
    present = {entry.service.key: entry for entry in actual}
    pools: dict[ServiceKey, PoolState] = {}
    for virtual in virtual_servers:
        key = virtual.service.key
        if key not in present:
            continue
        pool = pool_state(virtual, verdicts, overrides, PoolState(quorum_up=True), weight_changes)
        up = quorums.get(key, pool.quorum_up and _members_serve(virtual, present[key]))
        sorry = None if up else virtual.sorry_server
        pools[key] = msgspec.structs.replace(pool, quorum_up=up, sorry_server=sorry)
    return pools


def _members_serve(virtual: VirtualServer, entry: ServiceEntry) -> bool:
    """Whether the table sends clients to real servers of the pool: the sorry server is not in their place."""
    sorry = virtual.sorry_server
    members = {member.server.key for member in virtual.members} - {sorry.key if sorry else None}
    return any(server.weight > 0 for server in entry.servers if server.key in members)


def _quorum_up(virtual: VirtualServer, weight: int, before: PoolState | None) -> bool:
    if before is None or not before.quorum_up:
        return weight >= virtual.quorum + virtual.hysteresis
    return weight > 0 and weight >= virtual.quorum - virtual.hysteresis


def _serving(virtual: VirtualServer, pool: PoolState, shares: Shares) -> tuple[RealServer, ...]:
    """The real servers in the table, in the order of the configuration, the sorry server last."""
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
    """The real server with as much of its weight as it has by now, but never none at all."""
    share = shares.get((virtual.service.key, server.key), 1.0)
    if share >= 1.0 or server.weight == 0:
        return server
    return msgspec.structs.replace(server, weight=max(1, int(server.weight * share)))


def _ordered(virtual: VirtualServer, inside: Mapping[ServerKey, RealServer]) -> tuple[RealServer, ...]:
    return tuple(inside[member.server.key] for member in virtual.members if member.server.key in inside)
