"""`up`, `down` and `status`: the order of the steps, and what is told about each."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.model.address import Address
from pointsman.realserver import host, nft, plan, state
from pointsman.realserver.facts import ArpKey, Facts, SetupError
from pointsman.realserver.state import Change, State

SYSCTL, NFT = "sysctl", "nft"
METHODS = (SYSCTL, NFT)
"""What keeps the VIP out of ARP."""
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


class Outcome(enum.Enum):
    """What became of one setting."""

    CHANGED = "changed"
    RIGHT = "already right"
    LEFT = "left alone"


@dataclass(frozen=True)
class Step:
    """One setting and what was done about it."""

    setting: str
    outcome: Outcome
    detail: str


def choose_interfaces(facts: Facts, vips: Sequence[Address]) -> dict[str, str]:
    """The interfaces on which the VIPs' networks are reached, each with the reason it was chosen."""
    chosen: dict[str, str] = {}
    for vip in vips:
        if vip.version == 6:
            continue
        for route in plan.routes_to(facts, vip):
            how = "on-link" if route.on_link else "by a gateway"
            chosen.setdefault(route.interface, f"{vip} is reached {how} there ({route.network})")
    return chosen


def up(
    directory: Path, vips: Sequence[Address], interfaces: Sequence[str] | None, method: str = ""
) -> list[Step]:
    """Make this host a real server for `vips`; `interfaces` None chooses them by route.

    `method` is one of METHODS; empty: the one in use, or sysctl.
    ARP rules come before the address, so that not one ARP request is answered in between.
    Idempotent. Raises SetupError; if it does so before the first change, nothing is changed.
    """
    host.check_writable([])
    with state.locked(directory):
        facts = host.read_facts()
        plan.validate(facts, vips, interfaces or ())
        known = state.load(directory, host.namespace_identity())
        known.method = _choose_method(known, method)
        named = list(choose_interfaces(facts, vips)) if interfaces is None else list(interfaces)
        by_sysctl = known.method == SYSCTL and any(vip.version == 4 for vip in vips)
        keys = plan.arp_keys(named) if by_sysctl else []
        host.check_writable(keys)
        if known.method == NFT:
            nft.listing()  # or nft is not installed, and nothing shall be changed
        wrong = [key for key in keys if not plan.is_silent(key, facts.arp[key])]
        _remember(known, facts, vips, named, wrong)
        state.save(directory, known)
        steps = [_set(facts, key, wrong) for key in keys]
        if known.method == NFT:
            steps += _put_rules(directory, known, facts)
        steps += _raise_lo(facts)
        return steps + [_add(facts, vip) for vip in vips]


def _choose_method(known: State, asked: str) -> str:
    """Raises SetupError when the host was set up in the other way."""
    if known.was_there and asked not in ("", known.method or SYSCTL):
        raise SetupError(
            f"this host was set up with --method {known.method or SYSCTL}. Nothing changed. "
            f"To change it: pointsman realserver down, and then up with --method {asked}"
        )
    return known.method or asked or SYSCTL


def _put_rules(directory: Path, known: State, facts: Facts) -> list[Step]:
    """Our nftables table for all VIPs that are set up; remembered as nft lists it."""
    vips = [ipaddress.ip_address(text) for text in known.was_there]
    if known.rules and nft.listing() == known.rules and nft.covers(known.rules, vips):
        return [Step(f"nftables table {nft.TABLE}", Outcome.RIGHT, "present")]
    nft.apply(nft.ruleset(vips, nft.own_addresses(facts, vips)))
    known.rules = nft.listing()
    state.save(directory, known)
    return [Step(f"nftables table {nft.TABLE}", Outcome.CHANGED, "made anew")]


def _take_rules(known: State, facts: Facts) -> Step:
    """Our table for the VIPs that are left, or no table any more."""
    vips = [ipaddress.ip_address(text) for text in known.was_there]
    nft.apply(nft.ruleset(vips, nft.own_addresses(facts, vips)))
    known.rules = nft.listing()
    return Step(f"nftables table {nft.TABLE}", Outcome.CHANGED, "made anew" if known.rules else "removed")


def _remember(
    known: State, facts: Facts, vips: Sequence[Address], named: list[str], wrong: list[ArpKey]
) -> None:
    """Note the intent. What an earlier, perhaps unfinished, run noted as `before` stays the truth."""
    for key in wrong:
        before = known.change(key)
        value = before.before if before else facts.arp[key]
        known.sysctls[str(key)] = Change(before=value, written=plan.WANTED[key.name])
    for vip in vips:
        known.was_there.setdefault(str(vip), bool(facts.holders(vip)))
    known.interfaces = list(dict.fromkeys([*known.interfaces, *named]))
    lo = facts.interface("lo")
    if lo is not None and not lo.up and not known.lo_was_down:
        known.lo_was_down = True
        known.loopback_was_absent = not facts.holders(LOOPBACK)


def _set(facts: Facts, key: ArpKey, wrong: list[ArpKey]) -> Step:
    if key not in wrong:
        return Step(str(key), Outcome.RIGHT, str(facts.arp[key]))
    host.write_arp(key, plan.WANTED[key.name])
    return Step(str(key), Outcome.CHANGED, f"{facts.arp[key]} -> {plan.WANTED[key.name]}")


def _raise_lo(facts: Facts) -> list[Step]:
    lo = facts.interface("lo")
    if lo is None or lo.up:
        return []
    host.set_lo(up=True)
    return [Step("interface lo", Outcome.CHANGED, "down -> up")]


def _add(facts: Facts, vip: Address) -> Step:
    setting = f"{vip}/{vip.max_prefixlen} on lo"
    if facts.holders(vip):
        return Step(setting, Outcome.RIGHT, "present")
    host.add_to_lo(vip, vip.max_prefixlen)
    return Step(setting, Outcome.CHANGED, "added")


def down(directory: Path, vips: Sequence[Address]) -> list[Step]:
    """Undo what `up` did for `vips`, or for all VIPs if none is given; nothing else is touched.

    The ARP settings are restored with the last IPv4 VIP, and after it, so that the VIP never speaks.
    Raises SetupError.
    """
    if not state.load(directory, host.namespace_identity()).was_there:
        return [_unknown(vip) for vip in vips]
    host.check_writable([])
    with state.locked(directory):
        known = state.load(directory, host.namespace_identity())
        facts = host.read_facts()
        wanted = [str(vip) for vip in vips] or list(known.was_there)
        steps = [_unknown(vip) for vip in vips if not known.knows(vip)]
        going = [text for text in wanted if text in known.was_there]
        steps += [_remove(facts, text, known.was_there[text]) for text in going]
        for text in going:
            del known.was_there[text]
        if known.method == NFT:
            steps.append(_take_rules(known, facts))
        if not any(":" not in text for text in known.was_there):
            steps += [_restore(ArpKey.parse(text), change) for text, change in known.sysctls.items()]
            known.sysctls.clear()
            known.interfaces.clear()
        if known.was_there:
            state.save(directory, known)
            return steps
        if known.lo_was_down:
            host.set_lo(up=False)
            if known.loopback_was_absent:
                host.remove_from_lo(LOOPBACK, 8)
            steps.append(Step("interface lo", Outcome.CHANGED, "up -> down"))
        state.forget(directory)
        return steps


def _unknown(vip: Address) -> Step:
    return Step(f"{vip}/{vip.max_prefixlen} on lo", Outcome.LEFT, "not set up by pointsman")


def _remove(facts: Facts, text: str, was_there: bool) -> Step:
    held = next(
        (held for held in facts.addresses if held.interface == "lo" and str(held.address) == text), None
    )
    if held is None:
        return Step(f"{text} on lo", Outcome.RIGHT, "gone before")
    setting = f"{text}/{held.prefix_length} on lo"
    if was_there:
        return Step(setting, Outcome.LEFT, "was there before pointsman")
    host.remove_from_lo(held.address, held.prefix_length)
    return Step(setting, Outcome.CHANGED, "removed")


def _restore(key: ArpKey, change: Change) -> Step:
    value = host.read_arp(key)
    if value is None:
        return Step(str(key), Outcome.LEFT, "the interface is gone")
    if value == change.before:
        return Step(str(key), Outcome.RIGHT, str(value))
    if value != change.written:
        return Step(str(key), Outcome.LEFT, f"someone set it to {value} since")
    host.write_arp(key, change.before)
    return Step(str(key), Outcome.CHANGED, f"{value} -> {change.before}")
