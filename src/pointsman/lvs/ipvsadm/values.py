# SPDX-License-Identifier: Apache-2.0
"""Parse the values of ipvsadm's options: numbers, addresses, masks, scheduler flags.

Look-ups in the system's databases (host names, /etc/services) go through a Resolver, so this module is
pure.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Protocol

import msgspec

from pointsman.lvs.ipvsadm.errors import CommandError
from pointsman.model.address import Address
from pointsman.model.service import Transport

MAX_INT = 2**31 - 1
MAX_PORT = 65535
MAX_TIMEOUT = 31 * 24 * 3600
"""Most seconds for -p and --set."""
DEFAULT_PERSISTENCE = 360
"""Seconds for -p without a number (IPVS_SVC_PERSISTENT_TIMEOUT)."""

SCHEDULER_FLAGS = {"sh": ("sh-fallback", "sh-port"), "mh": ("mh-fallback", "mh-port")}
"""Names of flag-1 and flag-2 by scheduler. Other schedulers have no names for them."""
PLAIN_FLAGS = ("flag-1", "flag-2", "flag-3")


class Resolver(Protocol):
    """Translation of names to numbers, as by inet_aton(3), gethostbyname(3) and getservbyname(3)."""

    def address(self, host: str) -> ipaddress.IPv4Address | None:
        """Return the IPv4 address of a host name or an unusual notation (10.1, 0x0a000001). None: unknown."""

    def port(self, service: str, transport: Transport) -> int | None:
        """Return the port of a service name. None: unknown."""


class Endpoint(msgspec.Struct, frozen=True):
    """A parsed `host[:port]`."""

    address: Address
    port: int | None


def number(text: str, low: int, high: int) -> int | None:
    """Parse a decimal number in a range, as strtol(3) does. None: the text is not one."""
    match = re.fullmatch(r"\s*([+-]?[0-9]{1,20})", text)
    if match is None or not low <= int(match[1]) <= high:
        return None
    return int(match[1])


def timeout(text: str, low: int) -> int:
    """Parse the seconds of -p or --set. Raises CommandError."""
    seconds = number(text, low, MAX_TIMEOUT)
    if seconds is None:
        raise CommandError(f"invalid timeout value `{text}' specified")
    return seconds


def fwmark(text: str) -> int:
    """Parse a firewall mark. Raises CommandError."""
    mark = number(text, 1, 2**32 - 1)
    if mark is None:
        raise CommandError(f"invalid fwmark value `{text}' specified")
    return mark


def endpoint(text: str, transport: Transport | None, resolver: Resolver) -> Endpoint | None:
    """Parse `host`, `host:port`, an IPv6 address, or `[address]:port`. None: the text is none of these."""
    host, port_text = text, None
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            return None
        port_text = rest[1:]
    address: Address | None = _ipv6(host)
    if address is None:
        head, colon, tail = host.rpartition(":")
        host, port_text = (head, tail) if colon else (host, None)
        address = _ipv4(host) or (resolver.address(host) if host else None)
    if address is None:
        return None
    if port_text is None:
        return Endpoint(address, None)
    port = number(port_text, 0, MAX_PORT)
    if port is None and port_text and transport is not None:
        port = resolver.port(port_text, transport)
    return None if port is None else Endpoint(address, port)


def prefix_of_mask(text: str) -> int:
    """Return the prefix length of a dotted IPv4 netmask. Raises CommandError, also if it is not contiguous.

    ipvsadm accepts any 32 bits, also `24` (as 0.0.0.24). The data planes here need a prefix.
    """
    bad = "illegal virtual server persistent mask specified"
    mask = _ipv4(text)
    if mask is None and number(text, 0, 2**32 - 1) is None:
        raise CommandError(bad)
    ones = f"{int(mask):032b}" if mask is not None else "01"
    if "01" in ones:
        raise CommandError(f"{bad}: `{text}' is not contiguous (write it dotted, as in 255.255.255.0)")
    return ones.count("1")


def scheduler_flags(text: str, scheduler: str) -> frozenset[str]:
    """Parse the flags of -b into ipvsadm's names for this scheduler. Raises CommandError."""
    flags: set[str] = set()
    own = SCHEDULER_FLAGS.get(scheduler, ())
    for name in filter(None, text.split(",")):
        if name in PLAIN_FLAGS:
            place = PLAIN_FLAGS.index(name)
            flags.add(own[place] if place < len(own) else name)
        elif name in own:
            flags.add(name)
        elif any(name in names for names in SCHEDULER_FLAGS.values()):
            raise CommandError(f"incompatible scheduler flag `{name}'")
        else:
            raise CommandError(f"invalid scheduler flag `{name}'")
    if text and not flags:
        raise CommandError(f"invalid scheduler flag `{text}'")
    return frozenset(flags)


def _ipv4(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def _ipv6(text: str) -> ipaddress.IPv6Address | None:
    if "%" in text:
        return None
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        return None
