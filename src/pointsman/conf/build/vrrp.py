# SPDX-License-Identifier: Apache-2.0
"""Build instances from vrrp_instance blocks, with keepalived's defaults."""

from __future__ import annotations

import ipaddress
from typing import TypeVar, cast

from pointsman.conf.build.auth import KeyFiles, build_authentication, build_hmac
from pointsman.conf.build.iproute_words import parse_number
from pointsman.conf.build.routes import build_routes
from pointsman.conf.build.rules import RulePreferences, build_rules
from pointsman.conf.build.strict import apply_strict_mode, is_strict
from pointsman.conf.build.tracking import Trackers, build_notify, build_tracked
from pointsman.conf.build.vmac import InstanceAddresses, InterfaceNames, build_instance_addresses
from pointsman.conf.keywords.settings import Setting, Settings, read_block
from pointsman.conf.keywords.values import BadValueError, parse_host
from pointsman.conf.text.corrections import below, remove, replace
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tree import Node
from pointsman.model.address import Address
from pointsman.model.vrrp import TtlLimits, VrrpInstance, VrrpState

GROUP, GROUP6 = ipaddress.IPv4Address("224.0.0.18"), ipaddress.IPv6Address("ff02::12")

T = TypeVar("T")


def build_instance(
    setting: Setting,
    defaults: Settings,
    known: Trackers,
    names: InterfaceNames,
    preferences: RulePreferences,
    keys: KeyFiles,
    findings: Findings,
) -> VrrpInstance:
    """Return the instance of one block. With errors, the interface is `?` and the virtual_router_id is 0.

    `defaults` is global_defs. `known` has the trackers by name. `names` has those of virtual
    interfaces, `preferences` those of rules. `keys` reads key files.
    """
    block = read_block(setting.block, "vrrp_instance", findings)
    name = str(setting.value)
    interface = block.get("interface", str)
    virtual_router_id = block.get("virtual_router_id", int)
    _check_required(setting, block, ("interface", "virtual_router_id"), findings)
    state, priority = _state_and_priority(block, findings)
    nopreempt = _build_nopreempt(block, state, priority, findings)
    peers, limits = _build_peers(block, findings)
    transport = (block.address("unicast_src_ip"), *peers, block.address("mcast_src_ip"))
    family = next((address.version for address in transport if address is not None), None)
    borne = build_instance_addresses(block, interface or "?", virtual_router_id or 1, family, names, findings)
    over_ipv6 = bool(borne.addresses) and borne.addresses[0].address.version == 6
    version = _first(block.get("version", int), defaults.get("vrrp_version", int), 3 if over_ipv6 else 2)
    extra = _build_extra_announcements(block, defaults, findings)
    built = VrrpInstance(
        name=name,
        interface=interface or "?",
        virtual_router_id=virtual_router_id or 0,
        initial_state=state,
        priority=priority,
        version=version,
        advert_interval=_first(block.get("advert_int", float), 1.0),
        addresses=borne.addresses,
        excluded_addresses=borne.excluded,
        own_interface=borne.own,
        advertises_by_base=_advertises_by_base(block, borne, peers, findings),
        other_interfaces=borne.others,
        extra_announcements=extra[0],
        extra_everywhere=extra[1],
        tracks_interface=not block.has("dont_track_primary"),
        promote_secondaries=block.has("promote_secondaries") and not _sets_promotion(borne),
        unicast_source=block.address("unicast_src_ip"),
        unicast_peers=peers,
        multicast_source=block.address("mcast_src_ip"),
        track_source=block.has("track_src_ip"),
        authentication=build_authentication(block, version, findings),
        hmac=build_hmac(block, _first(block.get("advert_int", float), 1.0), keys, findings),
        nopreempt=nopreempt,
        preempt_delay=_build_preempt_delay(block, state, nopreempt, findings),
        garp_master_delay=float(_inherited_int("garp_master_delay", block, defaults, 5)),
        garp_master_repeat=_inherited_int("garp_master_repeat", block, defaults, 5),
        garp_master_refresh=float(_inherited_int("garp_master_refresh", block, defaults, 0)),
        garp_master_refresh_repeat=_inherited_int("garp_master_refresh_repeat", block, defaults, 1),
        garp_lower_prio_delay=float(_lower_prio("delay", block, defaults)),
        garp_lower_prio_repeat=_lower_prio("repeat", block, defaults),
        lower_prio_no_advert=_inherited_bool("lower_prio_no_advert", block, defaults),
        down_timer_adverts=_inherited_int("down_timer_adverts", block, defaults, 3),
        startup_delay=_first(defaults.get("vrrp_startup_delay", float), 0.0),
        unicast_ttl=_first(block.get("unicast_ttl", int), 255),
        check_unicast_source=(
            block.has("check_unicast_src") or defaults.has("vrrp_check_unicast_src") or bool(limits)
        ),
        ttl_limits=limits,
        multicast_group=_build_multicast_group(
            block, defaults, 6 if (family == 6 or (family is None and over_ipv6)) else 4, findings
        ),
        owner_ignores_adverts=_inherited_bool("owner_ignore_adverts", block, defaults),
        no_accept=_build_no_accept(block, findings),
        vrf=block.get("vrf", str) or "",
        old_unicast_checksum=block.has("old_unicast_checksum")
        and "never" not in (block.get("old_unicast_checksum", tuple) or ()),
        checksum_without_pseudo_header=_first(
            block.get("v3_checksum_as_v2", bool), defaults.get("v3_checksum_as_v2", bool), False
        ),
        routes=build_routes(block, "virtual_routes", findings),
        rules=build_rules(block, "virtual_rules", preferences, findings),
        tracked=build_tracked(setting, block, known, findings),
        notify=build_notify(block, findings),
        notify_priority_changes=_inherited_bool("notify_priority_changes", block, defaults),
        smtp_alert=_first(
            block.get("smtp_alert", bool),
            defaults.get("smtp_alert_vrrp", bool),
            defaults.get("smtp_alert", bool),
            False,
        ),
        location=setting.location,
    )
    return (
        apply_strict_mode(built, setting, block, defaults, findings) if is_strict(block, defaults) else built
    )


def _advertises_by_base(
    block: Settings, borne: InstanceAddresses, peers: tuple[Address, ...], findings: Findings
) -> bool:
    """True if adverts of an instance with a virtual MAC address leave by the base interface."""
    written = block.has("vmac_xmit_base")
    if borne.own is not None and not borne.own.has_mac:
        return True
    setting = block.last("use_vmac")
    if borne.own is None or setting is None or not peers or written:
        return written and borne.own is not None
    keyword = setting.node.keyword
    text = "unicast adverts leave by the base interface, not by the interface of the virtual MAC address"
    edits = below(keyword, "vmac_xmit_base")
    findings.warning(
        keyword.location, text, "add vmac_xmit_base, which keepalived requires", keyword.width, edits
    )
    return True


def _build_multicast_group(
    block: Settings, defaults: Settings, family: int, findings: Findings
) -> Address | None:
    """Return the multicast group; None: that of the RFC."""
    usual = "vrrp_mcast_group4" if family == 4 else "vrrp_mcast_group6"
    setting = block.last("mcast_dst_ip") or defaults.last(usual)
    if setting is None:
        return None
    group = cast(Address, setting.value)
    word = setting.node.keyword
    if not group.is_multicast or group.version != family:
        text = f"{word.text} {group} is not an IPv{family} multicast address"
        findings.error(word.location, text, "write such an address, or remove it", word.width)
        return None
    return None if group in (GROUP, GROUP6) else group


def _build_extra_announcements(block: Settings, defaults: Settings, findings: Findings) -> tuple[int, bool]:
    """Return the seconds of `[all] SECONDS`, and True if `all` is written."""
    setting = block.last("garp_extra_if") or defaults.last("vrrp_garp_extra_if")
    if setting is None:
        return 0, False
    words = [word.text for word in setting.node.values]
    everywhere = words[:1] == ["all"]
    keyword = setting.node.keyword
    try:
        if len(words) <= everywhere:
            raise BadValueError("must be [all] SECONDS")
        return parse_number(words[everywhere], 0, 86400, int(everywhere)), everywhere
    except BadValueError as error:
        findings.error(keyword.location, f"{keyword.text}: {error}", width=keyword.width)
        return 0, False


def _first(*values: T | None) -> T:
    return next(value for value in values if value is not None)


def _check_required(setting: Setting, block: Settings, words: tuple[str, ...], findings: Findings) -> None:
    """Report missing keywords. One with a wrong value already has an error."""
    keyword = setting.node.keyword
    for word in words:
        if block.absent(word):
            text = f"vrrp_instance {setting.value} has no {word}"
            findings.error(keyword.location, text, f"add a line with {word}", keyword.width)


def _inherited_int(name: str, block: Settings, defaults: Settings, otherwise: int) -> int:
    return _first(block.get(name, int), defaults.get(f"vrrp_{name}", int), otherwise)


def _sets_promotion(borne: InstanceAddresses) -> bool:
    """True if the addresses are on an interface of their own, where promote_secondaries is set anyway."""
    return borne.own is not None and borne.own.has_mac


def _lower_prio(name: str, block: Settings, defaults: Settings) -> int:
    """Return garp_lower_prio_delay or _repeat. The default is the master's of global_defs, not its own."""
    usual = _first(defaults.get(f"vrrp_garp_master_{name}", int), 5)
    return _inherited_int(f"garp_lower_prio_{name}", block, defaults, usual)


def _inherited_bool(name: str, block: Settings, defaults: Settings) -> bool:
    return _first(block.get(name, bool), defaults.get(f"vrrp_{name}", bool), False)


def _state_and_priority(block: Settings, findings: Findings) -> tuple[VrrpState, int]:
    written = block.get("state", str)
    priority = block.get("priority", int)
    if priority is None and not block.absent("priority"):
        priority = 100
    if priority is None:
        if written == "MASTER":
            setting = block.last("state")
            assert setting is not None
            findings.warning(
                setting.location,
                "state MASTER without a priority means priority 255, the address owner, as in keepalived",
                "add priority NUMBER",
                len("state"),
                below(setting.node.keyword, "priority 255"),
            )
        priority = 255 if written == "MASTER" else 100
    if priority == 255 and written == "BACKUP":
        setting = block.last("state")
        assert setting is not None
        text = (
            "priority 255 means the owner of the addresses, which starts as MASTER (RFC 3768 section 6.4.1)"
        )
        edits = replace(setting.node.values[0], "MASTER")
        remedy = "write state MASTER, or a priority up to 254"
        findings.warning(setting.location, text, remedy, len("state"), edits)
    owner = written is None and priority == 255
    return (VrrpState.MASTER if written == "MASTER" or owner else VrrpState.BACKUP), priority


def _build_nopreempt(block: Settings, state: VrrpState, priority: int, findings: Findings) -> bool:
    setting = block.last("nopreempt")
    if setting is None:
        return False
    if block.has("preempt"):
        findings.error(
            setting.location, "preempt and nopreempt contradict each other", "remove one of them", 9
        )
    if state is VrrpState.MASTER or priority == 255:
        why = "state MASTER" if state is VrrpState.MASTER else "priority 255"
        text = f"nopreempt has no effect with {why}, as in keepalived"
        findings.warning(
            setting.location,
            text,
            "write state BACKUP and priorities up to 254",
            len("nopreempt"),
            remove(setting.node.keyword),
        )
        return False
    return True


def _build_no_accept(block: Settings, findings: Findings) -> bool:
    setting = block.last("no_accept")
    if setting is not None and block.has("accept"):
        text = "accept and no_accept contradict each other"
        findings.error(setting.location, text, "remove one of them", len("no_accept"))
    return setting is not None


def _build_preempt_delay(block: Settings, state: VrrpState, nopreempt: bool, findings: Findings) -> float:
    setting = block.last("preempt_delay")
    delay = _first(block.get("preempt_delay", float), 0.0)
    if setting is None or not delay or not (nopreempt or state is VrrpState.MASTER):
        return delay
    why = "nopreempt" if nopreempt else "state MASTER"
    text = f"preempt_delay has no effect with {why}, as in keepalived"
    edits = remove(setting.node.keyword)
    findings.warning(setting.location, text, "remove it, or write state BACKUP", len("preempt_delay"), edits)
    return 0.0


def _block_lines(block: Settings, name: str) -> list[Node]:
    return [node for setting in block.all(name) for node in setting.block]


def _build_peers(block: Settings, findings: Findings) -> tuple[tuple[Address, ...], tuple[TtlLimits, ...]]:
    peers: dict[Address, TtlLimits] = {}
    for node in _block_lines(block, "unicast_peer"):
        words = [word.text for word in node.words]
        try:
            peer = parse_host(words[0])
            limits = _parse_peer(peer, words)
        except BadValueError as error:
            word = node.words[error.index]
            findings.error(word.location, f"unicast_peer {word.text}: {error}", width=word.width)
            continue
        if "/" in words[0]:
            text = f"unicast_peer {words[0]}: the prefix length has no effect here"
            remedy = f"write {peer}"
            edits = replace(node.keyword, str(peer))
            findings.warning(node.keyword.location, text, remedy, node.keyword.width, edits)
        if peer in peers:
            findings.warning(
                node.keyword.location,
                f"peer {peer} is listed twice",
                "remove it",
                node.keyword.width,
                remove(node.keyword),
            )
        peers[peer] = limits
    setting = block.last("unicast_peer")
    if setting is not None and not setting.block:
        keyword = setting.node.keyword
        findings.error(
            keyword.location, "unicast_peer has no peer", "add the other director's address", keyword.width
        )
    return tuple(peers), tuple(each for each in peers.values() if (each.low, each.high) != (0, 255))


def _parse_peer(peer: Address, words: list[str]) -> TtlLimits:
    """Parse the options of `IP [min_ttl N] [max_ttl N]`. Raises BadValueError."""
    found = {"min_ttl": 0, "max_ttl": 255}
    for at in range(1, len(words), 2):
        if words[at] not in found:
            raise BadValueError("write one peer in each line", at)
        if at + 1 == len(words):
            raise BadValueError("the value is missing", at)
        found[words[at]] = parse_number(words[at + 1], 0, 255, at + 1)
    return TtlLimits(peer, found["min_ttl"], found["max_ttl"])
