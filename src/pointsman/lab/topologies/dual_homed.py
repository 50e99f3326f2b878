# SPDX-License-Identifier: Apache-2.0
"""Topology of the second document: a director and a real server on two bridges of one KVM host.

    client, the KVM host: br_e 192.168.7.2, and br_lvs without an address
      |                              |
    eth7 192.168.7.33 (VIP)        eth14 192.168.7.99      on br_e
        lvs                           server
    eth8 192.168.88.10             eth12 192.168.88.20     on br_lvs

The MAC addresses are those in the document's tcpdump output.
"""

from __future__ import annotations

from pointsman.lab.topologies.topology import Interface, NodeSpec, Role, Segment, Topology

VIP = "192.168.7.33"
PORT = 8000
REAL_SERVER = "192.168.88.20"

TOPOLOGY = Topology(
    name="dual-homed",
    summary="one director and one real server, each on br_e and br_lvs; the client is the KVM host",
    vip=VIP,
    port=PORT,
    segments=(
        Segment(name="br_e", node="client", mac="00:1a:a0:21:21:65", addresses=("192.168.7.2/24",)),
        Segment(name="br_lvs", node="client"),
    ),
    nodes=(
        NodeSpec(name="client", role=Role.CLIENT),
        NodeSpec(
            name="lvs",
            role=Role.DIRECTOR,
            interfaces=(
                Interface(
                    name="eth7", segment="br_e", mac="de:ad:be:ef:24:46", addresses=("192.168.7.33/24",)
                ),
                Interface(
                    name="eth8", segment="br_lvs", mac="00:16:3e:5d:a6:b3", addresses=("192.168.88.10/24",)
                ),
            ),
        ),
        NodeSpec(
            name="server",
            role=Role.REAL_SERVER,
            interfaces=(
                Interface(
                    name="eth14", segment="br_e", mac="52:54:00:c1:a7:5e", addresses=("192.168.7.99/24",)
                ),
                Interface(
                    name="eth12", segment="br_lvs", mac="52:54:00:ba:3d:b9", addresses=("192.168.88.20/24",)
                ),
            ),
        ),
    ),
)
