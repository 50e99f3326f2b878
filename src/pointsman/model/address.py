# SPDX-License-Identifier: Apache-2.0
"""IP addresses for the other types of the model."""

from __future__ import annotations

import abc
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network
else:

    class Address(abc.ABC):  # noqa: B024
        """IPv4 or IPv6 address. One nominal type, because msgspec decodes only one custom type per union."""

    class Network(abc.ABC):  # noqa: B024
        """IPv4 or IPv6 network. See Address."""

    Address.register(ipaddress.IPv4Address)
    Address.register(ipaddress.IPv6Address)
    Network.register(ipaddress.IPv4Network)
    Network.register(ipaddress.IPv6Network)


def resolution_protocol(address: Address) -> str:
    """Return the name of address resolution: ARP, or neighbour discovery (RFC 4861)."""
    return "ARP" if address.version == 4 else "neighbour discovery"


def format_endpoint(address: Address, port: int) -> str:
    """Return `192.0.2.1:80` or `[2001:db8::1]:80`."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
