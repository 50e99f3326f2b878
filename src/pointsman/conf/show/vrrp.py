"""A VRRP instance as canonical keepalived.conf."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.show.layout import block, number, on, text
from pointsman.conf.show.routes import route_line, rule_line
from pointsman.conf.show.tracking import notify, tracked
from pointsman.model.vrrp import (
    HmacAuthentication,
    PassAuthentication,
    StaticSettings,
    VirtualAddress,
    VirtualInterface,
    VrrpInstance,
)


def instance_lines(instance: VrrpInstance) -> Iterator[str]:
    yield f"state {instance.initial_state.value}"
    yield f"interface {text(instance.interface)}"
    yield f"virtual_router_id {instance.virtual_router_id}"
    yield f"priority {instance.priority}"
    yield f"version {instance.version}"
    yield f"advert_int {number(instance.advert_interval)}"
    if instance.authentication is not None:
        kind = "PASS" if isinstance(instance.authentication, PassAuthentication) else "AH"
        lines = [f"auth_type {kind}", f"auth_pass {text(instance.authentication.password)}"]
        yield from block("authentication", iter(lines))
    if instance.hmac is not None:
        yield from block("auth_hmac", _signing(instance.hmac))
    if instance.unicast_source is not None:
        yield f"unicast_src_ip {instance.unicast_source}"
    if instance.unicast_peers:
        limits = {each.peer: f" min_ttl {each.low} max_ttl {each.high}" for each in instance.ttl_limits}
        yield from block("unicast_peer", (f"{peer}{limits.get(peer, '')}" for peer in instance.unicast_peers))
    if instance.multicast_source is not None:
        yield f"mcast_src_ip {instance.multicast_source}"
    if instance.multicast_group is not None:
        yield f"mcast_dst_ip {instance.multicast_group}"
    yield from _virtual_interfaces(instance)
    if instance.nopreempt:
        yield "nopreempt"
    yield f"preempt_delay {number(instance.preempt_delay)}"
    yield f"garp_master_delay {number(instance.garp_master_delay)}"
    yield f"garp_master_repeat {instance.garp_master_repeat}"
    yield f"garp_master_refresh {number(instance.garp_master_refresh)}"
    yield f"garp_master_refresh_repeat {instance.garp_master_refresh_repeat}"
    yield from _answers(instance)
    yield f"smtp_alert {on(instance.smtp_alert)}"
    if instance.addresses:
        yield from block("virtual_ipaddress", _addresses(instance, instance.addresses))
    if instance.excluded_addresses:
        yield from block("virtual_ipaddress_excluded", _addresses(instance, instance.excluded_addresses))
    if instance.routes:
        yield from block("virtual_routes", (route_line(each) for each in instance.routes))
    if instance.rules:
        yield from block("virtual_rules", (rule_line(each) for each in instance.rules))
    yield from tracked(instance.tracked)
    yield from notify(instance.notify)


def _answers(instance: VrrpInstance) -> Iterator[str]:
    yield f"garp_lower_prio_delay {number(instance.garp_lower_prio_delay)}"
    yield f"garp_lower_prio_repeat {instance.garp_lower_prio_repeat}"
    yield f"lower_prio_no_advert {on(instance.lower_prio_no_advert)}"
    yield f"down_timer_adverts {instance.down_timer_adverts}"
    yield f"owner_ignore_adverts {on(instance.owner_ignores_adverts)}"
    if instance.strict:
        yield "strict_mode on"
    if instance.no_accept:
        yield "no_accept"
    elif instance.strict and instance.version == 3:
        yield "accept"
    if instance.old_unicast_checksum:
        yield "old_unicast_checksum"
    yield f"unicast_ttl {instance.unicast_ttl}"
    if instance.check_unicast_source:
        yield "check_unicast_src"
    if instance.track_source:
        yield "track_src_ip"
    yield f"v3_checksum_as_v2 {on(instance.checksum_without_pseudo_header)}"
    yield f"notify_priority_changes {on(instance.notify_priority_changes)}"


def _signing(settings: HmacAuthentication) -> Iterator[str]:
    for each in settings.keys:
        yield f"key {each.number} " + (f"file:{each.file}" if each.file else f"hex:{each.key.hex()}")
    yield f"active_key {settings.active_key}"
    yield f"anti_replay {'time' if settings.by_time else 'monotonic'}"
    yield f"time_window {max(1, round(settings.window))}"
    yield f"mode {settings.mode}"


def _virtual_interfaces(instance: VrrpInstance) -> Iterator[str]:
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
    if instance.promote_secondaries:
        yield "promote_secondaries"


def virtual_interface_names(instances: tuple[VrrpInstance, ...]) -> Iterator[str]:
    """What the names of those begin with that have no word of their own to name them."""
    for instance in instances:
        for each in instance.other_interfaces:
            version = "6" if each.mac[4] == 2 else ""
            prefix, _, _ = each.name.partition(f"{version}.{instance.virtual_router_id}")
            yield f"vmac_addr_prefix {text(prefix)}"
            return


def _addresses(instance: VrrpInstance, entries: tuple[VirtualAddress, ...]) -> Iterator[str]:
    bases = {each.name: each for each in instance.other_interfaces}
    for entry in entries:
        yield address_line(entry, bases.get(entry.device))


def address_line(address: VirtualAddress, bearer: VirtualInterface | None = None) -> str:
    """`bearer`: the virtual interface that was made for it, if one was."""
    parts = [f"{address.address}" if address.peer else f"{address.address}/{address.prefix_length}"]
    if address.peer is not None:
        parts.append(f"peer {address.peer}/{address.prefix_length}")
    if address.broadcast is not None:
        parts.append(f"brd {address.broadcast}")
    parts.append(f"dev {text(bearer.base)} use_vmac" if bearer else f"dev {text(address.device)}")
    parts.append(f"scope {address.scope}")
    if address.label:
        parts.append(f"label {text(address.label)}")
    parts += ["-nodad" if flag == "dad" else flag for flag in address.flags]
    if address.preferred is not None:
        parts.append(f"preferred_lft {address.preferred}")
    elif address.address.version == 6 and address.prefix_length == 128:
        parts.append("preferred_lft forever")
    if not address.tracked:
        parts.append("no_track")
    if address.track_group:
        parts.append(f"track_group {text(address.track_group)}")
    return " ".join(parts)


def static_blocks(static: StaticSettings) -> list[Iterator[str]]:
    """static_ipaddress, static_routes, static_rules and track_group."""
    blocks = [
        block(word, iter(lines))
        for word, lines in (
            ("static_ipaddress", [address_line(each) for each in static.addresses]),
            ("static_routes", [route_line(each) for each in static.routes]),
            ("static_rules", [rule_line(each) for each in static.rules]),
        )
        if lines
    ]
    for group in static.groups:
        names = block("group", (text(name) for name in group.members))
        blocks.append(block(f"track_group {text(group.name)}", names))
    return blocks
