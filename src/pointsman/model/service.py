"""What IPVS calls a virtual service and its real servers, and the table that holds them.

Field semantics are those of ipvsadm(8) and of the kernel's `struct ip_vs_service_user` and
`struct ip_vs_dest_user` (include/uapi/linux/ip_vs.h).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

import msgspec

from pointsman.model.address import Address, bracketed

SCHEDULERS = frozenset(
    {"rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "sh", "dh", "mh", "twos", "lblc", "lblcr"}
)
"""What Pointsman's packet path can do (bpf/sched.h; a test compares the two)."""


class Transport(enum.IntEnum):
    """Layer-4 protocols that can be balanced, by IANA protocol number."""

    TCP = 6
    UDP = 17
    SCTP = 132


class Forwarding(enum.Enum):
    """How a packet reaches its real server; values are ipvsadm's words in the listing."""

    ROUTE = "Route"
    TUNNEL = "Tunnel"
    MASQ = "Masq"
    LOCAL = "Local"


class TunnelType(enum.Enum):
    """What is put around a packet for a tunnelled real server; values are ipvsadm's."""

    IPIP = "ipip"
    GUE = "gue"
    GRE = "gre"


class TunnelChecksum(enum.Enum):
    """Of GUE's UDP header or of GRE; values are keepalived's words, and ipvsadm's behind `--tun-`."""

    NONE = "nocsum"
    FULL = "csum"
    REMOTE = "remcsum"


class Tunnel(msgspec.Struct, frozen=True, gc=False):
    """How packets travel to a real server with Forwarding.TUNNEL."""

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    """The real server's UDP port, of GUE only."""
    checksum: TunnelChecksum = TunnelChecksum.NONE

    def overhead(self, version: int) -> int:
        """Bytes in front of a packet, when the real server's address is of this IP version."""
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


class ServiceKey(msgspec.Struct, frozen=True, gc=False):
    """What a client addresses: transport + VIP + port (0: every port), or a firewall mark.

    For a mark, `transport` and `address` are None and `ipv6` tells the family.
    """

    transport: Transport | None = None
    address: Address | None = None
    port: int = 0
    fwmark: int = 0
    ipv6: bool = False

    @classmethod
    def of(cls, transport: Transport, address: Address, port: int) -> ServiceKey:
        """The key of an address service; `ipv6` follows the address."""
        return cls(transport=transport, address=address, port=port, ipv6=address.version == 6)

    @classmethod
    def mark(cls, fwmark: int, ipv6: bool = False) -> ServiceKey:
        """The key of a firewall-mark service."""
        return cls(fwmark=fwmark, ipv6=ipv6)

    def __str__(self) -> str:
        if self.transport is None or self.address is None:
            return f"FWM {self.fwmark}" + (" IPv6" if self.ipv6 else "")
        return f"{self.transport.name} {bracketed(self.address, self.port)}"


class ServerKey(msgspec.Struct, frozen=True, gc=False):
    """A real server inside one service: its address (RIP) and port."""

    address: Address
    port: int

    def __str__(self) -> str:
        return bracketed(self.address, self.port)


class Front(msgspec.Struct, frozen=True):
    """One of the destinations of a firewall-mark service: packets to it count as marked."""

    transport: Transport
    address: Address
    port: int = 0
    """0: every port."""

    def __str__(self) -> str:
        return f"{self.transport.name} {bracketed(self.address, self.port)}"


class VirtualService(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual service as the administrator wrote it."""

    key: ServiceKey
    scheduler: str = "wlc"
    persistence: int | None = None
    """Persistence timeout in seconds; None: not persistent."""
    persistence_prefix: int | None = None
    """Prefix length applied to the client address for persistence; None: the whole address."""
    one_packet: bool = False
    flags: frozenset[str] = frozenset()
    """Scheduler flags by their ipvsadm names: sh-fallback, sh-port, mh-fallback, mh-port, flag-1..3."""
    fronts: frozenset[Front] = frozenset()
    """Of a firewall-mark service only: what keepalived's nftables_ipvs would mark for it. All of
    it is one service, with one scheduler and one persistence, also where no mark can be seen (XDP)."""


class RealServer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A real server (IPVS: destination) of one service."""

    key: ServerKey
    forwarding: Forwarding = Forwarding.ROUTE
    tunnel: Tunnel = Tunnel()
    """With Forwarding.TUNNEL only."""
    weight: int = 1
    upper_threshold: int = 0
    """Connections above which no new one is sent here; 0: no limit."""
    lower_threshold: int = 0
    resets_clients: bool = False
    """Ours: once it is removed, packets of its connections are refused, not dropped."""
    is_watched: bool = False
    """Ours: signs that it does not answer are counted (passive_check)."""


class ServiceEntry(msgspec.Struct, frozen=True):
    """A service with its real servers, in the order in which they were added."""

    service: VirtualService
    servers: tuple[RealServer, ...] = ()

    def server(self, key: ServerKey) -> RealServer | None:
        """The real server with this key, or None."""
        return next((server for server in self.servers if server.key == key), None)


class ServiceTable(msgspec.Struct, frozen=True):
    """All services of a director: the one type for the desired and for the actual table.

    `entries` is in the order in which services were added; keys are unique.
    """

    entries: tuple[ServiceEntry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[ServiceEntry]) -> ServiceTable:
        """A table of these entries. Raises ValueError when two have the same key."""
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
        """The entry of this service, or None."""
        return next((entry for entry in self.entries if entry.service.key == key), None)
