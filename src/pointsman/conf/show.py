"""A configuration as canonical keepalived.conf: every value that is in force, one keyword a line."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.layout import block, number, on, text
from pointsman.conf.show_checks import check_block, command_line
from pointsman.conf.show_tracking import definitions, global_words, groups, notify, sessions, tracked
from pointsman.model.config import Config, Mail
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.vrrp import VirtualAddress, VirtualRoute, VrrpInstance


def show(config: Config) -> str:
    """The text; reading it gives an equal configuration, locations aside.

    Words that Pointsman refuses or ignores cannot be in it, as the model does not hold them.
    """
    blocks = [block("global_defs", _global_defs(config))]
    blocks += definitions(config.vrrp)
    blocks += sessions(config.bfd)
    blocks += [block(f"vrrp_instance {text(each.name)}", _instance(each)) for each in config.instances]
    blocks += groups(config.vrrp)
    for server in config.virtual_servers:
        key = server.service.key
        port = f" {key.port}" if key.port else ""
        blocks.append(block(f"virtual_server {key.address}{port}", _virtual_server(server)))
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def _global_defs(config: Config) -> Iterator[str]:
    mail: Mail = config.mail
    yield f"router_id {text(config.router_id)}"
    if mail.recipients:
        yield from block("notification_email", iter(mail.recipients))
    if mail.sender:
        yield f"notification_email_from {text(mail.sender)}"
    if mail.server:
        yield f"smtp_server {mail.server} {mail.port}"
    if mail.helo_name:
        yield f"smtp_helo_name {text(mail.helo_name)}"
    yield f"smtp_connect_timeout {number(mail.timeout)}"
    yield from global_words(config.vrrp)
    delays = {instance.startup_delay for instance in config.instances}
    if delays - {0.0}:
        yield f"vrrp_startup_delay {number(max(delays))}"


def _instance(instance: VrrpInstance) -> Iterator[str]:
    yield f"state {instance.initial_state.value}"
    yield f"interface {text(instance.interface)}"
    yield f"virtual_router_id {instance.virtual_router_id}"
    yield f"priority {instance.priority}"
    yield f"version {instance.version}"
    yield f"advert_int {number(instance.advert_interval)}"
    if instance.authentication is not None:
        lines = ["auth_type PASS", f"auth_pass {text(instance.authentication.password)}"]
        yield from block("authentication", iter(lines))
    if instance.unicast_source is not None:
        yield f"unicast_src_ip {instance.unicast_source}"
    if instance.unicast_peers:
        yield from block("unicast_peer", iter(str(peer) for peer in instance.unicast_peers))
    if instance.multicast_source is not None:
        yield f"mcast_src_ip {instance.multicast_source}"
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
        yield from block("virtual_ipaddress", (_address(each) for each in instance.addresses))
    if instance.excluded_addresses:
        yield from block(
            "virtual_ipaddress_excluded", (_address(each) for each in instance.excluded_addresses)
        )
    if instance.routes:
        yield from block("virtual_routes", (_route(each) for each in instance.routes))
    yield from tracked(instance.tracked)
    yield from notify(instance.notify)


def _route(route: VirtualRoute) -> str:
    parts = [] if route.kind == "unicast" else [route.kind]
    parts.append(f"to {route}")
    if route.gateway is not None:
        parts.append(f"via {route.gateway}")
    if route.device:
        parts.append(f"dev {text(route.device)}")
    if route.source is not None:
        parts.append(f"src {route.source}")
    parts.append(f"table {route.table}")
    if route.metric:
        parts.append(f"metric {route.metric}")
    if route.scope:
        parts.append(f"scope {route.scope}")
    return " ".join([*parts, *(["onlink"] if route.on_link else [])])


def _answers(instance: VrrpInstance) -> Iterator[str]:
    yield f"garp_lower_prio_delay {number(instance.garp_lower_prio_delay)}"
    yield f"garp_lower_prio_repeat {instance.garp_lower_prio_repeat}"
    yield f"lower_prio_no_advert {on(instance.lower_prio_no_advert)}"
    yield f"down_timer_adverts {instance.down_timer_adverts}"
    yield f"unicast_ttl {instance.unicast_ttl}"
    if instance.check_unicast_source:
        yield "check_unicast_src"
    yield f"v3_checksum_as_v2 {on(instance.checksum_without_pseudo_header)}"
    yield f"notify_priority_changes {on(instance.notify_priority_changes)}"


def _address(address: VirtualAddress) -> str:
    parts = [f"{address.address}/{address.prefix_length}"]
    if address.broadcast is not None:
        parts.append(f"brd {address.broadcast}")
    parts.append(f"dev {text(address.device)}")
    parts.append(f"scope {address.scope}")
    if address.label:
        parts.append(f"label {text(address.label)}")
    return " ".join(parts)


def _virtual_server(server: VirtualServer) -> Iterator[str]:
    service = server.service
    if service.key.transport is not None:
        yield f"protocol {service.key.transport.name}"
    yield f"lvs_sched {service.scheduler}"
    yield from sorted(service.flags)
    yield "lvs_method DR"
    if service.persistence is not None:
        yield f"persistence_timeout {service.persistence}"
    if service.persistence_prefix is not None:
        yield f"persistence_granularity {service.persistence_prefix}"
    if service.one_packet:
        yield "ops"
    if server.alpha:
        yield "alpha"
    if server.omega:
        yield "omega"
    yield f"quorum {server.quorum}"
    yield f"hysteresis {server.hysteresis}"
    yield f"smtp_alert {on(server.smtp_alert)}"
    for word, command in (
        ("quorum_up", server.quorum_up_command),
        ("quorum_down", server.quorum_down_command),
    ):
        if command is not None:
            yield f"{word} {command_line(command)}"
    if server.ha_suspend:
        yield "ha_suspend"
    if server.sorry_inhibit:
        yield "sorry_server_inhibit"
    if server.sorry_server is not None:
        yield f"sorry_server {_endpoint(server.sorry_server.key.address, server.sorry_server.key.port)}"
    for member in server.members:
        key = member.server.key
        yield from block(f"real_server {_endpoint(key.address, key.port)}", _member(member))


def _endpoint(address: object, port: int) -> str:
    return f"{address} {port}" if port else str(address)


def _member(member: PoolMember) -> Iterator[str]:
    server = member.server
    yield f"weight {server.weight}"
    if server.upper_threshold:
        yield f"uthreshold {server.upper_threshold}"
    if server.lower_threshold:
        yield f"lthreshold {server.lower_threshold}"
    yield f"alpha {on(member.alpha)}"
    yield f"inhibit_on_failure {on(member.inhibit_on_failure)}"
    if member.slow_start:
        yield f"slow_start {number(member.slow_start)}"
    yield f"smtp_alert {on(member.smtp_alert)}"
    for word, command in (("notify_up", member.notify_up), ("notify_down", member.notify_down)):
        if command is not None:
            yield f"{word} {command_line(command)}"
    for check in member.checks:
        yield from check_block(check)
