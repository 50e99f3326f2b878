# SPDX-License-Identifier: Apache-2.0
"""Status of a director, as `pointsman status --json` prints it. None: unknown.

Times are in seconds. Field names are the keys of the JSON document, except for keys that Python reserves.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.model.address import Address


class AttachmentStatus(msgspec.Struct, frozen=True):
    """The BPF program on one interface."""

    interface: str
    index: int
    """Interface index."""
    mode: str
    """native, generic or tc."""
    reason: str = ""
    """Cause of a mode that is not native, or a program that was already attached; empty: none."""
    link: str = ""
    """Cause why no packet can arrive: "down" or "no carrier"; empty: none."""


class DataPlaneStatus(msgspec.Struct, frozen=True):
    """The data plane and its capabilities."""

    name: str
    """xdp or memory."""
    schedulers: tuple[str, ...] = ()
    forwarding: tuple[str, ...] = ()
    """Forwarding methods, as ipvsadm names them."""
    attachments: tuple[AttachmentStatus, ...] = ()
    connection_limit: int = 0
    """Size of the connection table of IPv4; 0: no fixed limit."""
    interfaces: tuple[str, ...] = ()
    """Interfaces to attach to; `attachments` lists those that are attached."""
    connections: int | None = None
    """Entries in the connection table of IPv4; None: not counted."""
    neighbours: int | None = None
    """Entries in the kernel's ARP table, of all network namespaces; None: unknown."""
    neighbour_limit: int | None = None
    """Largest number of entries (gc_thresh3)."""


class ConfigurationStatus(msgspec.Struct, frozen=True):
    """The configuration in force."""

    file: str | None
    """Path of the configuration file; None or empty: none."""
    config_id: str | None
    """ID that lines with @id are compared with; None: the short host name."""
    generation: int
    """Number of the configuration; the first one after the start is 1."""
    seconds: float = msgspec.field(name="for")
    """Seconds for which it has been in force."""
    rollback_to: int | None = None
    """Number of the configuration that a rollback restores; None: there is none."""
    warnings: tuple[str, ...] = ()
    """Warnings about the file of the last reload, so that the next reload shows only new ones."""


class AddressStatus(msgspec.Struct, frozen=True):
    """A virtual address of a VRRP instance."""

    address: Address
    prefix_length: int
    device: str


class DroppedStatus(msgspec.Struct, frozen=True):
    """Adverts of one sender that an instance drops for one reason."""

    sender: str
    """Address; or "others", if there are too many senders."""
    reason: str
    """malformed, ttl, version, virtual_router_id, authentication_type, password, advert_interval ..."""
    text: str
    """The received value, and the expected one."""
    count: int
    seconds: float = msgspec.field(name="ago")
    """Seconds since the last one."""


class AdvertStatus(msgspec.Struct, frozen=True):
    """The last valid advert of another router."""

    source: str
    priority: int
    age: float
    """Seconds since it arrived."""


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="InstanceChanged"):
    """A VRRP instance. The fields from `interface` on are None if it is not in the configuration."""

    instance: str
    state: str
    """INIT, BACKUP, MASTER or FAULT; UNKNOWN while the VRRP process shows no sign of life."""
    priority: int
    reason: str
    """Reason for the state; empty: none."""
    holds_addresses: bool
    """True if its virtual addresses are on this host."""
    seconds: float = msgspec.field(name="for")
    """Seconds since it entered this state."""
    conflict: str = ""
    """Another host that answers for a virtual address of this master; empty: none is known."""
    interface: str | None = None
    virtual_router_id: int | None = None
    advert_interval: float | None = None
    """Seconds between two adverts."""
    protocol: int = 112
    """IP protocol of its adverts: 112; 51 with auth_type AH."""
    unicast_peers: tuple[Address, ...] | None = None
    addresses: tuple[AddressStatus, ...] | None = None
    dropped: tuple[DroppedStatus, ...] = ()
    """Adverts that were dropped in the last minutes."""
    last_advert: AdvertStatus | None = None
    """None: no router has sent a valid advert since the VRRP process started."""


class SessionStatus(msgspec.Struct, frozen=True):
    """A BFD session."""

    name: str
    neighbour: Address
    up: bool | None
    """Also False before the first report of the BFD process; None while it shows no sign of life."""
    reason: str


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A real server of a service."""

    server: str
    """Address and port: 192.0.2.20:80, [2001:db8::20]:80."""
    weight: int | None
    """Weight in force; None: the real server is not in the table."""
    forwarding: str = "Route"
    """Forwarding method, as ipvsadm names it: Route, Tunnel, Masq, Local."""
    tunnel: str = ""
    """Tunnel type of the forwarding method Tunnel; empty: none."""
    next_hop: str = ""
    """MAC address and interface of the next hop; empty: not looked up."""
    up: bool | None
    """True if all checks pass; None: no check has a result."""
    reason: str
    """Reasons of the failing checks; empty: none."""
    by_hand: str = ""
    """Override of the administrator; empty: none."""
    by_hand_left: float | None = None
    """Seconds until the override ends; None: it does not end, or there is none."""
    active: int | None = None
    """Connections in an active state; None: not counted."""
    inactive: int | None = None


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A service in the table, or a service that waits for its virtual address."""

    service: str
    """Transport, address and port, or a firewall mark: TCP 192.0.2.9:80, FWM 7."""
    scheduler: str
    managed: bool
    """True: it is in the configuration. False: it was added by hand."""
    standby: bool = False
    """True: not in the table here, because another director holds its address."""
    flags: tuple[str, ...] = ()
    """Flags of the scheduler by their ipvsadm names: sh-fallback, sh-port ..."""
    persistence: int | None = None
    """Persistence timeout in seconds; None: not persistent."""
    servers: tuple[ServerStatus, ...] = ()


class SyncPeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Another director that takes part in connection_sync."""

    address: str
    heard: float | None
    """Seconds since its last message; None: it has never answered."""
    complete: bool
    """True if its whole table has arrived."""
    behind: int
    """Datagrams that it has not acknowledged."""
    carried: int
    """Connections that it carries."""
    lost: int
    """How often datagrams were lost for good, so that the whole table was asked for."""
    resent: int
    """Datagrams that were sent to it again."""


class SyncStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of connection_sync."""

    peers: tuple[SyncPeerStatus, ...] = ()
    sent: int = 0
    """Records sent, to each peer once."""
    received: int = 0
    taken: dict[str, int] = {}
    """Received records by what became of them: added, updated, kept, conflict, no_service, no_server ..."""
    dropped: dict[str, int] = {}
    """Datagrams by the reason why they were dropped."""
    overrun: int = 0
    """Records that were lost before they were read."""
    problems: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole status document."""

    router_id: str
    uptime: float
    """Seconds since the director process started."""
    data_plane: DataPlaneStatus
    configuration: ConfigurationStatus
    exits: dict[str, int] = {}
    """Packet counter of each exit reason, with the names of bpf/abi.h."""
    instances: tuple[InstanceStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
    problems: tuple[str, ...] = ()
    """Problems, each a line of text."""
    sync: SyncStatus | None = None
    """None: there is no connection_sync in the configuration."""

    def document(self) -> dict[str, Any]:
        """Return the JSON document as built-in types."""
        document: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return document
