# SPDX-License-Identifier: Apache-2.0
"""Every bad value is an error at its word; keepalived would ignore it and take the default."""

from __future__ import annotations

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError, Problem, Severity
from pointsman.model.checks import MiscCheck

INSTANCE = """vrrp_instance A {
    interface eth0
    virtual_router_id 1
    virtual_ipaddress {
        10.0.0.1/24
    }
    @@
}
"""
SERVICE = """virtual_server 10.0.0.1 80 {
    protocol TCP
    lvs_method DR
    real_server 10.0.0.2 80 {
        weight 1
    }
    @@
}
"""
MEMBER = """virtual_server 10.0.0.1 80 {
    protocol TCP
    lvs_method DR
    real_server 10.0.0.2 80 {
        @@
    }
}
"""
CHECK = MEMBER.replace("@@", "TCP_CHECK {\n            @@\n        }")
URL = MEMBER.replace("@@", "HTTP_GET {\n            url {\n                @@\n            }\n        }")
GLOBAL = "global_defs {\n    router_id a\n    @@\n}\n"


def problems(text: str) -> tuple[Problem, ...]:
    """All problems of a configuration."""
    try:
        return load_text(text, "f").problems
    except ConfError as error:
        return error.problems


@pytest.mark.parametrize("frame", [INSTANCE, SERVICE, MEMBER, CHECK, GLOBAL])
def test_the_frames_are_fine(frame: str) -> None:
    assert problems(frame.replace("@@", "")) == ()


@pytest.mark.parametrize(
    ("frame", "statement", "text"),
    [
        (INSTANCE, "priority ^300", "priority 300: must be a whole number from 1 to 255"),
        (
            GLOBAL,
            "lvs_timeouts tcp ^2678401",
            "lvs_timeouts 2678401: must be a whole number from 0 to 2678400 (seconds)",
        ),
        (GLOBAL, "lvs_timeouts tcp 9 ^icmp 9", "lvs_timeouts icmp: must be tcp, tcpfin or udp"),
        (INSTANCE, "priority ^0x10", "priority 0x10: must be a whole number from 1 to 255"),
        (INSTANCE, "^priority", "priority: the value is missing; write a whole number from 1 to 255"),
        (INSTANCE, "advert_int ^1s", "advert_int 1s: must be a number of seconds from 0.01 to 255"),
        (INSTANCE, "advert_int ^0", "advert_int 0: must be a number of seconds from 0.01 to 255"),
        (INSTANCE, "state ^MASTR", "state MASTR: must be MASTER or BACKUP; did you mean MASTER?"),
        (INSTANCE, "state ^master", "state master: must be MASTER or BACKUP; did you mean MASTER?"),
        (INSTANCE, "version ^4", "version 4: must be a whole number from 2 to 3"),
        (
            INSTANCE,
            "unicast_src_ip ^10.0.0.256",
            "unicast_src_ip 10.0.0.256: 10.0.0.256 is not an IP address",
        ),
        (INSTANCE, "unicast_peer { ^10.0.0 }", "unicast_peer 10.0.0: 10.0.0 is not an IP address"),
        (
            INSTANCE,
            "unicast_peer { 10.0.0.8 ^10.0.0.9 }",
            "unicast_peer 10.0.0.9: write one peer in each line",
        ),
        (INSTANCE, "^unicast_peer { }", "unicast_peer has no peer; add the other director's address"),
        (INSTANCE, "^unicast_peer 10.0.0.8", "unicast_peer needs a block; write unicast_peer { ... }"),
        (INSTANCE, "^nopreempt {\n}", "nopreempt takes no block; remove it"),
        (INSTANCE, "smtp_alert ^maybe", "smtp_alert maybe: must be on or off"),
        (
            INSTANCE,
            "interface ^averyveryverylongname",
            "interface averyveryverylongname: must be the name of an interface, at most 15 characters",
        ),
        (
            INSTANCE,
            "virtual_ipaddress { ^10.0.0.2/33 }",
            "virtual_ipaddress 10.0.0.2/33: must be an address with",
        ),
        (
            INSTANCE,
            "virtual_ipaddress { 10.0.0.2 ^10.0.0.3 }",
            "virtual_ipaddress 10.0.0.3: write one address in each line",
        ),
        (INSTANCE, "virtual_ipaddress { 10.0.0.2 ^dev }", "virtual_ipaddress dev: the value is missing"),
        (INSTANCE, "virtual_ipaddress { 10.0.0.2 brd ^x }", "virtual_ipaddress x: x is not an IP address"),
        (INSTANCE, "virtual_ipaddress { 10.0.0.2 scope ^any }", "virtual_ipaddress any: the scope must be"),
        (INSTANCE, "^authentication { auth_pass x\n }", "authentication without auth_type has no effect"),
        (
            INSTANCE,
            "^authentication { auth_type PASS\n }",
            "authentication without auth_pass has no effect",
        ),
        (INSTANCE, "preempt\n^nopreempt", "preempt and nopreempt contradict each other"),
        (
            INSTANCE,
            "track_script {\n ^x\n }",
            "track_script: there is no vrrp_script x",
        ),
        (
            INSTANCE,
            "^delay_loop 3",
            "delay_loop is not allowed in vrrp_instance; it belongs in virtual_server or",
        ),
        (
            INSTANCE,
            "^virtual_server 10.0.0.1 80 { }",
            "virtual_server is not allowed in vrrp_instance; it belongs in the to",
        ),
        (
            INSTANCE,
            "priority 3 ^advert_int 4",
            "advert_int is in the line of priority, so it has no effect",
        ),
        (SERVICE, "lvs_sched ^rrr", "lvs_sched rrr: must be rr, wrr, lc, wlc"),
        (SERVICE, "lvs_method ^DRR", "lvs_method DRR: must be DR or TUN; did you mean DR?"),
        (SERVICE, "lvs_method ^TUNN", "lvs_method TUNN: must be DR or TUN; did you mean TUN?"),
        (SERVICE, "lvs_method TUN ^gue", "lvs_method gue: must be type, port, nocsum, csum or remcsum"),
        (SERVICE, "lvs_method TUN type ^sit", "lvs_method sit: must be ipip, gue or gre"),
        (SERVICE, "lvs_method ^TUN type gue", "lvs_method TUN: type gue needs a port, such as port 6080"),
        (SERVICE, "lvs_method TUN type gue port ^0", "lvs_method 0: 0 is not a port from 1 to 65535"),
        (SERVICE, "lvs_method ^TUN type gre port 7", "lvs_method TUN: type gue needs a port"),
        (SERVICE, "lvs_method ^TUN type gre remcsum", "lvs_method TUN: type gre has no remcsum"),
        (SERVICE, "lvs_method ^TUN csum", "lvs_method TUN: type ipip has no csum"),
        (SERVICE, "lvs_method TUN ^type", "lvs_method type: the value is missing"),
        (SERVICE, "lvs_method DR ^type ipip", "lvs_method type: is an option of TUN only"),
        (
            SERVICE,
            "lvs_method ^NAT",
            "lvs_method NAT is not supported; Pointsman supports direct routing and tunnels; write lvs_m",
        ),
        (SERVICE, "lb_kind ^NAT", "lb_kind NAT is not supported"),
        (SERVICE, "protocol ^TPC", "protocol TPC: must be TCP, UDP or SCTP; did you mean TCP?"),
        (SERVICE, "delay_loop ^-1", "delay_loop -1: must be a number of seconds from"),
        (
            SERVICE,
            "persistence_granularity ^255.0.255.0",
            "persistence_granularity 255.0.255.0: must be a netmask",
        ),
        (SERVICE, "hysteresis ^1", "hysteresis 1 is not below the quorum (1)"),
        (SERVICE, "^ops", "ops is for UDP only"),
        (SERVICE, "real_server 10.0.0.3 ^http { }", "real_server http: http is not a port from 1 to 65535"),
        (SERVICE, "^real_server { }", "real_server: the value is missing; write an IP address and a port"),
        (SERVICE, "^real_server 10.0.0.3 80", "real_server needs a block"),
        (SERVICE, "real_server ^10.0.0.2 { }", "real server 10.0.0.2:80 is repeated (first in line 4)"),
        (
            SERVICE,
            "sorry_server ^web.example 80",
            "sorry_server web.example: web.example is not an IP address",
        ),
        (SERVICE, "^quorum_up bin/true", "quorum_up: bin/true is relative"),
        (MEMBER, "weight ^-1", "weight -1: must be a whole number from 0"),
        (MEMBER, "weight ^1.5", "weight 1.5: must be a whole number from 0"),
        (MEMBER, "lthreshold ^4\nuthreshold 3", "lthreshold 4 is above uthreshold 3"),
        (MEMBER, "lvs_method ^NAT", "lvs_method NAT is not supported"),
        (
            MEMBER,
            "BFD_CHECK {\n name ^x\n}",
            "bfd_instance x does not exist",
        ),
        (MEMBER, "^MISC_CHECK {\n}", "MISC_CHECK without misc_path checks nothing; add misc_path"),
        (MEMBER, "MISC_CHECK {\n^misc_path ./check.sh\n}", "misc_path: ./check.sh is relative"),
        (
            "@@",
            "virtual_server 10.0.0.1 80 {\nlvs_method DR\nprotocol UDP\n"
            "real_server 10.0.0.2 80 {\n^DR_CHECK {\n}\n}\n}",
            "DR_CHECK needs a TCP service with an address",
        ),
        (MEMBER, "^HTTP_GET {\n}", "HTTP_GET without a url checks nothing; add url { path / }"),
        (URL, "path ^nowhere", "path nowhere is not the path of a URL; begin it with /, and write no blanks"),
        (URL, 'path ^"/a b"', "path /a b is not the path of a URL"),
        (URL, "status_code 200-299 ^99", "status_code 99: must be a number or a range such as 200-299"),
        (URL, "status_code ^600", "status_code 600: must be a number or a range such as 200-299"),
        (URL, "status_code ^300-200", "status_code 300-200: must be a number or a range"),
        (URL, "digest ^1234", "digest 1234: must be an MD5 digest of 32 hexadecimal digits"),
        (URL, 'regex ^"(open"', "regex (open: missing )"),
        (
            URL,
            "regex_options caseless ^ucp",
            "regex_options ucp: must be one or more of alt_circumflex, caseless",
        ),
        (CHECK, "connect_port ^65536", "connect_port 65536: must be a whole number from 1 to 65535"),
        (CHECK, "connect_timeout ^fast", "connect_timeout fast: must be a number of seconds from"),
        (CHECK, "connect_ip ^web", "connect_ip web: web is not an IP address"),
        (CHECK, "fwmark ^-1", "fwmark -1: must be a whole number from 0"),
        (MEMBER, "DNS_CHECK {\nname ^a..b\n}", "name a..b is not a domain name"),
        (MEMBER, "UDP_CHECK {\npayload ^xx\n}", "payload xx: must be bytes in hexadecimal"),
        (
            MEMBER,
            "UDP_CHECK {\n^min_reply_length 9\nmax_reply_length 8\n}",
            "min_reply_length 9 is above max_reply_length 8: the check always fails",
        ),
        (GLOBAL, "notification_email { a@b ^a<b }", "a<b is not a mail address; write name@host"),
        (GLOBAL, "smtp_server mail ^99999", "smtp_server 99999: 99999 is not a port"),
        (GLOBAL, "smtp_server ^ma/il", "smtp_server ma/il: must be a host name or an address"),
        (GLOBAL, "^priority 3", "priority is not allowed in global_defs; it belongs in vrrp_instance"),
        (
            "@@",
            "^virtual_server_group g {\n}",
            "virtual_server_group g has no address; add lines with IP [port]",
        ),
        ("@@", "^virtual_server { }", "virtual_server needs an address and a port"),
        ("@@", "virtual_server ^www 80 {\nlvs_method DR\n}", "virtual_server www: www is not an IP address"),
        ("@@", "^vrrp_instance A {\ninterface eth0\n}", "vrrp_instance A has no virtual_router_id"),
        ("@@", "^vrrp_instance A {\nvirtual_router_id 1\n}", "vrrp_instance A has no interface"),
        ("@@", "^vrrp_instance {\n}", "vrrp_instance: the value is missing; write a name"),
        ("@@", "^frobnicate", "unknown keyword frobnicate outside a block"),
        (
            "@@",
            "^virtual_server 10.0.0.1 80 {\nprotocol TCP\n}",
            "without lvs_method keepalived uses NAT, which is not supported",
        ),
    ],
)
def test_error_at_its_word(frame: str, statement: str, text: str) -> None:
    """`^` in the statement marks where the caret has to be."""
    whole = frame.replace("@@", statement)
    before = whole[: whole.index("^")]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    errors = [each for each in problems(whole.replace("^", "", 1)) if each.severity is Severity.ERROR]
    assert any(str(error).startswith(f"f:{line}:{column}: error: {text}") for error in errors), errors


@pytest.mark.parametrize(
    ("frame", "statement", "text"),
    [
        (INSTANCE, "state MASTER", "state MASTER without a priority means priority 255"),
        (INSTANCE, "state BACKUP\npriority 255", "priority 255 means the owner of the addresses"),
        (INSTANCE, "state MASTER\npriority 9\nnopreempt", "nopreempt has no effect with state MASTER"),
        (INSTANCE, "priority 9\nnopreempt\npreempt_delay 2", "preempt_delay has no effect with nopreempt"),
        (INSTANCE, "state MASTER\npriority 9\npreempt_delay 2", "preempt_delay has no effect with state MAS"),
        (
            "@@",
            SERVICE.replace(" 80", "").replace("@@", ""),
            "a service on every port must be persistent; 360 s",
        ),
        (
            INSTANCE,
            "version 3\nauthentication {\nauth_type PASS\nauth_pass x\n}",
            "version 3 has no authentication",
        ),
        (INSTANCE, "authentication {\nauth_type PASS\nauth_pass 123456789\n}", "the password has 9 bytes"),
        (
            INSTANCE,
            "priority 3\npriority 4",
            "priority is repeated (first in line 7); the last one counts",
        ),
        (INSTANCE, "priority 3 4", "4 after the value of priority has no effect"),
        (INSTANCE, "unicast_peer {\n10.0.0.8\n10.0.0.8\n}", "peer 10.0.0.8 is listed twice"),
        (INSTANCE, "virtual_ipaddress {\n10.0.0.1\n}", "10.0.0.1 is listed twice"),
        (SERVICE, "quorum 2", "quorum 2 is above 1, the weight of all real servers; 1 is used"),
        (
            SERVICE,
            "persistence_granularity 24",
            "persistence_granularity has no effect without persistence_timeout",
        ),
        (
            SERVICE,
            "sorry_server 10.0.0.9 81",
            "direct routing does not change ports: 10.0.0.9 gets packets at port 80",
        ),
        (CHECK, "nb_get_retry 3", "keepalived 2.x does not know nb_get_retry in TCP_CHECK"),
        (
            "@@",
            "virtual_server 10.0.0.1 53 {\nlvs_method DR\nreal_server 10.0.0.2 53 {\n}\n}",
            "without protocol the service is UDP",
        ),
    ],
)
def test_warning(frame: str, statement: str, text: str) -> None:
    found = problems(frame.replace("@@", statement))
    assert [problem.severity for problem in found] == [Severity.WARNING]
    assert found[0].text.startswith(text)


@pytest.mark.parametrize(
    ("frame", "statement"),
    [
        (GLOBAL, "vrrp_rt_priority 50"),
        (GLOBAL, "use_symlink_paths on"),
        (GLOBAL, "lvs_flush"),
        (INSTANCE, "higher_prio_send_advert true"),
    ],
)
def test_harmless_words_are_noted(frame: str, statement: str) -> None:
    assert [problem.severity for problem in problems(frame.replace("@@", statement))] == [Severity.NOTE]


@pytest.mark.parametrize(
    ("frame", "statement"),
    [
        (INSTANCE, "strict_mode off"),
        (INSTANCE, "down_timer_adverts 3"),
        (INSTANCE, "lower_prio_no_advert false"),
        (CHECK, "fwmark 0"),
        (GLOBAL, "vrrp_startup_delay 0"),
    ],
)
def test_refused_words_may_say_what_happens_anyway(frame: str, statement: str) -> None:
    assert problems(frame.replace("@@", statement)) == ()


def test_all_errors_come_at_once_in_the_order_of_the_lines() -> None:
    text = INSTANCE.replace("@@", "priority 300\nadvert_in 1") + SERVICE.replace("@@", "quorum 0\nlb_alg rr")
    assert [problem.location.line for problem in problems(text) if problem.location] == [7, 8, 16, 17]


def test_warnings_without_end_do_not_stop_reading_but_errors_do() -> None:
    many = "\n".join(["smtp_alert on off"] * 700)
    found = problems(GLOBAL.replace("@@", many + "\nfrob"))
    assert found[-2].text.startswith("unknown keyword frob")
    assert found[-1].text == "899 more like these are not shown"
    assert len(problems("frob\n" * 5000)) == 501


@pytest.mark.parametrize(
    ("frame", "statement"),
    [
        (INSTANCE, "garp_master_repeat 1000"),
        (INSTANCE, "garp_master_refresh_repeat 1000"),
        (INSTANCE, "garp_master_refresh 4294967295"),
        (INSTANCE, "garp_master_delay 4294"),
        (GLOBAL, "vrrp_garp_master_repeat 1000"),
        (GLOBAL, "vrrp_garp_master_refresh_repeat 1000"),
        (GLOBAL, "vrrp_garp_master_refresh 4294967295"),
        (GLOBAL, "vrrp_garp_master_delay 4294"),
        (GLOBAL, "smtp_connect_timeout 4294"),
        (GLOBAL, "lvs_timeouts tcp 0 tcpfin 5"),
        (SERVICE, "delay_loop 4294967295"),
        (MEMBER, "retry 4294967295"),
        (MEMBER, "uthreshold 4294967295"),
        (CHECK, "delay_loop 5000\nconnect_timeout 4294.967295"),
    ],
)
def test_numbers_of_keepalived_that_were_once_too_high_are_taken(frame: str, statement: str) -> None:
    assert problems(frame.replace("@@", statement)) == ()


def test_a_misc_timeout_of_nothing_is_that_of_the_delay_loop() -> None:
    check = "MISC_CHECK {\nmisc_path /bin/true\ndelay_loop 7\nmisc_timeout 0\n}"
    (service,) = load_text(MEMBER.replace("@@", check), "f").config.virtual_servers
    (made,) = service.members[0].checks
    assert isinstance(made, MiscCheck)
    assert made.timeout == 7.0
