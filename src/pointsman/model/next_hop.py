"""How frames reach a real server."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address


class NextHop(msgspec.Struct, frozen=True):
    """How frames for a real server leave: interface and both MAC addresses (6 bytes each).

    With a `gateway` it is that one's MAC address, and only a tunnel reaches the server.
    """

    address: Address
    index: int
    source: bytes
    destination: bytes | None
    """None: not resolved (yet); packets for it are counted and dropped."""
    local: bool = False
    """The real server is this host itself: its own stack gets the packets."""
    mtu: int = 0
    """The interface's; 0: not known, nothing is too big."""
    route_mtu: int = 0
    """The route's to this address, where it has one."""
    gateway: Address | None = None
    """None: the real server is on-link."""
    own_address: Address | None = None
    """What the kernel would send from; the outer source of a tunnel."""
