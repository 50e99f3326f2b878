"""IP addresses as the rest of the model uses them."""

from __future__ import annotations

import abc
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network
else:

    class Address(abc.ABC):  # noqa: B024
        """IPv4 or IPv6; one nominal type, because msgspec decodes only one custom type per union."""

    class Network(abc.ABC):  # noqa: B024
        """IPv4 or IPv6 network; see Address."""

    Address.register(ipaddress.IPv4Address)
    Address.register(ipaddress.IPv6Address)
    Network.register(ipaddress.IPv4Network)
    Network.register(ipaddress.IPv6Network)


def resolution(address: Address) -> str:
    """What finds out who has an address, by name: ARP, or neighbour discovery (RFC 4861)."""
    return "ARP" if address.version == 4 else "neighbour discovery"


def bracketed(address: Address, port: int) -> str:
    """`192.0.2.1:80` or `[2001:db8::1]:80`."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
