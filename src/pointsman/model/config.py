# SPDX-License-Identifier: Apache-2.0
"""A whole configuration, with all defaults."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.address import Address
from pointsman.model.bfd import BfdSession
from pointsman.model.health import VirtualServer
from pointsman.model.location import Location
from pointsman.model.operations import SetTimeouts
from pointsman.model.tracking import NotifyFifo, VrrpSurroundings
from pointsman.model.vrrp import StaticSettings, VrrpInstance


class MailTls(enum.Enum):
    """Encryption of the connection to the mail server."""

    NONE = "none"
    STARTTLS = "starttls"
    """The server must offer STARTTLS."""
    IMPLICIT = "implicit"
    """TLS from the first byte (port 465)."""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """Mail settings for alerts (global_defs)."""

    recipients: tuple[str, ...] = ()
    sender: str = ""
    server: str = ""
    """Host name or address. Empty: no mail is sent."""
    port: int = 25
    helo_name: str = ""
    timeout: float = 30.0
    """smtp_connect_timeout in seconds."""
    tls: MailTls = MailTls.NONE
    tls_verify: bool = True
    """The server's certificate must be valid for its name."""
    tls_authority: str = ""
    """File with the trusted certificates. Empty: those of the system."""
    user: str = ""
    """Empty: no AUTH."""
    password: str = ""
    location: Location | None = None
    """Place of the first of notification_email and smtp_server."""


SYNC_PORT = 8849
"""UDP port of connection_sync. IPVS's sync daemon has 8848."""

ASK_PORT = 8850
"""TCP port on which real servers tell of their connections."""


class SyncPeer(msgspec.Struct, frozen=True):
    """Another director that takes part in connection_sync."""

    address: Address
    port: int = SYNC_PORT


class ConnectionSync(msgspec.Struct, frozen=True, kw_only=True):
    """The block `connection_sync`: directors send each other the connections that they carry."""

    peers: tuple[SyncPeer, ...]
    key_file: str
    """Path as written of the file with the secret that all directors share."""
    secret: bytes
    """Content of that file."""
    port: int = SYNC_PORT
    """Local UDP port."""
    bind_address: Address | None = None
    """Local address. None: every one."""
    group: Address | None = None
    """Multicast group for connections that change. None: each peer gets them by itself."""
    interface: str = ""
    """Interface of the multicast group."""
    hand_over: float = 1.0
    """Seconds that a hand-over waits at most until the other directors have all connections."""
    ask_port: int = 0
    """TCP port on which real servers are asked for their connections. 0: they are not asked."""
    location: Location | None = None


GRACE = 5
"""Seconds of grace with `sync`: a client sends a lost segment again about five times until then."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of `pointsman run`."""

    router_id: str
    mail: Mail = Mail()
    instances: tuple[VrrpInstance, ...] = ()
    static: StaticSettings = StaticSettings()
    vrrp: VrrpSurroundings = VrrpSurroundings()
    bfd: tuple[BfdSession, ...] = ()
    server_fifos: tuple[NotifyFifo, ...] = ()
    """FIFOs for changes of virtual and real servers. Those for VRRP are in `vrrp`."""
    timeouts: SetTimeouts = SetTimeouts()
    """lvs_timeouts. 0: the present value stays."""
    virtual_servers: tuple[VirtualServer, ...] = ()
    sync: ConnectionSync | None = None
    """None: connections are not synchronised."""
    grace: int | None = None
    """connection_grace in seconds. None: it depends on `sync`."""

    @property
    def grace_seconds(self) -> int:
        """Seconds for which packets of unknown established connections are not refused after a take-over.

        Without `sync` nothing makes them known, and a client should rather connect again at once.
        """
        if self.grace is not None:
            return self.grace
        return GRACE if self.sync else 0
