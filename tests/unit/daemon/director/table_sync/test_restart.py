# SPDX-License-Identifier: Apache-2.0
"""A director that starts after a crash or a stop: what it restores, and what it mails."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
from tests.unit.daemon.director.table_sync.web_service import (
    HAND,
    WEB,
    by_hand,
    config,
    verdict,
    weights,
)

from pointsman.daemon.director.state_file import NAME, StateFile
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.config import Config
from pointsman.model.operations import AddService
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, VirtualService


def test_a_restarted_director_does_not_bring_a_dead_server_back(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    again = TableSync(config(), plane)
    again.sync()
    assert weights(plane) == {WEB[1]: 1}
    again.on_check_result(verdict(WEB[0], True))
    again.sync()
    assert weights(plane) == {WEB[0]: 1, WEB[1]: 1}


def test_a_restart_between_the_thresholds_of_the_hysteresis_keeps_the_pool(plane: MemoryDataPlane) -> None:
    sorry = RealServer(key=ServerKey(ipaddress.ip_address("192.168.100.99"), 80))
    made = config(quorum=2, hysteresis=1, sorry_server=sorry)
    (virtual,) = made.virtual_servers
    heavy = tuple(
        msgspec.structs.replace(member, server=RealServer(key=member.server.key, weight=2))
        for member in virtual.members
    )
    made = msgspec.structs.replace(made, virtual_servers=(msgspec.structs.replace(virtual, members=heavy),))
    table_sync = TableSync(made, plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    assert weights(plane) == {WEB[1]: 2}
    TableSync(made, plane).sync()
    assert weights(plane) == {WEB[1]: 2}


def test_a_lost_quorum_stays_lost_over_a_restart(plane: MemoryDataPlane) -> None:
    sorry = RealServer(key=ServerKey(ipaddress.ip_address("192.168.100.99"), 80))
    made = config(quorum=1, hysteresis=1, sorry_server=sorry)
    table_sync = TableSync(made, plane)
    table_sync.sync()
    for server in WEB:
        table_sync.on_check_result(verdict(server, False))
    table_sync.sync()
    again = TableSync(made, plane)
    again.on_check_result(verdict(WEB[0], True))
    again.sync()
    assert weights(plane) == {sorry.key: 1}


def again(table_sync: TableSync, plane: MemoryDataPlane, tmp_path: Path, made: Config) -> TableSync:
    """Return the TableSync of a director that starts after a crash."""
    StateFile(tmp_path).write(table_sync.state(), {})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    return TableSync(made, plane, remembered.table)


def test_a_restart_keeps_what_was_said_by_hand(plane: MemoryDataPlane, tmp_path: Path) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    table_sync.override(by_hand(WEB[0], Override(weight=0)), now=100.0)
    table_sync.override(by_hand(WEB[1], Override(weight=7), seconds=5.0), now=100.0)
    table_sync.sync()
    after = again(table_sync, plane, tmp_path, config())
    after.sync()
    assert weights(plane) == {WEB[0]: 0, WEB[1]: 7}
    assert not after.expire_overrides(104.0) and after.expire_overrides(105.0)
    after.sync()
    assert weights(plane) == {WEB[0]: 0, WEB[1]: 1}


def test_a_stop_keeps_words_by_hand_and_failed_servers_and_announces_again(
    plane: MemoryDataPlane, tmp_path: Path
) -> None:
    made = config(smtp_alert=True, quorum=1)
    table_sync = TableSync(made, plane)
    table_sync.sync()
    table_sync.on_check_result(verdict(WEB[1], False))
    table_sync.override(by_hand(WEB[0], Override(weight=7)), now=100.0)
    table_sync.sync()
    stopped = msgspec.structs.replace(table_sync.state(), stopped=True)
    StateFile(tmp_path).write(stopped, {})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    after = TableSync(made, plane, remembered.table)
    assert [alert.subject[-4:] for alert in after.sync()] == ["- UP"], "the quorum, as at a first start"
    assert weights(plane) == {WEB[0]: 7}
    assert after.on_check_result(verdict(WEB[1], False)) is None, "it was down before"


def test_services_of_a_stopped_director_leave_if_they_are_not_configured(plane: MemoryDataPlane) -> None:
    table_sync = TableSync(config(), plane)
    table_sync.sync()
    plane.apply([AddService(VirtualService(key=HAND))])
    plane.unattended.keep(table_sync.managed, 900)
    after = TableSync(Config(router_id="lb"), plane)
    after.sync()
    assert [entry.service.key for entry in plane.read()] == [HAND]


def test_a_restart_mails_what_has_changed_meanwhile_and_nothing_else(
    plane: MemoryDataPlane, tmp_path: Path
) -> None:
    made = config(smtp_alert=True, alpha=True)
    table_sync = TableSync(made, plane)
    for server in WEB:
        table_sync.on_check_result(verdict(server, True))
    assert [alert.subject[-4:] for alert in table_sync.sync()] == ["- UP"]
    table_sync.on_check_result(verdict(WEB[0], False))
    table_sync.sync()
    after = again(table_sync, plane, tmp_path, made)
    assert after.sync() == []
    assert [after.on_check_result(verdict(server, server is WEB[1])) for server in WEB] == [None, None]
    assert after.sync() == []
    down = after.on_check_result(verdict(WEB[1], False))
    assert down is not None and down.subject.endswith("DOWN")
    assert [alert.subject[-4:] for alert in after.sync()] == ["DOWN"]
    assert weights(plane) == {}


def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, plane: MemoryDataPlane) -> None:
    file = StateFile(tmp_path)
    assert file.read() is None
    file.write(TableSync(config(), plane).state(), {"A": ("MASTER", 1.5)})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None and remembered.instances == {"A": ("MASTER", 1.5)}
    (tmp_path / NAME).write_bytes(b'{"boot": 7')
    assert StateFile(tmp_path).read() is None
    (tmp_path / NAME).write_bytes(b'{"boot": "another"}')
    assert StateFile(tmp_path).read() is None
    file.forget()
    assert list(tmp_path.iterdir()) == []
