# SPDX-License-Identifier: Apache-2.0
"""Build static_ipaddress, static_routes, static_rules and their track groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import msgspec

from pointsman.conf.build.addresses import build_addresses
from pointsman.conf.build.routes import build_routes
from pointsman.conf.build.rules import RulePreferences, build_rules
from pointsman.conf.keywords.settings import Settings, read_block, unknown_name
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tokens import Word
from pointsman.model.vrrp import StaticSettings, TrackGroup, VrrpInstance


def build_static(
    top: Settings, defaults: Settings, preferences: RulePreferences, findings: Findings
) -> StaticSettings:
    """Return all but the groups, which name instances. An address without `dev` is on default_interface."""
    usual = defaults.get("default_interface", str) or "eth0"
    lines = build_addresses(top, "static_ipaddress", findings, static=True)
    return StaticSettings(
        addresses=tuple(msgspec.structs.replace(each.entry, device=each.device or usual) for each in lines),
        routes=build_routes(top, "static_routes", findings, static=True),
        rules=build_rules(top, "static_rules", preferences, findings, static=True),
    )


def add_track_groups(
    static: StaticSettings, top: Settings, instances: tuple[VrrpInstance, ...], findings: Findings
) -> StaticSettings:
    """Return `static` with its track groups. Report names of groups and instances that do not exist."""
    names = {instance.name for instance in instances}
    groups: list[TrackGroup] = []
    for setting in top.all("track_group"):
        block = read_block(setting.block, "track_group", findings)
        members: dict[str, None] = {}
        for word in (word for each in block.all("group") for node in each.block for word in node.words):
            if word.text not in names:
                text = f"track_group {setting.value}: there is no vrrp_instance {word.text}"
                unknown_name(word, text, names, findings)
            members[word.text] = None
        groups.append(TrackGroup(name=str(setting.value), members=tuple(members), location=setting.location))
    known = {group.name for group in groups}
    named = {each.track_group for each in static.addresses}
    named |= {each.track_group for each in static.routes} | {each.track_group for each in static.rules}
    for word in _words_naming(top, named - known):
        text = f"there is no track_group {word.text}"
        findings.error(word.location, text, "define it, or remove track_group from the line", word.width)
    return msgspec.structs.replace(static, groups=tuple(groups))


def _words_naming(top: Settings, names: set[str]) -> Iterator[Word]:
    """Yield the words of static lines that name one of these groups."""
    for block in ("static_ipaddress", "static_routes", "static_rules"):
        for node in (node for setting in top.all(block) for node in setting.block):
            for before, word in pairwise(node.words):
                if before.text == "track_group" and word.text in names:
                    yield word
