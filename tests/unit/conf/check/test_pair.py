# SPDX-License-Identifier: Apache-2.0
"""`check --peer`, `check --live` and programs: what the text alone does not tell."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from pointsman.cli.check import check
from pointsman.cli.loading import inspect_program
from pointsman.conf.check.live import Host, HostInterface, check_live
from pointsman.conf.check.pair import check_pair
from pointsman.conf.check.programs import Identity
from pointsman.conf.load import load_text
from pointsman.conf.text.problems import Findings
from pointsman.model.config import Config
from pointsman.model.tracking import VrrpSurroundings

FIRST = """
global_defs {
    router_id lb-01
}
vrrp_instance A {
    state MASTER
    interface eth0
    virtual_router_id 5
    priority 200
    unicast_src_ip 10.0.0.11
    unicast_peer {
        10.0.0.12
    }
    authentication {
        auth_type PASS
        auth_pass 12345678
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
        weight 1
    }
}
"""


def config(*changes: tuple[str, str]) -> Config:
    text = FIRST
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load_text(text).config


TURN = (
    ("lb-01", "lb-02"),
    ("state MASTER", "state BACKUP"),
    ("priority 200", "priority 100"),
    ("10.0.0.11", "10.0.0.X"),
    ("10.0.0.12", "10.0.0.11"),
    ("10.0.0.X", "10.0.0.12"),
)


def compared(*changes: tuple[str, str]) -> list[tuple[str, str]]:
    """Severity and text of what is said about the first file beside a second one with these changes."""
    findings = Findings({})
    peer = config()
    text = FIRST
    for old, new in (*TURN, *changes):
        assert old in text
        text = text.replace(old, new)
    peer = load_text(text).config
    check_pair(config(), peer, findings)
    return [(problem.severity.value, problem.text) for problem in findings.problems()]


def test_a_matching_pair_is_silent() -> None:
    assert compared() == []


@pytest.mark.parametrize(
    ("old", "new", "severity", "text"),
    [
        ("lb-02", "lb-01", "warning", "both directors have the router_id lb-01"),
        ("virtual_router_id 5", "virtual_router_id 6", "error", "no instance with virtual_router_id 5"),
        ("priority 100", "priority 100\nadvert_int 2", "error", "advert_int 1 here, 2 at the peer"),
        ("12345678", "87654321", "error", "the authentication differs"),
        ("10.0.0.1/24", "10.0.0.2/24", "error", "virtual addresses 10.0.0.1 here, 10.0.0.2 at the peer"),
        ("priority 100", "priority 200", "warning", "both have priority 200"),
        ("unicast_src_ip 10.0.0.12", "", "warning", "the peer has no unicast_src_ip: it may use another"),
        ("priority 100", "priority 100\nversion 3", "error", "VRRP version 2 here, 3 at the peer"),
        ("state BACKUP", "state MASTER", "warning", "state MASTER on both"),
        ("10.0.0.11", "10.0.0.13", "error", "at the peer lacks 10.0.0.11"),
        ("10.0.0.1 80", "10.0.0.1 81", "error", "lacks the virtual server TCP 10.0.0.1:80"),
        ("lvs_sched rr", "lvs_sched wrr", "warning", "scheduler, persistence or flags differ"),
        ("10.0.0.20 80", "10.0.0.21 80", "warning", "10.0.0.20:80 is missing at the peer"),
        ("weight 1", "weight 2", "warning", "weight or thresholds of 10.0.0.20:80 differ"),
    ],
)  # fmt: skip
def test_what_does_not_match(old: str, new: str, severity: str, text: str) -> None:
    assert any(kind == severity and text in said for kind, said in compared((old, new))), compared((old, new))


def test_only_the_part_of_a_password_that_travels_counts() -> None:
    assert compared(("12345678", "12345678-and-more")) == []


def test_check_compares_with_the_peers_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(FIRST)
    (tmp_path / "two").write_text(FIRST)
    result = CliRunner().invoke(check, ["-f", str(tmp_path / "one"), "--peer", str(tmp_path / "two")])
    assert result.exit_code == 2 and "both have the unicast_src_ip 10.0.0.11" in " ".join(
        result.output.split()
    )
    (tmp_path / "two").write_text("nonsense")
    result = CliRunner().invoke(check, ["-f", str(tmp_path / "one"), "--peer", str(tmp_path / "two")])
    assert result.exit_code == 2 and "has errors itself (1 error)" in " ".join(result.output.split())


def host(**interfaces: str) -> Host:
    """Interfaces that are up, with the addresses of the words."""
    return {
        name: HostInterface(True, tuple(ipaddress.ip_interface(word) for word in words.split()))
        for name, words in interfaces.items()
    }


def lived(here: Host) -> list[tuple[str, str]]:
    findings = Findings({})
    check_live(config(), here, findings)
    return [(problem.severity.value, problem.text) for problem in findings.problems()]


def test_a_host_that_has_everything_is_silent() -> None:
    assert lived(host(lo="127.0.0.1/8", eth0="10.0.0.11/24")) == []
    assert lived(host(eth0="10.0.0.11/24 10.0.0.1/24")) == [], "also while it is master"


@pytest.mark.parametrize(
    ("here", "severity", "text"),
    [
        (host(eth1="10.0.0.11/24"), "error", "A: there is no interface eth0 here"),
        (host(eth0="10.0.0.99/24"), "error", "unicast_src_ip 10.0.0.11 is not an address of this host"),
        (host(eth0="10.0.0.11/24 10.0.0.12/24"), "error", "unicast peer 10.0.0.12 is this host itself"),
        (host(eth0="10.0.0.11/28"), "error", "10.0.0.20 is on no link of this host"),
        (
            host(eth0="10.9.0.1/24", eth1="10.0.0.11/24"),
            "warning",
            "10.0.0.1 is in none of the networks of eth0",
        ),
        ({"eth0": HostInterface(False, ())}, "warning", "the interface eth0 is down"),
    ],
)
def test_what_the_host_lacks(here: Host, severity: str, text: str) -> None:
    assert any(kind == severity and text in said for kind, said in lived(here)), lived(here)


def test_an_interface_that_may_come_later_is_a_warning() -> None:
    findings = Findings({})
    dynamic = msgspec.structs.replace(config(), vrrp=VrrpSurroundings(dynamic_interfaces=True))
    check_live(dynamic, host(eth1="10.0.0.11/24"), findings)
    found = [(problem.severity.value, problem.text) for problem in findings.problems()]
    assert (
        "warning",
        "A: there is no interface eth0 here: the instance would be in FAULT until it appears",
    ) in found


def implicit(peer: str, *addresses: str, virtual: str = "10.0.0.1/24") -> list[str]:
    """Return what `check --live` says about the source of an instance without unicast_src_ip."""
    text = FIRST.replace("unicast_src_ip 10.0.0.11", "").replace("        10.0.0.12", f"        {peer}")
    findings = Findings({})
    text = text.partition("virtual_server")[0].replace("10.0.0.1/24", virtual)
    check_live(load_text(text).config, host(eth0=" ".join(addresses)), findings)
    return [problem.text for problem in findings.problems()]


def test_a_source_of_adverts_that_is_not_clear_is_found() -> None:
    assert implicit("10.0.0.12", "10.0.0.11/24") == []
    assert implicit("10.0.0.12", "10.9.0.1/24", "10.0.0.11/24") == [], "the one in the peer's network"
    (text,) = implicit("10.0.0.12", "10.0.0.11/24", "10.0.0.13/24")
    assert text == "A: of several addresses, 10.0.0.11 would send and receive the adverts"
    (text, _) = implicit("10.0.0.12", "10.0.0.1/24")
    assert text == "A: eth0 has no address to send adverts from (virtual ones do not count)"
    (text, *_) = implicit("fd00::12", "fe80::11/64", virtual="fd00::9/64")
    assert text == "A: eth0 has no address to send adverts from", "peers do not write to a link-local one"
    assert implicit("fd00::12", "fe80::11/64", "fd00::11/64", virtual="fd00::9/64") == []
    assert implicit("fe80::12", "fd00::11/64", "fe80::11/64", virtual="fd00::9/64") == []


@pytest.mark.root
def test_what_the_file_system_says(tmp_path: Path) -> None:
    script = tmp_path / "script"
    assert inspect_program(str(script)) is None
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    program = inspect_program(str(script))
    assert program is not None and program.can_be_run_by(Identity(1, 1))
    script.chmod(0o777)
    program = inspect_program(str(script))
    assert program is not None and program.changeable_by_others == str(script)
