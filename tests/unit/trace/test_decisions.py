# SPDX-License-Identifier: Apache-2.0
"""Reasons why the data plane chose a real server, from its tables."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pointsman.model.service import (
    RealServer,
    ServerKey,
    ServiceEntry,
    ServiceKey,
    Transport,
    VirtualService,
)
from pointsman.model.traffic import Connection, Counters, ServerCounters, ServiceCounters
from pointsman.trace.connection import Decision
from pointsman.trace.decisions import find_decisions

VIP, CLIENT, WEB, OTHER = map(
    ipaddress.ip_address, ("192.168.100.9", "203.0.113.77", "192.168.100.20", "192.168.100.21")
)
KEY = ServiceKey.of(Transport.TCP, VIP, 80)


def connection(**changes: Any) -> Connection:
    fields: dict[str, Any] = {
        "transport": Transport.TCP, "client": CLIENT, "client_port": 5000, "virtual": VIP, "virtual_port": 80,
        "server": WEB, "server_port": 80, "state": "ESTABLISHED", "expires": 899.6,
    }  # fmt: skip
    return Connection(**(fields | changes))


def entry(*weights: int, key: ServiceKey = KEY, **service: Any) -> ServiceEntry:
    servers = tuple(
        RealServer(key=ServerKey(address, 80), weight=weight)
        for address, weight in zip((WEB, OTHER), weights, strict=False)
    )
    return ServiceEntry(VirtualService(key=key, **service), servers)


def only(table: list[ServiceEntry], *connections: Connection, counters: Counters | None = None) -> Decision:
    (found,) = find_decisions(table, counters or Counters(), connections, "lb", VIP, 80)
    return found


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (entry(1, 1, scheduler="rr"), "rr, one after the other, among 2 real servers"),
        (entry(1, 0, scheduler="rr"), "rr, and it is the only real server with a weight"),
        (
            entry(3, 1, scheduler="wrr"),
            "wrr, one after the other in proportion to their weights, among 2 real servers",
        ),
        (entry(1, 1, scheduler="sh"), "sh, by the client's address, among 2 real servers"),
    ],
)
def test_by_the_scheduler(made: ServiceEntry, why: str) -> None:
    assert only([made], connection()).why == why


def test_by_connections_at_this_moment() -> None:
    counters = Counters(
        services=(ServiceCounters(KEY, servers=(ServerCounters(ServerKey(WEB, 80), active=3, inactive=10),)),)
    )
    said = only([entry(1, 2, scheduler="wlc")], connection(), counters=counters).why
    assert said.endswith("(active+inactive/weight now: 192.168.100.20 3+10/1, 192.168.100.21 0+0/2)")


def test_by_the_clients_template() -> None:
    template = connection(client=ipaddress.ip_address("203.0.113.0"), client_port=0, expires=512.0)
    made = entry(1, 1, scheduler="rr", persistence=600, persistence_prefix=24)
    assert (
        only([made], connection(), template).why == "the client's persistence template, valid for 512 s more"
    )
    elsewhere = connection(client=ipaddress.ip_address("203.0.114.0"), client_port=0)
    assert only([made], connection(), elsewhere).why.startswith("rr, one after the other")


def test_the_service_with_the_port_comes_before_the_one_for_every_port() -> None:
    every = entry(1, 1, key=ServiceKey.of(Transport.TCP, VIP, 0), scheduler="sh")
    assert only([every, entry(1, 1, scheduler="rr")], connection()).scheduler == "rr"
    assert only([every], connection()).scheduler == "sh"
    assert only([], connection()).why == ""


def test_connections_of_others_are_no_decision_about_this_one() -> None:
    others = [connection(virtual_port=81), connection(transport=Transport.UDP), connection(client_port=0)]
    assert list(find_decisions([entry(1)], Counters(), others, "lb", VIP, 80)) == []
    assert str(only([entry(1, 1, scheduler="rr")], connection())) == (
        "data plane of lb: 192.168.100.20:80, now ESTABLISHED for 900 s; chosen: rr, one "
        "after "
        "the other, among 2 real servers"
    )
