# SPDX-License-Identifier: Apache-2.0
"""Requirements of native XDP on the cables, checked on the wire."""

from __future__ import annotations

import json
import os
import socket

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from tests.support.until import DEADLINE

from pointsman.lab import services
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import dual_homed

pytestmark = pytest.mark.root

PREFIX = f"pmt-native-{os.getpid()}"
ETH_P_IP = 0x0800


def first_segment(lab: Lab) -> Ether:
    """The client's SYN, as it arrives at the director."""
    tap = lab.node("lvs").socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    with tap, lab.node("client").socket() as caller:
        tap.bind(("eth7", ETH_P_IP))
        tap.settimeout(DEADLINE)
        caller.settimeout(DEADLINE)
        caller.connect_ex((dual_homed.VIP, dual_homed.PORT))
        while True:
            frame = Ether(tap.recv(2048))
            if TCP in frame and frame[TCP].dport == dual_homed.PORT:
                return frame


def checksum_is_complete(frame: Ether) -> bool:
    again = IP(bytes(frame[IP]))
    del again[TCP].chksum
    return bool(IP(bytes(again))[TCP].chksum == frame[TCP].chksum)


@pytest.mark.parametrize(("mode", "complete"), [("auto", False), ("native", True)])
def test_senders_complete_their_checksums_for_native_xdp_only(mode: str, complete: bool) -> None:
    with Lab("dual-homed", prefix=PREFIX, xdp_mode=mode, programs=False) as lab:
        frame = first_segment(lab)
    assert frame[IP].dst == dual_homed.VIP
    assert checksum_is_complete(frame) is complete


def test_only_the_directors_link_partners_bear_a_program_and_pass_everything() -> None:
    with Lab("dual-homed", prefix=PREFIX, xdp_mode="native", programs=False) as lab:
        client = lab.node("client")
        links = json.loads(client.run(["ip", "-j", "link", "show"]).stdout)
        assert {link["ifname"] for link in links if "xdp" in link} == {"lvs.eth7", "lvs.eth8"}
        services.start_http_server(lab.node("lvs"), dual_homed.PORT, lab.directory / "lvs")
        url = f"http://{dual_homed.VIP}:{dual_homed.PORT}/"
        assert client.run(["curl", "-s", "--max-time", "5", url]).stdout == "lvs\n"
