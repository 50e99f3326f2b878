# SPDX-License-Identifier: Apache-2.0
"""Rates follow the curve that a real kernel was seen to draw."""

from __future__ import annotations

import gzip
import ipaddress
import json
from pathlib import Path

from pointsman.lvs.estimator import Estimator
from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.traffic import ServerCounters, ServiceCounters, Traffic

GOLDEN = Path(__file__).parents[2] / "golden" / "4_stats_lag_and_rate.json.gz"
VIP = ServiceKey.mark(7)
SERVER = ServerKey(ipaddress.ip_address("192.168.100.11"), 0)


def at(traffic: Traffic) -> ServiceCounters:
    """A moment at which a service with one real server has counted this."""
    return ServiceCounters(VIP, traffic, (ServerCounters(SERVER, traffic=traffic),))


def rates(estimator: Estimator) -> ServiceCounters:
    assert estimator.services() == [VIP]
    return estimator.rates_of(VIP)


def reading(columns: list[str]) -> Traffic:
    connections, packets, packets_out, octets, octets_out = map(int, columns)
    return Traffic(connections, packets, octets, packets_out, octets_out)


def test_the_recorded_curve() -> None:
    """The kernel refreshed both every 2 s: each new pair of totals and rates is a step of its estimator."""
    with gzip.open(GOLDEN) as file:
        recorded = json.load(file)
    curve = recorded["rate_curve (t, datagrams sent so far, [cps,inpps,outpps,inbps,outbps], stats)"]
    estimator = Estimator()
    before: list[list[str]] = []
    steps = 0
    for _, _, rate, totals in curve:
        if [rate, totals] == before:
            continue
        before = [rate, totals]
        if totals[1] == "2000" and rate[1] == "96":
            continue  # read between the refresh of the totals and that of the rates
        estimator.update(at(reading(totals)))
        seen = rates(estimator)
        assert seen.traffic == reading(rate)
        assert seen.servers[0].traffic == reading(rate)
        steps += 1
    assert steps == 20


def test_zeroed_counters_start_from_nothing() -> None:
    estimator = Estimator()
    for packets in (1000, 2000, 3000):
        estimator.update(at(Traffic(packets=packets)))
    assert rates(estimator).traffic.packets > 200
    estimator.update(at(Traffic(packets=0)))
    assert rates(estimator).traffic == Traffic()
    estimator.update(at(Traffic(packets=8)))
    assert rates(estimator).traffic.packets == 1


def test_what_has_gone_is_forgotten() -> None:
    estimator = Estimator()
    estimator.update(at(Traffic(packets=1000)))
    estimator.keep_only(())
    assert estimator.services() == []


def test_a_period_without_traffic_is_the_same_as_an_update_with_the_same_totals() -> None:
    resting, updated = Estimator(), Estimator()
    for estimator in (resting, updated):
        estimator.update(at(Traffic(3, 1000, 60_000)))
    for _ in range(60):
        resting.rest(VIP)
        updated.update(at(Traffic(3, 1000, 60_000)))
        assert rates(resting) == rates(updated)
    assert resting.moving() == updated.moving() == set()
    resting.update(at(Traffic(4, 2000, 120_000)))
    assert resting.moving() == {VIP}
