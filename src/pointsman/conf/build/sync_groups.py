# SPDX-License-Identifier: Apache-2.0
"""Build sync groups and what all instances share, and give members the trackers of their group."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgspec

from pointsman.conf.build.tracking import Trackers, block_lines, build_notify, build_tracked
from pointsman.conf.keywords.settings import Setting, Settings, read_block, unknown_name
from pointsman.conf.keywords.values import BadValueError, Interface
from pointsman.conf.text.problems import Findings
from pointsman.model.tracking import (
    AnnouncementPauses,
    NotifyFifo,
    SyncGroupSettings,
    Tracked,
    TrackKind,
    VrrpSurroundings,
)
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance


class _Group(NamedTuple):
    settings: SyncGroupSettings
    tracked: tuple[Tracked, ...]
    with_weights: bool


def build_surroundings(
    top: Settings,
    defaults: Settings,
    known: Trackers,
    instances: tuple[VrrpInstance, ...],
    fifos: tuple[NotifyFifo, ...],
    findings: Findings,
) -> tuple[VrrpSurroundings, tuple[VrrpInstance, ...]]:
    """Return the settings that instances share, and the instances with the trackers of their groups."""
    groups = [
        _build_group(setting, defaults, known, instances, findings) for setting in top.all("vrrp_sync_group")
    ]
    _check_memberships(groups, findings)
    user = cast("tuple[str, ...]", defaults.get("script_user", tuple) or ())
    shared = VrrpSurroundings(
        scripts=tuple(known.scripts.values()),
        files=tuple(known.files.values()),
        processes=tuple(known.processes.values()),
        groups=tuple(group.settings for group in groups),
        script_user=user[0] if user else "",
        script_group=user[1] if len(user) > 1 else "",
        script_security=defaults.has("enable_script_security"),
        fifos=tuple(fifo for fifo in fifos if not fifo.word.startswith("lvs_")),
        pauses=_build_pauses(top, defaults, findings),
        states_on_reload=defaults.has("fifo_write_vrrp_states_on_reload"),
        dynamic_interfaces=defaults.has("dynamic_interfaces"),
    )
    groups = [_without_group_weights(each, instances, findings) for each in groups]
    return shared, tuple(_with_group_trackers(each, groups, findings) for each in instances)


def _build_group(
    setting: Setting,
    defaults: Settings,
    known: Trackers,
    instances: tuple[VrrpInstance, ...],
    findings: Findings,
) -> _Group:
    block = read_block(setting.block, "vrrp_sync_group", findings)
    names = {instance.name for instance in instances}
    members: dict[str, None] = {}
    for node in block_lines(block, "group"):
        for word in node.words:
            if word.text in names:
                members[word.text] = None
            else:
                unknown_name(word, f"group: there is no vrrp_instance {word.text}", names, findings)
    if not members and not any(node.words for node in block_lines(block, "group")):
        keyword = setting.node.keyword
        text = f"vrrp_sync_group {setting.value} has no members"
        findings.error(keyword.location, text, "add group { INSTANCES }", keyword.width)
    settings = SyncGroupSettings(
        name=str(setting.value),
        members=tuple(members),
        notify=build_notify(block, findings),
        smtp_alert=_sends_alerts(block, defaults),
        location=setting.location,
    )
    return _Group(
        settings, build_tracked(setting, block, known, findings), block.has("sync_group_tracking_weight")
    )


def _sends_alerts(block: Settings, defaults: Settings) -> bool:
    """True if changes of the group are mailed. The default is false, as for instances."""
    own, vrrp = block.get("smtp_alert", bool), defaults.get("smtp_alert_vrrp", bool)
    written = (own, vrrp, defaults.get("smtp_alert", bool))
    return bool(next((each for each in written if each is not None), False))


def _check_memberships(groups: list[_Group], findings: Findings) -> None:
    homes: dict[str, str] = {}
    for group in groups:
        for member in group.settings.members:
            home = homes.setdefault(member, group.settings.name)
            if home != group.settings.name:
                text = f"{member} is in two sync groups: {home} and {group.settings.name}"
                findings.error(
                    group.settings.location, text, "remove it from one of them", len("vrrp_sync_group")
                )


def _with_group_trackers(instance: VrrpInstance, groups: list[_Group], findings: Findings) -> VrrpInstance:
    """Return the instance with the trackers of its group. Its own ones come first, as in keepalived.

    Weights of its own trackers count unless it owns its addresses (priority 255), or is a member of a group
    without sync_group_tracking_weight. The weights of a group count unless a member is an owner.
    """
    group = next((each for each in groups if instance.name in each.settings.members), None)
    is_owner = instance.priority == OWNER_PRIORITY
    own: tuple[Tracked, ...] = instance.tracked
    if is_owner or (group is not None and not group.with_weights):
        own = _without_weights(instance, is_owner)
        reason = "owns its addresses (priority 255)" if is_owner else "is a member of a sync group"
        _report_weights(instance, own, reason, findings)
    kept = {(each.kind, each.name): each for each in own}
    for each in group.tracked if group is not None else ():
        kept.setdefault((each.kind, each.name), each)
    return msgspec.structs.replace(instance, tracked=tuple(kept.values()))


def _without_weights(instance: VrrpInstance, is_owner: bool) -> tuple[Tracked, ...]:
    """Return what becomes of an instance's own trackers (vrrp_sync.c, vrrp.c).

    Of files only those with the default weight, which is 1, stay.
    """
    found = []
    for each in instance.tracked:
        becomes_zero = (each.kind is TrackKind.INTERFACE and not is_owner) or (
            each.kind is TrackKind.FILE and each.weight == 1
        )
        if not each.weight or each.kind is TrackKind.PROCESS:
            found.append(each)
        elif becomes_zero:
            found.append(msgspec.structs.replace(each, weight=0))
    return tuple(found)


def _report_weights(
    instance: VrrpInstance, own: tuple[Tracked, ...], reason: str, findings: Findings
) -> None:
    """Warn of weights of an instance's own trackers that do not count, by what becomes of them."""
    changed = [each for each in instance.tracked if each not in own]
    kept = {(each.kind, each.name) for each in own}
    dropped = [each.name for each in changed if (each.kind, each.name) not in kept]
    faults = [each.name for each in changed if (each.kind, each.name) in kept]
    parts = [f"{', '.join(dropped)} is not tracked"] * bool(dropped)
    parts += [f"a failure of {', '.join(faults)} means FAULT (weight 0)"] * bool(faults)
    if not parts:
        return
    place, width = findings.find_place(instance.location, changed[0].name)
    text = (
        f"{instance.name} {reason}, so weights of its own trackers do not count, as in keepalived: "
        f"{'; '.join(parts)}"
    )
    way = "move the tracker to the group, write weight 0, or add sync_group_tracking_weight to the group"
    if instance.priority == OWNER_PRIORITY:
        way = "write weight 0, or a priority up to 254"
    findings.warning(place, text, way, width)


def _without_group_weights(group: _Group, instances: tuple[VrrpInstance, ...], findings: Findings) -> _Group:
    """Return a group whose weights do not count if one of its members is an owner."""
    members = [each for each in instances if each.name in group.settings.members]
    owner = next((each for each in members if each.priority == OWNER_PRIORITY), None)
    if owner is None or not any(each.weight for each in group.tracked):
        return group
    text = f"{owner.name} has priority 255, so all trackers of {group.settings.name} have weight 0"
    way = "write weight 0, or a priority up to 254"
    findings.warning(group.settings.location, text, way, len("vrrp_sync_group"))
    return group._replace(tracked=tuple(msgspec.structs.replace(each, weight=0) for each in group.tracked))


def _build_pauses(top: Settings, defaults: Settings, findings: Findings) -> tuple[AnnouncementPauses, ...]:
    """Return the pauses of the groups, and those of all other interfaces if there are any."""
    found = []
    known: set[str] = set()
    for setting in top.all("garp_group"):
        block = read_block(setting.block, "garp_group", findings)
        words = [word for each in block.all("interfaces") for node in each.block for word in node.words]
        words += [each.node.values[0] for each in block.all("interface")]
        names: dict[str, None] = {}
        for word in words:
            try:
                Interface().read([word.text])
                if word.text in known:
                    raise BadValueError("is already in a garp_group")
            except BadValueError as error:
                findings.error(word.location, f"{word.text}: {error}", width=word.width)
            names[word.text] = None
            known.add(word.text)
        if not names:
            keyword = setting.node.keyword
            text = "garp_group names no interface"
            findings.error(keyword.location, text, "add interface or interfaces", keyword.width)
        arp, na = block.get("garp_interval", float) or 0.0, block.get("gna_interval", float) or 0.0
        found.append(AnnouncementPauses(interfaces=tuple(names), arp=arp, na=na))
    arp = defaults.get("vrrp_garp_interval", float) or 0.0
    na = defaults.get("vrrp_gna_interval", float) or 0.0
    if arp or na:
        found.append(AnnouncementPauses(arp=arp, na=na))
    return tuple(found)
