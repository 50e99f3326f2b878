# SPDX-License-Identifier: Apache-2.0
"""Files as people write them: they load with the meaning that keepalived gives them, or tell why not.

Each case is a file and what is expected: the problems, in the order of the lines, and the model.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pointsman.conf.check.marks import check_marks
from pointsman.conf.load import load, load_text
from pointsman.conf.text.problems import ConfError, Problem
from pointsman.conf.text.source import TextReader
from pointsman.model.checks import HttpCheck, MiscCheck, NetworkCheck
from pointsman.model.config import Config
from pointsman.model.tracking import Tracked, TrackKind
from pointsman.model.vrrp import VrrpInstance

VIP = "virtual_ipaddress { 192.0.2.10/24 }"


def instance(lines: str = "", addresses: str = VIP, name: str = "A", router: int = 51) -> str:
    return (
        f"vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {router}\npriority 90\n"
        f"{lines}\n{addresses}\n}}\n"
    )


def service(
    lines: str = "", inside: str = "", head: str = "192.0.2.10 80", real: str = "192.0.2.20 80"
) -> str:
    return (
        f"virtual_server {head} {{\nlb_kind DR\nprotocol TCP\n{lines}\n"
        f"real_server {real} {{\n{inside}\n}}\n}}\n"
    )


def problems(text: str) -> tuple[Problem, ...]:
    try:
        return load_text(text, "f").problems
    except ConfError as error:
        return error.problems


def told(text: str) -> list[str]:
    return [f"{each.severity.value}: {each.text}; {each.remedy}" for each in problems(text)]


def config(text: str) -> Config:
    return load_text(text, "f").config


def only(text: str) -> VrrpInstance:
    (found,) = config(text).instances
    return found


SCRIPT = 'vrrp_script c {\nscript "killall -0 haproxy"\n}\n'


@pytest.mark.parametrize("program", ["killall -0 haproxy", "pidof nginx", "curl -fs http://localhost/"])
def test_a_program_without_a_slash_is_taken(program: str) -> None:
    text = f'vrrp_script c {{\nscript "{program}"\n}}\n' + instance("track_script {\nc\n}")
    assert told(text) == []
    assert config(text).vrrp.scripts[0].command.words == tuple(program.split())
    check = (
        config(service("", f'MISC_CHECK {{\nmisc_path "{program}"\n}}'))
        .virtual_servers[0]
        .members[0]
        .checks[0]
    )
    assert isinstance(check, MiscCheck) and check.command.words[0] == program.split()[0]


@pytest.mark.parametrize(
    "text",
    [
        instance() + instance(name="B", addresses="virtual_ipaddress { 2001:db8::10/64 }"),
        instance("unicast_peer { 192.0.2.2 }")
        + instance("unicast_peer { 192.0.2.3 }", "virtual_ipaddress { 192.0.2.11/24 }", "B"),
        instance() + instance("mcast_dst_ip 224.0.0.19", "virtual_ipaddress { 192.0.2.11/24 }", "B"),
        instance() + instance("unicast_peer { 192.0.2.3 }", "virtual_ipaddress { 192.0.2.11/24 }", "B"),
    ],
    ids=["two families", "other peers", "other group", "multicast and unicast"],
)
def test_one_vrid_for_different_virtual_routers(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    "text",
    [
        instance() + instance(name="B", addresses="virtual_ipaddress { 192.0.2.11/24 }"),
        instance("unicast_peer { 192.0.2.2 }")
        + instance("unicast_peer {\n192.0.2.2\n192.0.2.3\n}", "virtual_ipaddress { 192.0.2.11/24 }", "B"),
    ],
)
def test_one_vrid_for_adverts_that_cannot_be_told_apart_is_an_error(text: str) -> None:
    (found,) = told(text)
    assert found.startswith("error: virtual_router_id 51 on eth0 is already used by A")


WITHOUT_EFFECT = "the prefix length has no effect here"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (instance("unicast_src_ip 192.0.2.1/24\nunicast_peer {\n192.0.2.2/24\n}"), 2),
        (instance("mcast_src_ip 192.0.2.1/24"), 1),
        (instance("unicast_peer {\n192.0.2.2/24 min_ttl 3\n}"), 1),
        (instance("unicast_peer {\n2001:db8::2/64\n}", "virtual_ipaddress { 2001:db8::9/64 }"), 1),
        (service(real="192.0.2.20/24 80"), 1),
        (service(head="192.0.2.10/24 80"), 1),
        (service("", "TCP_CHECK {\nconnect_ip 192.0.2.21/24\nbindto 192.0.2.1/32\n}"), 2),
        (service("sorry_server 192.0.2.30/24 80"), 1),
    ],
)
def test_a_prefix_length_without_effect(text: str, warnings: int) -> None:
    found = told(text)
    assert len(found) == warnings
    assert all(each.startswith("warning: ") and WITHOUT_EFFECT in each for each in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "global_defs {\nlvs_id LB1\n}\n" + instance(),
            "lvs_id is an old spelling of router_id; write router_id",
        ),
        (service("nat_mask 255.255.255.0"), "nat_mask has no effect here: it was for NAT of kernel 2.2"),
        (service("persistence_timeout 0"), "persistence_timeout 0 means no persistence; remove the line"),
        (service("quorum 0"), "quorum 0 counts as 1, as in keepalived; write 1"),
        (service("delay_loop 0"), "delay_loop 0 has no effect: the default counts; remove the line"),
        (service("", "TCP_CHECK {\nconnect_port 0\n}"), "connect_port 0 has no effect"),
        (service("", "TCP_CHECK {\nconnect_timeout 0\n}"), "connect_timeout 0 has no effect"),
        (service("", "TCP_CHECK {\nbind_port 0\n}"), "bind_port 0 has no effect"),
        (instance("garp_master_repeat 0"), "garp_master_repeat 0 counts as 1"),
        ("global_defs {\nvrrp_garp_master_refresh_repeat 0\n}\n" + instance(), "counts as 1"),
        (SCRIPT.replace("}", "rise 0\n}") + instance(), "rise 0 has no effect"),
        (SCRIPT.replace("}", "interval 0\n}") + instance(), "interval 0 counts as 1"),
        (
            service("lvs_sched mh\nsh-fallback"),
            "sh-fallback has no effect with lvs_sched mh, as in keepalived; remove it, or write mh-fallback",
        ),
        (
            service("lvs_sched rr\nmh-port"),
            "mh-port has no effect with lvs_sched rr, as in keepalived; remove it",
        ),
        (service("sh-port\nlvs_sched sh"), "sh-port has no effect before lvs_sched sh, as in keepalived"),
        (
            "vrrp_script c {\nscript /usr/bin/killall -0 haproxy\n}\n" + instance(),
            "-0 after the value of script has no",
        ),
        (service(real="192.0.2.20 8603", inside="TCP_CHECK {\n}"), "checks without connect_port go to 8603"),
    ],
)
def test_what_has_no_effect_is_a_warning(text: str, expected: str) -> None:
    (found,) = told(text)
    assert found.startswith("warning: ") and expected in found


def test_what_has_no_effect_is_left_out() -> None:
    (virtual,) = config(
        service("persistence_timeout 0\nquorum 0\nlvs_sched mh\nsh-fallback\nmh-port")
    ).virtual_servers
    assert (virtual.service.persistence, virtual.quorum) == (None, 1)
    assert virtual.service.flags == {"mh-port"}
    assert config("global_defs {\nlvs_id LB1\n}\n" + instance()).router_id == "LB1"


def test_a_real_server_with_port_0_has_the_port_of_the_service() -> None:
    assert told(service(real="192.0.2.20 0", inside="TCP_CHECK {\n}")) == []
    (member,) = config(service(real="192.0.2.20 0", inside="TCP_CHECK {\n}")).virtual_servers[0].members
    (check,) = member.checks
    assert isinstance(check, NetworkCheck)
    assert (member.server.key.port, check.connect_port) == (80, 80)


@pytest.mark.parametrize(
    "line", ["Jane Doe <jane@example.org>", '"Jane Doe <jane@example.org>"', "<jane@example.org>"]
)
def test_display_names_of_mail_addresses(line: str) -> None:
    text = f"global_defs {{\nsmtp_server 192.0.2.5\nnotification_email {{\n{line}\nroot@localhost\n}}\n"
    text += f"notification_email_from {line}\n}}\n" + instance()
    assert told(text) == []
    mail = config(text).mail
    assert mail.recipients == ("jane@example.org", "root@localhost")
    assert mail.sender == "jane@example.org"


FIRST = "is repeated (first in line 6); the first one counts, as in keepalived"


def test_of_repeated_programs_and_states_the_first_one_counts() -> None:
    text = instance('notify_master "/bin/echo first"\nnotify_master "/bin/echo second"')
    assert told(text) == [f"warning: notify_master {FIRST.replace('6', '5')}; remove one of them"]
    assert only(text).notify.master is not None
    assert only(text).notify.master.words == ("/bin/echo", "first")  # type: ignore[union-attr]
    assert only(instance("state MASTER\nstate BACKUP")).initial_state.value == "MASTER"
    assert only(instance("priority 5\npriority 6")).priority == 6
    (virtual,) = config(
        service('quorum_up "/bin/a"\nquorum_up "/bin/b"', "notify_up /bin/c\nnotify_up /bin/d")
    ).virtual_servers
    assert virtual.quorum_up_command is not None and virtual.quorum_up_command.words == ("/bin/a",)
    assert virtual.members[0].notify_up is not None and virtual.members[0].notify_up.words == ("/bin/c",)


def test_status_codes_add_up_and_the_first_digest_counts() -> None:
    one, other = "a" * 32, "b" * 32
    lines = (
        f"HTTP_GET {{\nurl {{\npath /\nstatus_code 200\nstatus_code 201\ndigest {one}\ndigest {other}\n}}\n}}"
    )
    (check,) = config(service("", lines)).virtual_servers[0].members[0].checks
    assert isinstance(check, HttpCheck)
    assert (check.urls[0].status, check.urls[0].digest) == (((200, 200), (201, 201)), one)


def devices(text: str) -> list[str]:
    return [f"{each.address} {each.device}" for each in only(text).moving_addresses]


def test_addresses_of_a_virtual_mac() -> None:
    own = "virtual_ipaddress {\n192.0.2.10/24 dev eth0\n192.0.2.11/24\n192.0.2.12/24 dev eth1\n}\n"
    own += "virtual_ipaddress_excluded {\n192.0.2.13/24 dev eth0\n2001:db8::1/64\n2001:db8::2/64 dev eth0\n}"
    assert devices(instance("use_vmac", own)) == [
        *("192.0.2.10 vrrp.51", "192.0.2.11 vrrp.51", "192.0.2.12 eth1", "192.0.2.13 vrrp.51"),
        *("2001:db8::1 eth0", "2001:db8::2 eth0"),
    ]
    assert devices(instance("use_vmac_addr", own))[-2:] == ["2001:db8::1 vrrp6.51", "2001:db8::2 vrrp6.51"]


TRACKERS = """vrrp_script s {
script /bin/true
weight 4
}
track_file f {
file /etc/hostname
}
vrrp_track_process p {
process nginx
weight 7
}
bfd_instance b {
neighbor_ip 192.0.2.9
weight 3
vrrp
}
"""
TRACKED = (
    "track_script {\ns\n}\ntrack_file {\nf\n}\ntrack_process {\np\n}\ntrack_bfd {\nb\n}\n"
    "track_interface {\neth1 weight -20\n}\n"
)
GROUP = "vrrp_sync_group G {\ngroup {\nA\n}\n%s\n}\n"


def weights(text: str) -> dict[TrackKind, int]:
    return {each.kind: each.weight for each in only(text).tracked}


def test_weights_of_members_of_a_sync_group() -> None:
    own = TRACKERS + GROUP % "" + instance(TRACKED)
    assert weights(own) == {TrackKind.FILE: 0, TrackKind.PROCESS: 7, TrackKind.INTERFACE: 0}
    (found,) = told(own)
    assert "s, b is not tracked; a failure of eth1, f means FAULT (weight 0)" in found
    counting = TRACKERS + GROUP % "sync_group_tracking_weight" + instance(TRACKED)
    every = dict(zip(TrackKind, (-20, 4, 1, 7, 3), strict=True))
    assert weights(counting) == every
    assert weights(TRACKERS + GROUP % TRACKED + instance()) == every
    both = TRACKERS + GROUP % TRACKED + instance(TRACKED)
    assert weights(both) == {**every, TrackKind.FILE: 0, TrackKind.INTERFACE: 0}


@pytest.mark.parametrize("kind", ["script", "file", "process", "bfd"])
def test_a_tracker_below_its_use_is_ignored(kind: str) -> None:
    name = kind[0]
    use = f"track_{kind} {{\n{name}\n}}"
    (found,) = told(instance(use) + TRACKERS)
    assert f"{name} is defined below its use" in found and "keepalived ignores it" in found
    assert only(instance(use) + TRACKERS).tracked == ()
    assert len(only(TRACKERS + instance(use)).tracked) == 1
    assert config(GROUP % use + instance() + TRACKERS).instances[0].tracked == ()


def test_of_a_tracker_that_is_listed_twice_the_first_line_counts() -> None:
    text = instance("track_interface {\neth1 weight 3\neth1\n}")
    assert only(text).tracked == (Tracked(kind=TrackKind.INTERFACE, name="eth1", weight=3),)
    assert told(text) == [
        "warning: track_interface: eth1 is listed twice; the first line counts; remove one of them"
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_addresses_of_both_families_have_a_way_out(version: int) -> None:
    text = instance(
        f"version {version}", "virtual_ipaddress {\n192.0.2.10/24\n2001:db8::10/64\n2001:db8::11/64\n}"
    )
    (found,) = told(text)
    assert found.startswith("error: ") and "move it to virtual_ipaddress_excluded" in found


@pytest.mark.parametrize(("tc", "severity"), [(False, "error"), (True, "warning")])
def test_a_mark_that_nobody_sets_is_an_error(tc: bool, severity: str) -> None:
    text = service(head="fwmark 1", inside="TCP_CHECK {\nconnect_port 443\n}")
    check: Callable[..., None] = lambda config, findings: check_marks(config, tc, findings)  # noqa: E731
    try:
        found = load(TextReader({"f": text}), "f", more=[check]).problems
    except ConfError as error:
        found = error.problems
    assert [each.severity.value for each in found] == [severity]


def test_a_group_of_addresses_is_marked_by_nftables_ipvs() -> None:
    text = "global_defs {\nnftables_ipvs\n}\nvirtual_server_group g {\n192.0.2.10 80\n}\n" + service(
        head="group g"
    )
    check: Callable[..., None] = lambda config, findings: check_marks(config, False, findings)  # noqa: E731
    assert load(TextReader({"f": text}), "f", more=[check]).problems == ()
