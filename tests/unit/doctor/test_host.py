# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings about a host in general, from constructed facts; reading of those facts."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pointsman.doctor.facts import Card, Host, Neighbour, Offloads, System
from pointsman.doctor.finding import Finding, Verdict
from pointsman.doctor.gather import system as system_facts
from pointsman.doctor.rules import host as host_rules

ETH0 = Card(name="eth0", mac="02:00:00:00:00:01")


def bad(findings: Any) -> list[str]:
    listed: list[Finding] = list(findings)
    return [item.check for item in listed if item.verdict in (Verdict.FAULT, Verdict.WARNING)]


@pytest.mark.parametrize(("jump", "said"), [(0.0, []), (0.2, []), (-3600.0, ["clock"]), (0.7, ["clock"])])
def test_a_clock_that_jumps(jump: float, said: list[str]) -> None:
    assert bad(host_rules.clock(System(clock_synchronised=True), jump)) == said


def test_connection_tracking_that_is_nearly_full() -> None:
    assert bad(host_rules.conntrack(System(conntrack=10, conntrack_limit=100))) == []
    assert bad(host_rules.conntrack(System(conntrack=95, conntrack_limit=100))) == ["conntrack"]
    assert list(host_rules.conntrack(System())) == [], "no conntrack in this kernel"


def test_neighbours() -> None:
    entries = tuple(
        Neighbour(interface="eth0", address=ipaddress.IPv4Address(number), mac="") for number in range(95)
    )
    assert bad(host_rules.neighbours(Host(name="a", neighbours=entries, neighbour_limit=1000))) == []
    assert bad(host_rules.neighbours(Host(name="a", neighbours=entries, neighbour_limit=100))) == [
        "neighbour-table"
    ]
    elsewhere = System(neighbour_entries=95)
    assert bad(host_rules.neighbours(Host(name="a", system=elsewhere, neighbour_limit=100))) == [
        "neighbour-table"
    ], "all namespaces share the table"
    (now,) = host_rules.neighbours(Host(name="a"), 3)
    assert (now.verdict, "3 times while" in now.found) == (Verdict.WARNING, True)
    (once,) = host_rules.neighbours(Host(name="a", system=System(neighbour_overflows=7)))
    assert (once.verdict, "7 times" in once.found) == (Verdict.NOTE, True)


@pytest.mark.parametrize(
    ("offloads", "mode", "said"),
    [
        (Offloads(lro=True), "tc", ["lro"]),
        (Offloads(lro=True), "generic", ["lro"]),
        (Offloads(driver="virtio_net", receive_checksum=True), "native", ["guest-csum"]),
        (Offloads(driver="virtio_net", receive_checksum=True), "generic", []),
        (Offloads(driver="virtio_net"), "native", []),
        (Offloads(driver="ixgbe", receive_checksum=True), "native", []),
    ],
)
def test_offloads_that_spoil_what_is_passed_on(offloads: Offloads, mode: str, said: list[str]) -> None:
    card = Card(name="eth0", mac=ETH0.mac, offloads=offloads)
    assert bad(host_rules.offloads([card], {"eth0": mode})) == said
    assert bad(host_rules.offloads([card], {})) == [], "the director is not attached there"


def test_what_a_director_needs_of_the_kernel() -> None:
    assert bad(host_rules.speed(System(bpf_jit=1), vrrp_is_slow=False)) == []
    assert bad(host_rules.speed(System(bpf_jit=0), vrrp_is_slow=True)) == ["bpf-jit", "real-time"]


def test_a_kernel_that_is_too_old_and_capabilities_that_are_missing() -> None:
    assert bad(host_rules.kernel(System(kernel=(6, 1), types=True), [])) == []
    assert bad(host_rules.kernel(System(), [])) == []
    assert bad(host_rules.kernel(System(kernel=(5, 15)), [])) == ["kernel"]
    (*_, lacking) = host_rules.kernel(System(kernel=(6, 12)), ["CAP_BPF", "CAP_PERFMON"])
    assert lacking.found == "the director runs without CAP_BPF and CAP_PERFMON"
    without_types = list(host_rules.kernel(System(kernel=(6, 12), types=False), []))
    assert [item.verdict for item in without_types].count(Verdict.NOTE) == 1


def test_only_nat_needs_the_kernel_to_route() -> None:
    assert bad(host_rules.forwarding(System(forwarding=0), [])) == []
    assert bad(host_rules.forwarding(System(forwarding=0), ["TCP 10.0.0.9:80"])) == ["ip-forward"]
    assert bad(host_rules.forwarding(System(forwarding=1), ["TCP 10.0.0.9:80"])) == []


MOUNTS = """36 35 0:30 / /sys rw,nosuid shared:7 - sysfs sysfs rw
37 36 0:31 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700
38 36 0:33 / /run/my bpf rw - tmpfs bpf rw
"""


def test_where_bpf_file_systems_are_mounted() -> None:
    assert system_facts.parse_bpf_mounts(MOUNTS) == {"/sys/fs/bpf": "0:31"}


def test_this_machine_is_read() -> None:
    found = system_facts.read_system()
    assert found.bpf_jit in (0, 1, 2)
    assert found.clock_synchronised in (True, False, None)
    assert system_facts.read_offloads("lo").lro is False
    assert found.kernel is not None
    assert found.kernel > (6, 0)
    assert abs(system_facts.wall_clock_offset() - system_facts.wall_clock_offset()) < 0.1
