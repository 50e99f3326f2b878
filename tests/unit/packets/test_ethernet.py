# SPDX-License-Identifier: Apache-2.0
"""MAC addresses of multicast groups."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from pointsman.packets.ethernet import multicast_mac

MACS = {
    "224.0.0.18": "01:00:5e:00:00:12",
    "239.255.1.2": "01:00:5e:7f:01:02",
    "ff02::12": "33:33:00:00:00:12",
    "ff05::1:2345:6789": "33:33:23:45:67:89",
}


@pytest.mark.parametrize(("group", "mac"), MACS.items())
def test_the_mac_address_of_a_group(group: str, mac: str) -> None:
    assert multicast_mac(ip_address(group).packed).hex(":") == mac
