# SPDX-License-Identifier: Apache-2.0
"""`up` and `down`: the order of the steps, and the report on each."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.model.address import Address
from pointsman.realserver import host, nft, plan, state
from pointsman.realserver.facts import ArpKey, Facts, SetupError
from pointsman.realserver.state import Change, State

SYSCTL, NFT, REDIRECT = "sysctl", "nft", "redirect"
METHODS = (SYSCTL, NFT, REDIRECT)
"""Ways to keep the VIP out of ARP. With redirect the host does not have the VIP at all."""
DUMMY = "dummy"
"""Prefix of interfaces that are created if they do not exist."""
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


class Outcome(enum.Enum):
    """Result of one setting."""

    CHANGED = "changed"
    RIGHT = "already right"
    LEFT = "left alone"


@dataclass(frozen=True)
class Step:
    """A setting and its result."""

    setting: str
    outcome: Outcome
    detail: str


def choose_interfaces(facts: Facts, vips: Sequence[Address]) -> dict[str, str]:
    """Return the interfaces with routes to the VIPs' networks, each with the reason of the choice."""
    chosen: dict[str, str] = {}
    for vip in vips:
        if vip.version == 6:
            continue
        for route in plan.routes_to(facts, vip):
            how = "on-link" if route.on_link else "by a gateway"
            chosen.setdefault(route.interface, f"{vip} is reached {how} there ({route.network})")
    return chosen


def up(
    directory: Path,
    vips: Sequence[Address],
    interfaces: Sequence[str] | None,
    method: str = "",
    device: str = "",
) -> list[Step]:
    """Make this host a real server for `vips`. Idempotent.

    `interfaces` None: choose them by route. `method` is one of METHODS; empty: the present one, or sysctl.
    `device` is the interface for the VIPs; empty: the one of an earlier `up`, or lo.

    ARP settings are changed before the address is added, so that no ARP request is answered in between.
    Raises SetupError; before the first change, nothing is changed.
    """
    host.check_writable([])
    with state.locked(directory):
        facts = host.read_facts()
        known = state.load(directory, host.namespace_identity())
        known.method = _choose_method(known, method)
        places = _choose_places(known, vips, device)
        to_make = _dummy_to_create(facts, known, places)
        plan.validate(facts, places, interfaces or (), to_make, silenced=known.method == NFT)
        named = list(choose_interfaces(facts, vips)) if interfaces is None else list(interfaces)
        by_sysctl = known.method == SYSCTL and any(vip.version == 4 for vip in vips)
        keys = plan.arp_keys(named) if by_sysctl else []
        host.check_writable(keys)
        if known.method != SYSCTL:
            nft.list_tables()  # raises if nft is not installed, before anything is changed
        wrong = [key for key in keys if not plan.is_silent(key, facts.arp[key])]
        _record(known, facts, vips, named, wrong)
        known.made = to_make or known.made
        known.places.update({str(vip): place for vip, place in places.items() if place not in ("", "lo")})
        state.save(directory, known)
        steps = [_set(facts, key, wrong) for key in keys]
        if known.method != SYSCTL:
            steps += _install_rules(directory, known, facts)
        if known.method == REDIRECT:
            return steps
        steps += _set_lo_up(facts) + _create_dummy(facts, known)
        return steps + [_add(facts, vip, known.place(vip)) for vip in vips]


def _choose_method(known: State, asked: str) -> str:
    """Return the method. Raises SetupError if the host was set up with another one."""
    if known.was_there and asked not in ("", known.method or SYSCTL):
        raise SetupError(
            f"this host was set up with --method {known.method or SYSCTL}. Nothing changed. "
            f"To change it: pointsman realserver down, then up with --method {asked}"
        )
    return known.method or asked or SYSCTL


def _choose_places(known: State, vips: Sequence[Address], device: str) -> dict[Address, str]:
    """Return the interface of each VIP. Empty with redirect. Raises SetupError."""
    if known.method == REDIRECT:
        if device:
            raise SetupError(f"with --method redirect no interface has the VIP: omit --dev {device}")
        return dict.fromkeys(vips, "")
    return {vip: device or known.place(vip) for vip in vips}


def _dummy_to_create(facts: Facts, known: State, places: Mapping[Address, str]) -> str:
    """Return the dummy interface to create for these VIPs. Empty: none. Raises SetupError."""
    missing = [
        place for place in places.values() if place.startswith(DUMMY) and facts.interface(place) is None
    ]
    if missing and known.made not in ("", missing[0]):
        raise SetupError(
            f"{known.made} was created for other VIPs: use it for these too, or create {missing[0]} first"
        )
    return missing[0] if missing else ""


def _install_rules(directory: Path, known: State, facts: Facts) -> list[Step]:
    """Replace our nftables tables by those for all VIPs. The state keeps them in the form of nft's
    listing."""
    told = _build_rules(known, facts)
    if not told and not known.rules:
        return []
    if known.rules and told == known.told and nft.list_tables() == known.rules:
        return [Step(_name_tables(told), Outcome.RIGHT, "present")]
    _replace(known, told)
    state.save(directory, known)
    return [Step(_name_tables(told), Outcome.CHANGED, "created")]


def _remove_rules(known: State, facts: Facts) -> list[Step]:
    """Replace our tables by those for the remaining VIPs, or remove them.

    The kernel's tables count, not the state, because an earlier run may have been killed.
    """
    present, told = nft.list_tables(), _build_rules(known, facts)
    if not present and not told:
        return []
    _replace(known, told)
    return [Step(_name_tables(told or present), Outcome.CHANGED, "created" if told else "removed")]


def _replace(known: State, told: str) -> None:
    nft.replace_tables(told)
    known.told, known.rules = told, nft.list_tables()


def _build_rules(known: State, facts: Facts) -> str:
    vips = [ipaddress.ip_address(text) for text in known.was_there]
    if known.method == REDIRECT:
        return nft.build_redirect(vips)
    speaking = {interface.name for interface in facts.interfaces if interface.arp}
    on_the_wire = [vip for vip in vips if known.place(vip) in speaking]
    return nft.build_silence(vips, on_the_wire, nft.own_addresses(facts, vips))


def _name_tables(told: str) -> str:
    names = [table for table in nft.TABLES if f"table {table} " in told]
    return f"nftables table {' and '.join(names)}"


def _record(
    known: State, facts: Facts, vips: Sequence[Address], named: list[str], wrong: list[ArpKey]
) -> None:
    """Record the changes before they are made. A `before` value that an earlier run recorded stays."""
    for key in wrong:
        before = known.change(key)
        value = before.before if before else facts.arp[key]
        known.sysctls[str(key)] = Change(before=value, written=plan.WANTED[key.name])
    for vip in vips:
        known.was_there.setdefault(str(vip), bool(facts.holders(vip)))
    known.interfaces = list(dict.fromkeys([*known.interfaces, *named]))
    lo = facts.interface("lo")
    if lo is not None and not lo.up and not known.lo_was_down and known.method != REDIRECT:
        known.lo_was_down = True
        known.loopback_was_absent = not facts.holders(LOOPBACK)


def _set(facts: Facts, key: ArpKey, wrong: list[ArpKey]) -> Step:
    if key not in wrong:
        return Step(str(key), Outcome.RIGHT, str(facts.arp[key]))
    host.write_arp(key, plan.WANTED[key.name])
    return Step(str(key), Outcome.CHANGED, f"{facts.arp[key]} -> {plan.WANTED[key.name]}")


def _set_lo_up(facts: Facts) -> list[Step]:
    lo = facts.interface("lo")
    if lo is None or lo.up:
        return []
    host.set_lo(up=True)
    return [Step("interface lo", Outcome.CHANGED, "down -> up")]


def _create_dummy(facts: Facts, known: State) -> list[Step]:
    card = facts.interface(known.made) if known.made else None
    if not known.made or (card is not None and card.up):
        return []
    host.make_dummy(known.made)
    return [Step(f"interface {known.made}", Outcome.CHANGED, "created")]


def _add(facts: Facts, vip: Address, place: str) -> Step:
    setting = f"{vip}/{vip.max_prefixlen} on {place}"
    if facts.holders(vip):
        return Step(setting, Outcome.RIGHT, "present")
    host.add_address(place, vip, vip.max_prefixlen)
    return Step(setting, Outcome.CHANGED, "added")


def down(directory: Path, vips: Sequence[Address]) -> list[Step]:
    """Undo what `up` did for `vips`, or for all VIPs if `vips` is empty. Changes nothing else.

    The ARP settings are restored after the last IPv4 VIP is removed, so that it is never answered. Raises
    SetupError.
    """
    if not state.load(directory, host.namespace_identity()).was_there:
        state.tidy(directory)
        return [_not_set_up(vip) for vip in vips]
    host.check_writable([])
    with state.locked(directory):
        known = state.load(directory, host.namespace_identity())
        facts = host.read_facts()
        wanted = [str(vip) for vip in vips] or list(known.was_there)
        steps = [_not_set_up(vip) for vip in vips if not known.knows(vip)]
        going = [text for text in wanted if text in known.was_there]
        if known.method != REDIRECT:
            steps += [_remove(facts, text, known.place(text), known.was_there[text]) for text in going]
        for text in going:
            del known.was_there[text]
            known.places.pop(text, None)
        if known.method != SYSCTL:
            steps += _remove_rules(known, facts)
        if not any(":" not in text for text in known.was_there):
            steps += [_restore(ArpKey.parse(text), change) for text, change in known.sysctls.items()]
            known.sysctls.clear()
            known.interfaces.clear()
        if known.made and known.made not in known.places.values():
            host.remove_dummy(known.made)
            steps.append(Step(f"interface {known.made}", Outcome.CHANGED, "removed"))
            known.made = ""
        if known.was_there:
            state.save(directory, known)
            return steps
        if known.lo_was_down:
            steps.append(_set_lo_down(known, host.read_facts()))
        state.forget(directory)
        return steps


def _set_lo_down(known: State, facts: Facts) -> Step:
    """Set lo down, as `up` found it, unless this removes an IPv6 address that pointsman did not add."""
    lost = [
        str(held.address)
        for held in facts.addresses
        if held.interface == "lo" and held.address.version == 6 and not held.address.is_loopback
    ]
    if lost:
        return Step("interface lo", Outcome.LEFT, f"down would remove its address {', '.join(lost)}")
    host.set_lo(up=False)
    if known.loopback_was_absent:
        host.remove_address("lo", LOOPBACK, 8)
    return Step("interface lo", Outcome.CHANGED, "up -> down")


def _not_set_up(vip: Address) -> Step:
    return Step(f"{vip}/{vip.max_prefixlen} on lo", Outcome.LEFT, "not set up by pointsman")


def _remove(facts: Facts, text: str, place: str, was_there: bool) -> Step:
    held = next(
        (held for held in facts.addresses if held.interface == place and str(held.address) == text), None
    )
    if held is None:
        return Step(f"{text} on {place}", Outcome.RIGHT, "absent already")
    setting = f"{text}/{held.prefix_length} on {place}"
    if was_there:
        return Step(setting, Outcome.LEFT, "was there before pointsman")
    host.remove_address(place, held.address, held.prefix_length)
    return Step(setting, Outcome.CHANGED, "removed")


def _restore(key: ArpKey, change: Change) -> Step:
    value = host.read_arp(key)
    if value is None:
        return Step(str(key), Outcome.LEFT, "the interface does not exist any more")
    if value == change.before:
        return Step(str(key), Outcome.RIGHT, str(value))
    if value != change.written:
        return Step(str(key), Outcome.LEFT, f"it was set to {value} since")
    host.write_arp(key, change.before)
    return Step(str(key), Outcome.CHANGED, f"{value} -> {change.before}")
