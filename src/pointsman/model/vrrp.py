"""A VRRP instance as configured (keepalived.conf(5), RFC 3768, RFC 5798)."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location


class VrrpState(enum.Enum):
    """States of RFC 3768 section 6.4, and keepalived's FAULT."""

    INIT = "INIT"
    BACKUP = "BACKUP"
    MASTER = "MASTER"
    FAULT = "FAULT"


class VirtualAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address that moves with mastership."""

    address: Address
    prefix_length: int
    device: str
    """The interface that bears it; the instance's own unless `dev` was written."""
    broadcast: Address | None = None
    scope: str = "global"
    label: str = ""


class PassAuthentication(msgspec.Struct, frozen=True):
    """Simple text authentication of VRRPv2 (RFC 2338 section 5.3.6.2)."""

    password: str
    """As written; only its first 8 bytes travel."""


class VrrpInstance(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    interface: str
    virtual_router_id: int
    initial_state: VrrpState = VrrpState.BACKUP
    priority: int = 100
    version: int = 2
    advert_interval: float = 1.0
    """Seconds."""
    addresses: tuple[VirtualAddress, ...] = ()
    unicast_source: Address | None = None
    unicast_peers: tuple[Address, ...] = ()
    """Empty: multicast."""
    multicast_source: Address | None = None
    authentication: PassAuthentication | None = None
    nopreempt: bool = False
    preempt_delay: float = 0.0
    garp_master_delay: float = 5.0
    """Seconds until the second burst of gratuitous ARP; 0: no second burst."""
    garp_master_repeat: int = 5
    garp_master_refresh: float = 0.0
    """Seconds between periodic announcements while master; 0: none."""
    garp_master_refresh_repeat: int = 1
    smtp_alert: bool = False
    location: Location | None = None
