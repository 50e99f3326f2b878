# SPDX-License-Identifier: Apache-2.0
"""Format VRRP instances and static objects as canonical keepalived.conf."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.show.layout import format_block, format_seconds, format_switch, format_text
from pointsman.conf.show.routes import format_route, format_rule
from pointsman.conf.show.tracking import show_notify, show_tracked
from pointsman.model.vrrp import (
    HmacAuthentication,
    PassAuthentication,
    StaticSettings,
    VirtualAddress,
    VirtualInterface,
    VrrpInstance,
)


def show_instance(instance: VrrpInstance) -> Iterator[str]:
    """Yield the lines of an instance's block."""
    yield f"state {instance.initial_state.value}"
    yield f"interface {format_text(instance.interface)}"
    yield f"virtual_router_id {instance.virtual_router_id}"
    yield f"priority {instance.priority}"
    yield f"version {instance.version}"
    yield f"advert_int {format_seconds(instance.advert_interval)}"
    if instance.authentication is not None:
        kind = "PASS" if isinstance(instance.authentication, PassAuthentication) else "AH"
        lines = [f"auth_type {kind}", f"auth_pass {format_text(instance.authentication.password)}"]
        yield from format_block("authentication", iter(lines))
    if instance.hmac is not None:
        yield from format_block("auth_hmac", _show_hmac(instance.hmac))
    if instance.unicast_source is not None:
        yield f"unicast_src_ip {instance.unicast_source}"
    if instance.unicast_peers:
        limits = {each.peer: f" min_ttl {each.low} max_ttl {each.high}" for each in instance.ttl_limits}
        yield from format_block(
            "unicast_peer", (f"{peer}{limits.get(peer, '')}" for peer in instance.unicast_peers)
        )
    if instance.multicast_source is not None:
        yield f"mcast_src_ip {instance.multicast_source}"
    if instance.multicast_group is not None:
        yield f"mcast_dst_ip {instance.multicast_group}"
    yield from _show_virtual_interfaces(instance)
    if instance.nopreempt:
        yield "nopreempt"
    yield f"preempt_delay {format_seconds(instance.preempt_delay)}"
    yield f"garp_master_delay {format_seconds(instance.garp_master_delay)}"
    yield f"garp_master_repeat {instance.garp_master_repeat}"
    yield f"garp_master_refresh {format_seconds(instance.garp_master_refresh)}"
    yield f"garp_master_refresh_repeat {instance.garp_master_refresh_repeat}"
    yield from _show_answers(instance)
    yield f"smtp_alert {format_switch(instance.smtp_alert)}"
    if instance.addresses:
        yield from format_block("virtual_ipaddress", _show_addresses(instance, instance.addresses))
    if instance.excluded_addresses:
        yield from format_block(
            "virtual_ipaddress_excluded", _show_addresses(instance, instance.excluded_addresses)
        )
    if instance.routes:
        yield from format_block("virtual_routes", (format_route(each) for each in instance.routes))
    if instance.rules:
        yield from format_block("virtual_rules", (format_rule(each) for each in instance.rules))
    yield from show_tracked(instance.tracked)
    yield from show_notify(instance.notify)


def _show_answers(instance: VrrpInstance) -> Iterator[str]:
    yield f"garp_lower_prio_delay {format_seconds(instance.garp_lower_prio_delay)}"
    yield f"garp_lower_prio_repeat {instance.garp_lower_prio_repeat}"
    yield f"lower_prio_no_advert {format_switch(instance.lower_prio_no_advert)}"
    yield f"down_timer_adverts {instance.down_timer_adverts}"
    yield f"owner_ignore_adverts {format_switch(instance.owner_ignores_adverts)}"
    if instance.strict:
        yield "strict_mode on"
    if instance.no_accept:
        yield "no_accept"
    elif instance.strict and instance.version == 3:
        yield "accept"
    if instance.old_unicast_checksum:
        yield "old_unicast_checksum"
    if instance.unicast_peers or instance.unicast_ttl != 255:
        yield f"unicast_ttl {instance.unicast_ttl}"
    if instance.check_unicast_source:
        yield "check_unicast_src"
    if instance.track_source:
        yield "track_src_ip"
    yield f"v3_checksum_as_v2 {format_switch(instance.checksum_without_pseudo_header)}"
    yield f"notify_priority_changes {format_switch(instance.notify_priority_changes)}"


def _show_hmac(settings: HmacAuthentication) -> Iterator[str]:
    for each in settings.keys:
        yield f"key {each.number} " + (f"file:{each.file}" if each.file else f"hex:{each.key.hex()}")
    yield f"active_key {settings.active_key}"
    yield f"anti_replay {'time' if settings.by_time else 'monotonic'}"
    yield f"time_window {max(1, round(settings.window))}"
    yield f"mode {settings.mode}"


def _show_virtual_interfaces(instance: VrrpInstance) -> Iterator[str]:
    own = instance.own_interface
    if own is not None:
        group = f" group {own.group}" if own.group else ""
        kind = (
            f"use_vmac {own.name} {own.mac.hex(':')}"
            if own.has_mac
            else f"use_ipvlan name {own.name} {own.mode}"
        )
        yield kind + group
    if instance.vrf:
        yield f"vrf {instance.vrf}"
    if instance.advertises_by_base and (own is None or own.has_mac):
        yield "vmac_xmit_base"
    if instance.extra_announcements:
        everywhere = "all " if instance.extra_everywhere else ""
        yield f"garp_extra_if {everywhere}{instance.extra_announcements}"
    if not instance.tracks_interface:
        yield "dont_track_primary"
    if instance.promote_secondaries:
        yield "promote_secondaries"


def show_interface_prefixes(instances: tuple[VrrpInstance, ...]) -> Iterator[str]:
    """Yield vmac_addr_prefix, if addresses have virtual interfaces of their own."""
    for instance in instances:
        for each in instance.other_interfaces:
            version = "6" if each.mac[4] == 2 else ""
            prefix, _, _ = each.name.partition(f"{version}.{instance.virtual_router_id}")
            yield f"vmac_addr_prefix {format_text(prefix)}"
            return


def _show_addresses(instance: VrrpInstance, entries: tuple[VirtualAddress, ...]) -> Iterator[str]:
    bases = {each.name: each for each in instance.other_interfaces}
    for entry in entries:
        yield format_address(entry, bases.get(entry.device))


def format_address(address: VirtualAddress, bearer: VirtualInterface | None = None) -> str:
    """Return the line of an address. `bearer` is its own virtual interface, if it has one."""
    parts = [f"{address.address}" if address.peer else f"{address.address}/{address.prefix_length}"]
    if address.peer is not None:
        parts.append(f"peer {address.peer}/{address.prefix_length}")
    if address.broadcast is not None:
        parts.append(f"brd {address.broadcast}")
    parts.append(
        f"dev {format_text(bearer.base)} use_vmac" if bearer else f"dev {format_text(address.device)}"
    )
    parts.append(f"scope {address.scope}")
    if address.label:
        parts.append(f"label {format_text(address.label)}")
    parts += ["-nodad" if flag == "dad" else flag for flag in address.flags]
    if address.preferred is not None:
        parts.append(f"preferred_lft {address.preferred}")
    elif address.address.version == 6 and address.prefix_length == 128:
        parts.append("preferred_lft forever")
    if not address.tracked:
        parts.append("no_track")
    if address.track_group:
        parts.append(f"track_group {format_text(address.track_group)}")
    return " ".join(parts)


def show_static(static: StaticSettings) -> list[Iterator[str]]:
    """Return the blocks static_ipaddress, static_routes, static_rules and track_group."""
    blocks = [
        format_block(word, iter(lines))
        for word, lines in (
            ("static_ipaddress", [format_address(each) for each in static.addresses]),
            ("static_routes", [format_route(each) for each in static.routes]),
            ("static_rules", [format_rule(each) for each in static.rules]),
        )
        if lines
    ]
    for group in static.groups:
        names = format_block("group", (format_text(name) for name in group.members))
        blocks.append(format_block(f"track_group {format_text(group.name)}", names))
    return blocks
