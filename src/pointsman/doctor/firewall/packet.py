# SPDX-License-Identifier: Apache-2.0
"""A packet that the doctor sends through a firewall in thought, and what a match says about it. Pure."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable

import msgspec

from pointsman.doctor.firewall.chain import Interval, Match, Value
from pointsman.model.address import Address

TCP, UDP, VRRP = 6, 17, 112
ANY_PORT: Interval = (1, 65535)
EPHEMERAL: Interval = (32768, 60999)
"""Source ports of this host's own connections (net.ipv4.ip_local_port_range)."""
SYN, ACK = 0x02, 0x10
NOT_UNDERSTOOD = "?"
"""Value of a match that the doctor does not understand."""


class Truth(enum.Enum):
    """Value of a match for a packet."""

    YES = "yes"
    NO = "no"
    SOMETIMES = "sometimes"
    """Only for some packets of the kind: named clients, named ports."""
    MOSTLY = "mostly"
    """For all packets of the kind but some: the negation of SOMETIMES."""
    UNKNOWN = "unknown"
    """The doctor cannot evaluate the match."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of packet. None: unknown, or different from packet to packet."""

    version: int
    """4 or 6. 0 for ARP."""
    protocol: int = 0
    source: Address | None = None
    """None: any host."""
    destination: Address | None = None
    source_port: Interval = (0, 0)
    """First and last possible port. 0: the protocol has no ports."""
    destination_port: Interval = (0, 0)
    inwards: tuple[str, ...] = ()
    """Interfaces on which it may arrive. Empty: it comes from this host."""
    outwards: tuple[str, ...] = ()
    """Interfaces by which it may leave. Empty: it is for this host."""
    state: str = "new"
    """State in connection tracking."""
    flags: int = 0
    """TCP flags."""
    icmp: Interval = (-1, -1)
    """Type and code of an ICMP message."""
    mark: int | None = 0
    redirected: bool = False

    def redirect(self, port: int) -> Packet:
        """Return the packet after a redirection to an address of this host. Port 0: the same port."""
        ports = (port, port) if port else self.destination_port
        return msgspec.structs.replace(self, destination=None, destination_port=ports, redirected=True)

    def evaluate(self, match: Match) -> Truth:
        """Return the truth of a match."""
        if match.version not in (0, self.version):
            return Truth.NO
        if match.protocols and self.protocol not in match.protocols:
            return Truth.NO
        truth = _any_of(all_of(self._pairs(match.fields, each)) for each in match.alternatives)
        if not match.alternatives:
            truth = Truth.NO if match.fields else Truth.UNKNOWN
        return _NOT.get(truth, truth) if match.negated else truth

    def _pairs(self, fields: tuple[str, ...], values: tuple[Value, ...]) -> list[Truth]:
        if len(fields) != len(values):
            return [Truth.UNKNOWN]
        return [self._is(field, value) for field, value in zip(fields, values, strict=True)]

    def _is(self, field: str, value: Value) -> Truth:
        """Return the truth of one comparison."""
        if field == "client":  # depends on the client and on what it did before
            return Truth.SOMETIMES
        if value == NOT_UNDERSTOOD:
            return Truth.UNKNOWN
        if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
            return self._is_in(field, value)
        if isinstance(value, str):
            return self._is_named(field, value)
        return self._is_number(field, value)

    def _is_in(self, field: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Truth:
        address = {"saddr": self.source, "daddr": self.destination}.get(field)
        if field not in ("saddr", "daddr"):
            return Truth.UNKNOWN
        if self.version and network.version != self.version:
            return Truth.NO
        if network.prefixlen == 0:
            return Truth.YES
        if address is None:
            return Truth.SOMETIMES if field == "saddr" or self.outwards else Truth.UNKNOWN
        return _truth(address.version == network.version and address in network)

    def _is_named(self, field: str, value: str) -> Truth:
        if field == "state":
            return _truth(self.state == value)
        if field in ("iif", "oif"):
            names = self.inwards if field == "iif" else self.outwards
            fitting = [name for name in names if _has_pattern(name, value)]
            return Truth.UNKNOWN if 0 < len(fitting) < len(names) else _truth(bool(fitting))
        if field == "cast":
            return _truth(value == self._cast())
        if field == "daddr type":
            local = "local" if self.inwards else "unicast"
            return _truth(value == ("multicast" if self._cast() == "multicast" else local))
        if field == "saddr type":
            return _truth(value == ("unicast" if self.inwards else "local"))
        return _truth(self.redirected) if (field, value) == ("status", "dnat") else Truth.UNKNOWN

    def _is_number(self, field: str, value: Interval) -> Truth:
        low, high = value
        if field == "protocol":
            return _truth(low <= self.protocol <= high)
        if field == "version":
            return _truth(low <= self.version <= high)
        if field in ("sport", "dport"):
            return _overlap(self.source_port if field == "sport" else self.destination_port, value)
        if field in ("icmp type", "icmp code"):
            number = self.icmp[0 if field == "icmp type" else 1]
            return _truth(low <= number <= high) if self.icmp[0] >= 0 else Truth.NO
        if field == "flags":
            return _truth(self.flags & low == high)
        if field == "any flag":
            return _truth(bool(self.flags & high))
        if field == "mark":
            return Truth.UNKNOWN if self.mark is None else _truth(self.mark & low == high)
        return Truth.UNKNOWN

    def _cast(self) -> str:
        return "multicast" if self.destination is not None and self.destination.is_multicast else "host"


_NOT = {
    Truth.YES: Truth.NO,
    Truth.NO: Truth.YES,
    Truth.SOMETIMES: Truth.MOSTLY,
    Truth.MOSTLY: Truth.SOMETIMES,
}


def _has_pattern(name: str, pattern: str) -> bool:
    """True if an interface has this name, or begins with it if the name ends in `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _truth(value: bool) -> Truth:
    return Truth.YES if value else Truth.NO


def _overlap(possible: Interval, wanted: Interval) -> Truth:
    if wanted[0] <= possible[0] and possible[1] <= wanted[1]:
        return Truth.YES if possible[1] else Truth.NO
    return Truth.SOMETIMES if possible[0] <= wanted[1] and wanted[0] <= possible[1] else Truth.NO


def all_of(truths: Iterable[Truth]) -> Truth:
    """Return the truth of a conjunction."""
    found = set(truths)
    order = (Truth.NO, Truth.UNKNOWN, Truth.SOMETIMES, Truth.MOSTLY)
    return next((truth for truth in order if truth in found), Truth.YES)


def _any_of(truths: Iterable[Truth]) -> Truth:
    """Return the truth of a disjunction. A set may have many thousand elements: the first YES ends it."""
    found: set[Truth] = set()
    for truth in truths:
        if truth is Truth.YES:
            return truth
        found.add(truth)
    order = (Truth.UNKNOWN, Truth.MOSTLY, Truth.SOMETIMES)
    return next((truth for truth in order if truth in found), Truth.NO)
