# SPDX-License-Identifier: Apache-2.0
"""Build services from virtual_server blocks. Values are inherited: virtual_server -> real_server -> check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import msgspec

from pointsman.conf.build.check_fields import CheckContext, NamedObjects
from pointsman.conf.build.checks import build_checks, with_script_user
from pointsman.conf.build.groups import Target, build_targets, targets_by_mark
from pointsman.conf.build.tracking import build_command
from pointsman.conf.keywords.scheduler_flags import build_scheduler_flags
from pointsman.conf.keywords.settings import Setting, Settings, inherited, read_block
from pointsman.conf.keywords.table import closest
from pointsman.conf.keywords.values import BadValueError
from pointsman.conf.keywords.values_lvs import LvsMethod
from pointsman.conf.text.corrections import Choice, cut, inside, remove, replace
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tokens import Word
from pointsman.model.address import Address
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import (
    Forwarding,
    Front,
    RealServer,
    ServerKey,
    ServiceKey,
    Transport,
    VirtualService,
)
from pointsman.model.tracking import Command

DEFAULT_PERSISTENCE = 360
"""Default of persistence in seconds (ipvsadm(8), option -p)."""

DIRECT = LvsMethod(Forwarding.ROUTE)


class _ServiceContext(NamedTuple):
    """A service, as its real servers need it."""

    block: Settings
    key: ServiceKey
    port: int
    in_group: bool
    check_port: int
    """Port for checks of real servers that name none. It is the same for a whole group."""
    globals: Settings
    named: NamedObjects
    method: LvsMethod = DIRECT


def build_virtual_servers(
    setting: Setting, globals_: Settings, named: NamedObjects, findings: Findings
) -> Iterator[VirtualServer]:
    """Yield the services of one block: several for a group, none if its destination has an error."""
    block = read_block(setting.block, "virtual_server", findings)
    group, targets = _build_head(setting, named, findings)
    transport = None
    if not targets or any(target.address for target in targets):
        transport = _transport(setting, block, findings)
    shared_port = next((target.port for target in targets if target.port), 0) if group else 0
    fronts: dict[Target, frozenset[Front]] = {}
    if group and named.marks is not None and transport is not None:
        fronts = targets_by_mark(targets, transport, named.marks)
        targets = (*fronts, *(target for target in targets if target.fwmark))
    for number, target in enumerate(targets or (Target(None),)):
        key = _service_key(target, transport, block)
        scope = _ServiceContext(block, key, key.port, bool(group), shared_port or key.port, globals_, named)
        found = _build_virtual_server(setting, scope, findings)
        if targets:
            service = msgspec.structs.replace(found.service, fronts=fronts.get(target, frozenset()))
            yield msgspec.structs.replace(found, service=service, group=group, leads=number == 0)


def _service_key(target: Target, transport: Transport | None, block: Settings) -> ServiceKey:
    if target.address is not None and transport is not None:
        return ServiceKey.of(transport, target.address, target.port)
    ipv6 = target.ipv6
    if ipv6 is None:
        family = block.get("ip_family", str)
        reals = [cast("tuple[Address, int | None]", each.value)[0] for each in block.all("real_server")]
        ipv6 = family == "inet6" if family else any(address.version == 6 for address in reals)
    return ServiceKey.mark(target.fwmark, ipv6)


def _build_virtual_server(setting: Setting, scope: _ServiceContext, findings: Findings) -> VirtualServer:
    block, key, globals_ = scope.block, scope.key, scope.globals
    scope = scope._replace(method=_method(block, setting.node.keyword, findings))
    members = _build_members(scope, findings)
    quorum = _quorum(block, members, findings)
    return VirtualServer(
        service=VirtualService(
            key=key,
            scheduler=block.get("lvs_sched", str) or "wlc",
            persistence=_persistence(block, setting.node.keyword, key, findings),
            persistence_prefix=_persistence_prefix(block, key, findings),
            one_packet=_one_packet(block, key, findings),
            flags=build_scheduler_flags(block, findings),
        ),
        members=members,
        sorry_server=_build_sorry_server(scope, findings),
        sorry_inhibit=block.has("sorry_server_inhibit"),
        ha_suspend=block.has("ha_suspend"),
        quorum=quorum,
        hysteresis=_hysteresis(block, quorum, findings),
        alpha=block.has("alpha"),
        omega=block.has("omega"),
        initial_notifies=globals_.get("rs_init_notifies", bool) or False,
        smtp_alert=_sends_alerts(block, globals_, otherwise=False),
        quorum_up_command=_build_program("quorum_up", block, globals_, findings),
        quorum_down_command=_build_program("quorum_down", block, globals_, findings),
        secure_commands=globals_.has("enable_script_security"),
        location=setting.location,
    )


def _build_head(setting: Setting, named: NamedObjects, findings: Findings) -> tuple[str, tuple[Target, ...]]:
    keyword, words = setting.node.keyword, setting.node.values
    if not words:
        findings.error(keyword.location, "virtual_server needs an address and a port", width=keyword.width)
        return "", ()
    try:
        group, targets = build_targets(words, named.groups)
    except BadValueError as error:
        word = words[min(error.index, len(words) - 1)]
        likely = closest(word.text, named.groups) if words[0].text == "group" else ""
        remedy = f"did you mean {likely}?" if likely else ""
        findings.error(word.location, f"virtual_server {word.text}: {error}", remedy, word.width)
        return "", ()
    if "/" in words[0].text:
        text = f"virtual_server {words[0].text}: the prefix length has no effect here"
        plain = str(targets[0].address)
        findings.warning(words[0].location, text, f"write {plain}", words[0].width, replace(words[0], plain))
    if len(words) > 2:
        text = f"{words[2].text} after the port has no effect"
        findings.warning(words[2].location, text, "remove it", words[2].width, cut(words[2:]))
    return group, targets


def _transport(setting: Setting, block: Settings, findings: Findings) -> Transport:
    written = block.get("protocol", str)
    if block.absent("protocol"):
        keyword = setting.node.keyword
        findings.warning(
            keyword.location,
            "without protocol the service is UDP, as in keepalived",
            "add a line with protocol TCP or UDP",
            keyword.width,
            inside(keyword, "protocol UDP"),
        )
    return Transport[written or "UDP"]


def _method(block: Settings, keyword: Word, findings: Findings) -> LvsMethod:
    """Return the service's method. Report NAT, which is also keepalived's default."""
    setting = block.last("lvs_method")
    if setting is not None:
        return _supported_method(setting, findings)
    if not block.absent("lvs_method"):
        return DIRECT
    reals = block.all("real_server")
    sorry = block.has("sorry_server") and not block.has("sorry_server_lvs_method")
    if sorry or not reals or not all(_has_own_method(real) for real in reals):
        text = "without lvs_method keepalived uses NAT, which is not supported"
        choices = tuple(
            Choice(f"add lvs_method {each}", inside(keyword, f"lvs_method {each}")) for each in ("DR", "TUN")
        )
        findings.error(
            keyword.location, text, "add a line with lvs_method DR", keyword.width, choices=choices
        )
    return DIRECT


def _has_own_method(real: Setting) -> bool:
    return any(node.keyword.text == "lvs_method" for node in real.block)


def _supported_method(setting: Setting, findings: Findings) -> LvsMethod:
    """Return the method of the setting. Report NAT, and return direct routing instead."""
    method = cast(LvsMethod, setting.value)
    if method.forwarding is not Forwarding.MASQ:
        return method
    word = setting.node.values[0]
    name = setting.node.keyword.text
    text = f"{name} {word.text} is not supported; Pointsman supports direct routing and tunnels"
    choices = tuple(Choice(f"write {name} {each}", replace(word, each)) for each in ("DR", "TUN"))
    remedy = "write lvs_method DR, and set up the real servers for it"
    findings.error(word.location, text, remedy, word.width, choices=choices)
    return DIRECT


def _persistence(block: Settings, keyword: Word, key: ServiceKey, findings: Findings) -> int | None:
    """Return seconds; None: no persistence. A service on every port must have it (ip_vs_ctl.c)."""
    written = block.get("persistence_timeout", int)
    if key.port or key.fwmark or not block.absent("persistence_timeout"):
        return written
    text = f"a service on every port must be persistent; {DEFAULT_PERSISTENCE} s are used"
    edits = inside(keyword, f"persistence_timeout {DEFAULT_PERSISTENCE}")
    findings.warning(keyword.location, text, "name a port, or add persistence_timeout", keyword.width, edits)
    return DEFAULT_PERSISTENCE


def _persistence_prefix(block: Settings, key: ServiceKey, findings: Findings) -> int | None:
    setting = block.last("persistence_granularity")
    if setting is None:
        return None
    length = cast(int, setting.value)
    word = setting.node.values[0]
    if length > (128 if key.ipv6 else 32):
        text = f"persistence_granularity {length} is longer than an IPv{6 if key.ipv6 else 4} address"
        findings.error(word.location, text, width=word.width)
    if block.absent("persistence_timeout"):
        text = "persistence_granularity has no effect without persistence_timeout"
        edits = remove(setting.node.keyword)
        findings.warning(word.location, text, "add persistence_timeout", word.width, edits)
    return length


def _one_packet(block: Settings, key: ServiceKey, findings: Findings) -> bool:
    setting = block.last("ops")
    if setting is not None and key.transport not in (Transport.UDP, None):
        edits = remove(setting.node.keyword)
        findings.error(setting.location, "ops is for UDP only (ipvsadm(8))", "remove it", 3, edits)
    return setting is not None


def _quorum(block: Settings, members: tuple[PoolMember, ...], findings: Findings) -> int:
    """Return the quorum. It is lowered to the weight of all real servers, as in keepalived."""
    setting = block.last("quorum")
    if setting is None:
        return 1
    value = cast(int, setting.value)
    weight = sum(member.server.weight for member in members)
    if value <= max(weight, 1):
        return value
    word = setting.node.values[0]
    text = f"quorum {value} is above {weight}, the weight of all real servers; {max(weight, 1)} is used"
    edits = replace(word, str(max(weight, 1)))
    findings.warning(word.location, text, "lower it, or add real servers", word.width, edits)
    return max(weight, 1)


def _hysteresis(block: Settings, quorum: int, findings: Findings) -> int:
    setting = block.last("hysteresis")
    if setting is None:
        return 0
    value = cast(int, setting.value)
    if value >= quorum:
        word = setting.node.values[0]
        text = f"hysteresis {value} is not below the quorum ({quorum})"
        findings.error(word.location, text, "lower it, or raise the quorum", word.width)
    return value


def _sends_alerts(block: Settings, globals_: Settings, otherwise: bool) -> bool:
    if globals_.has("no_checker_emails"):
        return False
    for value in (
        block.get("smtp_alert", bool),
        globals_.get("smtp_alert_checker", bool),
        globals_.get("smtp_alert", bool),
    ):
        if value is not None:
            return value
    return otherwise


def _build_sorry_server(scope: _ServiceContext, findings: Findings) -> RealServer | None:
    setting = scope.block.last("sorry_server")
    written = scope.block.last("sorry_server_lvs_method")
    method = _supported_method(written, findings) if written is not None else scope.method
    if setting is None:
        return None
    key = _server_key(setting, scope, method, findings)
    return RealServer(key=key, forwarding=method.forwarding, tunnel=method.tunnel)


def _server_key(setting: Setting, scope: _ServiceContext, method: LvsMethod, findings: Findings) -> ServerKey:
    """Return the real server's key. Its port is that of the service."""
    address, port = cast("tuple[Address, int | None]", setting.value)
    if port is not None and port != scope.port and _has_service_port(scope):
        word = setting.node.values[1]
        checks = f"; checks without connect_port go to {port}, as in keepalived" if setting.block else ""
        findings.warning(
            word.location,
            f"{_METHOD_NAMES[method.forwarding]} not change ports: "
            f"{address} gets packets at port {scope.port}, not {port}{checks}",
            f"write {scope.port}, and let the server listen there",
            word.width,
            () if checks and setting.block else replace(word, str(scope.port)),
        )
    return ServerKey(address, scope.port)


_METHOD_NAMES = {Forwarding.ROUTE: "direct routing does", Forwarding.TUNNEL: "tunnels do"}


def _has_service_port(scope: _ServiceContext) -> bool:
    """True if real servers have the port of the service, whatever port they name."""
    return scope.key.address is not None and not scope.in_group


def _build_members(scope: _ServiceContext, findings: Findings) -> tuple[PoolMember, ...]:
    members: dict[ServerKey, PoolMember] = {}
    for setting in scope.block.all("real_server"):
        member = _build_member(setting, scope, findings)
        key = member.server.key
        if key in members:
            word = setting.node.values[0]
            first = members[key].location
            text = f"real server {key} is repeated" + (f" (first in line {first.line})" if first else "")
            findings.error(word.location, text, "remove one of them", word.width)
        members.setdefault(key, member)
    return tuple(members.values())


def _build_member(setting: Setting, scope: _ServiceContext, findings: Findings) -> PoolMember:
    own = read_block(setting.block, "real_server", findings)
    method_written = own.last("lvs_method")
    method = _supported_method(method_written, findings) if method_written is not None else scope.method
    key = _server_key(setting, scope, method, findings)
    written = inherited("weight", int, own, scope.block)
    weight = 1 if written is None else written
    port = cast("tuple[Address, int | None]", setting.value)[1]
    checked = ServerKey(key.address, port or (key.port if _has_service_port(scope) else scope.check_port))
    found = build_checks(
        CheckContext(scope.key, checked, own, scope.block, scope.globals, scope.named), findings
    )
    alpha = inherited("alpha", bool, own, scope.block) or False
    return PoolMember(
        server=RealServer(
            key=key,
            forwarding=method.forwarding,
            tunnel=method.tunnel,
            weight=weight,
            upper_threshold=own.get("uthreshold", int) or 0,
            lower_threshold=_lower_threshold(own, findings),
            resets_clients=inherited("reset_on_removal", bool, own, scope.block) or False,
            is_watched=scope.block.has("passive_check"),
        ),
        checks=tuple(check for check, _ in found),
        alpha=any(alpha if written is None else written for _, written in found),
        inhibit_on_failure=inherited("inhibit_on_failure", bool, own, scope.block) or False,
        drain=inherited("drain", float, own, scope.block) or 0.0,
        slow_start=inherited("slow_start", float, own, scope.block) or 0.0,
        smtp_alert=_sends_alerts(own, scope.globals, otherwise=True),
        notify_up=_build_program("notify_up", own, scope.globals, findings),
        notify_down=_build_program("notify_down", own, scope.globals, findings),
        location=setting.location,
    )


def _build_program(name: str, block: Settings, globals_: Settings, findings: Findings) -> Command | None:
    made = build_command(block.last(name), findings)
    return with_script_user(made, globals_) if made else None


def _lower_threshold(own: Settings, findings: Findings) -> int:
    lower, upper = own.get("lthreshold", int) or 0, own.get("uthreshold", int) or 0
    setting = own.last("lthreshold")
    if setting is not None and lower > upper:
        word = setting.node.values[0]
        text = f"lthreshold {lower} is above uthreshold {upper}, which IPVS refuses"
        findings.error(word.location, text, "lower it, or raise uthreshold", word.width)
    return lower
