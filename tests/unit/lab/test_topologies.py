# SPDX-License-Identifier: Apache-2.0
"""The lab's two topologies say what the two documents say."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from pointsman.lab.lab import TOPOLOGIES
from pointsman.lab.topologies import dual_homed, ha_pair
from pointsman.lab.topologies.topology import Topology

EXAMPLES = Path(__file__).parents[3] / "examples" / "lab"
EVERY = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=lambda topology: topology.name)


@pytest.mark.parametrize("director", ["lb-01", "lb-02"])
def test_the_labs_directors_run_the_published_example(director: str) -> None:
    assert ha_pair.configuration(director).split() == (EXAMPLES / f"{director}.conf").read_text().split()


@EVERY
def test_names_fit_the_kernel_and_macs_are_unique(topology: Topology) -> None:
    cards = [(node, card) for node in topology.nodes for card in node.interfaces]
    assert all(len(node.port(card)) <= 15 for node, card in cards)
    macs = [card.mac for _, card in cards] + [segment.mac for segment in topology.segments if segment.mac]
    assert len(set(macs)) == len(macs)


@EVERY
def test_every_gateway_is_on_link(topology: Topology) -> None:
    for node in topology.nodes:
        networks = [
            ipaddress.ip_interface(address).network for card in node.interfaces for address in card.addresses
        ]
        for route in node.routes:
            assert any(ipaddress.ip_address(route.gateway) in network for network in networks), node.name


def test_the_first_documents_hosts_share_one_network_with_the_vip() -> None:
    network = ipaddress.ip_network("192.168.100.0/26")
    hosts = [ha_pair.VIP, ha_pair.MAIL_ADDRESS, *ha_pair.DIRECTORS.values(), *ha_pair.WEB_SERVERS.values()]
    assert all(ipaddress.ip_address(host) in network for host in hosts)


def test_hosts_by_mac_knows_the_second_documents_capture() -> None:
    assert dual_homed.TOPOLOGY.hosts_by_mac() == {
        "00:1a:a0:21:21:65": "client",
        "de:ad:be:ef:24:46": "lvs",
        "00:16:3e:5d:a6:b3": "lvs",
        "52:54:00:c1:a7:5e": "server",
        "52:54:00:ba:3d:b9": "server",
    }
