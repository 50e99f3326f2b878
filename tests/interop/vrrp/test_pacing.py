# SPDX-License-Identifier: Apache-2.0
"""Pauses between gratuitous ARP packets, on the wire."""

from __future__ import annotations

import ipaddress
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support.project import ROOT
from tests.support.until import DEADLINE, until
from tests.support.vrrp.switch import Capture, switch

from pointsman.packets.arp import gratuitous_arp

pytestmark = pytest.mark.root

PAUSE = 0.3
CONF = f"""
global_defs {{
    vrrp_garp_interval {PAUSE}
}}
vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 1
    version 3
    advert_int 0.1
    virtual_ipaddress {{
        10.9.0.100/24 dev eth0
    }}
}}
"""


def test_the_packets_of_a_burst_leave_one_by_one(tmp_path: Path) -> None:
    with switch(tmp_path) as made:
        host = made.host("a", "10.9.0.1/24")
        conf = tmp_path / "keepalived.conf"
        conf.write_text(CONF)
        capture = Capture(made, host)
        expected = gratuitous_arp(host.mac(), ipaddress.IPv4Address("10.9.0.100").packed)
        command = (sys.executable, "-m", "pointsman.cli.main", "run", "-f", str(conf))
        director = host.start(*command, log=tmp_path / "director.log", cwd=ROOT)
        until("the fifth has left", lambda: capture.frames().count(expected) >= 5)
        times = [seen for seen, frame in capture.arrivals() if frame == expected]
        assert min(later - earlier for earlier, later in pairwise(times[:5])) > 0.9 * PAUSE
        director.terminate()
        assert director.wait(DEADLINE) == 0
