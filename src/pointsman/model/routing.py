# SPDX-License-Identifier: Apache-2.0
"""Routes and routing rules that VRRP sets, in the words of ip-route(8) and ip-rule(8)."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address, Network

SEGMENT_MODES = {"inline": 0, "encap": 1, "l2encap": 2, "encap.red": 3, "l2encap.red": 4}
"""SEG6_IPTUN_MODE_... of linux/seg6_iptunnel.h."""


class Encapsulation(msgspec.Struct, frozen=True, kw_only=True):
    """Encapsulation of the packets of a route (`encap`). None: the kernel's default."""

    kind: str
    """ip, ip6 (of a tunnel whose interface uses the route's settings), mpls, seg6."""
    identifier: int | None = None
    """Identifier of the tunnel (`id`)."""
    destination: Address | None = None
    source: Address | None = None
    ttl: int | None = None
    """TTL or hop limit."""
    tos: int | None = None
    """TOS or traffic class."""
    flags: int | None = None
    labels: tuple[int, ...] = ()
    """MPLS labels, the outermost first."""
    mode: str = ""
    """Mode of seg6: one of SEGMENT_MODES."""
    segments: tuple[Address, ...] = ()
    """Segments of seg6 in the order of the path."""


class RouteHop(msgspec.Struct, frozen=True, kw_only=True):
    """One of several next hops."""

    gateway: Address | None = None
    device: str = ""
    weight: int = 1
    on_link: bool = False
    """Treat the gateway as on-link, whatever the addresses are."""
    encapsulation: Encapsulation | None = None


class VirtualRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route that moves with mastership, or a static one."""

    kind: str = "unicast"
    """unicast, blackhole, unreachable, prohibit, throw, local, broadcast or multicast."""
    destination: Address
    prefix_length: int
    gateway: Address | None = None
    """May be of the other family."""
    device: str = ""
    """Empty: the kernel derives it from the gateway."""
    source: Address | None = None
    """Preferred source address for this route."""
    table: int = 254
    metric: int = 0
    scope: str = ""
    on_link: bool = False
    """Treat the gateway as on-link, whatever the addresses are."""
    source_network: Network | None = None
    """IPv6: only for packets from this network (`from`)."""
    tos: int = 0
    protocol: int = 18
    """18: RTPROT_KEEPALIVED."""
    metrics: tuple[tuple[str, int], ...] = ()
    """Pairs of a word of `METRICS` and the kernel's value."""
    locked: tuple[str, ...] = ()
    """Metrics that the kernel may not change (`lock`)."""
    congestion: str = ""
    """Name of a congestion control algorithm (congctl)."""
    realms: int = 0
    """(from << 16) | to."""
    preference: str = ""
    """IPv6: low, medium, high (`pref`)."""
    expires: int = 0
    """IPv6: seconds."""
    ttl_propagate: bool | None = None
    encapsulation: Encapsulation | None = None
    hops: tuple[RouteHop, ...] = ()
    """Replaces gateway and device."""
    placing: str = "prepend"
    """Place among routes to the same destination: prepend, append, or add (only if there is none)."""
    tracked: bool = True
    """False: if another program removes it, it is missing until the next master (no_track)."""
    track_group: str = ""

    def __str__(self) -> str:
        return f"{self.destination}/{self.prefix_length}"


METRICS = {
    "mtu": 2,
    "window": 3,
    "rtt": 4,
    "rttvar": 5,
    "ssthresh": 6,
    "cwnd": 7,
    "advmss": 8,
    "reordering": 9,
    "hoplimit": 10,
    "initcwnd": 11,
    "features": 12,
    "rto_min": 13,
    "initrwnd": 14,
    "quickack": 15,
    "fastopen_no_cookie": 17,
}
"""RTAX_... of linux/rtnetlink.h."""


class VirtualRule(msgspec.Struct, frozen=True, kw_only=True):
    """A routing rule that moves with mastership, or a static one."""

    family: int
    """4 or 6."""
    preference: int
    action: str = "table"
    """table, goto, nop, blackhole, unreachable or prohibit."""
    table: int = 254
    target: int = 0
    """Target of goto: the preference of another rule."""
    inverted: bool = False
    """The rule is for all packets that do not match (`not`)."""
    source: Network | None = None
    destination: Network | None = None
    incoming: str = ""
    outgoing: str = ""
    tos: int = 0
    mark: int = 0
    mask: int | None = None
    """Mask of the mark. None: all bits."""
    realms: int = 0
    tunnel: int = 0
    l3mdev: bool = False
    users: tuple[int, int] | None = None
    protocol: int = 18
    ip_protocol: int = 0
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    suppress_prefix_length: int | None = None
    suppress_group: int | None = None
    tracked: bool = True
    track_group: str = ""

    def __str__(self) -> str:
        return f"rule {self.preference}"
