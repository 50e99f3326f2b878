"""A whole configuration, every default resolved."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.bfd import BfdSession
from pointsman.model.health import VirtualServer
from pointsman.model.location import Location
from pointsman.model.operations import SetTimeouts
from pointsman.model.tracking import NotifyFifo, VrrpSurroundings
from pointsman.model.vrrp import StaticSettings, VrrpInstance


class MailTls(enum.Enum):
    """How a connection to the mail server is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    """The server has to offer it."""
    IMPLICIT = "implicit"
    """From the first byte on (port 465)."""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts go (global_defs)."""

    recipients: tuple[str, ...] = ()
    sender: str = ""
    server: str = ""
    """Host name or address; empty: no mail is sent."""
    port: int = 25
    helo_name: str = ""
    timeout: float = 30.0
    """smtp_connect_timeout in seconds."""
    tls: MailTls = MailTls.NONE
    tls_verify: bool = True
    """The server's certificate has to be good for its name."""
    tls_authority: str = ""
    """File with the certificates to trust; empty: those of the system."""
    user: str = ""
    """Empty: no AUTH."""
    password: str = ""
    location: Location | None = None
    """Of the first of notification_email and smtp_server."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What `pointsman run` runs."""

    router_id: str
    mail: Mail = Mail()
    instances: tuple[VrrpInstance, ...] = ()
    static: StaticSettings = StaticSettings()
    vrrp: VrrpSurroundings = VrrpSurroundings()
    bfd: tuple[BfdSession, ...] = ()
    server_fifos: tuple[NotifyFifo, ...] = ()
    """Pipes that are told of virtual and real servers; those of VRRP are in `vrrp`."""
    timeouts: SetTimeouts = SetTimeouts()
    """lvs_timeouts; 0: what is in force stays."""
    virtual_servers: tuple[VirtualServer, ...] = ()
