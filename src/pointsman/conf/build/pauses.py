# SPDX-License-Identifier: Apache-2.0
"""garp_group, vrrp_garp_interval and vrrp_gna_interval: pauses between announcements."""

from __future__ import annotations

from pointsman.conf.keywords.settings import Settings, read_block
from pointsman.conf.keywords.values import BadValueError, Interface
from pointsman.conf.text.problems import Findings
from pointsman.model.tracking import AnnouncementPauses


def build_pauses(top: Settings, defaults: Settings, findings: Findings) -> tuple[AnnouncementPauses, ...]:
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
