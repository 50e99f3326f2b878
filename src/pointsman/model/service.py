# SPDX-License-Identifier: Apache-2.0
"""Virtual services and real servers in the terms of IPVS, and the table that contains them.

Field semantics are those of ipvsadm(8) and of the kernel's `struct ip_vs_service_user` and `struct
ip_vs_dest_user` (include/uapi/linux/ip_vs.h).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

import msgspec

from pointsman.model.address import Address, format_endpoint

SCHEDULERS = frozenset(
    {"rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "sh", "dh", "mh", "twos", "lblc", "lblcr"}
)
"""Schedulers of Pointsman's packet path. A test compares them with bpf/sched.h."""


class Transport(enum.IntEnum):
    """Layer-4 protocols that can be balanced, by IANA protocol number."""

    TCP = 6
    UDP = 17
    SCTP = 132


class Forwarding(enum.Enum):
    """Forwarding method of a real server. Values are ipvsadm's words in listings."""

    ROUTE = "Route"
    TUNNEL = "Tunnel"
    MASQ = "Masq"
    LOCAL = "Local"


class TunnelType(enum.Enum):
    """Type of a tunnel to a real server. Values are ipvsadm's words."""

    IPIP = "ipip"
    GUE = "gue"
    GRE = "gre"


class TunnelChecksum(enum.Enum):
    """Checksum of GUE's UDP header or of GRE. Values are keepalived's words, and ipvsadm's after `--tun-`."""

    NONE = "nocsum"
    FULL = "csum"
    REMOTE = "remcsum"


class Tunnel(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Tunnel to a real server with Forwarding.TUNNEL."""

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    """UDP port of the real server, for GUE only."""
    checksum: TunnelChecksum = TunnelChecksum.NONE

    def overhead(self, version: int) -> int:
        """Return the bytes that the tunnel adds to a packet. `version`: IP version of the real server's
        address."""
        match self.type:
            case TunnelType.GUE:
                between = 12
            case TunnelType.GRE:
                between = 8 if self.checksum is TunnelChecksum.FULL else 4
            case TunnelType.IPIP:
                between = 0
        return (40 if version == 6 else 20) + between

    def __str__(self) -> str:
        words = [self.type.value]
        if self.type is TunnelType.GUE:
            words.append(str(self.port))
        if self.checksum is not TunnelChecksum.NONE:
            words.append(self.checksum.value)
        return " ".join(words)


class ServiceKey(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, cache_hash=True):
    """Destination of clients: transport, VIP and port (0: every port), or a firewall mark.

    For a mark, `transport` and `address` are None and `ipv6` is the family.
    """

    transport: Transport | None = None
    address: Address | None = None
    port: int = 0
    fwmark: int = 0
    ipv6: bool = False

    @classmethod
    def of(cls, transport: Transport, address: Address, port: int) -> ServiceKey:
        """Return the key of an address service. `ipv6` follows the address."""
        return cls(transport=transport, address=address, port=port, ipv6=address.version == 6)

    @classmethod
    def mark(cls, fwmark: int, ipv6: bool = False) -> ServiceKey:
        """Return the key of a firewall-mark service."""
        return cls(fwmark=fwmark, ipv6=ipv6)

    def __str__(self) -> str:
        if self.transport is None or self.address is None:
            return f"FWM {self.fwmark}" + (" IPv6" if self.ipv6 else "")
        return f"{self.transport.name} {format_endpoint(self.address, self.port)}"


class ServerKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """A real server inside one service: its address (RIP) and port."""

    address: Address
    port: int

    def __str__(self) -> str:
        return format_endpoint(self.address, self.port)


class Front(msgspec.Struct, frozen=True):
    """A destination of a firewall-mark service: packets to it count as marked."""

    transport: Transport
    address: Address
    port: int = 0
    """0: every port."""

    def __str__(self) -> str:
        return f"{self.transport.name} {format_endpoint(self.address, self.port)}"


class VirtualService(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Configuration of a virtual service."""

    key: ServiceKey
    scheduler: str = "wlc"
    persistence: int | None = None
    """Persistence timeout in seconds. None: not persistent."""
    persistence_prefix: int | None = None
    """Prefix length of the client address for persistence. None: the whole address."""
    one_packet: bool = False
    flags: frozenset[str] = frozenset()
    """Scheduler flags by their ipvsadm names: sh-fallback, sh-port, mh-fallback, mh-port, flag-1..3."""
    fronts: frozenset[Front] = frozenset()
    """Destinations of a firewall-mark service, which keepalived's nftables_ipvs would mark.

    They are one service with one scheduler and one persistence, also where marks are not visible (XDP).
    """


class RealServer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A real server (IPVS: destination) of one service."""

    key: ServerKey
    forwarding: Forwarding = Forwarding.ROUTE
    tunnel: Tunnel = Tunnel()
    """With Forwarding.TUNNEL only."""
    weight: int = 1
    upper_threshold: int = 0
    """Connections from which on no new ones are scheduled. 0: no limit."""
    lower_threshold: int = 0
    resets_clients: bool = False
    """Ours: after its removal, packets of its connections are refused, not dropped."""
    is_watched: bool = False
    """Pointsman only: count signs that the server does not answer (passive_check)."""


class ServiceEntry(msgspec.Struct, frozen=True):
    """A service with its real servers in the order of their addition."""

    service: VirtualService
    servers: tuple[RealServer, ...] = ()

    def server(self, key: ServerKey) -> RealServer | None:
        """Return the real server with this key, or None."""
        return next((server for server in self.servers if server.key == key), None)


class ServiceTable(msgspec.Struct, frozen=True):
    """All services of a director. The type of both the desired and the actual table.

    `entries` are in the order of their addition. Keys are unique.
    """

    entries: tuple[ServiceEntry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[ServiceEntry]) -> ServiceTable:
        """Return a table of these entries. Raises ValueError if two have the same key."""
        collected = tuple(entries)
        keys = {entry.service.key for entry in collected}
        if len(keys) != len(collected):
            raise ValueError("two services with the same key")
        return cls(collected)

    def __iter__(self) -> Iterator[ServiceEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, key: ServiceKey) -> ServiceEntry | None:
        """Return the entry of this service, or None."""
        return next((entry for entry in self.entries if entry.service.key == key), None)
