# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: bfd_instance."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import NEWER, honoured, in_block
from pointsman.conf.keywords.values import Boolean, Flag, Integer, Ip, Milliseconds, weight_up_to

BFD = in_block(
    "bfd_instance",
    honoured("neighbor_ip", Ip(), "address of the neighbour"),
    honoured("neighbour_ip", Ip(), "the same as neighbor_ip", same_as="neighbor_ip"),
    honoured("source_ip", Ip(), "source address of packets", "what the kernel chooses"),
    honoured("min_rx", Milliseconds(1, 4294967), "shortest interval of packets that we accept", "10"),
    honoured("min_tx", Milliseconds(1, 4294967), "shortest interval of packets that we send", "10"),
    honoured("idle_tx", Milliseconds(1000, 4294967), "interval of packets while the session is down", "1000"),
    honoured("multiplier", Integer(1, 255), "missing packets before the session is down", "5"),
    honoured("passive", Flag(), "wait for the neighbour to begin"),
    honoured("ttl", Integer(1, 255), "TTL or hop limit of packets", "255"),
    honoured("hoplimit", Integer(1, 255), "the same as ttl", "255", same_as="ttl"),
    honoured("max_hops", Integer(-1, 255), "hops to the neighbour; -1 or 255: any number", "0"),
    honoured("multihop", Boolean(), "RFC 5883: the neighbour need not be on the link", "off", known_to=NEWER),
    honoured(
        "weight", weight_up_to(253), "added to the priority; 0: a session that is down means FAULT", "0"
    ),
    honoured("vrrp", Flag(), "for VRRP only, unless checker is there, too"),
    honoured("checker", Flag(), "for checkers only, unless vrrp is there, too"),
)
