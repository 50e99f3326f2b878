"""What a host is found to have: interfaces, addresses, routes and ARP settings, as plain values."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from pointsman.model.address import Address, Network


class SetupError(Exception):
    """The host cannot be set up, or undone, as asked; the text says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Interface:
    """One network interface."""

    name: str
    up: bool = True
    arp: bool = True
    """It speaks ARP: neither a loopback nor set to NOARP."""


@dataclass(frozen=True)
class HostAddress:
    """One address on one interface."""

    interface: str
    address: Address
    prefix_length: int
    by_vrrp: bool = False
    """It comes and goes with mastership: this host is a director, too."""


@dataclass(frozen=True)
class Route:
    """One unicast route of the main table."""

    interface: str
    network: Network
    on_link: bool
    """Without a gateway: neighbours in `network` are asked for by ARP on `interface`."""


@dataclass(frozen=True)
class ArpKey:
    """net.ipv4.conf.`interface`.`name`; `interface` may be `all`."""

    interface: str
    name: str

    def __str__(self) -> str:
        """As sysctl(8) writes it: slashes where the interface name itself holds a dot (eth0.100)."""
        if "." in self.interface:
            return f"net/ipv4/conf/{self.interface}/{self.name}"
        return f"net.ipv4.conf.{self.interface}.{self.name}"

    @classmethod
    def parse(cls, text: str) -> ArpKey:
        """The inverse of str(); ValueError if it is not one of these keys."""
        separator = "/" if "/" in text else "."
        pieces = text.split(separator)
        if len(pieces) != 5 or pieces[:3] != ["net", "ipv4", "conf"]:
            raise ValueError(f"{text!r} is not a key below net.ipv4.conf")
        return cls(pieces[3], pieces[4])


@dataclass(frozen=True)
class Facts:
    """All that `plan` needs to know of a host."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[HostAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    arp: dict[ArpKey, int] = field(default_factory=dict)
    reverse_path: dict[str, int] = field(default_factory=dict)
    """rp_filter of each interface, and of `all`."""

    def interface(self, name: str) -> Interface | None:
        """The interface of that name, if there is one."""
        return next((interface for interface in self.interfaces if interface.name == name), None)

    def holders(self, address: Address) -> list[HostAddress]:
        """Where `address` is now, not counting VRRP, which may have it on a network card as master."""
        return [held for held in self.addresses if held.address == address and not held.by_vrrp]


def parse_vip(text: str) -> Address:
    """A VIP as typed: `192.168.7.33`, `192.168.7.33/32` or `2001:db8::9`.

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
