# SPDX-License-Identifier: Apache-2.0
"""Guess the keyword or the value that a wrong one was meant to be. No guess is better than a wrong one."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.conf.keywords.keyword import Status
from pointsman.conf.keywords.table import TABLE, closest
from pointsman.conf.keywords.values import Choice
from pointsman.conf.keywords.values_lvs import Method

_GLOBAL, _INSTANCE = "global_defs", "vrrp_instance"
_PREFIXES = ("vrrp_", "lvs_", "checker_")
"""Beginnings that distinguish the names of one setting in different blocks."""

_KEYWORDS = {
    (_GLOBAL, "strict_mode"): "vrrp_strict",
    (_INSTANCE, "vrrp_strict"): "strict_mode",
    (_GLOBAL, "mcast_dst_ip"): "vrrp_mcast_group",
    (_INSTANCE, "vrrp_mcast_group4"): "mcast_dst_ip",
    (_INSTANCE, "vrrp_mcast_group6"): "mcast_dst_ip",
    (_INSTANCE, "vrid"): "virtual_router_id",
    (_INSTANCE, "vip"): "virtual_ipaddress",
    ("virtual_server", "persistence"): "persistence_timeout",
}
"""Other names for the keyword of a block."""

_VALUES = {
    **dict.fromkeys(("SLAVE", "STANDBY", "SECONDARY", "PASSIVE"), "BACKUP"),
    **dict.fromkeys(("PRIMARY", "ACTIVE"), "MASTER"),
    **dict.fromkeys(("ROUTE", "ROUTING", "GATEWAY", "DIRECT"), "DR"),
    **dict.fromkeys(("TUNNEL", "IPIP"), "TUN"),
    **dict.fromkeys(("PASSWORD", "SIMPLE", "PLAIN"), "PASS"),
}
"""Other names for values."""


def meant_keyword(word: str, block: str, values: Sequence[str]) -> str:
    """Return the keyword, of this block or of another one, that was probably meant. Empty: unknown."""
    rows = TABLE[block]
    word = _KEYWORDS.get((block, word), word)
    if word in ("vrrp_mcast_group", "mcast_group") and block == _GLOBAL:
        return "vrrp_mcast_group6" if ":" in "".join(values[:1]) else "vrrp_mcast_group4"
    if word == "router_id" and block == _INSTANCE and values and values[0].isdigit():
        return "virtual_router_id"
    if word in rows:
        return word
    if any(word in others for others in TABLE.values()):
        return _same_setting(word, block)
    return closest(word, rows) or closest(
        word, {name for others in TABLE.values() for name in others}, certain=True
    )


def _same_setting(word: str, block: str) -> str:
    """Return the name of a setting in this block that has another name elsewhere. Empty: there is none."""
    bare = next((word.removeprefix(each) for each in _PREFIXES if word.startswith(each)), word)
    kinds = [others[word].kind for others in TABLE.values() if word in others]
    for name in (bare, *(prefix + word for prefix in _PREFIXES)):
        row = TABLE[block].get(name)
        if row is not None and row.status is Status.HONOURED and row.kind in kinds:
            return name
    return ""


def meant_value(word: str, kind: object) -> str:
    """Return the value of a choice that was probably meant. Empty: unknown."""
    if not isinstance(kind, Choice | Method):
        return ""
    other = _VALUES.get(word.upper(), "")
    if other in kind.choices:
        return other
    return closest(word.upper(), kind.choices) or closest(word, kind.choices)
