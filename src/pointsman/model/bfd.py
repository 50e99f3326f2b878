"""A BFD session as configured (bfd_instance of keepalived.conf(5); RFC 5880, 5881, 5883)."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location


class BfdSession(msgspec.Struct, frozen=True, kw_only=True):
    """Packets to and from one neighbour, which say within milliseconds whether it can be reached."""

    name: str
    neighbour: Address
    source: Address | None = None
    """None: the kernel chooses."""
    min_rx: float = 0.01
    """Seconds; the neighbour shall not send more often."""
    min_tx: float = 0.01
    """Seconds between two packets of ours, unless the neighbour wants fewer."""
    idle_tx: float = 1.0
    """Seconds between two packets while the session is not up."""
    multiplier: int = 5
    """Packets of ours that must be missing before the neighbour takes the session down."""
    passive: bool = False
    """The neighbour begins."""
    ttl: int = 255
    """TTL or hop limit of packets."""
    max_hops: int | None = 0
    """Hops that the neighbour may be away; None: as many as there are."""
    multihop: bool = False
    """RFC 5883: another port, so that the neighbour need not be on the link."""
    weight: int = 0
    """What track_bfd adds to a priority unless it says otherwise."""
    reverse: bool = False
    for_vrrp: bool = True
    for_checker: bool = True
    location: Location | None = None
