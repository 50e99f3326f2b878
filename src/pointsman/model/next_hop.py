# SPDX-License-Identifier: Apache-2.0
"""Next hop of a real server."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address


class NextHop(msgspec.Struct, frozen=True):
    """Next hop of a real server: interface and both MAC addresses (6 bytes each).

    With a `gateway` it is that one's MAC address, and only a tunnel reaches the server.
    """

    address: Address
    index: int
    source: bytes
    destination: bytes | None
    """None: not resolved yet. Packets for it are counted and dropped."""
    local: bool = False
    """True if the real server is this host. Its own stack gets the packets."""
    mtu: int = 0
    """MTU of the interface. 0: unknown, so no packet is too big."""
    route_mtu: int = 0
    """MTU of the route to this address, if it has one."""
    gateway: Address | None = None
    """None: the real server is on-link."""
    own_address: Address | None = None
    """Source address the kernel would use. It is the outer source of a tunnel."""
