# SPDX-License-Identifier: Apache-2.0
"""Compare the present settings of a real server with the wanted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from pointsman.model.address import Address
from pointsman.realserver import nft, plan
from pointsman.realserver.facts import ArpKey, Facts
from pointsman.realserver.state import State


class Row(msgspec.Struct, frozen=True):
    """A setting."""

    setting: str
    wanted: str
    value: str
    effective: str
    """For a sysctl the value that the kernel uses: the maximum of `all` and the interface."""
    set_by: str
    ok: bool


class Report(msgspec.Struct, frozen=True):
    """All settings of this host. `ok` if each is right. Warnings are about settings that `up` does not
    change."""

    vips: list[str]
    interfaces: list[str]
    settings: list[Row]
    ok: bool
    warnings: list[str] = []


def build_report(
    facts: Facts,
    known: State,
    vips: Sequence[Address],
    interfaces: Sequence[str],
    file_that_sets: Callable[[ArpKey, int], str | None],
    rules: str = "",
) -> Report:
    """Return the report.

    `file_that_sets(key, value)` returns the file that sets this value at boot, if any. `rules`: the
    present listing of our nftables tables.
    """
    rows = [row for vip in vips for row in _address_rows(facts, known, vip)]
    if known.method in ("nft", "redirect"):
        rows += _rules_rows(known, rules, nft.lost_addresses(known.told, facts))
    elif any(vip.version == 4 for vip in vips):
        keys = plan.arp_keys(interfaces) + plan.uncovered_keys(facts, interfaces)
        rows += [_arp_row(facts, known, key, file_that_sets) for key in keys]
    ok = all(row.ok for row in rows)
    return Report([str(vip) for vip in vips], list(interfaces), rows, ok, list(reverse_path(facts, vips)))


def reverse_path(facts: Facts, vips: Sequence[Address]) -> Iterator[str]:
    """Yield a warning for each interface on which strict rp_filter drops requests of some clients."""
    if not any(vip.version == 4 for vip in vips):
        return
    for name, places in plan.strict_reverse_paths(facts):
        settings = " and ".join(f"{ArpKey(place, plan.REVERSE_PATH)} = {plan.STRICT}" for place in places)
        loose = ArpKey(name, plan.REVERSE_PATH)
        yield (
            f"{settings}: requests on {name} are dropped silently if the route to their client uses "
            f"another interface; sysctl -w {loose}=2 accepts them, and pointsman doctor lists these clients"
        )


def _address_rows(facts: Facts, known: State, vip: Address) -> list[Row]:
    """Return a row for the wanted interface, and one for each other interface with the VIP."""
    place = known.place(vip)
    rows = [] if known.method == "redirect" else [_place_row(facts, known, vip, place)]
    for held in facts.holders(vip):
        if held.interface != place or not rows:
            there = f"/{held.prefix_length}"
            rows.append(Row(f"{vip} on {held.interface}", "absent", there, there, "not pointsman", ok=False))
    card = facts.interface(place)
    if card is not None and not card.up and any(held.interface == place for held in facts.holders(vip)):
        rows.append(Row(f"interface {place}", "up", "down", "down", "not pointsman", ok=False))
    return rows or [Row(f"{vip} here", "absent", "absent", "redirected", "pointsman", ok=True)]


def _place_row(facts: Facts, known: State, vip: Address, place: str) -> Row:
    wanted = f"/{vip.max_prefixlen}"
    there = [held for held in facts.holders(vip) if held.interface == place]
    value = f"/{there[0].prefix_length}" if there else "absent"
    ours = known.was_there.get(str(vip)) is False
    whose = ("pointsman" if ours else "not pointsman") if there else ("removed since" if ours else "-")
    return Row(f"{vip} on {place}", wanted, value, value, whose, value == wanted)


def _rules_rows(known: State, rules: str, lost: Sequence[str]) -> list[Row]:
    """Compare each of our nftables tables with its listing at creation, and with the host's own addresses."""
    made, present = _by_table(known.rules), _by_table(rules)
    rows = []
    for table, text in made.items():
        now = present.get(table, "")
        value = "as made" if now == text else "changed" if now else "absent"
        gone = [address for address in lost if f" {address}\n" in text]
        if gone and now == text:
            value = f"contains {' '.join(gone)}, which this host does not have any more"
        rows.append(Row(f"nftables table {table}", "as made", value, value, "pointsman", value == "as made"))
    return rows


def _by_table(listing: str) -> dict[str, str]:
    """Return the tables of a listing by name, for example `arp pointsman`."""
    tables = [text for text in listing.split("table ") if text]
    return {text.partition(" {")[0]: text for text in tables}


def _arp_row(
    facts: Facts, known: State, key: ArpKey, file_that_sets: Callable[[ArpKey, int], str | None]
) -> Row:
    value = facts.arp.get(key)
    if value is None:
        return Row(str(key), str(plan.WANTED[key.name]), "no such interface", "-", "-", ok=False)
    counts = plan.effective_value(facts.arp, key)
    change = known.change(key)
    if change is None:
        whose = file_that_sets(key, value) or ("kernel default" if value == 0 else "not pointsman")
    else:
        whose = "pointsman" if value == change.written else "pointsman, changed since"
    ok = plan.is_silent(key, counts)
    return Row(str(key), str(plan.WANTED[key.name]), str(value), str(counts), whose, ok)
