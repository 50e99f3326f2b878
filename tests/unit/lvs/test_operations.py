# SPDX-License-Identifier: Apache-2.0
"""Operations: their effect, refusals, and the texts that a plan prints."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.lvs.reconcile import apply_operations, reconcile
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
    Refusal,
    SetTimeouts,
    ZeroCounters,
)
from pointsman.model.service import (
    RealServer,
    ServerKey,
    ServiceEntry,
    ServiceKey,
    ServiceTable,
    Transport,
    VirtualService,
)

WEB = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 80)
OTHER = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 443)


def server(host: int, weight: int = 1) -> RealServer:
    return RealServer(key=ServerKey(ipaddress.ip_address(f"192.168.100.{host}"), 80), weight=weight)


def table(*servers: RealServer, scheduler: str = "rr") -> ServiceTable:
    return ServiceTable.of([ServiceEntry(VirtualService(key=WEB, scheduler=scheduler), servers)])


def test_the_plan_reads_as_a_person_would_write_it() -> None:
    plan = reconcile(
        table(server(22), server(20, 3), server(21, 1), scheduler="wlc"),
        table(server(20, 5), server(21, 0), server(23)),
    )
    assert [step.text() for step in plan] == [
        "edit service TCP 192.168.100.9:80 wlc",
        "add server 192.168.100.22:80 weight 1 to TCP 192.168.100.9:80",
        "edit server 192.168.100.21:80 weight 1 of TCP 192.168.100.9:80",
        "edit server 192.168.100.20:80 weight 3 of TCP 192.168.100.9:80",
        "delete server 192.168.100.23:80 from TCP 192.168.100.9:80",
    ]


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (AddService(VirtualService(key=WEB)), "exists"),
        (AddService(VirtualService(key=OTHER, scheduler="nonsense")), "no-scheduler"),
        (EditService(VirtualService(key=WEB, scheduler="nonsense")), "no-scheduler"),
        (EditService(VirtualService(key=OTHER)), "no-service"),
        (DeleteService(OTHER), "no-service"),
        (AddServer(WEB, server(20)), "server-exists"),
        (AddServer(OTHER, server(20)), "no-service"),
        (EditServer(WEB, server(29)), "no-server"),
        (DeleteServer(WEB, server(29).key), "no-server"),
        (ZeroCounters(OTHER), "no-service"),
    ],
)
def test_a_refused_operation_changes_nothing_and_the_rest_is_done(operation: Operation, reason: str) -> None:
    after, refusals = apply_operations(
        table(server(20)), [operation, AddServer(WEB, server(21))], {"rr", "wlc"}
    )
    assert refusals == [Refusal(operation, reason)]
    assert after == table(server(20), server(21))


def test_an_edit_keeps_the_place_and_a_server_put_back_is_the_newest() -> None:
    before = table(server(20), server(21))
    edited, _ = apply_operations(before, [EditServer(WEB, server(20, 7))])
    assert edited == table(server(20, 7), server(21))
    put_back, _ = apply_operations(before, [DeleteServer(WEB, server(20).key), AddServer(WEB, server(20))])
    assert put_back == table(server(21), server(20))


def test_flush_empties_and_timeouts_leave_the_table_alone() -> None:
    assert apply_operations(table(server(20)), [SetTimeouts(tcp=5)]) == (table(server(20)), [])
    assert apply_operations(table(server(20)), [Flush()]) == (ServiceTable(), [])


def test_a_real_server_the_kernel_would_not_take_is_refused_with_its_words() -> None:
    inverted = RealServer(key=server(20).key, upper_threshold=10, lower_threshold=20)
    _, refusals = apply_operations(table(), [AddServer(WEB, inverted)])
    assert [(refusal.reason, refusal.detail) for refusal in refusals] == [
        ("system", "Numerical result out of range")
    ]
    for address in ("224.0.0.5", "0.0.0.0", "ff02::1", "::"):
        nobody = RealServer(key=ServerKey(ipaddress.ip_address(address), 80))
        _, refusals = apply_operations(table(), [AddServer(WEB, nobody)])
        assert "address not unicast" in refusals[0].detail
