# SPDX-License-Identifier: Apache-2.0
"""Reloads of the VRRP process on real interfaces: what they change, and all that they leave alone."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.model.tracking import SyncGroupSettings, Tracked, TrackKind
from pointsman.model.vrrp import VirtualAddress, VrrpInstance

pytestmark = pytest.mark.root

ANOTHER = VirtualAddress(address=ipaddress.ip_address("10.9.0.120"), prefix_length=24, device="eth0")
LOOPBACK = Tracked(kind=TrackKind.INTERFACE, name="lo", weight=5)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


class AddressLog:
    """Every address that is removed from a host."""

    def __init__(self, host: Host, directory: Path) -> None:
        self._log = directory / f"addresses-{host.name}"
        self._host = host
        self._process: subprocess.Popen[bytes] = host.start("ip", "-o", "monitor", "address", log=self._log)
        self._mark = 0
        self._see_a_mark()

    def _see_a_mark(self) -> None:
        """Wait until all that has happened so far is in the log."""
        self._mark += 1
        mark = f"127.0.1.{self._mark}"

        def shown() -> bool:
            self._host.ip(
                "addr", "replace", f"{mark}/8", "dev", "lo", "valid_lft", "900", "preferred_lft", "900"
            )
            return f"inet {mark}/" in self._log.read_text()

        until("the monitor has seen the mark", shown)

    def removed(self) -> list[str]:
        """Return the addresses that have been removed since the start."""
        self._see_a_mark()
        lines = self._log.read_text().splitlines()
        return [line.split()[4] for line in lines if line.startswith("Deleted")]


def masters(made: Switch, host: Host, *instances: VrrpInstance) -> Ours:
    process = Ours(host, made.directory, *instances)
    until("all are master", lambda: all(process.state(each.name) == "MASTER" for each in instances))
    return process


def test_a_reload_that_removes_an_instance_leaves_the_others_alone(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    all_three = [instance(number) for number in (1, 2, 3)]
    first = masters(made, a, *all_three)
    second = Ours(b, made.directory, *(msgspec.structs.replace(each, priority=100) for each in all_three))
    until("b is backup", lambda: all(second.state(each.name) == "BACKUP" for each in all_three))
    log, capture = AddressLog(a, made.directory), Capture(made, a)
    first.reload(all_three[0], all_three[2])
    until("b has the one that is removed", lambda: second.state("VI_2") == "MASTER")
    until("adverts go on", lambda: len(capture.adverts()) > 20)
    assert log.removed() == ["10.9.0.101/24"]
    assert [first.state("VI_1"), first.state("VI_3")] == ["MASTER"] * 2
    assert [second.state("VI_1"), second.state("VI_3")] == ["BACKUP"] * 2
    assert len(first.heard) == 7, "two of each at the start, and the one that has gone"


def test_a_master_stays_master_whatever_of_it_changes(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    process = masters(made, a, instance())
    backup = Ours(b, made.directory, instance(priority=100))
    until("b is backup", lambda: backup.state() == "BACKUP")
    log, capture = AddressLog(a, made.directory), Capture(made, a)
    vip = instance().addresses[0]
    steps: list[dict[str, Any]] = [
        {"priority": 150},
        {"nopreempt": True},
        {"addresses": (vip, ANOTHER)},
        {"excluded_addresses": (ANOTHER,)},
        {"tracked": (LOOPBACK,)},
        {"garp_master_refresh": 1.0},
        {"unicast_peers": (b.address,)},
        {},
    ]
    for number, changes in enumerate(steps, 1):
        process.reload(instance(**changes))
        until("it uses it", lambda count=number: text(process).count("using a changed") == count)  # type: ignore[misc]
        assert process.state() == "MASTER", changes
    count = len(capture.adverts())
    until("adverts go on", lambda: len(capture.adverts()) > count + 5)
    assert {report.state for report in process.heard} == {"BACKUP", "MASTER"}
    assert [report.state for report in process.heard].count("BACKUP") == 1
    assert "10.9.0.100/24" not in log.removed()
    assert a.addresses() == ["10.9.0.1/24", "10.9.0.100/24"]
    assert [report.state for report in backup.heard] == ["BACKUP"]


def test_a_reload_tells_a_group_nothing_that_it_knows(pair: tuple[Switch, Host, Host]) -> None:
    made, a, _ = pair
    one, two = instance(1), instance(2)
    process = masters(made, a, one, two)
    groups = (SyncGroupSettings(name="G", members=("VI_1", "VI_2")),)
    process.reload(one, two, groups=groups)
    until("the group is made", lambda: "(G) Entering MASTER" in text(process))
    process.reload(instance(1, priority=150), two, groups=groups)
    until("the change is in force", lambda: "using a changed configuration" in text(process))
    process.reload(instance(1, priority=150), groups=())
    until("the group is gone", lambda: "no longer in the configuration" in text(process))
    assert text(process).count("VRRP_Group(G)") == 1


def test_many_reloads_leave_nothing_open(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    other = instance(2, unicast_peers=(b.address,))
    process = masters(made, a, instance(), other)
    descriptors = Path(f"/proc/{process.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for number in range(20):
        process.reload(instance(unicast_peers=(b.address,)))
        process.reload(instance(), other)
        until("both are in force", lambda count=number: text(process).count("no longer") == count + 1)  # type: ignore[misc]
        until("the other works", lambda: process.state("VI_2") == "MASTER")
    assert len(list(descriptors.iterdir())) == before


def text(process: Ours) -> str:
    return process.log.read_text()


def test_an_address_moves_to_another_instance_and_identifiers_are_exchanged(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, _ = pair
    one, two = instance(1), instance(2)
    process = masters(made, a, one, two)
    both = msgspec.structs.replace(one, addresses=one.addresses + two.addresses)
    process.reload(both)
    until("the other is gone", lambda: "no longer in the configuration" in text(process))
    until("the address is there again", lambda: len(a.addresses()) == 3)
    process.reload(
        msgspec.structs.replace(one, virtual_router_id=2), msgspec.structs.replace(two, virtual_router_id=1)
    )
    until("both work", lambda: process.state("VI_1") == process.state("VI_2") == "MASTER")
    assert a.addresses() == ["10.9.0.1/24", "10.9.0.100/24", "10.9.0.101/24"]
    assert process.stop() == 0
    assert a.addresses() == ["10.9.0.1/24"]


@pytest.mark.parametrize("family", [4, 6])
def test_a_new_instance_lets_go_of_addresses_that_another_master_serves(
    pair: tuple[Switch, Host, Host], family: int
) -> None:
    """Somebody has put the address on the host before, without the mark of this program."""
    made, a, b = pair
    link_local = VirtualAddress(address=ipaddress.ip_address("fe80::100"), prefix_length=64, device="eth0")
    far = VirtualAddress(address=ipaddress.ip_address("fd00:9::99"), prefix_length=64, device="eth0")
    wanted = instance(2) if family == 4 else instance(2, addresses=(link_local, far))
    masters(made, b, wanted)
    process = masters(made, a, instance(1))
    for entry in wanted.addresses:
        a.ip("addr", "add", f"{entry.address}/{entry.prefix_length}", "dev", "eth0")
    process.reload(instance(1), msgspec.structs.replace(wanted, priority=100))
    until("it is backup", lambda: process.state("VI_2") == "BACKUP")
    until(
        "it holds nothing", lambda: not process.states["VI_2"].holds_addresses or process.state("VI_2") == ""
    )
    shown = a.ip("-o", "addr", "show", "dev", "eth0")
    assert not any(f" {entry.address}/" in shown for entry in wanted.addresses)
    assert process.state("VI_1") == "MASTER"
