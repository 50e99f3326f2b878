# SPDX-License-Identifier: Apache-2.0
"""Rates in the manner of IPVS (net/netfilter/ipvs/ip_vs_est.c): averages with a decay of 1/4 every 2 s."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.traffic import ServerCounters, ServiceCounters, Traffic

PERIOD = 2.0
"""Seconds between two calls of `update`."""

PACKET_BITS = 10
"""Fraction bits of the averages of connections and packets. Octets have fewer, to avoid overflow."""
OCTET_BITS = 5
FRACTION = Traffic(PACKET_BITS, PACKET_BITS, OCTET_BITS, PACKET_BITS, OCTET_BITS)

IDLE = Traffic()


class State(msgspec.Struct, frozen=True, gc=False):
    """Total at the last update, and average with its fraction, of a service or one of its real servers."""

    total: Traffic
    average: Traffic


NEW = State(IDLE, IDLE)
States = dict[ServerKey | None, State]
"""By real server; None: the service itself."""


class Estimator:
    """Estimator of rates per second from totals."""

    def __init__(self) -> None:
        self._states: dict[ServiceKey, States] = {}
        self._moving: set[ServiceKey] = set()
        """Services with an average that is not 0."""

    def services(self) -> list[ServiceKey]:
        """Return the services that have had traffic."""
        return list(self._states)

    def moving(self) -> set[ServiceKey]:
        """Return the services with an average that is not 0: only these change without new traffic."""
        return set(self._moving)

    def update(self, service: ServiceCounters) -> None:
        """Update the averages of one service, every PERIOD. New or zeroed totals start from 0."""
        before = self._states.get(service.key, {})
        self._note(
            service.key, {server: _next(before.get(server, NEW), total) for server, total in _totals(service)}
        )

    def rest(self, key: ServiceKey) -> None:
        """Update the averages of a service whose totals have not changed in this PERIOD."""
        states = self._states.get(key, {})
        self._note(key, {server: _next(state, state.total) for server, state in states.items()})

    def _note(self, key: ServiceKey, states: States) -> None:
        self._states[key] = states
        is_moving = any(state.average != IDLE for state in states.values())
        (self._moving.add if is_moving else self._moving.discard)(key)

    def keep_only(self, services: Collection[ServiceKey]) -> None:
        """Forget all services except these."""
        for key in [key for key in self._states if key not in services]:
            del self._states[key]
            self._moving.discard(key)

    def rates_of(self, key: ServiceKey) -> ServiceCounters:
        """Return the rates per second of one service in the fields of the totals."""
        states = self._states.get(key, {})
        rates = {server: _per_second(state.average) for server, state in states.items()}
        servers = (ServerCounters(server, traffic=rate) for server, rate in rates.items() if server)
        return ServiceCounters(key, rates.get(None, IDLE), tuple(servers))


def _next(before: State, total: Traffic) -> State:
    """Return the state after one more PERIOD."""
    if total == before.total and before.average == IDLE:
        return before
    if any(now < then for now, then in zip(_values(total), _values(before.total), strict=True)):
        before = NEW
    average = Traffic(
        *(
            mean + ((((now - then) << (bits - 1)) - mean) >> 2)
            for mean, now, then, bits in zip(
                _values(before.average), _values(total), _values(before.total), _values(FRACTION), strict=True
            )
        )
    )
    return State(total, average)


def _per_second(average: Traffic) -> Traffic:
    """Return an average without its fraction, rounded as in the kernel (up by half a step less one)."""
    if average == IDLE:
        return IDLE
    return Traffic(
        *(
            (mean + (1 << (bits - 1)) - 1) >> bits
            for mean, bits in zip(_values(average), _values(FRACTION), strict=True)
        )
    )


def _totals(service: ServiceCounters) -> Iterator[tuple[ServerKey | None, Traffic]]:
    yield None, service.traffic
    for server in service.servers:
        yield server.key, server.traffic


def _values(traffic: Traffic) -> tuple[int, ...]:
    values: tuple[int, ...] = msgspec.structs.astuple(traffic)
    return values
