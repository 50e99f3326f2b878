# SPDX-License-Identifier: Apache-2.0
"""strict_mode: everything outside the RFCs is an error. It is never silently changed.

keepalived's strict mode drops packets to the virtual addresses (no_accept) unless `accept` is written. Then
nobody reaches them. Here one of the two must be written.
"""

from __future__ import annotations

import msgspec

from pointsman.conf.keywords.settings import Setting, Settings
from pointsman.conf.text.corrections import Choice, remove
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tokens import Word
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance, VrrpState


def is_strict(block: Settings, defaults: Settings) -> bool:
    written = block.get("strict_mode", bool)
    return defaults.has("vrrp_strict") if written is None else written


def _report(
    broken: list[tuple[Word, str, str]], keyword: Word, mode: Word | None, findings: Findings
) -> None:
    """Report one broken rule at its place, several ones together: strict mode is their common cause."""
    if len(broken) == 1:
        word, text, remedy = broken[0]
        findings.error(word.location, f"strict mode: {text}", remedy, word.width)
    elif broken:
        text = f"strict mode: {'; '.join(text for _, text, _ in broken)}"
        findings.error(
            keyword.location,
            text,
            "remove strict mode (vrrp_strict, strict_mode)",
            keyword.width,
            choices=(Choice("remove strict mode", remove(mode)),) if mode else (),
        )


def apply_strict_mode(
    instance: VrrpInstance, setting: Setting, block: Settings, defaults: Settings, findings: Findings
) -> VrrpInstance:
    """Return the instance with the settings of strict mode. Report what strict mode forbids."""
    owner = instance.priority == OWNER_PRIORITY
    keyword = setting.node.keyword
    broken_rules: list[tuple[Word, str, str]] = []

    def forbid(broken: bool, text: str, remedy: str, word: str = "") -> None:
        stated = block.last(word) if word else None
        if broken:
            broken_rules.append((stated.node.keyword if stated else keyword, text, remedy))

    forbid(not instance.addresses, "an instance must have a virtual address", "add virtual_ipaddress")
    forbid(
        bool(instance.unicast_peers),
        "unicast adverts are not allowed",
        "remove unicast_peer or strict mode",
        "unicast_peer",
    )
    forbid(
        instance.authentication is not None or instance.hmac is not None,
        "authentication is not allowed",
        "remove it, or strict mode",
        "authentication" if instance.authentication else "auth_hmac",
    )
    forbid(
        (instance.initial_state is VrrpState.MASTER) is not owner,
        "state MASTER needs priority 255, and priority 255 needs state MASTER",
        "write both or neither",
        "state",
    )
    forbid(
        bool(instance.preempt_delay),
        "preempt_delay is not allowed",
        "remove it, or strict mode",
        "preempt_delay",
    )
    forbid(
        instance.advertises_by_base,
        "adverts must leave by the VMAC interface",
        "remove vmac_xmit_base",
        "vmac_xmit_base",
    )
    forbid(
        block.get("lower_prio_no_advert", bool) is False,
        "a lower priority must not be answered",
        "remove lower_prio_no_advert",
        "lower_prio_no_advert",
    )
    first = instance.addresses[0].address if instance.addresses else None
    forbid(
        first is not None and first.version == 6 and not first.is_link_local,
        "the first IPv6 address must be link-local (RFC 5798 section 5.2.9)",
        "write an address of fe80::/10 first",
        "virtual_ipaddress",
    )
    forbid(
        first is not None and first.version == 6 and instance.version == 2,
        "IPv6 needs version 3",
        "write version 3",
    )
    stated = instance.no_accept or (block.has("accept") and instance.version == 3)
    forbid(
        not owner and not stated,
        "a router that is not the owner (priority 255) drops packets to the virtual addresses: "
        "nobody would reach them",
        "write accept (version 3), no_accept if that is wanted, or remove strict mode",
    )
    mode = block.last("strict_mode") or defaults.last("vrrp_strict")
    _report(broken_rules, keyword, mode.node.keyword if mode else None, findings)
    return msgspec.structs.replace(
        instance,
        strict=True,
        lower_prio_no_advert=True,
        garp_lower_prio_repeat=0,
        owner_ignores_adverts=instance.owner_ignores_adverts or owner,
    )
