# SPDX-License-Identifier: Apache-2.0
"""Configuration of a VRRP instance (keepalived.conf(5), RFC 3768, RFC 5798)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location
from pointsman.model.routing import VirtualRoute, VirtualRule
from pointsman.model.tracking import Notify, Tracked, VrrpSurroundings

OWNER_PRIORITY = 255
"""Priority of the router that owns the virtual addresses. It never waits (RFC 5798, 5.2.4)."""


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
    """Interface of the address: `dev`, or the interface of the instance."""
    broadcast: Address | None = None
    scope: str = "global"
    label: str = ""
    peer: Address | None = None
    """Other end of a point-to-point link. The prefix length then belongs to it."""
    preferred: int | None = None
    """Seconds until the address is deprecated. 0: always deprecated. None: never (preferred_lft)."""
    flags: tuple[str, ...] = ()
    """Any of `home nodad mngtmpaddr noprefixroute autojoin`, as in ip-address(8)."""
    tracked: bool = True
    """False: if another program removes it, it is missing until the next master (no_track)."""
    track_group: str = ""
    """Group of a static address. Its instances go into FAULT if the address is lost."""


class VirtualInterface(msgspec.Struct, frozen=True, kw_only=True):
    """An interface that an instance creates on top of another one (use_vmac, use_ipvlan)."""

    name: str
    base: str
    mac: bytes = b""
    """6 bytes: a macvlan with this address. Empty: an ipvlan, which has the base's address."""
    mode: str = "private"
    """Mode of an ipvlan: bridge, private or vepa. A macvlan is always private, as in keepalived."""
    group: int = 0

    @property
    def has_mac(self) -> bool:
        """True for a macvlan."""
        return bool(self.mac)


class TtlLimits(msgspec.Struct, frozen=True):
    """Limits of the TTL or hop limit of a unicast peer's adverts (min_ttl, max_ttl)."""

    peer: Address
    low: int = 0
    high: int = 255


class PassAuthentication(msgspec.Struct, frozen=True, tag="pass"):
    """Simple text authentication of VRRPv2 (RFC 2338 section 5.3.6.2)."""

    password: str
    """As configured. Only the first 8 bytes are sent."""


class AhAuthentication(msgspec.Struct, frozen=True, tag="ah"):
    """IPsec authentication header of VRRPv2 (auth_type AH)."""

    password: str
    """As configured. Only the first 8 bytes are used."""


class HmacKey(msgspec.Struct, frozen=True):
    number: int
    """0 to 255."""
    key: bytes
    """32 to 64 bytes."""
    file: str = ""
    """File of the key. Empty: the key is in the configuration."""


class HmacAuthentication(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of auth_hmac of keepalived 2.4."""

    keys: tuple[HmacKey, ...]
    active_key: int
    by_time: bool = True
    """Reject adverts whose time differs by more than `window` (anti_replay time)."""
    window: float = 5.0
    """Seconds."""
    mode: str = "enforce"
    """enforce. permissive: adverts without HMAC are accepted. receive-only: also none is sent."""

    def key(self, number: int) -> bytes:
        """Return the key with this number. Raises KeyError."""
        return {each.number: each.key for each in self.keys}[number]


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
    track_source: bool = False
    """A master whose configured source disappears goes into FAULT (track_src_ip). Other states always do."""
    authentication: PassAuthentication | AhAuthentication | None = None
    hmac: HmacAuthentication | None = None
    nopreempt: bool = False
    preempt_delay: float = 0.0
    garp_master_delay: float = 5.0
    """Seconds until the second burst of gratuitous ARP. 0: no second burst."""
    garp_master_repeat: int = 5
    garp_master_refresh: float = 0.0
    """Seconds between periodic announcements while master. 0: none."""
    garp_master_refresh_repeat: int = 1
    garp_lower_prio_delay: float = 5.0
    """Seconds until the second burst after an advert of a lower priority. 0: no second burst."""
    garp_lower_prio_repeat: int = 5
    lower_prio_no_advert: bool = False
    """A master does not answer adverts of a lower priority (except priority 0)."""
    owner_ignores_adverts: bool = False
    """With priority 255 the adverts of others are ignored (owner_ignore_adverts)."""
    no_accept: bool = False
    """Packets to its addresses are dropped, unless it owns them (RFC 5798 section 6.1, Accept_Mode)."""
    strict: bool = False
    """Check the instance strictly by the RFC (strict_mode)."""
    multicast_group: Address | None = None
    """Replaces 224.0.0.18 or ff02::12 (mcast_dst_ip)."""
    old_unicast_checksum: bool = False
    """Version 3 to unicast peers: checksum of keepalived before 1.3.7, until a peer uses another form."""
    ttl_limits: tuple[TtlLimits, ...] = ()
    """Limits for unicast peers."""
    down_timer_adverts: int = 3
    """Number of missing adverts after which the master is down."""
    startup_delay: float = 0.0
    """Seconds from the start until a wait may begin that ends in MASTER (vrrp_startup_delay)."""
    unicast_ttl: int = 255
    """TTL or hop limit of unicast adverts. Multicast ones always have 255."""
    check_unicast_source: bool = False
    """Drop adverts whose sender is not in `unicast_peers`."""
    checksum_without_pseudo_header: bool = False
    """Version 3 over IPv4: checksum of RFC 9568 (v3_checksum_as_v2), until a peer uses another form."""
    excluded_addresses: tuple[VirtualAddress, ...] = ()
    """Addresses that move too, but are not in adverts (virtual_ipaddress_excluded)."""
    routes: tuple[VirtualRoute, ...] = ()
    rules: tuple[VirtualRule, ...] = ()
    own_interface: VirtualInterface | None = None
    """Virtual interface for the addresses without `dev` and for adverts."""
    advertises_by_base: bool = False
    """Adverts are nevertheless sent on `interface` (vmac_xmit_base)."""
    vrf: str = ""
    """Required VRF of the interface. Empty: any or none."""
    other_interfaces: tuple[VirtualInterface, ...] = ()
    """Virtual interfaces of single addresses (use_vmac_addr, use_vmac after an address)."""
    extra_announcements: int = 0
    """Seconds between announcements on interfaces without adverts (garp_extra_if). 0: none."""
    extra_everywhere: bool = False
    """Announce there on all interfaces, not only on virtual ones (garp_extra_if all)."""
    tracks_interface: bool = True
    """False: it goes on while its interface is down (dont_track_primary), as with a cable to the other router
    that is off."""
    promote_secondaries: bool = False
    """Set the interface's sysctl while the instance exists."""
    tracked: tuple[Tracked, ...] = ()
    notify: Notify = Notify()
    notify_priority_changes: bool = False
    smtp_alert: bool = False
    location: Location | None = None

    @property
    def accepts(self) -> bool:
        """True if a master itself answers for its addresses, besides the packets that the data plane
        forwards."""
        return not self.no_accept or self.priority == OWNER_PRIORITY

    @property
    def source(self) -> Address | None:
        """Source address of adverts. None: an address of the interface."""
        return self.unicast_source if self.unicast_peers else self.multicast_source

    def possible_sources(self, own: Iterable[IPv4Interface | IPv6Interface]) -> list[Address]:
        """Return the addresses that fit best as source of adverts: the first, if no source is configured.

        `own` are those of the interface that are not virtual. Multicast over IPv6 needs a link-local one (RFC
        5798 section 5.1.2.1). Unicast adverts are received at their source. So an address in the network of a
        peer is better than one in another, and the scope is that of the peers.
        """
        fitting = [each for each in own if each.version == self.family]
        if self.family == 6:
            local = all(peer.is_link_local for peer in self.unicast_peers)
            fitting = [each for each in fitting if each.ip.is_link_local is local]
        near = [each for each in fitting if any(peer in each.network for peer in self.unicast_peers)]
        return [each.ip for each in near or fitting]

    @property
    def moving_addresses(self) -> tuple[VirtualAddress, ...]:
        """All addresses that move with mastership."""
        return self.addresses + self.excluded_addresses

    @property
    def advert_device(self) -> str:
        """Interface on which adverts are sent."""
        own = self.own_interface
        return self.interface if own is None or self.advertises_by_base else own.name

    @property
    def virtual_interfaces(self) -> tuple[VirtualInterface, ...]:
        return (*((self.own_interface,) if self.own_interface else ()), *self.other_interfaces)

    @property
    def arrivals(self) -> tuple[str, ...]:
        """Interfaces on which packets for its addresses arrive: never a virtual one, but its base."""
        bases = {each.name: each.base for each in self.virtual_interfaces}
        devices = (bases.get(entry.device, entry.device) for entry in self.moving_addresses)
        return tuple(dict.fromkeys((self.interface, *devices)))

    @property
    def needed_interfaces(self) -> tuple[str, ...]:
        """Interfaces besides `interface` without which it is in FAULT, as in keepalived.

        They are those of its addresses, routes and rules without no_track. A virtual one counts as its base.
        """
        bases = {each.name: each.base for each in self.virtual_interfaces}
        devices = [entry.device for entry in self.moving_addresses if entry.tracked]
        devices += [route.device for route in self.routes if route.tracked]
        devices += [name for rule in self.rules if rule.tracked for name in (rule.incoming, rule.outgoing)]
        needed = dict.fromkeys(bases.get(device, device) for device in devices)
        return tuple(name for name in needed if name not in ("", self.interface))

    @property
    def family(self) -> int:
        """IP version of adverts: 4 or 6."""
        for address in (self.unicast_source, *self.unicast_peers, self.multicast_source):
            if address is not None:
                return address.version
        return self.addresses[0].address.version if self.addresses else 4


class TrackGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A track_group block: instances that go into FAULT if a static object of the group is lost."""

    name: str
    members: tuple[str, ...]
    location: Location | None = None


class StaticSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, routes and rules that do not depend on mastership (static_ipaddress and so on)."""

    addresses: tuple[VirtualAddress, ...] = ()
    routes: tuple[VirtualRoute, ...] = ()
    rules: tuple[VirtualRule, ...] = ()
    groups: tuple[TrackGroup, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.routes or self.rules)

    def has_address_for(self, instance: VrrpInstance) -> bool:
        """True if an address here may be the source of the adverts of this instance."""
        wanted = instance.interface, instance.family
        return any((each.device, each.address.version) == wanted for each in self.addresses)


def needs_scripts_process(instances: tuple[VrrpInstance, ...], surroundings: VrrpSurroundings) -> bool:
    """True if a process is needed that runs programs and watches files."""
    watches = surroundings.scripts or surroundings.files or surroundings.processes
    notified = [each.notify for each in instances] + [each.notify for each in surroundings.groups]
    tells = surroundings.fifos or any(each != Notify() for each in notified)
    return bool(instances) and bool(watches or tells)
