# SPDX-License-Identifier: Apache-2.0
"""Configuration of a BFD session (bfd_instance of keepalived.conf(5); RFC 5880, 5881, 5883)."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location


class BfdSession(msgspec.Struct, frozen=True, kw_only=True):
    """A BFD session with one neighbour, which detects a broken path within milliseconds."""

    name: str
    neighbour: Address
    source: Address | None = None
    """None: the kernel chooses."""
    min_rx: float = 0.01
    """Minimum seconds between two packets of the neighbour."""
    min_tx: float = 0.01
    """Seconds between two packets of ours, unless the neighbour asks for fewer."""
    idle_tx: float = 1.0
    """Seconds between two packets while the session is not up."""
    multiplier: int = 5
    """Number of our packets that must be missing until the neighbour takes the session down."""
    passive: bool = False
    """True: only the neighbour starts the session."""
    ttl: int = 255
    """TTL or hop limit of packets."""
    max_hops: int | None = 0
    """Most hops to the neighbour. None: no limit."""
    multihop: bool = False
    """RFC 5883: uses another port, and the neighbour need not be on the link."""
    weight: int = 0
    """Default weight of track_bfd."""
    reverse: bool = False
    for_vrrp: bool = True
    for_checker: bool = True
    location: Location | None = None
