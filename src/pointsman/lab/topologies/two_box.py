# SPDX-License-Identifier: Apache-2.0
"""Topology of two machines: each is a director and a real server of the same service.

client .1 ──┬── box-01 .10
            └── box-02 .11       on br, 192.168.100.0/26; VIP .9 on lo of both, and on eth0 of the master
"""

from __future__ import annotations

from pointsman.lab.topologies.topology import Interface, NodeSpec, Role, Segment, Topology

VIP = "192.168.100.9"
PORT = 8000
BOXES = {"box-01": "192.168.100.10", "box-02": "192.168.100.11"}


def _node(name: str, role: Role, address: str) -> NodeSpec:
    mac = f"02:00:00:00:01:{int(address.rpartition('.')[2]):02x}"
    card = Interface(name="eth0", segment="br", mac=mac, addresses=(f"{address}/26",))
    return NodeSpec(name=name, role=role, interfaces=(card,))


TOPOLOGY = Topology(
    name="two-box",
    summary="two directors that are also the real servers",
    vip=VIP,
    port=PORT,
    segments=(Segment(name="br", node="switch"),),
    nodes=(
        NodeSpec(name="switch", role=Role.SWITCH),
        _node("client", Role.CLIENT, "192.168.100.1"),
        *(_node(name, Role.DIRECTOR, address) for name, address in BOXES.items()),
    ),
)

_CONFIGURATION = """\
global_defs {{
    vrrp_version 3
}}
vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 0.2
    virtual_ipaddress {{
        {vip}/26 dev eth0
    }}
}}
virtual_server {vip} {port} {{
    protocol TCP
    lvs_sched rr
    lvs_method DR
{real_servers}}}
"""


def configuration(director: str) -> str:
    """Return the keepalived.conf of a box. The two differ only in the priority."""
    priority = 200 - list(BOXES).index(director)
    servers = "".join(
        f"    real_server {box} {PORT} {{\n        weight 1\n    }}\n" for box in BOXES.values()
    )
    return _CONFIGURATION.format(priority=priority, vip=VIP, port=PORT, real_servers=servers)
