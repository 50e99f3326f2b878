# SPDX-License-Identifier: Apache-2.0
"""Packets that tests send through firewalls in thought."""

from __future__ import annotations

import ipaddress

from pointsman.doctor.firewall.packet import ANY_PORT, SYN, TCP, VRRP, Packet

VIP = ipaddress.ip_address("192.168.7.33")
REQUEST = Packet(
    version=4,
    protocol=TCP,
    destination=VIP,
    source_port=ANY_PORT,
    destination_port=(80, 80),
    inwards=("eth0",),
    flags=SYN,
)
ADVERT = Packet(version=4, protocol=VRRP, destination=ipaddress.ip_address("224.0.0.18"), inwards=("eth0",))
