# SPDX-License-Identifier: Apache-2.0
"""The doctor's reading of a real host: firewall rules of each kind, and the interface below a virtual MAC."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.namespaces import Namespace
from tests.support.until import DEADLINE

from pointsman.doctor.facts import DirectorFacts, InstanceFact, VirtualFact
from pointsman.doctor.finding import Verdict
from pointsman.doctor.gather import firewall as firewall_facts
from pointsman.doctor.gather import probe as wire_probe
from pointsman.doctor.gather import read_facts
from pointsman.doctor.rules import director as director_rules
from pointsman.doctor.rules.firewall import blocking_adverts, blocking_icmp, blocking_requests
from pointsman.lab import waiting

pytestmark = pytest.mark.root

VIP, VIP6 = map(ipaddress.ip_address, ("192.168.7.33", "fd00::33"))
needs_iptables = pytest.mark.skipif(
    shutil.which("iptables-legacy") is None, reason="iptables-legacy (Debian: iptables) is not installed"
)


@pytest.fixture(autouse=True)
def _in_a_namespace() -> Iterator[None]:
    with Namespace("gather") as made, made.entered():
        yield


def sh(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


def has_legacy_tables() -> bool:
    """Return True if the kernel has them; some kernels are built without."""
    return sh("iptables-legacy -t filter -L -n").returncode == 0


@needs_iptables
def test_a_rule_of_iptables_legacy_is_found_and_its_remedy_takes_it_away() -> None:
    assert firewall_facts.read() == firewall_facts.Firewall()
    assert not firewall_facts.legacy_tables("ip_tables_names"), "looking has made a table"
    if not has_legacy_tables():
        pytest.skip("this kernel has no tables of iptables-legacy")
    for rule in (
        "iptables-legacy -A INPUT -d 192.168.7.33 -p tcp --dport 80 -j DROP",
        'iptables-legacy -t raw -A PREROUTING -p vrrp -m comment --comment "it\'s noise" -j DROP',
        "iptables-legacy -A INPUT -p icmp -j REJECT",
        "ip6tables-legacy -A INPUT -d fd00::33 -j DROP",
    ):
        assert sh(rule).returncode == 0, rule
    found = firewall_facts.read()
    assert found.problem == ""
    assert [str(rule) for rule in blocking_requests(found.rules, VIP, [80])] == [
        "an iptables-legacy rule in ip filter INPUT (input)"
    ]
    assert len(blocking_requests(found.rules, VIP6)) == 1
    assert len(blocking_adverts(found.rules)) == len(blocking_icmp(found.rules)) == 1
    for each in found.rules:
        done = sh(each.removal)
        assert done.returncode == 0, (each.removal, done.stderr)
    assert firewall_facts.read() == firewall_facts.Firewall()


@needs_iptables
def test_rules_that_cannot_be_looked_at_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_legacy_tables():
        pytest.skip("this kernel has no tables of iptables-legacy")
    monkeypatch.setenv("PATH", "/nowhere")
    assert firewall_facts.read().problem == (
        "nft is not installed, so its rules are unknown; "
        "iptables-legacy-save is not installed, so its rules are unknown (its tables: filter)"
    )


@needs_iptables
def test_what_iptables_writes_into_nftables_is_understood() -> None:
    for rule in (
        "iptables-nft -A INPUT -d 192.168.7.33 -p tcp --dport 80 -m comment --comment web -j REJECT",
        "iptables-nft -A INPUT -p vrrp -j REJECT",
    ):
        assert sh(rule).returncode == 0, rule
    found = firewall_facts.read()
    (blocking,) = blocking_requests(found.rules, VIP, [80])
    assert str(blocking) == "an nftables rule in ip filter INPUT (input)"
    assert len(blocking_adverts(found.rules)) == 1
    assert sh(blocking.removal).returncode == 0
    assert blocking_requests(firewall_facts.read().rules, VIP, [80]) == []


VIRTUAL, PHYSICAL = "00:00:5e:00:01:33", "02:00:00:00:00:01"
BUILD = f"""
ip link set lo up
ip link add eth0 address {PHYSICAL} type veth peer name wire
ip link set eth0 up; ip link set wire up
ip address add 192.168.7.10/24 dev eth0
ip link add link eth0 name vrrp.51 address {VIRTUAL} type macvlan mode private
ip link set vrrp.51 up
ip address add {VIP}/32 dev vrrp.51
"""


def test_an_interface_below_a_virtual_mac_that_answers_too_is_found_and_mended() -> None:
    assert sh(f"set -e; {BUILD}").returncode == 0
    waiting.until(lambda: "state UP" in sh("ip link show vrrp.51").stdout, DEADLINE, "the links are up")

    def answering() -> list[str]:
        return wire_probe.who_has([("wire", VIP)], {VIP}).macs(VIP)

    def found() -> list[tuple[Verdict, tuple[str, ...]]]:
        virtual = VirtualFact(address=VIP, prefix_length=32, device="vrrp.51")
        instance = InstanceFact(name="VI_1", state="MASTER", interface="eth0", virtual=(virtual,))
        facts = DirectorFacts(host=read_facts.read_host(), instances=(instance,))
        findings = director_rules.examine(facts).findings
        return [(item.verdict, item.remedy) for item in findings if item.check == "vmac"]

    assert answering() == sorted([VIRTUAL, PHYSICAL])
    ((verdict, (remedy,)),) = found()
    assert verdict is Verdict.FAULT
    assert sh(remedy).returncode == 0
    assert answering() == [VIRTUAL]
    assert found() == [(Verdict.RIGHT, ())]
