"""A configuration as canonical keepalived.conf: every value that is in force, one keyword a line."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.layout import block, number, on, text
from pointsman.conf.show_checks import check_block, command_line
from pointsman.conf.show_tracking import definitions, global_words, groups, sessions
from pointsman.conf.show_vrrp import instance_lines, virtual_interface_names
from pointsman.model.config import Config, Mail
from pointsman.model.health import PoolMember, VirtualServer


def show(config: Config) -> str:
    """The text; reading it gives an equal configuration, locations aside.

    Words that Pointsman refuses or ignores cannot be in it, as the model does not hold them.
    """
    blocks = [block("global_defs", _global_defs(config))]
    blocks += definitions(config.vrrp)
    blocks += sessions(config.bfd)
    blocks += [block(f"vrrp_instance {text(each.name)}", instance_lines(each)) for each in config.instances]
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
    yield from virtual_interface_names(config.instances)
    delays = {instance.startup_delay for instance in config.instances}
    if delays - {0.0}:
        yield f"vrrp_startup_delay {number(max(delays))}"


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
