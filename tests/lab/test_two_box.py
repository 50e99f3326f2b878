"""Two machines are the whole cluster: each is a director, and a real server of the same service.

client .1 ──┬── box-01 .10
            └── box-02 .11        VIP .9 on lo of both, and on eth0 of the master
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from pointsman.lab import lab as labs
from pointsman.lab import services, waiting
from pointsman.lab.lab import Lab
from pointsman.lab.topology import Interface, NodeSpec, Role, Segment, Topology

pytestmark = pytest.mark.root

VIP, PORT = "192.168.100.9", 8000
BOXES = {"box-01": "192.168.100.10", "box-02": "192.168.100.11"}
CLIENT = "192.168.100.1"
CONFIGURATION = """
global_defs {{ vrrp_version 3 }}
vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 0.2
    virtual_ipaddress {{ {vip}/26 dev eth0 }}
}}
virtual_server {vip} {port} {{
    protocol TCP
    lvs_sched rr
    lvs_method DR
    real_server 192.168.100.10 {port} {{ weight 1 }}
    real_server 192.168.100.11 {port} {{ weight 1 }}
}}
"""


def node(name: str, role: Role, address: str) -> NodeSpec:
    mac = f"02:00:00:00:01:{int(address.rpartition('.')[2]):02x}"
    card = Interface(name="eth0", segment="br", mac=mac, addresses=(f"{address}/26",))
    return NodeSpec(name=name, role=role, interfaces=(card,))


TOPOLOGY = Topology(
    name="two-box",
    summary="two directors that are the real servers, too",
    segments=(Segment(name="br", node="switch"),),
    nodes=(
        NodeSpec(name="switch", role=Role.SWITCH),
        node("client", Role.CLIENT, CLIENT),
        *(node(name, Role.DIRECTOR, address) for name, address in BOXES.items()),
    ),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    labs.TOPOLOGIES[TOPOLOGY.name] = TOPOLOGY
    try:
        with Lab(TOPOLOGY.name, prefix=f"pmt-box-{os.getpid()}", programs=False) as made:
            for number, name in enumerate(BOXES):
                start(made, name, priority=200 - number)
            yield made
    finally:
        del labs.TOPOLOGIES[TOPOLOGY.name]


def start(lab: Lab, name: str, priority: int) -> None:
    box = lab.node(name)
    services.start_http_server(box, PORT, lab.directory / name)
    box.run(["pointsman", "realserver", "up", VIP, "--interface", "eth0"])
    file = lab.directory / f"{name}.conf"
    file.write_text(CONFIGURATION.format(vip=VIP, port=PORT, priority=priority))
    services.start_director(box, ["-f", str(file)], "auto")
    if name == "box-01":
        waiting.until(lambda: holds(lab, name), 30.0, "box-01 holds the VIP")


def holds(lab: Lab, name: str) -> bool:
    return f"{VIP}/26" in lab.node(name).addresses("eth0")


def page(lab: Lab, name: str) -> str:
    return lab.node(name).run(["curl", "-s", "-m", "5", f"http://{VIP}:{PORT}/"], check=False).stdout.strip()


def in_force(lab: Lab, name: str) -> bool:
    return f"TCP  {VIP}:{PORT} rr" in lab.node(name).run(["pointsman", "ipvsadm", "-Ln"]).stdout


def test_the_backup_serves_what_the_master_sends_and_balances_nothing(lab: Lab) -> None:
    waiting.until(lambda: in_force(lab, "box-01"), 30.0, "the service is in force on the master")
    assert not in_force(lab, "box-02")
    said = [page(lab, "client") for _ in range(6)]
    assert sorted(said) == ["box-01"] * 3 + ["box-02"] * 3, "turn by turn, the master's own among them"
    status = json.loads(lab.node("box-02").run(["pointsman", "status", "--json"]).stdout)
    assert [service["standby"] for service in status["services"]] == [True]
    assert status["problems"] == []


def test_local_clients_reach_the_vip_on_either_box(lab: Lab) -> None:
    assert (page(lab, "box-01"), page(lab, "box-02")) == ("box-01", "box-02")


def test_neither_doctor_nor_realserver_takes_the_masters_vip_for_a_mistake(lab: Lab) -> None:
    for name in BOXES:
        box = lab.node(name)
        box.run(["pointsman", "realserver", "status"])
        box.run(["pointsman", "realserver", "up", VIP])
        found = json.loads(box.run(["pointsman", "doctor", "--json"], check=False).stdout)
        wrong = [
            (item["check"], item["found"])
            for diagnosis in found["diagnoses"]
            for item in diagnosis["findings"]
            if item["check"].startswith("vip") and item["verdict"] in ("fault", "warning")
        ]
        assert wrong == [], name


def test_the_other_box_balances_from_the_moment_it_holds_the_vip(lab: Lab) -> None:
    lab.node("box-01").run(["pointsman", "switchover"])
    waiting.until(lambda: holds(lab, "box-02"), 30.0, "box-02 holds the VIP")
    waiting.until(lambda: in_force(lab, "box-02") and not in_force(lab, "box-01"), 30.0, "the service moves")
    assert page(lab, "box-01") == "box-01", "the former master serves itself"

    def both_serve() -> bool:
        return {page(lab, "client") for _ in range(4)} == set(BOXES)

    waiting.until(both_serve, 30.0, "the new master sends to both")
