# SPDX-License-Identifier: Apache-2.0
"""The director's part of a reload on the memory data plane: plan, adoption, config_history, who is told."""

from __future__ import annotations

import contextlib
import logging
import socket
from ipaddress import ip_address

import pytest

from pointsman.conf.load import load_text
from pointsman.control.codec import ConfigDecoder, encode_config
from pointsman.control.messages import CheckResult, NewConfiguration, vrrp_order_decoder
from pointsman.daemon.director.reload import CannotReloadError, Planned, Reload
from pointsman.daemon.director.table_sync import TableSync
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.config_history import MAX_KEPT, ConfigHistory, for_vrrp
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.diff import describe_changes
from pointsman.model.service import ServerKey

TEXT = """
vrrp_instance A {
    interface eth0
    virtual_router_id 5
    priority 100
    authentication {
        auth_type PASS
        auth_pass secret
    }
    virtual_ipaddress {
        10.0.0.1/24
    }
}
virtual_server 10.0.0.1 80 {
    lvs_method DR
    lvs_sched rr
    protocol TCP
    real_server 10.0.0.20 80 {
        TCP_CHECK {
            connect_port 80
        }
    }
    real_server 10.0.0.21 80 {
        TCP_CHECK {
            connect_port 80
        }
    }
}
"""
WEB = [ServerKey(ip_address(f"10.0.0.{last}"), 80) for last in (20, 21)]


def config(*replaced: tuple[str, str]) -> Config:
    text = TEXT
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return load_text(text).config


def decoded(wanted: Config) -> Config:
    """Return a configuration as a process receives it: without the places of its virtual servers."""
    return ConfigDecoder().decode(encode_config(wanted))


class Desk:
    """A reloader with everything around it."""

    def __init__(self) -> None:
        self.config_history = ConfigHistory(config())
        self.plane = MemoryDataPlane()
        self.table_sync = TableSync(config(), self.plane)
        self.table_sync.sync()
        self.reloader = Reload(self.config_history, self.table_sync, self.plane, self.survey)
        self.missing = ""

    def survey(self, wanted: Config) -> list[str]:
        if self.missing:
            raise CannotReloadError(self.missing)
        return [instance.interface for instance in wanted.instances]

    def plan(self, wanted: Config | None, force: bool = False) -> Planned:
        return self.reloader.plan(None if wanted is None else encode_config(wanted), force)

    def take(self, wanted: Config | None) -> tuple[str, ...]:
        planned = self.plan(wanted)
        self.reloader.apply(planned)
        self.table_sync.sync()
        return planned.steps

    def check(self, port: int) -> str:
        """Return the identity of the first real server's check of this port."""
        (virtual,) = self.config_history.current.virtual_servers
        checks = (each for each in virtual.members[0].checks if isinstance(each, TcpCheck))
        return next(each.identity for each in checks if each.connect_port == port)

    def weights(self) -> dict[ServerKey, int]:
        return {server.key: server.weight for entry in self.plane.read() for server in entry.servers}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_same_file_changes_nothing(desk: Desk) -> None:
    assert desk.take(load_text("\n\n" + TEXT).config) == ()


def test_a_plan_does_nothing_by_itself(desk: Desk) -> None:
    wanted = config(("real_server 10.0.0.21 80 {", "real_server 10.0.0.21 80 {\nweight 9"))
    assert desk.plan(wanted).steps == ("server 10.0.0.21:80 of TCP 10.0.0.1:80: weight 1 -> 9",)
    assert desk.weights() == {WEB[0]: 1, WEB[1]: 1}


def test_a_service_that_is_gone_leaves_the_table_and_a_rollback_brings_it_back(desk: Desk) -> None:
    without = TEXT[: TEXT.index("virtual_server")]
    assert "delete service TCP 10.0.0.1:80" in desk.take(load_text(without).config)
    assert desk.weights() == {}
    assert "add service TCP 10.0.0.1:80 rr" in desk.take(None)
    assert desk.weights() == {WEB[0]: 1, WEB[1]: 1}
    with pytest.raises(CannotReloadError, match="no previous configuration"):
        desk.plan(None)


@pytest.mark.parametrize(
    "change", [("connect_port 80", "connect_port 81"), ("lvs_sched rr", "lvs_sched wrr")]
)
def test_a_server_that_is_down_stays_down_whether_its_check_changes_or_not(
    desk: Desk, change: tuple[str, str]
) -> None:
    key = next(iter(desk.plane.read())).service.key
    desk.table_sync.on_check_result(CheckResult(key, WEB[0], desk.check(80), up=False, reason="refused"))
    desk.table_sync.sync()
    desk.take(config(change))
    assert desk.weights() == {WEB[1]: 1}


def test_a_verdict_follows_its_check_to_another_place(desk: Desk) -> None:
    key = next(iter(desk.plane.read())).service.key
    desk.table_sync.on_check_result(CheckResult(key, WEB[0], desk.check(80), up=False, reason="refused"))
    more = "real_server 10.0.0.20 80 {\n TCP_CHECK {\nconnect_port 99\n}"
    desk.take(config(("real_server 10.0.0.20 80 {", more)))
    assert desk.weights() == {WEB[1]: 1}
    desk.table_sync.on_check_result(CheckResult(key, WEB[0], desk.check(80), up=True, reason=""))
    desk.table_sync.sync()
    assert desk.weights() == {WEB[0]: 1, WEB[1]: 1}


def test_the_plan_says_what_of_a_service_changes(desk: Desk) -> None:
    wanted = config(("lvs_sched rr", "lvs_sched wlc\n persistence_timeout 50"))
    assert desk.plan(wanted).steps == (
        "service TCP 10.0.0.1:80: scheduler rr -> wlc, persistence none -> 50",
    )


def test_a_configuration_without_anything_is_not_taken_by_mistake(desk: Desk) -> None:
    empty = load_text("global_defs {\n}\n").config
    with pytest.raises(CannotReloadError, match="pointsman reload --force"):
        desk.plan(empty)
    assert desk.plan(empty, force=True).steps
    desk.config_history.push(empty)
    assert desk.plan(empty) is not None


def test_the_file_in_force_is_named_also_after_a_rollback(desk: Desk) -> None:
    def file() -> object:
        return desk.reloader.describe(0.0, None, None).file

    assert file() is None
    desk.reloader.apply(desk.plan(config(("priority 100", "priority 101"))), "/etc/other.conf")
    assert file() == "/etc/other.conf"
    desk.take(config(("priority 100", "priority 102")))
    assert file() == "/etc/other.conf"
    desk.take(None)
    desk.take(None)
    assert file() is None


def test_what_this_host_cannot_run_changes_nothing(desk: Desk) -> None:
    desk.missing = "no such interface: eth9"
    with pytest.raises(CannotReloadError, match="no such interface"):
        desk.plan(config(("priority 100", "priority 101")))
    assert desk.config_history.number == 1


def test_every_process_is_told_its_part_even_when_it_is_busy(desk: Desk) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.setblocking(False)
    there.setblocking(False)
    desk.reloader.receivers = [(here, lambda config: config)]
    filled = 0
    try:
        while True:
            here.send(b"x" * 1000)
            filled += 1
    except BlockingIOError:
        pass
    wanted = config(("priority 100", "priority 101"))
    desk.take(wanted)
    for _ in range(filled):
        there.recv(65536)
    desk.reloader.send_pending()
    inbox = Inbox(there, vrrp_order_decoder, "director", logging.getLogger("test"))
    assert inbox.receive() == NewConfiguration(rollback=False, serial=2, config=decoded(wanted))
    here.close()
    there.close()


def test_a_process_does_not_go_through_configurations_before_the_one_that_it_began_with(desk: Desk) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        desk.reloader.receivers = [(here, lambda config: config)]
        second, third = (config(("priority 100", f"priority {number}")) for number in (101, 102))
        desk.take(second)
        desk.take(None)
        began_with = desk.config_history.serial
        desk.take(third)
        inbox = Inbox(there, vrrp_order_decoder, "director", logging.getLogger("test"), began_with)
        received = inbox.receive()
        assert isinstance(received, NewConfiguration) and received.config == decoded(third)
        assert inbox.receive() is None


def test_a_process_is_told_only_what_changes_its_part(desk: Desk) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        desk.reloader.receivers = [(here, for_vrrp)]
        inbox = Inbox(there, vrrp_order_decoder, "director", logging.getLogger("test"))
        desk.take(config(("lvs_sched rr", "lvs_sched wlc")))
        assert inbox.receive() is None
        desk.take(config(("priority 100", "priority 101")))
        received = inbox.receive()
        assert isinstance(received, NewConfiguration) and received.serial == 3


def test_a_reload_keeps_the_objects_of_what_it_does_not_change(desk: Desk) -> None:
    before = desk.config_history.current
    desk.take(config(("priority 100", "priority 101")))
    after = desk.config_history.current
    assert after != before and after.virtual_servers[0] is before.virtual_servers[0]


def test_what_belongs_to_a_configuration_waits_with_it(desk: Desk) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        here.setblocking(False)
        desk.reloader.receivers = [(here, lambda config: config)]
        with contextlib.suppress(BlockingIOError):
            while True:
                here.send(b"x" * 1000)
        assert not desk.reloader.is_pending(here)
        desk.take(config(("priority 100", "priority 101")))
        assert desk.reloader.is_pending(here)


def test_changes_in_words() -> None:
    after = config(
        ("priority 100", "priority 150"),
        ("auth_pass secret", "auth_pass other"),
        ("10.0.0.1/24", "10.0.0.1/25"),
    )
    (said,) = describe_changes(config(), after)
    assert said.startswith("change instance A in place: ") and "priority 100 -> 150" in said
    assert "secret" not in said and "other" not in said


ROUTED = """
vrrp_instance A {
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        10.0.0.1/24
        10.0.0.2/24
    }
    virtual_routes {
        10.77.0.0/16 via 10.0.0.254 dev eth0
    }
    virtual_rules {
        from 10.77.0.0/16 table 100 preference 99
    }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("10.0.0.1/24", "10.0.0.1/32", "addresses 10.0.0.1 (prefix_length 24 -> 32)"),
        ("10.0.0.1/24", "10.0.0.3/24", "addresses - 10.0.0.1, + 10.0.0.3"),
        (".254 dev eth0", ".253 dev eth0", "routes 10.77.0.0/16 (gateway 10.0.0.254 -> 10.0.0.253)"),
        ("10.77.0.0/16 via", "10.78.0.0/16 via", "routes - 10.77.0.0/16, + 10.78.0.0/16"),
        ("dev eth0\n", "dev eth0 src 10.0.0.1\n", "routes 10.77.0.0/16 (source nothing -> 10.0.0.1)"),
        ("table 100", "table 101", "rules rule 99 (table 100 -> 101)"),
    ],
)
def test_a_change_of_a_member_is_told_in_words(old: str, new: str, said: str) -> None:
    before, after = (load_text(text, "f").config for text in (ROUTED, ROUTED.replace(old, new)))
    assert describe_changes(before, after) == [f"change instance A in place: {said}"]


def test_generations_are_bounded_and_numbered() -> None:
    config_history = ConfigHistory(config())
    for number in range(30):
        config_history.push(config(("priority 100", f"priority {number + 1}")))
    assert config_history.number == 31
    backs = 0
    while config_history.previous is not None:
        config_history.roll_back()
        backs += 1
    assert backs == MAX_KEPT - 1 and config_history.number == 31 - backs
