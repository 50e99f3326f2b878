# SPDX-License-Identifier: Apache-2.0
"""The table after any sequence of events and kills is the one that a whole computation gives."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.desired import desired
from tests.support.unordered import unordered

from pointsman.control.client_messages import OverrideRequest
from pointsman.control.messages import CheckResult
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.interface import DataPlane
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.lvs.desired import CheckKey, PoolState
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
)
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceKey, ServiceTable, Transport, VirtualService

MOST_SERVICES, MOST_SERVERS = 4, 3
SORRY = RealServer(key=ServerKey(ip_address("192.0.2.250"), 80))


def service_key(number: int) -> ServiceKey:
    return ServiceKey.of(Transport.TCP, ip_address(f"198.51.100.{number + 1}"), 80)


def server_key(number: int) -> ServerKey:
    return ServerKey(ip_address(f"192.0.2.{number + 1}"), 80)


def tcp(number: int, port: int = 80) -> TcpCheck:
    return TcpCheck(connect_address=server_key(number).address, connect_port=port)


@st.composite
def virtual_servers(draw: st.DrawFn, number: int) -> VirtualServer:
    quorum = draw(st.integers(1, 4))
    members = tuple(
        PoolMember(
            server=RealServer(key=server_key(each), weight=draw(st.integers(0, 3))),
            checks=draw(st.sampled_from([(), (tcp(each),), (tcp(each, 81),), (tcp(each), tcp(each, 81))])),
            alpha=draw(st.booleans()),
            inhibit_on_failure=draw(st.booleans()),
        )
        for each in range(draw(st.integers(0, MOST_SERVERS)))
    )
    return VirtualServer(
        service=VirtualService(key=service_key(number), scheduler=draw(st.sampled_from(["rr", "wlc"]))),
        members=members,
        sorry_server=draw(st.sampled_from([None, SORRY])),
        quorum=quorum,
        hysteresis=draw(st.integers(0, quorum)),
    )


@st.composite
def configs(draw: st.DrawFn) -> Config:
    numbers = draw(st.lists(st.integers(0, MOST_SERVICES - 1), unique=True, max_size=MOST_SERVICES))
    return Config(router_id="lb", virtual_servers=tuple(draw(virtual_servers(each)) for each in numbers))


@st.composite
def by_hand(draw: st.DrawFn) -> Operation:
    key, number = service_key(draw(st.integers(0, MOST_SERVICES))), draw(st.integers(0, MOST_SERVERS))
    server = RealServer(key=server_key(number), weight=draw(st.integers(0, 3)))
    service = VirtualService(key=key, scheduler="sh")
    found: list[Operation] = [
        *(AddService(service), EditService(service), DeleteService(key), Flush()),
        *(AddServer(key, server), EditServer(key, server), DeleteServer(key, server.key)),
    ]
    return draw(st.sampled_from(found))


@st.composite
def results(draw: st.DrawFn) -> CheckResult:
    number = draw(st.integers(0, MOST_SERVERS - 1))
    return CheckResult(
        service_key(draw(st.integers(0, MOST_SERVICES - 1))),
        server_key(number),
        tcp(number, draw(st.sampled_from([80, 81]))).identity,
        draw(st.booleans()),
        "",
        weight_change=draw(st.sampled_from([0, 0, 2])),
    )


@st.composite
def overrides(draw: st.DrawFn) -> OverrideRequest:
    override = draw(st.sampled_from([None, Override(weight=0), Override(weight=9), Override(up=False)]))
    return OverrideRequest(
        server_key(draw(st.integers(0, MOST_SERVERS - 1))).address,
        override=override,
        seconds=draw(st.sampled_from([0.0, 5.0])),
    )


SYNC, KILL, LATER = "sync", "kill", "later"
events = st.lists(
    st.one_of(results(), results(), overrides(), by_hand(), configs(), st.sampled_from([SYNC, KILL, LATER])),
    max_size=12,
)


class Run:
    """A TableSync to which events happen, and what a whole computation is made from."""

    def __init__(self, config: Config, plane: DataPlane) -> None:
        self.config = config
        self.plane = plane
        self.now = 100.0
        self.table_sync = TableSync(config, plane, clock=lambda: self.now)
        self.sync()

    @classmethod
    def after(cls, config: Config, happening: list[object]) -> Run:
        """Return a run after these events, with its table in line."""
        run = cls(config, MemoryDataPlane())
        for event in happening:
            run.happen(event)
        run.sync()
        return run

    def sync(self) -> None:
        before = self.pools()
        self.table_sync.sync()
        pools = self.table_sync._pools
        checks: dict[CheckKey, CheckResult] = {}
        for virtual in self.config.virtual_servers:
            checks |= pools.results.of(virtual.service.key)
        wanted = desired(
            self.config.virtual_servers,
            {key: each.up for key, each in checks.items()},
            pools.overrides.active,
            before,
            {key: each.weight_change for key, each in checks.items() if each.weight_change},
        )
        assert self.pools() == wanted.pools
        table = self.plane.read()
        ours = {entry.service.key for entry in wanted.table}
        assert unordered(ServiceTable(tuple(e for e in table if e.service.key in ours))) == unordered(
            wanted.table
        )

    def pools(self) -> dict[ServiceKey, PoolState]:
        keys = (virtual.service.key for virtual in self.config.virtual_servers)
        return {key: pool for key in keys if (pool := self.table_sync._pools.pool(key)) is not None}

    def happen(self, event: object) -> None:
        match event:
            case CheckResult():
                self.table_sync.on_check_result(event)
            case OverrideRequest():
                self.table_sync.override(event, self.now)
            case Config():
                planned = self.table_sync.plan(event)
                before = self.plane.read()
                self.table_sync.reconfigure(event)
                self.config = event
                self.sync()
                assert bool(planned) is (unordered(before) != unordered(self.plane.read()))
            case "sync":
                self.sync()
            case "later":
                self.now += 5.0
                self.table_sync.expire_overrides(self.now)
            case "kill":
                self.kill()
            case _:
                self.table_sync.apply([event])  # type: ignore[list-item]

    def kill(self) -> None:
        """Start again from the state that was written after the last change of the table, and the table."""
        self.sync()
        kept, before, table = self.table_sync.state(), self.pools(), unordered(self.plane.read())
        self.table_sync = TableSync(self.config, self.plane, kept, clock=lambda: self.now)
        assert self.table_sync.sync() == []
        assert self.pools() == before
        assert unordered(self.plane.read()) == table


@settings(deadline=None)
@given(configs(), events)
def test_the_table_is_that_of_a_whole_computation(config: Config, happening: list[object]) -> None:
    """Each `sync` compares both."""
    Run.after(config, happening)


@settings(deadline=None)
@given(configs(), events)
def test_only_marked_services_are_changed(config: Config, happening: list[object]) -> None:
    """A second `sync` has nothing to do, and no service differs from what the last one wanted."""
    run = Run.after(config, happening)
    run.table_sync.changed.clear()
    assert run.table_sync.sync() == []
    assert run.table_sync.changed == set()
    assert not any(run.table_sync.differences(run.plane.read()))
