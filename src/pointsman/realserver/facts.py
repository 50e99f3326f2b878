# SPDX-License-Identifier: Apache-2.0
"""Facts about a host as plain values: interfaces, addresses, routes and ARP settings."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from pointsman.model.address import Address, Network


class SetupError(Exception):
    """The host cannot be set up or undone as asked. The text says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Interface:
    """A network interface."""

    name: str
    up: bool = True
    arp: bool = True
    """True if the interface uses ARP: it is neither a loopback nor set to NOARP."""


@dataclass(frozen=True)
class HostAddress:
    """An address on an interface."""

    interface: str
    address: Address
    prefix_length: int
    by_vrrp: bool = False
    """VRRP adds and removes the address, so this host is also a director."""


@dataclass(frozen=True)
class Route:
    """A unicast route of the main table."""

    interface: str
    network: Network
    on_link: bool
    """True without a gateway: hosts in `network` are found by ARP on `interface`."""


@dataclass(frozen=True)
class ArpKey:
    """The sysctl net.ipv4.conf.`interface`.`name`. `interface` may be `all`."""

    interface: str
    name: str

    def __str__(self) -> str:
        """Return the key in the form of sysctl(8), with slashes if the interface name has a dot
        (eth0.100)."""
        if "." in self.interface:
            return f"net/ipv4/conf/{self.interface}/{self.name}"
        return f"net.ipv4.conf.{self.interface}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> ArpKey:
        """Parse the result of str(). Raises ValueError if the text is not such a key."""
        separator = "/" if "/" in text else "."
        pieces = text.split(separator)
        if len(pieces) != 5 or pieces[:3] != ["net", "ipv4", "conf"]:
            raise ValueError(f"{text!r} is not a key below net.ipv4.conf")
        return cls(pieces[3], pieces[4])


@dataclass(frozen=True)
class Facts:
    """All facts about a host that `plan` needs."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[HostAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    arp: dict[ArpKey, int] = field(default_factory=dict)
    reverse_path: dict[str, int] = field(default_factory=dict)
    """rp_filter of each interface and of `all`."""

    def interface(self, name: str) -> Interface | None:
        """Return the interface with this name, or None."""
        return next((interface for interface in self.interfaces if interface.name == name), None)

    def holders(self, address: Address) -> list[HostAddress]:
        """Return the present places of `address`, except those of VRRP, which may have it on a master's
        interface."""
        return [held for held in self.addresses if held.address == address and not held.by_vrrp]


def parse_vip(text: str) -> Address:
    """Parse a VIP: `192.168.7.33`, `192.168.7.33/32` or `2001:db8::9`.

    Raises SetupError for anything that cannot be a VIP on lo.
    """
    literal, slash, length = text.partition("/")
    try:
        address = ipaddress.ip_address(literal)
    except ValueError:
        raise SetupError(
            f"{text!r} is not an IPv4 or IPv6 address: give the VIP, as in 192.168.7.33"
        ) from None
    if slash and length != str(address.max_prefixlen):
        raise SetupError(
            f"{text}: on a real server the VIP has prefix /{address.max_prefixlen}; a shorter one makes the "
            f"whole network local to this host. Give {literal} alone"
        )
    if (
        address.is_loopback
        or address.is_multicast
        or address.is_unspecified
        or address.is_link_local
        or address == ipaddress.IPv4Address("255.255.255.255")
    ):
        raise SetupError(
            f"{text} cannot be a VIP: it is a loopback, multicast, link-local or special address"
        )
    return address
