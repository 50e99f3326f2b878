# SPDX-License-Identifier: Apache-2.0
"""Format a configuration as canonical keepalived.conf: each effective value, one keyword a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pointsman.conf.show.checks import format_command, show_check
from pointsman.conf.show.layout import format_block, format_seconds, format_switch, format_text
from pointsman.conf.show.tracking import (
    show_fifos,
    show_global_words,
    show_groups,
    show_sessions,
    show_trackers,
)
from pointsman.conf.show.vrrp import show_instance, show_interface_prefixes, show_static
from pointsman.model.checks import ClientCertificate, HttpCheck
from pointsman.model.config import Config, ConnectionSync, Mail
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.operations import SetTimeouts
from pointsman.model.service import Forwarding, RealServer, ServerKey, TunnelChecksum, VirtualService


def show_config(config: Config) -> str:
    """Return the text. Loading it gives an equal configuration, apart from locations.

    It has no keywords that Pointsman refuses or ignores, because the model does not have them.
    """
    blocks = [format_block("global_defs", _show_global_defs(config))]
    blocks += show_trackers(config.vrrp)
    blocks += show_sessions(config.bfd)
    blocks += [format_block("connection_sync", _show_sync(each)) for each in (config.sync,) if each]
    blocks += show_static(config.static)
    blocks += [
        format_block(f"vrrp_instance {format_text(each.name)}", show_instance(each))
        for each in config.instances
    ]
    blocks += show_groups(config.vrrp)
    blocks += [format_block("SSL", _show_certificate(each)) for each in _certificates(config.virtual_servers)]
    blocks += _show_groups(config.virtual_servers)
    blocks += [
        format_block(f"virtual_server {_format_name(server)}", _show_virtual_server(server))
        for server in config.virtual_servers
        if server.leads
    ]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def _show_sync(sync: ConnectionSync) -> Iterator[str]:
    for peer in sync.peers:
        yield f"peer {peer.address} {peer.port}"
    yield f"key_file {format_text(sync.key_file)}"
    yield f"port {sync.port}"
    if sync.bind_address:
        yield f"bind_address {sync.bind_address}"
    if sync.group:
        yield f"group {sync.group}"
    if sync.interface:
        yield f"interface {sync.interface}"
    yield f"hand_over {format_seconds(sync.hand_over)}"
    if sync.ask_port:
        yield f"ask_real_servers {sync.ask_port}"


def _show_global_defs(config: Config) -> Iterator[str]:
    mail: Mail = config.mail
    yield f"router_id {format_text(config.router_id)}"
    if mail.recipients:
        yield from format_block("notification_email", iter(mail.recipients))
    if mail.sender:
        yield f"notification_email_from {format_text(mail.sender)}"
    if mail.server:
        yield f"smtp_server {mail.server} {mail.port}"
    if mail.helo_name:
        yield f"smtp_helo_name {format_text(mail.helo_name)}"
    yield f"smtp_connect_timeout {format_seconds(mail.timeout)}"
    marks = [each.service.key.fwmark for each in config.virtual_servers if each.service.fronts]
    if marks:
        yield "nftables_ipvs"
        yield f"nftables_ipvs_start_fwmark {min(marks)}"
    if config.timeouts != SetTimeouts():
        yield f"lvs_timeouts {_format_timeouts(config.timeouts)}"
    if config.grace is not None:
        yield f"connection_grace {config.grace}"
    if any(each.initial_notifies for each in config.virtual_servers):
        yield "rs_init_notifies"
    yield f"smtp_tls {mail.tls.value}"
    yield f"smtp_tls_verify {format_switch(mail.tls_verify)}"
    if mail.tls_authority:
        yield f"smtp_tls_ca {format_text(mail.tls_authority)}"
    if mail.user:
        yield f"smtp_auth {format_text(mail.user)} {format_text(mail.password)}"
    yield from show_global_words(config.vrrp)
    yield from show_fifos(config)
    yield from show_interface_prefixes(config.instances)
    delays = {instance.startup_delay for instance in config.instances}
    if delays - {0.0}:
        yield f"vrrp_startup_delay {format_seconds(max(delays))}"


def _format_timeouts(timeouts: SetTimeouts) -> str:
    words = (("tcp", timeouts.tcp), ("tcpfin", timeouts.tcp_fin), ("udp", timeouts.udp))
    return " ".join(f"{word} {seconds}" for word, seconds in words if seconds)


def _certificates(servers: Sequence[VirtualServer]) -> set[ClientCertificate]:
    """Return the client certificates of SSL_GET checks: at most one."""
    checks = (check for server in servers for member in server.members for check in member.checks)
    return {check.shown for check in checks if isinstance(check, HttpCheck) and check.shown}


def _show_certificate(certificate: ClientCertificate) -> Iterator[str]:
    yield f"certificate {format_text(certificate.certificate)}"
    if certificate.key:
        yield f"key {format_text(certificate.key)}"
    if certificate.password:
        yield f"password {format_text(certificate.password)}"


def _show_groups(servers: Sequence[VirtualServer]) -> Iterator[Iterator[str]]:
    """Yield each group once, with the services of one virtual_server that names it."""
    told: dict[str, dict[str, None]] = {}
    for server in servers:
        if server.group:
            targets = told.setdefault(server.group, {})
            targets |= dict.fromkeys(_format_targets(server.service))
    for group, targets in told.items():
        yield format_block(f"virtual_server_group {format_text(group)}", iter(targets))


def _format_targets(service: VirtualService) -> list[str]:
    """Return the lines of the group for this service."""
    key = service.key
    if key.address is not None:
        return [_format_endpoint(key.address, key.port)]
    if service.fronts:
        return sorted(_format_endpoint(front.address, front.port) for front in service.fronts)
    return [f"fwmark {key.fwmark} {'inet6' if key.ipv6 else 'inet'}"]


def _format_name(server: VirtualServer) -> str:
    key = server.service.key
    if server.group:
        return f"group {format_text(server.group)}"
    return f"fwmark {key.fwmark}" if key.address is None else _format_endpoint(key.address, key.port)


def _show_virtual_server(server: VirtualServer) -> Iterator[str]:
    service = server.service
    transport = next((front.transport for front in service.fronts), service.key.transport)
    if transport is not None:
        yield f"protocol {transport.name}"
    elif service.key.ipv6:
        yield "ip_family inet6"
    yield f"lvs_sched {service.scheduler}"
    yield from sorted(service.flags)
    usual = _format_method(_service_method_server(server))
    yield f"lvs_method {usual}"
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
    yield f"smtp_alert {format_switch(server.smtp_alert)}"
    for word, command in (
        ("quorum_up", server.quorum_up_command),
        ("quorum_down", server.quorum_down_command),
    ):
        if command is not None:
            yield f"{word} {format_command(command)}"
    if server.ha_suspend:
        yield "ha_suspend"
    if any(member.server.is_watched for member in server.members):
        yield "passive_check"
    if server.sorry_inhibit:
        yield "sorry_server_inhibit"
    if server.sorry_server is not None:
        yield f"sorry_server {_format_server(server, server.sorry_server.key)}"
        if _format_method(server.sorry_server) != usual:
            yield f"sorry_server_lvs_method {_format_method(server.sorry_server)}"
    for member in server.members:
        own = _format_method(member.server)
        yield from format_block(
            f"real_server {_format_server(server, member.server.key)}",
            _show_member(member, "" if own == usual else own),
        )


def _service_method_server(server: VirtualServer) -> RealServer | None:
    """Return a server with the method of the service: the first real server, if there is one."""
    return server.members[0].server if server.members else server.sorry_server


def _format_method(server: RealServer | None) -> str:
    if server is None or server.forwarding is not Forwarding.TUNNEL:
        return "DR"
    tunnel = server.tunnel
    port = f" port {tunnel.port}" if tunnel.port else ""
    checksum = "" if tunnel.checksum is TunnelChecksum.NONE else f" {tunnel.checksum.value}"
    return f"TUN type {tunnel.type.value}{port}{checksum}"


def _format_server(virtual: VirtualServer, key: ServerKey) -> str:
    """Return address and port. In a group without port, because its services may have different ones."""
    return str(key.address) if virtual.group else _format_endpoint(key.address, key.port)


def _format_endpoint(address: object, port: int) -> str:
    return f"{address} {port}" if port else str(address)


def _show_member(member: PoolMember, method: str) -> Iterator[str]:
    """Yield the lines of a real server. `method` is empty if it is that of the service."""
    server = member.server
    if method:
        yield f"lvs_method {method}"
    yield f"weight {server.weight}"
    if server.upper_threshold:
        yield f"uthreshold {server.upper_threshold}"
    if server.lower_threshold:
        yield f"lthreshold {server.lower_threshold}"
    yield f"alpha {format_switch(member.alpha)}"
    yield f"inhibit_on_failure {format_switch(member.inhibit_on_failure)}"
    if member.drain:
        yield f"drain {format_seconds(member.drain)}"
    if server.resets_clients:
        yield "reset_on_removal"
    if member.slow_start:
        yield f"slow_start {format_seconds(member.slow_start)}"
    yield f"smtp_alert {format_switch(member.smtp_alert)}"
    for word, command in (("notify_up", member.notify_up), ("notify_down", member.notify_down)):
        if command is not None:
            yield f"{word} {format_command(command)}"
    for check in member.checks:
        yield from show_check(check)
