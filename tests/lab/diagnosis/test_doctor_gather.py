# SPDX-License-Identifier: Apache-2.0
"""The doctor's reading of a real host: firewall rules of each kind, and the interface below a virtual MAC."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.firewall_packets import ADVERT, REQUEST, VIP
from tests.support.namespaces import Namespace
from tests.support.until import DEADLINE

from pointsman.doctor.facts import (
    Card,
    DirectorFacts,
    Host,
    InstanceFact,
    RealServerFacts,
    SeenAdvert,
    VirtualFact,
)
from pointsman.doctor.finding import Verdict
from pointsman.doctor.firewall.simulation import Fate, judge
from pointsman.doctor.gather import firewall as firewall_facts
from pointsman.doctor.gather import kernel as kernel_facts
from pointsman.doctor.gather import probe as wire_probe
from pointsman.doctor.gather import read_facts
from pointsman.doctor.rules import director as director_rules
from pointsman.doctor.rules import firewall as firewall_rules
from pointsman.lab import waiting
from pointsman.net.other_balancers import other_balancers, processes_named
from pointsman.vrrp import wire
from pointsman.vrrp.ah import AhCodec

pytestmark = pytest.mark.root

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


def set_up(*commands: str) -> firewall_facts.Firewall:
    """Carry out commands, and return the firewall that they have made."""
    for command in commands:
        assert sh(command).returncode == 0, command
    found = firewall_facts.read()
    assert found.problem == ""
    return found


@needs_iptables
def test_a_rule_of_iptables_legacy_is_found_and_its_remedy_takes_it_away() -> None:
    assert firewall_facts.read() == firewall_facts.Firewall()
    assert not firewall_facts.legacy_tables("ip_tables_names"), "looking has made a table"
    if not has_legacy_tables():
        pytest.skip("this kernel has no tables of iptables-legacy")
    for rule, packet in (
        ("iptables-legacy -A INPUT -d 192.168.7.33 -p tcp --dport 80 -j DROP", REQUEST),
        ('iptables-legacy -t raw -A PREROUTING -p vrrp -m comment --comment "it\'s noise" -j DROP', ADVERT),
    ):
        found = judge(set_up(rule).ruleset, packet)
        assert found.rule is not None, rule
        assert judge(set_up(found.rule.removal).ruleset, packet).fate is Fate.PASSES, found.rule.removal


@needs_iptables
@pytest.mark.parametrize("tool", ["iptables-legacy", "iptables-nft"])
def test_a_policy_of_either_iptables_is_found_and_the_remedy_lets_requests_pass(tool: str) -> None:
    if tool == "iptables-legacy" and not has_legacy_tables():
        pytest.skip("this kernel has no tables of iptables-legacy")
    firewall = set_up(
        f"{tool} -P INPUT DROP",
        f"{tool} -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"{tool} -A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT",
    )
    facts = RealServerFacts(
        host=Host(
            name="a",
            cards=(Card(name="eth0", mac="02:00:00:00:00:01", addresses=(ipaddress.ip_interface(VIP),)),),
            ruleset=firewall.ruleset,
        ),
        vips=(VIP,),
        ports={VIP: (80,)},
    )
    (found,) = firewall_rules.judge_flows(facts.host, firewall_rules.requests(facts), "")
    assert (found.verdict, found.remedy) == (
        Verdict.FAULT,
        (f"{tool} -t filter -I INPUT -d {VIP} -p tcp --dport 80 -j ACCEPT",),
    )
    assert judge(set_up(*found.remedy).ruleset, REQUEST).fate is Fate.PASSES


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
    found = set_up("iptables-nft -A INPUT -d 192.168.7.33 -p tcp --dport 80 -j REJECT")
    blocking = judge(found.ruleset, REQUEST)
    assert blocking.rule is not None
    assert str(blocking.chain) == "iptables-nft chain ip filter INPUT (input)"
    assert judge(set_up(blocking.rule.removal).ruleset, REQUEST).fate is Fate.PASSES


RULES = """table inet fw {
  set web { type inet_service; flags interval; elements = { 80, 443, 8000-8010 } }
  map verdicts { type inet_service : verdict; elements = { 22 : accept, 80 : goto web_in } }
  chain web_in { iifname "eth*" accept; }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iif lo accept
    tcp flags & (fin|syn|rst|ack) != syn ct state new drop
    ip protocol vrrp ip daddr 224.0.0.0/24 accept
    tcp dport @web tcp dport vmap @verdicts
  }
}
"""


def test_what_nft_prints_is_understood() -> None:
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    ruleset = set_up().ruleset
    assert [judge(ruleset, packet).fate for packet in (REQUEST, ADVERT)] == [Fate.PASSES, Fate.PASSES]
    elsewhere = msgspec.structs.replace(REQUEST, destination_port=(8001, 8001))
    assert judge(ruleset, elsewhere).fate is Fate.DROPPED


def test_a_keepalived_of_this_namespace_is_seen(tmp_path: Path) -> None:
    program = shutil.copy("/bin/sleep", tmp_path / "keepalived")
    with subprocess.Popen([program, "60"]) as running:
        try:
            waiting.until(lambda: processes_named("keepalived") == [running.pid], DEADLINE, "it is seen")
            with Namespace("elsewhere") as other, other.entered():
                assert processes_named("keepalived") == []
            assert [each.remedy for each in other_balancers()] == [("systemctl disable --now keepalived",)]
        finally:
            running.kill()


def test_the_source_of_packets_to_a_real_server_is_the_kernel_s_choice() -> None:
    server = ipaddress.ip_address("fd00:9::20")
    for command in (
        "ip link add eth0 type veth peer name wire",
        "ip link set eth0 up; ip link set wire up",
        "ip address add fd00:9::10/64 dev eth0 nodad",
        "ip address add fd00:9::21/64 dev eth0 nodad",
    ):
        assert sh(command).returncode == 0, command
    vip = kernel_facts.read_sources([server])[server]
    assert sh(f"ip address change {vip}/64 dev eth0 preferred_lft 0").returncode == 0
    assert kernel_facts.read_sources([server])[server] != vip, "the doctor's remedy"


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


def test_adverts_with_an_authentication_header_are_heard() -> None:
    assert (
        sh("ip link add eth0 type veth peer name wire; ip link set eth0 up; ip link set wire up").returncode
        == 0
    )
    source = ipaddress.ip_address("192.168.7.11")
    advert = wire.Advert(
        version=2,
        virtual_router_id=51,
        priority=90,
        interval=100,
        addresses=(VIP,),
        authentication_type=wire.AH,
    )
    packet = AhCodec(b"secret").wrap(wire.encode(advert, source, wire.GROUP), source, wire.GROUP, 255, 1.0)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("wire", 0))

        def heard(seen: list[SeenAdvert]) -> bool:
            sender.send(bytes.fromhex("01005e000012 020000000002 0800") + packet)
            return bool(seen)

        (seen,) = wire_probe.listen_for_adverts({"eth0": DEADLINE}, heard)
    assert (seen.source, seen.virtual_router_id, seen.priority) == (source, 51, 90)


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
