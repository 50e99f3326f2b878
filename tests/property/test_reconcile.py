# SPDX-License-Identifier: Apache-2.0
"""The laws of reconcile, over tables small enough that keys collide often."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.unordered import unordered

from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.lvs.reconcile import apply_operations, reconcile
from pointsman.model.operations import AddServer, DeleteServer, EditServer, Operation
from pointsman.model.service import (
    Forwarding,
    RealServer,
    ServerKey,
    ServiceEntry,
    ServiceKey,
    ServiceTable,
    Transport,
    VirtualService,
)

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")

SERVICE_KEYS = [
    ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 80),
    ServiceKey.of(Transport.UDP, ipaddress.ip_address("192.168.100.9"), 80),
    ServiceKey.of(Transport.TCP, ipaddress.ip_address("fd00:100::9"), 80),
    ServiceKey.mark(7),
    ServiceKey.mark(7, ipv6=True),
]
SERVER_KEYS = [ServerKey(ipaddress.ip_address(f"192.168.100.{host}"), 80) for host in (11, 12, 13, 14)]


services = st.builds(
    VirtualService,
    key=st.sampled_from(SERVICE_KEYS),
    scheduler=st.sampled_from(["rr", "wlc"]),
    persistence=st.sampled_from([None, 300]),
)
servers = st.builds(
    RealServer,
    key=st.sampled_from(SERVER_KEYS),
    forwarding=st.sampled_from([Forwarding.ROUTE, Forwarding.TUNNEL]),
    weight=st.integers(0, 3),
    upper_threshold=st.sampled_from([0, 100]),
)
entries = st.builds(
    ServiceEntry,
    service=services,
    servers=st.lists(servers, max_size=4, unique_by=lambda server: server.key).map(tuple),
)
tables = st.lists(entries, max_size=5, unique_by=lambda entry: entry.service.key).map(ServiceTable.of)


def weight(table: ServiceTable, key: ServiceKey) -> int:
    entry = table.get(key)
    return sum(server.weight for server in entry.servers) if entry else 0


def steps(table: ServiceTable, operations: list[Operation]) -> list[ServiceTable]:
    """The table after each operation; none of them may be refused."""
    passed = []
    for operation in operations:
        table, refusals = apply_operations(table, [operation])
        assert refusals == []
        passed.append(table)
    return passed


@given(desired=tables, actual=tables)
def test_applying_the_plan_gives_the_desired_table(desired: ServiceTable, actual: ServiceTable) -> None:
    result, refusals = apply_operations(actual, reconcile(desired, actual))
    assert refusals == []
    assert unordered(result) == unordered(desired)
    assert reconcile(desired, result) == []


@given(table=tables, data=st.data())
def test_tables_that_say_the_same_need_nothing(table: ServiceTable, data: st.DataObject) -> None:
    shuffled = ServiceTable.of(data.draw(st.permutations(list(table))))
    assert reconcile(table, table) == []
    assert reconcile(table, shuffled) == []


@given(desired=tables, actual=tables)
def test_an_unchanged_real_server_never_appears(desired: ServiceTable, actual: ServiceTable) -> None:
    for operation in reconcile(desired, actual):
        if isinstance(operation, AddServer | EditServer | DeleteServer):
            key = operation.server if isinstance(operation, DeleteServer) else operation.server.key
            before = actual.get(operation.service)
            after = desired.get(operation.service)
            assert after is not None
            assert before is None or before.server(key) != after.server(key)


@given(desired=tables, actual=tables)
def test_no_step_takes_the_weight_of_a_service_that_has_some_before_and_after(
    desired: ServiceTable, actual: ServiceTable
) -> None:
    lasting = [key for key in SERVICE_KEYS if weight(actual, key) and weight(desired, key)]
    for table in steps(actual, reconcile(desired, actual)):
        for key in lasting:
            assert weight(table, key) > 0


@given(desired=tables, actual=tables, managed=st.sets(st.sampled_from(SERVICE_KEYS)))
def test_services_of_others_stay(
    desired: ServiceTable, actual: ServiceTable, managed: set[ServiceKey]
) -> None:
    result, _ = apply_operations(actual, reconcile(desired, actual, managed))
    for entry in actual:
        key = entry.service.key
        if desired.get(key) is None:
            assert result.get(key) == (None if key in managed else entry)
    for entry in desired:
        assert result.get(entry.service.key) is not None


@given(desired=tables, actual=tables)
def test_those_that_stay_keep_their_place_and_new_ones_come_last(
    desired: ServiceTable, actual: ServiceTable
) -> None:
    result, _ = apply_operations(actual, reconcile(desired, actual))
    kept = [entry.service.key for entry in actual if desired.get(entry.service.key)]
    new = [entry.service.key for entry in desired if actual.get(entry.service.key) is None]
    assert [entry.service.key for entry in result] == kept + new


@given(desired=tables, actual=tables)
def test_the_memory_data_plane_agrees(desired: ServiceTable, actual: ServiceTable) -> None:
    plane = MemoryDataPlane(actual)
    assert plane.apply(reconcile(desired, plane.read())) == []
    assert unordered(plane.read()) == unordered(desired)
