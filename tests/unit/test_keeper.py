"""The keeper on the memory data plane: verdicts, an administrator's hand, refusals, a restart."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest

from pointsman.daemon.keeper import Keeper, foreign_services
from pointsman.daemon.messages import CheckResult
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.operations import AddServer, AddService, EditServer, Operation, Refusal
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

VIP = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 80)
WEB = [ServerKey(ipaddress.ip_address(f"192.168.100.{last}"), 80) for last in (20, 21)]
HAND = ServiceKey.of(Transport.TCP, ipaddress.ip_address("192.168.100.9"), 8000)


def config(**options: object) -> Config:
    members = tuple(
        PoolMember(
            server=RealServer(key=key),
            checks=(TcpCheck(connect_address=key.address, connect_port=80),),
        )
        for key in WEB
    )
    virtual = VirtualServer(service=VirtualService(key=VIP, scheduler="rr"), members=members, **options)  # type: ignore[arg-type]
    return Config(router_id="lb-01", virtual_servers=(virtual,))


def verdict(server: ServerKey, up: bool) -> CheckResult:
    return CheckResult(service=VIP, server=server, check=0, up=up, reason="" if up else "connection refused")


def weights(plane: MemoryDataPlane, key: ServiceKey = VIP) -> dict[ServerKey, int]:
    entry = plane.read().get(key)
    assert entry is not None
    return {server.key: server.weight for server in entry.servers}


@pytest.fixture
def plane() -> MemoryDataPlane:
    return MemoryDataPlane()


def test_a_start_puts_the_configured_table_in_force(plane: MemoryDataPlane) -> None:
    Keeper(config(), plane).settle()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}


def test_a_dead_server_leaves_and_comes_back_with_one_mail_each(plane: MemoryDataPlane) -> None:
    keeper = Keeper(config(), plane)
    keeper.settle()
    assert keeper.take(verdict(WEB[0], True)) is None
    down = keeper.take(verdict(WEB[0], False))
    keeper.settle()
    assert weights(plane) == {WEB[1]: 1}
    up = keeper.take(verdict(WEB[0], True))
    keeper.settle()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}
    assert down is not None and up is not None
    assert [down.subject[-4:], up.subject[-4:]] == ["DOWN", "- UP"]
    assert "connection refused" in down.body


def test_services_put_in_by_hand_stay_until_their_owner_takes_them(plane: MemoryDataPlane) -> None:
    plane.apply([AddService(VirtualService(key=HAND))])
    keeper = Keeper(config(), plane)
    keeper.settle()
    assert foreign_services(plane, keeper.managed)
    keeper.withdraw()
    assert [entry.service.key for entry in plane.read()] == [HAND]


def test_a_weight_given_by_hand_outlives_health_events(plane: MemoryDataPlane) -> None:
    keeper = Keeper(config(), plane)
    keeper.settle()
    assert keeper.apply([EditServer(VIP, RealServer(key=WEB[0], weight=0))]) == []
    keeper.take(verdict(WEB[1], False))
    keeper.settle()
    assert weights(plane) == {WEB[0]: 0}


def test_a_server_added_by_hand_to_a_configured_service_lasts_until_the_next_event(
    plane: MemoryDataPlane,
) -> None:
    keeper = Keeper(config(), plane)
    keeper.settle()
    extra = ServerKey(ipaddress.ip_address("192.168.100.22"), 80)
    keeper.apply([AddServer(VIP, RealServer(key=extra))])
    assert extra in weights(plane)
    keeper.settle()
    assert extra not in weights(plane)


def test_a_restarted_director_does_not_bring_a_dead_server_back(plane: MemoryDataPlane) -> None:
    keeper = Keeper(config(), plane)
    keeper.settle()
    keeper.take(verdict(WEB[0], False))
    keeper.settle()
    again = Keeper(config(), plane)
    again.settle()
    assert weights(plane) == {WEB[1]: 1}
    again.take(verdict(WEB[0], True))
    again.settle()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}


class Reluctant(MemoryDataPlane):
    """Refuses every operation until told otherwise."""

    reluctant = True

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        if self.reluctant:
            return [Refusal(operation, "full", "no room") for operation in operations]
        return super().apply(operations)


def test_what_was_refused_is_done_by_the_next_settle() -> None:
    plane = Reluctant()
    keeper = Keeper(config(), plane)
    keeper.settle()
    assert len(keeper.refusals) == 3 and len(plane.read()) == 0
    plane.reluctant = False
    keeper.settle()
    assert not keeper.refusals
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}
