"""Rows of the keyword table: BFD sessions."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import Keyword, honoured
from pointsman.conf.keywords.values import Anything, Boolean, Flag, Integer, Ip, Milliseconds, Text

_B = "bfd_instance"

BFD_TOP: list[Keyword] = [
    honoured("", _B, Text("a name", 31), "A BFD session with a neighbour.", opens=_B, repeats=True),
]

BFD: list[Keyword] = [
    honoured(_B, "neighbor_ip", Ip(), "The address of the neighbour."),
    honoured(_B, "neighbour_ip", Ip(), "The same as neighbor_ip.", same_as="neighbor_ip"),
    honoured(_B, "source_ip", Ip(), "The own address; default: what the kernel chooses."),
    honoured(_B, "min_rx", Milliseconds(1, 4294967), "The neighbour shall not send more often.", 0.01),
    honoured(_B, "min_tx", Milliseconds(1, 4294967), "Between two packets of ours.", 0.01),
    honoured(_B, "idle_tx", Milliseconds(1000, 4294967), "The same while the session is down.", 1.0),
    honoured(_B, "multiplier", Integer(1, 255), "Packets to miss before the session is down.", 5),
    honoured(_B, "passive", Flag(), "The neighbour begins."),
    honoured(_B, "ttl", Integer(1, 255), "TTL or hop limit of packets.", 255),
    honoured(_B, "hoplimit", Integer(1, 255), "The same as ttl.", same_as="ttl"),
    honoured(_B, "max_hops", Integer(-1, 255), "Hops to the neighbour; -1 or 255: any.", 0),
    honoured(_B, "multihop", Boolean(), "RFC 5883: the neighbour need not be on the link."),
    honoured(
        _B,
        "weight",
        Anything("a number, and perhaps reverse", words=2),
        "Added to priorities while it is up.",
    ),
    honoured(_B, "vrrp", Flag(), "VRRP hears of it, and (without checker) only VRRP."),
    honoured(_B, "checker", Flag(), "BFD_CHECK hears of it, and (without vrrp) only that."),
]
