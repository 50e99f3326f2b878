# SPDX-License-Identifier: Apache-2.0
"""Defaults and inheritance, as keepalived resolves them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.model.checks import MiscCheck, TcpCheck, without_location
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import Transport
from pointsman.model.tracking import Command
from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState


def instance(lines: str = "", global_defs: str = "") -> VrrpInstance:
    """The instance with these lines."""
    text = f"""global_defs {{\n{global_defs}\n}}
vrrp_instance A {{\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {{\n10.0.0.1\n}}\n{lines}\n}}"""
    return load_text(text).config.instances[0]


def service(lines: str = "", member: str = "", check: str = "", global_defs: str = "") -> VirtualServer:
    """The virtual server with these lines in its blocks."""
    text = f"""global_defs {{\n{global_defs}\n}}
virtual_server 10.0.0.1 80 {{\nlvs_method DR\n{lines}
real_server 10.0.0.2 80 {{\n{member}\nTCP_CHECK {{\n{check}\n}}\n}}\n}}"""
    return load_text(text).config.virtual_servers[0]


@pytest.mark.parametrize("written", ["TCP", "UDP", "SCTP", "sctp"])
def test_transports(written: str) -> None:
    assert service(f"protocol {written}").service.key.transport is Transport[written.upper()]


def member(*args: str, **lines: str) -> PoolMember:
    return service(*args, **lines).members[0]


def tcp_check(*args: str, **lines: str) -> TcpCheck:
    (check,) = member(*args, **lines).checks
    assert isinstance(check, TcpCheck)
    return check


def test_instance_defaults() -> None:
    made = instance()
    assert (made.initial_state, made.priority, made.version) == (VrrpState.BACKUP, 100, 2)
    assert (made.advert_interval, made.preempt_delay, made.nopreempt) == (1.0, 0.0, False)
    assert (made.garp_master_delay, made.garp_master_repeat) == (5.0, 5)
    assert (made.garp_master_refresh, made.garp_master_refresh_repeat) == (0.0, 1)
    assert made.addresses == (
        VirtualAddress(address=IPv4Address("10.0.0.1"), prefix_length=32, device="eth0"),
    )
    assert (made.unicast_peers, made.authentication, made.smtp_alert) == ((), None, False)


@pytest.mark.parametrize(
    ("lines", "state", "priority"),
    [
        ("state MASTER", VrrpState.MASTER, 255),
        ("state MASTER\npriority 7", VrrpState.MASTER, 7),
        ("state BACKUP", VrrpState.BACKUP, 100),
        ("priority 255", VrrpState.MASTER, 255),
        ("priority 254", VrrpState.BACKUP, 254),
        ("state BACKUP\npriority 255", VrrpState.BACKUP, 255),
    ],
)
def test_state_and_priority(lines: str, state: VrrpState, priority: int) -> None:
    made = instance(lines)
    assert (made.initial_state, made.priority) == (state, priority)


def test_global_defaults_of_instances_and_their_own_values() -> None:
    defaults = (
        "vrrp_version 3\nvrrp_garp_master_delay 2\nvrrp_garp_master_repeat 3\nvrrp_garp_master_refresh 4"
    )
    made = instance("", defaults)
    assert (made.version, made.garp_master_delay) == (3, 2.0)
    assert (made.garp_master_repeat, made.garp_master_refresh) == (3, 4.0)
    made = instance("version 2\ngarp_master_delay 7\ngarp_master_repeat 8\ngarp_master_refresh 9", defaults)
    assert (made.version, made.garp_master_delay) == (2, 7.0)
    assert (made.garp_master_repeat, made.garp_master_refresh) == (8, 9.0)


def test_options_of_virtual_addresses() -> None:
    (first, second) = instance(
        "virtual_ipaddress {\n10.0.0.9/24 brd + dev eth1 scope link label eth1:vip\n}"
    ).addresses
    assert first.prefix_length == 32
    assert second == VirtualAddress(
        address=IPv4Address("10.0.0.9"),
        prefix_length=24,
        device="eth1",
        broadcast=IPv4Address("10.0.0.255"),
        scope="link",
        label="eth1:vip",
    )


def test_service_defaults() -> None:
    made = service()
    assert made.service.key.transport is Transport.UDP
    assert (made.service.scheduler, made.service.persistence, made.service.one_packet) == ("wlc", None, False)
    assert (made.quorum, made.hysteresis, made.alpha, made.omega, made.smtp_alert) == (
        1,
        0,
        False,
        False,
        False,
    )
    assert (made.members[0].server.weight, made.members[0].smtp_alert) == (1, True)


def test_preemption() -> None:
    made = instance("nopreempt")
    assert (made.nopreempt, made.preempt_delay) == (True, 0.0)
    made = instance("preempt_delay 2.5")
    assert (made.nopreempt, made.preempt_delay) == (False, 2.5)
    made = instance("nopreempt\npreempt_delay 2.5")
    assert (made.nopreempt, made.preempt_delay) == (True, 0.0)
    made = instance("state MASTER\npriority 9\nnopreempt\npreempt_delay 2.5")
    assert (made.nopreempt, made.preempt_delay) == (False, 0.0)
    assert instance("state BACKUP\npriority 255\nnopreempt").nopreempt is False


def test_persistence_without_a_value_is_six_minutes() -> None:
    assert service("persistence_timeout").service.persistence == 360


@pytest.mark.parametrize("text", ["24", "255.255.255.0"])
def test_granularity(text: str) -> None:
    assert service(f"persistence_timeout 5\npersistence_granularity {text}").service.persistence_prefix == 24


def test_a_granularity_of_0_makes_all_clients_one() -> None:
    assert service("persistence_timeout 5\npersistence_granularity 0").service.persistence_prefix == 0


def test_check_defaults() -> None:
    made = tcp_check()
    assert (made.connect_address, made.connect_port) == (IPv4Address("10.0.0.2"), 80)
    assert (made.delay_loop, made.warmup, made.connect_timeout) == (60.0, 60.0, 5.0)
    assert (made.retry, made.delay_before_retry) == (1, 1.0)


@pytest.mark.parametrize("word", ["delay_loop", "warmup", "connect_timeout", "delay_before_retry", "retry"])
def test_inheritance(word: str) -> None:
    service_line, member_line, check_line = (f"{word} {value}" for value in (7, 8, 9))
    assert getattr(tcp_check(service_line), word) == 7
    assert getattr(tcp_check(service_line, member_line), word) == 8
    assert getattr(tcp_check(service_line, member_line, check_line), word) == 9


def test_warmup_follows_delay_loop() -> None:
    assert tcp_check("delay_loop 6").warmup == 6.0
    assert tcp_check("delay_loop 6", "warmup 2").warmup == 2.0


def test_weight_alpha_and_inhibit_are_inherited() -> None:
    made = member("weight 5\nalpha\ninhibit_on_failure")
    assert (made.server.weight, made.alpha, made.inhibit_on_failure) == (5, True, True)
    made = member("weight 5\nalpha\ninhibit_on_failure", "weight 0\nalpha no\ninhibit_on_failure off")
    assert (made.server.weight, made.alpha, made.inhibit_on_failure) == (0, False, False)


def test_nb_get_retry_is_retry_and_yields_to_it() -> None:
    assert tcp_check(check="nb_get_retry 3").retry == 3
    assert tcp_check("retry 9", check="nb_get_retry 3").retry == 3
    assert tcp_check(check="nb_get_retry 3\nretry 4").retry == 4


def test_direct_routing_forces_the_port_of_packets_and_not_that_of_checks() -> None:
    text = "virtual_server 10.0.0.1 80 {\nlvs_method DR\nreal_server 10.0.0.2 8080 {\nTCP_CHECK {\n}\n}\n}"
    made = load_text(text).config.virtual_servers[0].members[0]
    (check,) = made.checks
    assert isinstance(check, TcpCheck)
    assert (made.server.key.port, check.connect_port) == (80, 8080)
    assert load_text(text.replace(" 8080", "")).config.virtual_servers[0].members[0].server.key.port == 80


@pytest.mark.parametrize(
    ("global_defs", "lines", "member_lines", "expected"),
    [
        ("", "", "", (False, True)),
        ("smtp_alert", "", "", (True, True)),
        ("smtp_alert off", "", "", (False, False)),
        ("smtp_alert\nsmtp_alert_checker off", "", "", (False, False)),
        ("smtp_alert off", "smtp_alert", "smtp_alert on", (True, True)),
        ("", "smtp_alert", "smtp_alert no", (True, False)),
        ("smtp_alert\nno_checker_emails", "smtp_alert", "smtp_alert", (False, False)),
    ],
)
def test_who_sends_alerts(
    global_defs: str, lines: str, member_lines: str, expected: tuple[bool, bool]
) -> None:
    made = service(lines, member_lines, global_defs=global_defs)
    assert (made.smtp_alert, made.members[0].smtp_alert) == expected


@pytest.mark.parametrize(
    ("global_defs", "lines", "expected"),
    [
        ("smtp_alert", "", True),
        ("smtp_alert\nsmtp_alert_vrrp off", "", False),
        ("smtp_alert_vrrp", "", True),
        ("smtp_alert", "smtp_alert off", False),
        ("smtp_alert_checker", "", False),
    ],
)
def test_which_instances_send_alerts(global_defs: str, lines: str, expected: bool) -> None:
    assert instance(lines, global_defs).smtp_alert is expected


def test_the_host_gives_its_name() -> None:
    assert load_text("", host_name="lb-07.example").config.router_id == "lb-07.example"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("TCP_CHECK", (1, 1.0)),
        ("HTTP_GET", (1, 3.0)),
        ("SSL_GET", (1, 3.0)),
        ("SMTP_CHECK", (1, 1.0)),
        ("DNS_CHECK", (3, 6.0)),
        ("UDP_CHECK", (1, 1.0)),
        ("PING_CHECK", (1, 1.0)),
        ("MISC_CHECK", (0, 1.0)),
        ("DR_CHECK", (1, 1.0)),
    ],
)
def test_retry_and_its_delay_when_nobody_says(block: str, expected: tuple[int, float]) -> None:
    needed = {
        "HTTP_GET": "url {\npath /\n}",
        "SSL_GET": "url {\npath /\n}",
        "MISC_CHECK": "misc_path /bin/true",
    }
    text = (
        "virtual_server 10.0.0.1 80 {\nlvs_method DR\nprotocol TCP\ndelay_loop 6\n@@\n"
        f"real_server 10.0.0.2 80 {{\n{block} {{\n{needed.get(block, '')}\n}}\n}}\n}}"
    )
    (check,) = load_text(text.replace("@@", "")).config.virtual_servers[0].members[0].checks
    assert (check.retry, check.delay_before_retry) == expected
    written = text.replace("@@", "retry 7\ndelay_before_retry 8")
    (check,) = load_text(written).config.virtual_servers[0].members[0].checks
    assert (check.retry, check.delay_before_retry) == (7, 8.0)


def test_programs_of_servers_and_services() -> None:
    text = (
        "global_defs {\nscript_user nobody daemon\nenable_script_security\n}\n"
        "virtual_server 10.0.0.1 80 {\nlvs_method DR\ndelay_loop 6\n"
        'quorum_up "/bin/up now"\nquorum_down /bin/down root\n'
        "real_server 10.0.0.2 80 {\nweight 5\nnotify_up /bin/a\nnotify_down \"/bin/b 'c d'\" bin bin\n"
        'MISC_CHECK {\nmisc_path "/bin/check -x"\nmisc_dynamic\nuser sys\n}\n'
        "MISC_CHECK {\nmisc_path /bin/other\nmisc_timeout 2\n}\n}\n}\n"
    )
    loaded = load_text(text).config
    (service,) = loaded.virtual_servers
    assert service.quorum_up_command == Command(("/bin/up", "now"), "nobody", "daemon")
    assert service.quorum_down_command == Command(("/bin/down",), "root")
    assert service.secure_commands
    (member,) = service.members
    assert member.notify_up == Command(("/bin/a",), "nobody", "daemon")
    assert member.notify_down == Command(("/bin/b", "c d"), "bin", "bin")
    one, two = member.checks
    assert isinstance(one, MiscCheck)
    assert isinstance(two, MiscCheck)
    assert (one.command, one.timeout, one.dynamic) == (Command(("/bin/check", "-x"), "sys"), 6.0, True)
    assert (two.command, two.timeout) == (Command(("/bin/other",), "nobody", "daemon"), 2.0)
    assert two.secure
    assert not two.dynamic
    again = load_text(show_config(loaded)).config
    assert show_config(again) == show_config(loaded)
    (shown,) = again.virtual_servers[0].members
    assert [without_location(check) for check in shown.checks] == [
        without_location(one),
        without_location(two),
    ]
