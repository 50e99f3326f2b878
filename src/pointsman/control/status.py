"""The status of a director, as `pointsman status --json` prints it. A fact that is not known is None.

Times are in seconds. Field names are those of the JSON document, but where a name is a word of Python's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.model.address import Address


class AttachmentStatus(msgspec.Struct, frozen=True):
    """The program on one interface."""

    interface: str
    index: int
    """The kernel's number of the interface."""
    mode: str
    """native, generic or tc."""
    reason: str = ""
    """Why it is not a better mode, or what was found in place; empty: nothing to say."""
    link: str = ""
    """What keeps packets from arriving: "down" or "no carrier"; empty: nothing."""


class DataPlaneStatus(msgspec.Struct, frozen=True):
    """The data plane and what it can do."""

    name: str
    """xdp or memory."""
    schedulers: tuple[str, ...] = ()
    forwarding: tuple[str, ...] = ()
    """Forwarding methods, by ipvsadm's words."""
    attachments: tuple[AttachmentStatus, ...] = ()
    connection_limit: int = 0
    """Connections that the table has room for; 0: it has no limit of its own."""
    interfaces: tuple[str, ...] = ()
    """Where packets shall be taken from; `attachments` are those where they can be."""


class ConfigurationStatus(msgspec.Struct, frozen=True):
    """The configuration in force."""

    file: str | None
    """The file it comes from; None or empty: none."""
    config_id: str | None
    """What lines with @id are compared with; None: the short host name."""
    generation: int
    """Its number: 1 is that of the start."""
    seconds: float = msgspec.field(name="for")
    """How long it has been in force."""
    rollback_to: int | None = None
    """The number of the configuration that a rollback brings back; None: there is none."""


class AddressStatus(msgspec.Struct, frozen=True):
    """A virtual address of a VRRP instance."""

    address: Address
    prefix_length: int
    device: str


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="InstanceChanged"):
    """A VRRP instance. The fields from `interface` on are None when the configuration does not have it."""

    instance: str
    state: str
    """INIT, BACKUP, MASTER or FAULT."""
    priority: int
    reason: str
    """Why it is in this state; empty: nothing to say."""
    holds_addresses: bool
    """True if its virtual addresses are on this host."""
    seconds: float = msgspec.field(name="for")
    """How long it has been in this state."""
    interface: str | None = None
    virtual_router_id: int | None = None
    advert_interval: float | None = None
    """Seconds between two adverts."""
    unicast_peers: tuple[Address, ...] | None = None
    addresses: tuple[AddressStatus, ...] | None = None


class SessionStatus(msgspec.Struct, frozen=True):
    """A BFD session."""

    name: str
    neighbour: Address
    up: bool
    """False, too, before the BFD process has said anything."""
    reason: str


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A real server of a service."""

    server: str
    """Address and port: 192.0.2.20:80, [2001:db8::20]:80."""
    weight: int | None
    """The weight in force; None: it is not in the table."""
    forwarding: str = "Route"
    """ipvsadm's word: Route, Tunnel, Masq, Local."""
    tunnel: str = ""
    """The kind of tunnel, for the forwarding method Tunnel; empty: none."""
    next_hop: str = ""
    """MAC address and interface that its packets go to; empty: not asked for."""
    up: bool | None
    """True if all of its checks pass; None: it has no result of any check."""
    reason: str
    """Why it is down."""
    by_hand: str = ""
    """What the administrator has said about it; empty: nothing."""


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A service in the table, or one that waits for its virtual address."""

    service: str
    """Transport, address and port, or a firewall mark: TCP 192.0.2.9:80, FWM 7."""
    scheduler: str
    managed: bool
    """True if the configuration has it; False: it was put in by hand."""
    standby: bool = False
    """True if it is not in the table here, because another director holds its address."""
    persistence: int | None = None
    """Seconds for which a client keeps its real server; None: it does not."""
    servers: tuple[ServerStatus, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a director says of itself."""

    router_id: str
    uptime: float
    """Since the start of the director's process."""
    data_plane: DataPlaneStatus
    configuration: ConfigurationStatus
    exits: dict[str, int] = {}
    """Packets by what became of them, by the names of bpf/abi.h."""
    instances: tuple[InstanceStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
    problems: tuple[str, ...] = ()
    """What is amiss, each a line for people."""

    def document(self) -> dict[str, Any]:
        """Return it as the built-in types of its JSON document."""
        document: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return document
