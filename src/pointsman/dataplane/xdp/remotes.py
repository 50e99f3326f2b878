"""Where a real server is, as struct remote keeps it."""

from __future__ import annotations

import ipaddress

from pointsman.dataplane.xdp.layout import Remote
from pointsman.model.address import Address


def write_address(remote: Remote, address: Address) -> None:
    """The server's address."""
    remote.address[:] = list(address.packed.ljust(16, b"\0"))
    remote.family = address.version


def address_at(remote: Remote) -> Address:
    """The server's address."""
    packed = bytes(remote.address)
    return ipaddress.IPv6Address(packed) if remote.family == 6 else ipaddress.IPv4Address(packed[:4])
