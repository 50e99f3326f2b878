# SPDX-License-Identifier: Apache-2.0
"""The words for what happens to a pool; that they are complete is a property test."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
from tests.support.desired import desired

from pointsman.lvs.desired import PoolState
from pointsman.lvs.transitions import Change, notify_command, transitions
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.tracking import Command

KEY = ServiceKey.of(Transport.TCP, ip_address("192.168.100.9"), 80)
ONE, TWO = (RealServer(key=ServerKey(ip_address(f"192.168.100.2{number}"), 80)) for number in (0, 1))
VIRTUAL = VirtualServer(
    service=VirtualService(key=KEY), members=(PoolMember(server=ONE), PoolMember(server=TWO))
)
BOTH = PoolState(quorum_up=True, living=(ONE, TWO))


def texts(before: PoolState | None, after: PoolState) -> list[str]:
    return [item.text for item in transitions(VIRTUAL, before, after)]


def test_a_drained_real_server_changes_its_weight() -> None:
    after = desired([VIRTUAL], {}, {(KEY, ONE.key): Override(weight=0)}, {KEY: BOTH}).pools[KEY]
    (told,) = transitions(VIRTUAL, BOTH, after)
    assert (told.change, told.server) == (Change.WEIGHT, ONE.key)
    assert told.text == (
        "Changing weight from 1 to 0 for active service [192.168.100.20]:tcp:80 of VS [192.168.100.9]:tcp:80"
    )


def test_the_last_one_drained_loses_the_quorum() -> None:
    overrides = {(KEY, server.key): Override(weight=0) for server in (ONE, TWO)}
    after = desired([VIRTUAL], {}, overrides, {KEY: BOTH}).pools[KEY]
    assert texts(BOTH, after)[-1] == "Lost quorum 1-0=1 > 0 for VS [192.168.100.9]:tcp:80"


def test_inhibited_ones_are_disabled_and_enabled() -> None:
    kept = PoolState(quorum_up=True, living=(TWO,), inhibited=(msgspec.structs.replace(ONE, weight=0),))
    name = "[192.168.100.20]:tcp:80 of VS [192.168.100.9]:tcp:80"
    assert texts(BOTH, kept) == [f"Disabling service {name}"]
    assert texts(kept, BOTH) == [f"Enabling service {name}"]


def test_a_new_service_tells_its_quorum_and_nothing_else() -> None:
    assert texts(None, BOTH) == ["Gained quorum 1+0=1 <= 2 for VS [192.168.100.9]:tcp:80"]
    assert texts(None, PoolState(quorum_up=False)) == []


def test_nothing_changed_is_nothing_told() -> None:
    assert texts(BOTH, BOTH) == []


def test_programs_that_transitions_ask_for() -> None:
    up, down, gained, lost = (Command((f"/bin/{name}",)) for name in ("up", "down", "gained", "lost"))
    server = RealServer(key=ServerKey(ip_address("192.0.2.20"), 80))
    member = PoolMember(server=server, notify_up=up, notify_down=down)
    virtual = VirtualServer(
        service=VirtualService(key=ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)),
        members=(member,),
        quorum_up_command=gained,
        quorum_down_command=lost,
    )
    alive = PoolState(quorum_up=True, living=(member.server,))
    dead = PoolState(quorum_up=False)
    inhibited = PoolState(quorum_up=False, inhibited=(member.server,))

    def asked(before: PoolState | None, after: PoolState) -> list[Command | None]:
        changes = transitions(virtual, before, after)
        return [notify_command(virtual, member if each.server else None, each) for each in changes]

    assert asked(alive, dead) == [down, lost]
    assert asked(dead, alive) == [up, gained]
    assert asked(alive, inhibited) == [down, lost]
    assert asked(inhibited, alive) == [up, gained]
    assert asked(None, alive) == [gained]
    assert asked(alive, alive) == []
