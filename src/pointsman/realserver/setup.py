"""`up`, `down` and `status`: the order of the steps, and what is told about each."""

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
"""What keeps the VIP out of ARP; with redirect the host does not even have it."""
DUMMY = "dummy"
"""An interface whose name begins so is made when it is not there."""
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
    directory: Path,
    vips: Sequence[Address],
    interfaces: Sequence[str] | None,
    method: str = "",
    device: str = "",
) -> list[Step]:
    """Make this host a real server for `vips`; `interfaces` None chooses them by route.

    `method` is one of METHODS; empty: the one in use, or sysctl. `device` is where the VIPs go; empty: where
    they are by an earlier `up`, or lo.
    ARP rules come before the address, so that not one ARP request is answered in between.
    Idempotent. Raises SetupError; if it does so before the first change, nothing is changed.
    """
    host.check_writable([])
    with state.locked(directory):
        facts = host.read_facts()
        known = state.load(directory, host.namespace_identity())
        known.method = _choose_method(known, method)
        places = _places(known, vips, device)
        to_make = _to_make(facts, known, places)
        plan.validate(facts, places, interfaces or (), to_make, silenced=known.method == NFT)
        named = list(choose_interfaces(facts, vips)) if interfaces is None else list(interfaces)
        by_sysctl = known.method == SYSCTL and any(vip.version == 4 for vip in vips)
        keys = plan.arp_keys(named) if by_sysctl else []
        host.check_writable(keys)
        if known.method != SYSCTL:
            nft.listing()  # or nft is not installed, and nothing shall be changed
        wrong = [key for key in keys if not plan.is_silent(key, facts.arp[key])]
        _remember(known, facts, vips, named, wrong)
        known.made = to_make or known.made
        known.places.update({str(vip): place for vip, place in places.items() if place not in ("", "lo")})
        state.save(directory, known)
        steps = [_set(facts, key, wrong) for key in keys]
        if known.method != SYSCTL:
            steps += _put_rules(directory, known, facts)
        if known.method == REDIRECT:
            return steps
        steps += _raise_lo(facts) + _make(facts, known)
        return steps + [_add(facts, vip, known.place(vip)) for vip in vips]


def _choose_method(known: State, asked: str) -> str:
    """Raises SetupError when the host was set up in the other way."""
    if known.was_there and asked not in ("", known.method or SYSCTL):
        raise SetupError(
            f"this host was set up with --method {known.method or SYSCTL}. Nothing changed. "
            f"To change it: pointsman realserver down, and then up with --method {asked}"
        )
    return known.method or asked or SYSCTL


def _places(known: State, vips: Sequence[Address], device: str) -> dict[Address, str]:
    """The interface each VIP shall be on; none with redirect. Raises SetupError."""
    if known.method == REDIRECT:
        if device:
            raise SetupError(f"with --method redirect no interface has the VIP: leave --dev {device} out")
        return dict.fromkeys(vips, "")
    return {vip: device or known.place(vip) for vip in vips}


def _to_make(facts: Facts, known: State, places: Mapping[Address, str]) -> str:
    """The dummy interface that is to be made for these VIPs, if any. Raises SetupError."""
    missing = [
        place for place in places.values() if place.startswith(DUMMY) and facts.interface(place) is None
    ]
    if missing and known.made not in ("", missing[0]):
        raise SetupError(
            f"{known.made} was made for other VIPs: put these there too, or make {missing[0]} first"
        )
    return missing[0] if missing else ""


def _put_rules(directory: Path, known: State, facts: Facts) -> list[Step]:
    """Our nftables tables for all VIPs that are set up; remembered as nft lists them."""
    told = _rules(known, facts)
    if not told and not known.rules:
        return []
    if known.rules and told == known.told and nft.listing() == known.rules:
        return [Step(_tables(told), Outcome.RIGHT, "present")]
    _replace(known, told)
    state.save(directory, known)
    return [Step(_tables(told), Outcome.CHANGED, "made anew")]


def _take_rules(known: State, facts: Facts) -> list[Step]:
    """Our tables for the VIPs that are left, or no table any more. What is there counts, not what was noted:
    an earlier run may have been killed in between."""
    present, told = nft.listing(), _rules(known, facts)
    if not present and not told:
        return []
    _replace(known, told)
    return [Step(_tables(told or present), Outcome.CHANGED, "made anew" if told else "removed")]


def _replace(known: State, told: str) -> None:
    nft.replace(told)
    known.told, known.rules = told, nft.listing()


def _rules(known: State, facts: Facts) -> str:
    vips = [ipaddress.ip_address(text) for text in known.was_there]
    if known.method == REDIRECT:
        return nft.redirect(vips)
    speaking = {interface.name for interface in facts.interfaces if interface.arp}
    on_the_wire = [vip for vip in vips if known.place(vip) in speaking]
    return nft.silence(vips, on_the_wire, nft.own_addresses(facts, vips))


def _tables(told: str) -> str:
    names = [table for table in nft.TABLES if f"table {table} " in told]
    return f"nftables table {' and '.join(names)}"


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
    if lo is not None and not lo.up and not known.lo_was_down and known.method != REDIRECT:
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


def _make(facts: Facts, known: State) -> list[Step]:
    card = facts.interface(known.made) if known.made else None
    if not known.made or (card is not None and card.up):
        return []
    host.make_dummy(known.made)
    return [Step(f"interface {known.made}", Outcome.CHANGED, "made")]


def _add(facts: Facts, vip: Address, place: str) -> Step:
    setting = f"{vip}/{vip.max_prefixlen} on {place}"
    if facts.holders(vip):
        return Step(setting, Outcome.RIGHT, "present")
    host.add_address(place, vip, vip.max_prefixlen)
    return Step(setting, Outcome.CHANGED, "added")


def down(directory: Path, vips: Sequence[Address]) -> list[Step]:
    """Undo what `up` did for `vips`, or for all VIPs if none is given; nothing else is touched.

    The ARP settings are restored with the last IPv4 VIP, and after it, so that the VIP never speaks.
    Raises SetupError.
    """
    if not state.load(directory, host.namespace_identity()).was_there:
        state.tidy(directory)
        return [_unknown(vip) for vip in vips]
    host.check_writable([])
    with state.locked(directory):
        known = state.load(directory, host.namespace_identity())
        facts = host.read_facts()
        wanted = [str(vip) for vip in vips] or list(known.was_there)
        steps = [_unknown(vip) for vip in vips if not known.knows(vip)]
        going = [text for text in wanted if text in known.was_there]
        if known.method != REDIRECT:
            steps += [_remove(facts, text, known.place(text), known.was_there[text]) for text in going]
        for text in going:
            del known.was_there[text]
            known.places.pop(text, None)
        if known.method != SYSCTL:
            steps += _take_rules(known, facts)
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
            host.set_lo(up=False)
            if known.loopback_was_absent:
                host.remove_address("lo", LOOPBACK, 8)
            steps.append(Step("interface lo", Outcome.CHANGED, "up -> down"))
        state.forget(directory)
        return steps


def _unknown(vip: Address) -> Step:
    return Step(f"{vip}/{vip.max_prefixlen} on lo", Outcome.LEFT, "not set up by pointsman")


def _remove(facts: Facts, text: str, place: str, was_there: bool) -> Step:
    held = next(
        (held for held in facts.addresses if held.interface == place and str(held.address) == text), None
    )
    if held is None:
        return Step(f"{text} on {place}", Outcome.RIGHT, "gone before")
    setting = f"{text}/{held.prefix_length} on {place}"
    if was_there:
        return Step(setting, Outcome.LEFT, "was there before pointsman")
    host.remove_address(place, held.address, held.prefix_length)
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
