# SPDX-License-Identifier: Apache-2.0
"""Two machines are the whole cluster: each is a director, and a real server of the same service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import waiting
from pointsman.lab.faults import runner as fault_runner
from pointsman.lab.lab import Lab
from pointsman.lab.topologies.two_box import BOXES, PORT, VIP
from pointsman.lab.tracing import trace

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("two-box", prefix=f"pmt-box-{os.getpid()}") as made:
        yield made


def holds(lab: Lab, name: str) -> bool:
    return f"{VIP}/26" in lab.node(name).addresses("eth0")


def page(lab: Lab, name: str) -> str:
    return lab.node(name).run(["curl", "-s", "-m", "5", f"http://{VIP}:{PORT}/"], check=False).stdout.strip()


def in_force(lab: Lab, name: str) -> bool:
    return f"TCP  {VIP}:{PORT} rr" in lab.node(name).run(["pointsman", "ipvsadm", "-Ln"]).stdout


def test_the_backup_serves_what_the_master_sends_and_balances_nothing(lab: Lab) -> None:
    waiting.until(lambda: in_force(lab, "box-01"), DEADLINE, "the service is in force on the master")
    assert not in_force(lab, "box-02")
    said = [page(lab, "client") for _ in range(6)]
    assert sorted(said) == ["box-01"] * 3 + ["box-02"] * 3, "turn by turn, the master's own among them"
    status = json.loads(lab.node("box-02").run(["pointsman", "status", "--json"]).stdout)
    assert [service["standby"] for service in status["services"]] == [True]
    assert status["problems"] == []


def test_local_clients_reach_the_vip_on_either_box(lab: Lab) -> None:
    assert (page(lab, "box-01"), page(lab, "box-02")) == ("box-01", "box-02")


def test_a_trace_knows_a_box_as_a_real_server_and_the_master_as_its_own(lab: Lab) -> None:
    said = [trace(lab, VIP, PORT).trace for _ in range(2)]
    assert all(found.ok for found in said)
    texts = sorted(finding.text for found in said for finding in found.findings)
    assert "the director box-01 chose itself and changed nothing" in texts
    assert (
        "the director box-01 changed only the MACs (and the TTL 64 -> 63, as IPVS does); it chose box-02"
        in texts
    )


def test_neither_doctor_nor_realserver_has_anything_against_either_box(lab: Lab) -> None:
    for name in BOXES:
        box = lab.node(name)
        box.run(["pointsman", "realserver", "status"])
        box.run(["pointsman", "realserver", "up", VIP])
        roles = json.loads(box.run(["pointsman", "doctor", "--json"], check=False).stdout)["diagnoses"]
        assert [item["role"] for item in roles] == ["director", "real server"]
        assert fault_runner.complaints(lab, name) == []


def test_the_other_box_balances_from_the_moment_it_holds_the_vip(lab: Lab) -> None:
    lab.node("box-01").run(["pointsman", "switchover"])
    waiting.until(lambda: holds(lab, "box-02"), DEADLINE, "box-02 holds the VIP")
    waiting.until(
        lambda: in_force(lab, "box-02") and not in_force(lab, "box-01"), DEADLINE, "the service moves"
    )
    assert page(lab, "box-01") == "box-01", "the former master serves itself"

    def both_serve() -> bool:
        return {page(lab, "client") for _ in range(4)} == set(BOXES)

    waiting.until(both_serve, DEADLINE, "the new master sends to both")
