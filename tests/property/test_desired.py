# SPDX-License-Identifier: Apache-2.0
"""Laws of the desired table, over any pool, any verdicts, any history."""

from __future__ import annotations

import itertools
from ipaddress import ip_address

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.desired import Desired, desired
from tests.support.unordered import unordered

from pointsman.lvs.desired import CheckKey, PoolState, restore_verdicts
from pointsman.lvs.reconcile import apply_operations, reconcile
from pointsman.lvs.transitions import Change, transitions
from pointsman.model.checks import TcpCheck
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.override import Override
from pointsman.model.service import (
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

SORRY = RealServer(key=ServerKey(ip_address("192.0.2.250"), 80))


def server_key(number: int) -> ServerKey:
    return ServerKey(ip_address(f"192.0.2.{number + 1}"), 80)


@st.composite
def members(draw: st.DrawFn, number: int) -> PoolMember:
    key = server_key(number)
    ports = range(80, 80 + draw(st.integers(0, 2)))
    return PoolMember(
        server=RealServer(key=key, weight=draw(st.integers(0, 5))),
        checks=tuple(TcpCheck(connect_address=key.address, connect_port=port) for port in ports),
        alpha=draw(st.booleans()),
        inhibit_on_failure=draw(st.booleans()),
    )


@st.composite
def virtual_servers(draw: st.DrawFn, number: int = 0) -> VirtualServer:
    quorum = draw(st.integers(1, 6))
    return VirtualServer(
        service=VirtualService(key=ServiceKey.of(Transport.TCP, ip_address(f"198.51.100.{number + 1}"), 80)),
        members=tuple(draw(members(index)) for index in range(draw(st.integers(0, 4)))),
        sorry_server=draw(st.sampled_from([None, SORRY, RealServer(key=server_key(0))])),
        quorum=quorum,
        hysteresis=draw(st.integers(0, quorum + 1)),
        sorry_inhibit=draw(st.booleans()),
        alpha=draw(st.booleans()),
    )


@st.composite
def verdicts_of(draw: st.DrawFn, virtual: VirtualServer) -> dict[CheckKey, bool]:
    keys = [
        (virtual.service.key, member.server.key, check.identity)
        for member in virtual.members
        for check in member.checks
    ]
    return {
        key: verdict for key in keys if (verdict := draw(st.sampled_from([True, False, None]))) is not None
    }


@st.composite
def histories(draw: st.DrawFn) -> tuple[VirtualServer, list[dict[CheckKey, bool]]]:
    virtual = draw(virtual_servers())
    return virtual, draw(st.lists(verdicts_of(virtual), min_size=1, max_size=6))


def entry_of(virtual: VirtualServer, wanted: Desired) -> ServiceEntry:
    entry = wanted.table.get(virtual.service.key)
    assert entry is not None
    return entry


def run(virtual: VirtualServer, history: list[dict[CheckKey, bool]]) -> list[Desired]:
    steps: list[Desired] = []
    for verdicts in history:
        steps.append(desired([virtual], verdicts, None, steps[-1].pools if steps else None))
    return steps


def lives(virtual: VirtualServer, member: PoolMember, verdicts: dict[CheckKey, bool]) -> bool:
    known = [
        verdicts.get((virtual.service.key, member.server.key, check.identity)) for check in member.checks
    ]
    return False not in known and not (None in known and (virtual.alpha or member.alpha))


@given(st.integers(0, 4).flatmap(lambda count: st.tuples(*(virtual_servers(n) for n in range(count)))))
def test_the_table_has_the_services_of_the_configuration_in_its_order(
    configured: tuple[VirtualServer, ...],
) -> None:
    table = desired(configured, {}).table
    assert [entry.service for entry in table] == [virtual.service for virtual in configured]


@given(histories())
def test_quorum_follows_its_definition(case: tuple[VirtualServer, list[dict[CheckKey, bool]]]) -> None:
    virtual, history = case
    up = False
    for verdicts, step in zip(history, run(virtual, history), strict=True):
        weight = sum(item.server.weight for item in virtual.members if lives(virtual, item, verdicts))
        if not up and weight >= virtual.quorum + virtual.hysteresis:
            up = True
        elif up and (weight == 0 or weight < virtual.quorum - virtual.hysteresis):
            up = False
        pool = step.pools[virtual.service.key]
        assert (pool.quorum_up, pool.weight) == (up, weight)


@given(histories())
def test_who_serves_is_who_should(case: tuple[VirtualServer, list[dict[CheckKey, bool]]]) -> None:
    virtual, history = case
    for verdicts, step in zip(history, run(virtual, history), strict=True):
        serving = {server.key: server for server in entry_of(virtual, step).servers}
        sorry = None if step.pools[virtual.service.key].quorum_up else virtual.sorry_server
        waiting = virtual.sorry_server if virtual.sorry_inhibit and sorry is None else None
        for member in virtual.members:
            if sorry is not None and member.server.key == sorry.key:
                continue
            found = serving.pop(member.server.key, None)
            if not lives(virtual, member, verdicts):
                weight = found.weight if found else None
                stays = member.inhibit_on_failure or (waiting and waiting.key == member.server.key)
                assert weight == (0 if stays else None)
            else:
                assert found == (None if sorry else member.server)
        if waiting is not None and waiting.key in {member.server.key for member in virtual.members}:
            serving.pop(waiting.key, None)
        elif waiting is not None:
            sorry = msgspec.structs.replace(waiting, weight=0)
        assert list(serving.values()) == ([sorry] if sorry else [])


@given(histories())
def test_keys_are_unique_and_in_the_order_of_the_configuration(
    case: tuple[VirtualServer, list[dict[CheckKey, bool]]],
) -> None:
    virtual, history = case
    order = [member.server.key for member in virtual.members]
    for step in run(virtual, history):
        keys = [server.key for server in entry_of(virtual, step).servers]
        assert len(set(keys)) == len(keys)
        sorry = virtual.sorry_server
        mine = [key for key in keys if sorry is None or key != sorry.key]
        assert mine == [key for key in order if key in mine]


@given(histories())
def test_a_service_with_a_sorry_server_is_never_without_weight_unless_configured_so(
    case: tuple[VirtualServer, list[dict[CheckKey, bool]]],
) -> None:
    virtual, history = case
    assume(virtual.sorry_server is not None)
    for step in run(virtual, history):
        assert sum(server.weight for server in entry_of(virtual, step).servers) > 0


@given(histories(), st.sampled_from([0.0, 0.3, 0.999]))
def test_the_way_between_real_servers_and_sorry_server_is_never_empty(
    case: tuple[VirtualServer, list[dict[CheckKey, bool]]], share: float
) -> None:
    """Operation by operation: who has somebody to serve before and after has somebody in between, too."""
    virtual, history = case
    shares = {(virtual.service.key, member.server.key): share for member in virtual.members[::2]}
    actual, pools = desired([virtual], history[0]).table, None
    for verdicts in history:
        wanted = desired([virtual], verdicts, None, pools, None, shares)
        served = weight_of(actual) > 0 and weight_of(wanted.table) > 0
        for operation in reconcile(wanted.table, actual):
            actual, refusals = apply_operations(actual, [operation])
            assert not refusals
            assert not served or weight_of(actual) > 0
        assert unordered(actual) == unordered(wanted.table)
        pools = wanted.pools


def weight_of(table: ServiceTable) -> int:
    return sum(server.weight for entry in table for server in entry.servers)


@given(histories())
def test_only_the_quorum_remembers(case: tuple[VirtualServer, list[dict[CheckKey, bool]]]) -> None:
    virtual, history = case
    key = virtual.service.key
    steps = run(virtual, history)
    for verdicts, earlier, step in zip(history[1:], steps, steps[1:], strict=False):
        bare = PoolState(quorum_up=earlier.pools[key].quorum_up)
        assert desired([virtual], verdicts, None, {key: bare}) == step


@given(histories(), st.sampled_from([True, False]), st.sampled_from([None, 0, 7]))
def test_the_administrator_has_the_last_word(
    case: tuple[VirtualServer, list[dict[CheckKey, bool]]], up: bool, weight: int | None
) -> None:
    virtual, history = case
    assume(virtual.members)
    member, key = virtual.members[0], virtual.service.key
    overrides = {(key, member.server.key): Override(up=up, weight=weight)}
    for verdicts in history:
        pool = desired([virtual], verdicts, overrides).pools[key]
        living = {server.key: server.weight for server in pool.living}
        if up:
            assert living[member.server.key] == (member.server.weight if weight is None else weight)
        else:
            assert member.server.key not in living


@given(histories())
def test_transitions_tell_the_whole_difference(
    case: tuple[VirtualServer, list[dict[CheckKey, bool]]],
) -> None:
    """Applied to who was there before, the told changes give who is there after."""
    virtual, history = case
    key = virtual.service.key
    steps = run(virtual, history)
    for earlier, step in itertools.pairwise(steps):
        before, after = earlier.pools[key], step.pools[key]
        told = transitions(virtual, before, after)
        living = {server.key for server in before.living}
        quorum, sorry = before.quorum_up, before.sorry_server is not None
        for item in told:
            if item.change in (Change.REMOVED, Change.DISABLED):
                living -= {item.server} if item.server else set()
            elif item.change in (Change.ADDED, Change.ENABLED):
                living |= {item.server} if item.server else set()
            elif item.change in (Change.QUORUM_GAINED, Change.QUORUM_LOST):
                quorum = item.change is Change.QUORUM_GAINED
            elif item.change in (Change.SORRY_ADDED, Change.SORRY_REMOVED):
                sorry = item.change is Change.SORRY_ADDED
        assert living == {server.key for server in after.living}
        assert (quorum, sorry) == (after.quorum_up, after.sorry_server is not None)
        assert bool(told) == (before != after)


@given(histories())
def test_a_restart_finds_the_table_as_it_left_it(
    case: tuple[VirtualServer, list[dict[CheckKey, bool]]],
) -> None:
    drawn, history = case
    replace = msgspec.structs.replace
    virtual = replace(
        drawn,
        sorry_server=None,
        alpha=False,
        members=tuple(
            replace(
                member,
                alpha=False,
                checks=member.checks[:1] or (TcpCheck(connect_address=SORRY.key.address, connect_port=80),),
                server=replace(member.server, weight=member.server.weight + 1),
            )
            for member in drawn.members
        ),
    )
    for step in run(virtual, history):
        if entry_of(virtual, step).servers:
            verdicts = restore_verdicts([virtual], step.table)
            assert desired([virtual], verdicts).table == step.table


@given(virtual_servers())
def test_a_restart_over_an_empty_service_presumes_nothing(virtual: VirtualServer) -> None:
    table = desired([], {}).table
    assert restore_verdicts([virtual], table) == {}
    empty = type(table)((ServiceEntry(virtual.service),))
    assert restore_verdicts([virtual], empty) == {}


@given(virtual_servers(), st.integers(-(2**32), 2**32))
def test_what_a_check_measures_is_added_to_the_weight_within_bounds(
    virtual: VirtualServer, change: int
) -> None:
    up = {
        (virtual.service.key, member.server.key, check.identity): True
        for member in virtual.members
        for check in member.checks
    }
    first = {member.checks[0].identity for member in virtual.members if member.checks}
    changes = {key: change for key in up if key[2] in first}
    pool = desired([virtual], up, weight_changes=changes).pools[virtual.service.key]
    for member, living in zip(virtual.members, pool.living, strict=True):
        expected = member.server.weight + (change if member.checks else 0)
        assert living.weight == min(max(expected, 0), 2**31 - 1)
