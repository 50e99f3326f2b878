# SPDX-License-Identifier: Apache-2.0
"""Debian's keepalived is asked: what it takes without complaint loads here, and means the same."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from tests.support.vrrp.keepalived import keepalived

from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError, Severity

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace of its own"),
]

LAB = Path(__file__).parents[3] / "examples" / "lab"

INSTANCE = (
    "vrrp_instance A {\n  interface eth0\n  virtual_router_id 5\n  @@\n"
    "  virtual_ipaddress {\n  10.0.0.1/24\n  }\n}\n"
)
SERVICE = (
    "virtual_server 10.0.0.1 80 {\n  lvs_method DR\n  lvs_sched rr\n  protocol TCP\n  @@\n"
    "  real_server 10.0.0.2 80 {\n  TCP_CHECK {\n  }\n  }\n}\n"
)

VALID = {
    "comments": "# a\n! b\n" + INSTANCE.replace("@@", "priority 9 # c ! d"),
    "brace on the next line": INSTANCE.replace("A {", "A\n{"),
    "block on one line": INSTANCE.replace("@@", "unicast_peer { 10.0.0.9 }"),
    "quotes": 'global_defs {\n router_id "a # b"\n}\n' + INSTANCE.replace("A {", '"A B" {'),
    "escaped comment sign": "global_defs {\n router_id a\\#b\n}\n" + INSTANCE,
    "definition": "$P=77\n" + INSTANCE.replace("@@", "priority $P"),
    "definition in braces": "$P=7\n" + INSTANCE.replace("@@", "priority ${P}0"),
    "nested definition": "$A=${B}1\n$B=2\n" + INSTANCE.replace("@@", "priority $A"),
    "definition of several lines": "$P=priority 33\\\nadvert_int 4\n" + INSTANCE.replace("@@", "$P"),
    "condition": INSTANCE.replace("@@", "@one priority 11\n@^one priority 12\n@two priority 13\n"),
    "sequence": INSTANCE.replace("10.0.0.1/24", "10.0.0.1/24\n~SEQ(i, 2, 4) 10.0.0.${i}/24"),
    "sequence with steps": INSTANCE.replace("10.0.0.1/24", "10.0.0.1/24\n~SEQ(i, 20, -5, 10) 10.0.0.${i}/24"),
    "hexadecimal sequence": INSTANCE.replace(
        "10.0.0.1/24", "~SEQx(i, 255, 0xff) 10.0.0.1/24 label eth0:${i}"
    ),
    "octal sequence": INSTANCE.replace("10.0.0.1/24", "~SEQ(i, 0x7, 010) 10.0.0.${i}/24"),
    "nested sequences": INSTANCE.replace("10.0.0.1/24", "~SEQ(i, 2) ~SEQ(k, 7, 8) 10.0.${i}.${k}/24"),
    "list": INSTANCE.replace("10.0.0.1/24", "~LST(i, 7, 9) 10.0.0.${i}/24"),
    "list of several": INSTANCE.replace(
        "10.0.0.1/24", "~LST({i,k}, {7,eth0}, {9, eth1}) 10.0.0.${i}/24 dev ${k}"
    ),
    "list and sequence": INSTANCE.replace(
        "10.0.0.1/24", "~LST({i,k},{7,eth0},{9,eth1}) ~SEQ(n, 2) 10.${n}.0.${i}/24 dev ${k}"
    ),
    "sequence in a definition": "$A=~SEQ(i, 3) 10.0.0.${i}/24\n" + INSTANCE.replace("10.0.0.1/24", "$A"),
    "definition in a definition": "$N=4\n$A=10.0.0.${N}/24\n" + INSTANCE.replace("10.0.0.1/24", "$A"),
    "definition redefined": "$N=4\n$N=5\n" + INSTANCE.replace("@@", "priority $N"),
    "condition not met": INSTANCE.replace("@@", "@^one priority 12\n@one advert_int 3"),
    "two instances": INSTANCE
    + INSTANCE.replace("A {", "B {").replace("id 5", "id 6").replace("0.1/", "0.2/"),
    "block of addresses on one line": INSTANCE.replace("{\n  10.0.0.1/24\n  }", "{ 10.0.0.1/24 }"),
    "excluded addresses": INSTANCE.replace("@@", "virtual_ipaddress_excluded {\n10.0.0.7/24\n}"),
    "nothing indented": re.sub(r"(?m)^ +", "", INSTANCE),
    "comments at all ends": INSTANCE.replace("\n", " # x\n\n"),
    "all blanks": INSTANCE.replace(" ", "\t\f"),
    "carriage returns": INSTANCE.replace("\n", "\r\n"),
    "no value of a switch": INSTANCE.replace("@@", "smtp_alert"),
    "master": INSTANCE.replace("@@", "state MASTER\npriority 200"),
    "address owner": INSTANCE.replace("@@", "state MASTER\npriority 255"),
    "backup": INSTANCE.replace("@@", "state BACKUP\nnopreempt"),
    "preempt delay": INSTANCE.replace("@@", "preempt_delay 2.5"),
    "version 3": INSTANCE.replace("@@", "version 3\nadvert_int 0.25"),
    "global version": "global_defs {\nvrrp_version 3\n}\n" + INSTANCE.replace("@@", "advert_int 0.5"),
    "password": INSTANCE.replace("@@", "authentication {\nauth_type PASS\nauth_pass 12345678\n}"),
    "unicast": INSTANCE.replace("@@", "unicast_src_ip 10.0.0.8\nunicast_peer {\n10.0.0.9\n10.0.0.10\n}"),
    "announcements": INSTANCE.replace(
        "@@", "garp_master_delay 1\ngarp_master_repeat 2\ngarp_master_refresh 3\ngarp_master_refresh_repeat 4"
    ),
    "global announcements": "global_defs {\nvrrp_garp_master_delay 7\nvrrp_garp_master_repeat 8\n}\n"
    + INSTANCE,
    "address options": INSTANCE.replace("10.0.0.1/24", "10.0.0.1/24 brd + dev eth1 scope link label eth1:v"),
    "old spellings": SERVICE.replace("lvs_method", "lb_kind").replace("lvs_sched", "lb_algo"),
    "lower case protocol": SERVICE.replace("protocol TCP", "protocol tcp"),
    "persistence": SERVICE.replace("@@", "persistence_timeout 600\npersistence_granularity 255.255.255.0"),
    "persistence without a value": SERVICE.replace("@@", "persistence_timeout"),
    "quorum": SERVICE.replace("@@", "alpha\nomega\nquorum 1\nhysteresis 0"),
    "sorry server": SERVICE.replace("@@", "sorry_server 10.0.0.9 80"),
    "inherited": SERVICE.replace("@@", "delay_loop 6\nretry 3\nconnect_timeout 2.5\nwarmup 0\nweight 3"),
    "every option of a check": SERVICE.replace(
        "TCP_CHECK {",
        "TCP_CHECK {\nconnect_ip 10.0.0.3\nconnect_port 81\nbindto 10.0.0.4\nbind_port 99\nretry 2",
    ),
    "every option of a page check": SERVICE.replace(
        "TCP_CHECK {",
        "HTTP_GET {\nhttp_protocol 1.1\nfast_recovery\nvirtualhost v\nretry 2\nurl {\npath /a?b=1\n"
        "status_code 200-299 404\nvirtualhost www.example.org\n}\n"
        "url {\npath /\ndigest 9b3a0c85a887a256d6939da88aabd8cd\n}\n}\n"
        "SSL_GET {\nenable_sni\nurl {\npath /\n}\n",
    ),
    "every other check": SERVICE.replace(
        "TCP_CHECK {",
        "SMTP_CHECK {\nhelo_name me.example.org\nfwmark 7\n}\nDNS_CHECK {\ntype A\nname example.org\n}\n"
        "PING_CHECK {\nconnect_timeout 1\n}\n"
        "UDP_CHECK {\nrequire_reply 0x 1\nmin_reply_length 3\nmax_reply_length 99\n}\n"
        "TCP_CHECK {",
    ),
    "mail": "global_defs {\nnotification_email { a@b.c\nd@e.f }\nsmtp_server 10.0.0.7 26\n}\n" + INSTANCE,
}

INVALID = {
    "unknown keyword": INSTANCE.replace("@@", "prioriti 3"),
    "value out of range": INSTANCE.replace("@@", "priority 300"),
    "bad number": SERVICE.replace("@@", "weight 0x10"),
    "bad time": SERVICE.replace("@@", "delay_loop soon"),
    "bad address": INSTANCE.replace("10.0.0.1/24", "10.0.0.256/24"),
    "bad prefix": INSTANCE.replace("10.0.0.1/24", "10.0.0.1/33"),
    "bad method": SERVICE.replace("DR", "DRR"),
    "bad scheduler": SERVICE.replace("lvs_sched rr", "lvs_sched rrr"),
    "bad protocol": SERVICE.replace("protocol TCP", "protocol TPC"),
    "block never closed": INSTANCE[:-2],
    "quote never closed": INSTANCE.replace("@@", 'auth "x'),
    "two addresses in a line": INSTANCE.replace("10.0.0.1/24", "10.0.0.1/24 10.0.0.2/24"),
    "old word for retry": SERVICE.replace("TCP_CHECK {", "TCP_CHECK {\nnb_get_retry 3"),
}


@pytest.mark.parametrize("name", VALID)
def test_what_keepalived_takes_loads_here(tmp_path: Path, name: str) -> None:
    code, output = keepalived(tmp_path, VALID[name].replace("@@", ""), "-t")
    assert code == 0, output
    load_text(VALID[name].replace("@@", ""), config_id="one")


@pytest.mark.parametrize("name", INVALID)
def test_what_keepalived_complains_about_is_found_here(tmp_path: Path, name: str) -> None:
    text = INVALID[name].replace("@@", "")
    code, output = keepalived(tmp_path, text, "-t")
    assert code != 0 or output, "keepalived has nothing to say"
    try:
        problems = load_text(text).problems
    except ConfError as error:
        problems = error.problems
    assert any(problem.severity is not Severity.NOTE for problem in problems)


def dumped(tmp_path: Path, text: str) -> dict[str, str]:
    """Return keepalived's dump of the first instance, `name = value`."""
    _, output = keepalived(tmp_path, text, "-n", "-l", "-d", "-P", until="< Interfaces")
    found = re.search(r"VRRP Topology >-+$(.*?)-+< Interfaces", output, re.DOTALL | re.MULTILINE)
    assert found is not None, output
    values: dict[str, str] = {}
    for line in found[1].splitlines():
        name, equals, value = re.sub(r"^\w+ \w+ +\d+ [\d:]+ \d+: +", "", line).partition(" = ")
        if equals:
            values.setdefault(name, value)
        elif re.match(r"\d+(\.\d+){3}", name):
            values.setdefault("addresses", "")
            values["addresses"] += name + "\n"
    return values


@pytest.mark.parametrize(
    "name",
    [
        *(
            "definition",
            "definition in braces",
            "nested definition",
            "definition of several lines",
            "condition",
        ),
        *(
            "sequence",
            "sequence with steps",
            "hexadecimal sequence",
            "octal sequence",
            "nested sequences",
            "list",
            "list of several",
            "list and sequence",
            "sequence in a definition",
            "definition in a definition",
            "definition redefined",
            "condition not met",
            "block of addresses on one line",
            "nothing indented",
            "comments at all ends",
            "master",
            "address owner",
            "backup",
            "preempt delay",
            "version 3",
        ),
        *(
            "global version",
            "password",
            "unicast",
            "announcements",
            "global announcements",
            "address options",
        ),
        *("quotes", "escaped comment sign"),
    ],
)
def test_instances_mean_the_same(tmp_path: Path, name: str) -> None:
    text = VALID[name].replace("@@", "")
    theirs = dumped(tmp_path, text)
    ours = load_text(text, config_id="one").config.instances[0]
    seconds = ours.advert_interval
    assert theirs["VRRP Instance"] == ours.name
    assert theirs["VRRP Version"] == str(ours.version)
    assert theirs["Wantstate"] == ours.initial_state.value
    assert theirs["Priority"] == str(ours.priority)
    assert theirs["Advert interval"] == (
        f"{seconds:g} sec" if seconds == int(seconds) else f"{seconds * 1000:g} milli-sec"
    )
    assert theirs["Preempt"] == ("disabled" if ours.nopreempt else "enabled")
    assert theirs.get("Preempt delay", "0 secs").split()[0] == f"{ours.preempt_delay:g}"
    assert theirs["Gratuitous ARP delay"] == f"{ours.garp_master_delay:g}"
    assert theirs["Gratuitous ARP repeat"] == str(ours.garp_master_repeat)
    assert theirs["Gratuitous ARP refresh"] == f"{ours.garp_master_refresh:g}"
    assert theirs["Gratuitous ARP refresh repeat"] == str(ours.garp_master_refresh_repeat)
    assert theirs.get("Password") == (ours.authentication.password if ours.authentication else None)
    expected = [
        f"{each.address}"
        + (f"/{each.prefix_length}" if each.prefix_length != 32 else "")
        + (f" brd {each.broadcast}" if each.broadcast else "")
        + f" dev {each.device} scope {each.scope}"
        + (f" label {each.label}" if each.label else "")
        for each in ours.addresses
    ]
    listed = theirs["addresses"].splitlines()
    assert [line for line in listed if " dev " in line] == expected
    peers = [line.split()[0] for line in listed if "min_ttl" in line]
    assert peers == [str(peer) for peer in ours.unicast_peers]
