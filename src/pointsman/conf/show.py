"""A configuration as canonical keepalived.conf: every value that is in force, one keyword a line."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.model.config import Config, Mail
from pointsman.model.health import PoolMember, TcpCheck, VirtualServer
from pointsman.model.vrrp import VirtualAddress, VrrpInstance

_INDENT = "    "


def show(config: Config) -> str:
    """The text; reading it gives an equal configuration, locations aside.

    Words that Pointsman refuses or ignores cannot be in it, as the model does not hold them.
    """
    blocks = [_block("global_defs", _global_defs(config))]
    blocks += [_block(f"vrrp_instance {_text(each.name)}", _instance(each)) for each in config.instances]
    for server in config.virtual_servers:
        key = server.service.key
        port = f" {key.port}" if key.port else ""
        blocks.append(_block(f"virtual_server {key.address}{port}", _virtual_server(server)))
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def _block(head: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"{head} {{"
    for line in lines:
        yield _INDENT + line
    yield "}"


def _text(text: str) -> str:
    """A value, in quotes where it would otherwise be taken apart."""
    plain = text and all(sign.isalnum() or sign in "._-+@:/%,=*" for sign in text) and text.isascii()
    return text if plain else f'"{text}"'


def _on(value: bool) -> str:
    return "on" if value else "off"


def _number(value: float) -> str:
    """Seconds without needless digits, exact to the microsecond."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _global_defs(config: Config) -> Iterator[str]:
    mail: Mail = config.mail
    yield f"router_id {_text(config.router_id)}"
    if mail.recipients:
        yield from _block("notification_email", iter(mail.recipients))
    if mail.sender:
        yield f"notification_email_from {_text(mail.sender)}"
    if mail.server:
        yield f"smtp_server {mail.server} {mail.port}"
    if mail.helo_name:
        yield f"smtp_helo_name {_text(mail.helo_name)}"
    yield f"smtp_connect_timeout {_number(mail.timeout)}"


def _instance(instance: VrrpInstance) -> Iterator[str]:
    yield f"state {instance.initial_state.value}"
    yield f"interface {_text(instance.interface)}"
    yield f"virtual_router_id {instance.virtual_router_id}"
    yield f"priority {instance.priority}"
    yield f"version {instance.version}"
    yield f"advert_int {_number(instance.advert_interval)}"
    if instance.authentication is not None:
        lines = ["auth_type PASS", f"auth_pass {_text(instance.authentication.password)}"]
        yield from _block("authentication", iter(lines))
    if instance.unicast_source is not None:
        yield f"unicast_src_ip {instance.unicast_source}"
    if instance.unicast_peers:
        yield from _block("unicast_peer", iter(str(peer) for peer in instance.unicast_peers))
    if instance.multicast_source is not None:
        yield f"mcast_src_ip {instance.multicast_source}"
    if instance.nopreempt:
        yield "nopreempt"
    yield f"preempt_delay {_number(instance.preempt_delay)}"
    yield f"garp_master_delay {_number(instance.garp_master_delay)}"
    yield f"garp_master_repeat {instance.garp_master_repeat}"
    yield f"garp_master_refresh {_number(instance.garp_master_refresh)}"
    yield f"garp_master_refresh_repeat {instance.garp_master_refresh_repeat}"
    yield f"smtp_alert {_on(instance.smtp_alert)}"
    if instance.addresses:
        yield from _block("virtual_ipaddress", (_address(each) for each in instance.addresses))


def _address(address: VirtualAddress) -> str:
    parts = [f"{address.address}/{address.prefix_length}"]
    if address.broadcast is not None:
        parts.append(f"brd {address.broadcast}")
    parts.append(f"dev {_text(address.device)}")
    parts.append(f"scope {address.scope}")
    if address.label:
        parts.append(f"label {_text(address.label)}")
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
    yield f"smtp_alert {_on(server.smtp_alert)}"
    if server.sorry_server is not None:
        yield f"sorry_server {_endpoint(server.sorry_server.key.address, server.sorry_server.key.port)}"
    for member in server.members:
        key = member.server.key
        yield from _block(f"real_server {_endpoint(key.address, key.port)}", _member(member))


def _endpoint(address: object, port: int) -> str:
    return f"{address} {port}" if port else str(address)


def _member(member: PoolMember) -> Iterator[str]:
    server = member.server
    yield f"weight {server.weight}"
    if server.upper_threshold:
        yield f"uthreshold {server.upper_threshold}"
    if server.lower_threshold:
        yield f"lthreshold {server.lower_threshold}"
    yield f"alpha {_on(member.alpha)}"
    yield f"inhibit_on_failure {_on(member.inhibit_on_failure)}"
    yield f"smtp_alert {_on(member.smtp_alert)}"
    for check in member.checks:
        yield from _block("TCP_CHECK", _tcp_check(check))


def _tcp_check(check: TcpCheck) -> Iterator[str]:
    yield f"connect_ip {check.connect_address}"
    yield f"connect_port {check.connect_port}"
    if check.bind_address is not None:
        yield f"bindto {check.bind_address}"
    if check.bind_port:
        yield f"bind_port {check.bind_port}"
    yield f"connect_timeout {_number(check.connect_timeout)}"
    yield f"retry {check.retry}"
    yield f"delay_before_retry {_number(check.delay_before_retry)}"
    yield f"delay_loop {_number(check.delay_loop)}"
    yield f"warmup {_number(check.warmup)}"
