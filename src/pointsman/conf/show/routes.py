# SPDX-License-Identifier: Apache-2.0
"""Format routes and routing rules as canonical lines of keepalived.conf."""

from __future__ import annotations

from pointsman.conf.show.layout import format_text
from pointsman.model.routing import Encapsulation, RouteHop, VirtualRoute, VirtualRule


def _format_encapsulation(around: Encapsulation | None) -> list[str]:
    """Return the words of `encap`. They must be last: encap takes all words after it that it knows."""
    if around is None:
        return []
    ttl, tos = ("hoplimit", "tc") if around.kind == "ip6" else ("ttl", "tos")
    parts = ["encap", around.kind]
    if around.labels:
        parts.append("/".join(map(str, around.labels)))
    if around.segments:
        parts.append(f"mode {around.mode} segs {','.join(map(str, around.segments))}")
    for word, value in (
        ("id", around.identifier),
        ("dst", around.destination),
        ("src", around.source),
        (ttl, around.ttl),
        (tos, around.tos),
        ("flags", around.flags),
    ):
        if value is not None:
            parts.append(f"{word} {value}")
    return parts


def format_route(route: VirtualRoute) -> str:
    """Return the line of a route."""
    parts = [] if route.kind == "unicast" else [route.kind]
    parts.append(str(route))
    if route.source_network is not None:
        parts.append(f"from {route.source_network}")
    if route.gateway is not None:
        parts.append(f"via {route.gateway}")
    if route.device:
        parts.append(f"dev {format_text(route.device)}")
    if route.source is not None:
        parts.append(f"src {route.source}")
    parts += [f"table {route.table}", f"protocol {route.protocol}"]
    for word, number in (("metric", route.metric), ("tos", route.tos), ("expires", route.expires)):
        if number:
            parts.append(f"{word} {number}")
    for name, value in route.metrics:
        lock = "lock " if name in route.locked else ""
        parts.append(f"{name} {lock}{'ecn' if name == 'features' else value}")
    if route.realms:
        parts.append(f"realms {_format_realms(route.realms)}")
    for word, name in (
        ("scope", route.scope),
        ("congctl", route.congestion),
        ("pref", route.preference),
        ("track_group", route.track_group),
    ):
        if name:
            parts.append(f"{word} {format_text(name)}")
    if route.ttl_propagate is not None:
        parts.append(f"ttl-propagate {'enabled' if route.ttl_propagate else 'disabled'}")
    parts += ["onlink"] if route.on_link else []
    parts += [route.placing] if route.placing != "prepend" else []
    parts += [] if route.tracked else ["no_track"]
    return " ".join(
        [*parts, *_format_encapsulation(route.encapsulation), *(_format_hop(each) for each in route.hops)]
    )


def _format_hop(hop: RouteHop) -> str:
    parts = ["nexthop"]
    if hop.gateway is not None:
        parts.append(f"via {hop.gateway}")
    if hop.device:
        parts.append(f"dev {format_text(hop.device)}")
    parts.append(f"weight {hop.weight}")
    return " ".join([*parts, *(["onlink"] if hop.on_link else []), *_format_encapsulation(hop.encapsulation)])


def _format_realms(number: int) -> str:
    return f"{number >> 16}/{number & 0xFFFF}" if number >> 16 else str(number)


def format_rule(rule: VirtualRule) -> str:
    """Return the line of a rule. The family is written only where no address shows it."""
    shown = rule.source is not None or rule.destination is not None
    parts = [] if shown else ["inet" if rule.family == 4 else "inet6"]
    parts += ["not"] if rule.inverted else []
    for word, value in (("from", rule.source), ("to", rule.destination)):
        if value is not None:
            parts.append(f"{word} {value}")
    for word, name in (("iif", rule.incoming), ("oif", rule.outgoing)):
        if name:
            parts.append(f"{word} {format_text(name)}")
    if rule.mark or rule.mask is not None:
        parts.append(f"fwmark {rule.mark}" + (f"/{rule.mask}" if rule.mask is not None else ""))
    for word, number in (
        ("tos", rule.tos),
        ("tunnel-id", rule.tunnel),
        ("ipproto", rule.ip_protocol),
        ("suppress_prefixlength", rule.suppress_prefix_length),
        ("suppress_ifgroup", rule.suppress_group),
    ):
        if number or (number == 0 and word.startswith("suppress")):
            parts.append(f"{word} {number}")
    for word, span in (
        ("uidrange", rule.users),
        ("sport", rule.source_ports),
        ("dport", rule.destination_ports),
    ):
        if span is not None:
            parts.append(f"{word} {span[0]}-{span[1]}")
    if rule.realms:
        parts.append(f"realms {_format_realms(rule.realms)}")
    parts += [f"protocol {rule.protocol}", f"preference {rule.preference}", _format_action(rule)]
    parts += [] if rule.tracked else ["no_track"]
    return " ".join([*parts, *([f"track_group {format_text(rule.track_group)}"] if rule.track_group else [])])


def _format_action(rule: VirtualRule) -> str:
    if rule.l3mdev:
        return "l3mdev"
    return {"table": f"table {rule.table}", "goto": f"goto {rule.target}"}.get(rule.action, rule.action)
