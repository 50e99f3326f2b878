# SPDX-License-Identifier: Apache-2.0
"""A check is what it checks: its results follow it, and nothing else, over reloads and restarts."""

from __future__ import annotations

import json
import logging
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from pointsman.control.client_messages import OverrideRequest
from pointsman.control.codec import ConfigDecoder, encode_config
from pointsman.control.messages import CheckResult
from pointsman.daemon.director.state_file import StateFile
from pointsman.daemon.director.table_sync import TableSync
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model import checks
from pointsman.model.checks import Check, FileCheck, MiscCheck, TcpCheck, without_location
from pointsman.model.config import Config
from pointsman.model.health import AnyCheck, PoolMember, VirtualServer
from pointsman.model.location import Location
from pointsman.model.override import Override
from pointsman.model.service import RealServer, ServerKey, ServiceKey, ServiceTable, Transport, VirtualService
from pointsman.model.tracking import Command, TrackFile

VIP = ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)
WEB = ServerKey(ip_address("192.0.2.20"), 80)
OTHER = ServerKey(ip_address("192.0.2.21"), 80)
DYNAMIC = MiscCheck(command=Command(("/usr/local/bin/load",)), dynamic=True)


def tcp(port: int) -> TcpCheck:
    return TcpCheck(connect_address=WEB.address, connect_port=port)


def config(*checks: AnyCheck, weight: int = 1) -> Config:
    """A service of two real servers; the first has these checks."""
    members = (
        PoolMember(server=RealServer(key=WEB, weight=weight), checks=checks),
        PoolMember(server=RealServer(key=OTHER)),
    )
    virtual = VirtualServer(service=VirtualService(key=VIP, scheduler="rr"), members=members)
    return Config(router_id="lb-01", virtual_servers=(virtual,))


def result(check: AnyCheck, up: bool, reason: str = "refused", weight: int | None = None) -> CheckResult:
    return CheckResult(service=VIP, server=WEB, check=check.identity, up=up, reason=reason, weight=weight)


class CountingPlane(MemoryDataPlane):
    """Counts how often its table is read."""

    reads = 0

    def read(self) -> ServiceTable:
        self.reads += 1
        return super().read()


@pytest.fixture
def plane() -> CountingPlane:
    return CountingPlane()


def weights(plane: MemoryDataPlane) -> dict[ServerKey, int]:
    return {server.key: server.weight for entry in plane.read() for server in entry.servers}


def reloaded(table_sync: TableSync, new: Config) -> None:
    table_sync.reconfigure(new)
    table_sync.sync()


def shown(table_sync: TableSync, plane: MemoryDataPlane) -> tuple[bool | None, str]:
    """Return the health of the first real server in the status."""
    (service,) = table_sync.describe(plane.read(), {}, 0.0)
    (server,) = [each for each in service.servers if each.server == str(WEB)]
    return server.up, server.reason


def test_an_identity_is_what_is_checked_and_not_where_it_is_written() -> None:
    placed = msgspec.structs.replace(tcp(80), location=Location("a.conf", 7, 1))
    assert placed.identity == tcp(80).identity
    assert tcp(81).identity != tcp(80).identity
    assert msgspec.structs.replace(tcp(80), retry=3).identity != tcp(80).identity


def test_an_identity_does_not_depend_on_where_the_tracked_file_is_written() -> None:
    """Else a comment above `track_file` would start its checks anew."""
    here, there = (
        FileCheck(file=TrackFile(name="load", path="/run/load", location=Location("a.conf", line, 1)))
        for line in (3, 4)
    )
    assert here.identity == there.identity
    assert without_location(here) == without_location(there)
    other = FileCheck(file=TrackFile(name="load", path="/run/other"))
    assert other.identity != here.identity


def test_an_identity_is_the_same_after_a_journey_between_processes() -> None:
    check = msgspec.structs.replace(DYNAMIC, timeout=3.0, delay_loop=0.5)
    sent = ConfigDecoder().decode(encode_config(config(check, tcp(80))))
    assert [each.identity for each in sent.virtual_servers[0].members[0].checks] == [
        check.identity,
        tcp(80).identity,
    ]


def test_a_removed_check_is_no_longer_shown_as_failing(plane: CountingPlane) -> None:
    table_sync = TableSync(config(tcp(80), tcp(81)), plane)
    table_sync.on_check_result(result(tcp(80), True, "connected"))
    table_sync.on_check_result(result(tcp(81), False))
    table_sync.sync()
    assert OTHER in weights(plane) and WEB not in weights(plane)
    assert shown(table_sync, plane) == (False, "refused")
    reloaded(table_sync, config(tcp(80)))
    assert weights(plane) == {WEB: 1, OTHER: 1}
    assert shown(table_sync, plane) == (True, "")


def test_a_late_verdict_about_a_former_check_counts_for_no_other(
    plane: CountingPlane, caplog: pytest.LogCaptureFixture
) -> None:
    table_sync = TableSync(config(tcp(80), tcp(81)), plane)
    table_sync.sync()
    reloaded(table_sync, config(tcp(81), tcp(99)))
    with caplog.at_level(logging.DEBUG, "director"):
        assert table_sync.on_check_result(result(tcp(80), False)) is None
    table_sync.sync()
    assert weights(plane) == {WEB: 1, OTHER: 1}
    assert shown(table_sync, plane) == (None, "")
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    table_sync.on_check_result(result(tcp(99), False))
    table_sync.sync()
    assert weights(plane) == {OTHER: 1}


def test_a_check_that_comes_back_has_to_run_first(plane: CountingPlane) -> None:
    table_sync = TableSync(config(tcp(80), tcp(81)), plane)
    table_sync.on_check_result(result(tcp(81), False))
    table_sync.sync()
    reloaded(table_sync, config(tcp(80)))
    reloaded(table_sync, config(tcp(80), tcp(81)))
    assert weights(plane) == {WEB: 1, OTHER: 1}


def test_a_result_follows_its_check_to_another_place_with_its_reason(plane: CountingPlane) -> None:
    table_sync = TableSync(config(tcp(80), tcp(81)), plane)
    table_sync.on_check_result(result(tcp(80), True, "connected"))
    table_sync.on_check_result(result(tcp(81), False, "port 81 refused"))
    table_sync.sync()
    reloaded(table_sync, config(tcp(81), tcp(80)))
    assert weights(plane) == {OTHER: 1}
    assert shown(table_sync, plane) == (False, "port 81 refused")


def test_a_changed_check_is_shown_with_what_its_server_is_treated_by(plane: CountingPlane) -> None:
    table_sync = TableSync(config(tcp(80)), plane)
    table_sync.on_check_result(result(tcp(80), False))
    table_sync.sync()
    reloaded(table_sync, config(tcp(81)))
    assert weights(plane) == {OTHER: 1}
    assert shown(table_sync, plane) == (False, "refused")


def test_a_restart_takes_over_results_of_checks_that_still_are_and_no_others(
    plane: CountingPlane, tmp_path: Path
) -> None:
    table_sync = TableSync(config(tcp(80), tcp(81)), plane)
    table_sync.on_check_result(result(tcp(80), False, "port 80 refused"))
    table_sync.sync()
    StateFile(tmp_path).write(table_sync.state(), {})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    moved = TableSync(config(tcp(81), tcp(80)), plane, remembered.table)
    moved.sync()
    assert shown(moved, plane) == (False, "port 80 refused")
    other = TableSync(config(tcp(90), tcp(81)), plane, remembered.table)
    other.sync()
    assert weights(plane) == {WEB: 1, OTHER: 1}
    assert shown(other, plane) == (None, "")


def test_words_by_hand_are_taken_over_from_a_version_that_numbered_the_checks(
    plane: CountingPlane, tmp_path: Path
) -> None:
    table_sync = TableSync(config(tcp(80)), plane)
    table_sync.on_check_result(result(tcp(80), False))
    table_sync.override(OverrideRequest(OTHER.address, override=Override(weight=0)), now=0.0)
    table_sync.sync()
    StateFile(tmp_path).write(table_sync.state(), {"VI_1": ("MASTER", 3.0)})
    file = tmp_path / "director.state"
    written = json.loads(file.read_bytes())
    written["keeper"]["results"][0]["check"] = 0
    file.write_text(json.dumps(written))
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    assert remembered.instances == {"VI_1": ("MASTER", 3.0)}
    later = TableSync(config(tcp(80)), plane, remembered.table)
    later.sync()
    assert weights(plane) == {OTHER: 0}, "drained by hand; and who was down is down until it is checked"
    del written["keeper"]["overrides"][0]["server"]
    file.write_text(json.dumps(written))
    assert StateFile(tmp_path).read() is None, "the rest has to be in order"


@pytest.mark.parametrize("asked", [0, 3])
def test_a_weight_that_a_program_asks_for_outlives_a_new_configured_weight(
    plane: CountingPlane, tmp_path: Path, asked: int
) -> None:
    table_sync = TableSync(config(DYNAMIC, weight=5), plane)
    table_sync.on_check_result(result(DYNAMIC, True, f"asks for weight {asked}", weight=asked))
    table_sync.sync()
    assert weights(plane)[WEB] == asked
    reloaded(table_sync, config(DYNAMIC, weight=10))
    assert weights(plane)[WEB] == asked
    StateFile(tmp_path).write(table_sync.state(), {})
    remembered = StateFile(tmp_path).read()
    assert remembered is not None
    TableSync(config(DYNAMIC, weight=20), plane, remembered.table).sync()
    assert weights(plane)[WEB] == asked
    table_sync.on_check_result(result(DYNAMIC, True, "exited with status 0"))
    table_sync.sync()
    assert weights(plane)[WEB] == 10


def test_one_service_is_read_for_its_check_result_and_not_the_table(plane: CountingPlane) -> None:
    table_sync = TableSync(config(tcp(80)), plane)
    table_sync.sync()
    table_sync.set_local_addresses(frozenset({WEB.address}), {})
    plane.reads = 0
    table_sync.on_check_result(result(tcp(80), False))
    table_sync.sync()
    assert plane.reads == 0
    assert weights(plane) == {OTHER: 1}


def test_a_reload_asks_little_for_each_check_that_stays(
    plane: CountingPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 10,000 checks, most of the time of a reload is that of identities."""
    many = [tcp(port) for port in range(80, 180)]
    table_sync = TableSync(config(*many), plane)
    for check in many:
        table_sync.on_check_result(result(check, True))
    table_sync.sync()
    digest, asked = checks._identity, []

    def counting(check: Check) -> str:
        asked.append(check)
        return digest(check)

    monkeypatch.setattr(checks, "_identity", counting)
    table_sync.reconfigure(config(*many))
    table_sync.sync()
    assert len(asked) <= 3 * len(many)
