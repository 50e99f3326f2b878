# SPDX-License-Identifier: Apache-2.0
"""Rates in the manner of IPVS (net/netfilter/ipvs/ip_vs_est.c): averages with a decay of 1/4 every 2 s."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.traffic import Counters, ServerCounters, ServiceCounters, Traffic

PERIOD = 2.0
"""Seconds between two calls of `update`."""

PACKET_BITS = 10
"""Fraction bits of the averages of connections and packets. Octets have fewer, to avoid overflow."""
OCTET_BITS = 5
FRACTION = Traffic(PACKET_BITS, PACKET_BITS, OCTET_BITS, PACKET_BITS, OCTET_BITS)

Place = tuple[ServiceKey, ServerKey | None]
"""A service, or one of its real servers."""


class Estimator:
    """Estimator of rates per second from totals."""

    def __init__(self) -> None:
        self._totals: dict[Place, Traffic] = {}
        self._averages: dict[Place, Traffic] = {}

    def update(self, counters: Counters) -> None:
        """Update the averages from the present totals, every PERIOD. New or zeroed totals start from 0."""
        totals = dict(_places(counters))
        averages: dict[Place, Traffic] = {}
        for place, total in totals.items():
            before = self._totals.get(place, Traffic())
            average = self._averages.get(place, Traffic())
            if any(now < then for now, then in zip(_values(total), _values(before), strict=True)):
                before, average = Traffic(), Traffic()
            averages[place] = Traffic(
                *(
                    mean + ((((now - then) << (bits - 1)) - mean) >> 2)
                    for mean, now, then, bits in zip(
                        _values(average), _values(total), _values(before), _values(FRACTION), strict=True
                    )
                )
            )
        self._totals, self._averages = totals, averages

    def rates(self) -> Counters:
        """Return rates per second in the fields of the totals: connections, packets, octets."""
        found = {place: _per_second(average) for place, average in self._averages.items()}
        servers: dict[ServiceKey, list[ServerCounters]] = {}
        for (service, server), rate in found.items():
            if server is not None:
                servers.setdefault(service, []).append(ServerCounters(server, traffic=rate))
        return Counters(
            services=tuple(
                ServiceCounters(service, rate, tuple(servers.get(service, ())))
                for (service, server), rate in found.items()
                if server is None
            )
        )


def _per_second(average: Traffic) -> Traffic:
    """Return an average without its fraction, rounded as in the kernel (up by half a step less one)."""
    return Traffic(
        *(
            (mean + (1 << (bits - 1)) - 1) >> bits
            for mean, bits in zip(_values(average), _values(FRACTION), strict=True)
        )
    )


def _places(counters: Counters) -> Iterator[tuple[Place, Traffic]]:
    for service in counters.services:
        yield (service.key, None), service.traffic
        for server in service.servers:
            yield (service.key, server.key), server.traffic


def _values(traffic: Traffic) -> tuple[int, ...]:
    values: tuple[int, ...] = msgspec.structs.astuple(traffic)
    return values
