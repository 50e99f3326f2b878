# SPDX-License-Identifier: Apache-2.0
"""Settings of a silent real server, and their comparison with the present ones. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pointsman.model.address import Address
from pointsman.realserver.facts import ArpKey, Facts, HostAddress, Route, SetupError

WANTED = {"arp_ignore": 1, "arp_announce": 2}
"""Values that `up` sets."""

REVERSE_PATH = "rp_filter"
STRICT = 1
"""Value of rp_filter: drop a packet unless its source is routed through the same interface (RFC 3704).

The kernel uses the maximum of `all` and the interface, so 2 (loose) at either disables it.
"""

SILENT = {"arp_ignore": {1, 2}, "arp_announce": {2}}
"""Values that keep the VIP out of ARP.

arp_ignore: 3 silences only scope-host addresses, 4-7 are unused and answer, 8 does not answer for the RIP
either. arp_announce: 0 and 1 send requests with the VIP as sender, values above 2 are the same as 0
(Documentation/networking/ip-sysctl.rst, net/ipv4/arp.c).
"""


def validate(
    facts: Facts,
    places: Mapping[Address, str],
    interfaces: Iterable[str],
    to_make: str = "",
    *,
    silenced: bool = False,
) -> None:
    """Check that `up` works on this host and does not break it. Raises SetupError.

    `places`: interface of each VIP; empty: none (redirect). `to_make`: an interface that need not exist.
    `silenced`: nftables keeps the VIPs out of ARP and neighbour discovery on every interface.
    """
    require_interfaces(facts, ["lo", *interfaces, *(set(places.values()) - {"", to_make})])
    for vip, place in places.items():
        for held in facts.holders(vip):
            if held.interface != place:
                raise SetupError(_explain_place(held, place))
            if held.prefix_length != vip.max_prefixlen:
                raise SetupError(
                    f"{vip} is on {place} as /{held.prefix_length}: its whole network is then local, and "
                    f"answers do not leave this host. Nothing changed. Remove it first: "
                    f"ip address del {vip}/{held.prefix_length} dev {place}"
                )
        card = facts.interface(place) if place != "lo" else None
        if card is not None and not card.up:
            raise SetupError(f"{place} is down. Nothing changed. Set it up: ip link set {place} up")
        if card is not None and card.arp and not silenced:
            raise SetupError(
                f"{place} uses ARP and answers for its own addresses with every arp_ignore except 8. "
                f"Nothing changed. Use lo or a dummy interface, or --method nft"
            )


def _explain_place(held: HostAddress, place: str) -> str:
    remove = f"ip address del {held.address}/{held.prefix_length} dev {held.interface}"
    if not place:
        return (
            f"{held.address} is on {held.interface}, and with --method redirect this host must not have it. "
            f"Nothing changed. Remove it first: {remove}"
        )
    if held.interface == "lo":
        return f"{held.address} is on lo, not on {place}. Nothing changed. Remove it first: {remove}"
    return (
        f"{held.address} is on {held.interface}: this host is the director that has "
        "the VIP now, or a real server with the VIP on the wrong interface. Nothing "
        f"changed. On a real server remove it first: {remove}"
    )


def require_interfaces(facts: Facts, wanted: Iterable[str]) -> None:
    """Raise SetupError if one of these interfaces does not exist."""
    names = [interface.name for interface in facts.interfaces]
    for name in wanted:
        if name not in names:
            raise SetupError(
                f"there is no interface {name} here; choose from: {', '.join(names)}. Nothing changed"
            )


def routes_to(facts: Facts, vip: Address) -> list[Route]:
    """Return the routes to the VIP's network through other interfaces than lo: on-link ones, else the most
    specific."""
    covering = [
        route
        for route in facts.routes
        if route.interface != "lo" and route.network.version == vip.version and vip in route.network
    ]
    on_link = [route for route in covering if route.on_link]
    if on_link:
        return on_link
    longest = max((route.network.prefixlen for route in covering), default=-1)
    return [route for route in covering if route.network.prefixlen == longest]


def arp_keys(interfaces: Sequence[str]) -> list[ArpKey]:
    """Return the sysctl keys to set: those of `all`, `lo` and the given interfaces."""
    places = dict.fromkeys(["all", "lo", *interfaces])
    return [ArpKey(place, name) for place in places for name in WANTED]


def effective_value(settings: Mapping[ArpKey, int], key: ArpKey) -> int:
    """Return the value that the kernel uses: the maximum of conf/all and conf/interface."""
    return max(settings.get(key, 0), settings.get(ArpKey("all", key.name), 0))


def is_silent(key: ArpKey, value: int) -> bool:
    """True if this value keeps the VIP out of ARP."""
    return value in SILENT[key.name]


def strict_reverse_paths(facts: Facts) -> list[tuple[str, list[str]]]:
    """Return the interfaces with strict rp_filter, if other sources are routed through other interfaces.

    Each comes with the places (`all`, the interface) where it is set. Requests for the VIP from such
    clients would be dropped silently.
    """
    found = []
    for name in (each.name for each in facts.interfaces if each.up and each.arp):
        values = {place: facts.reverse_path.get(place, 0) for place in ("all", name)}
        elsewhere = any(
            route.network.version == 4 and route.interface not in ("lo", name) for route in facts.routes
        )
        if elsewhere and max(values.values()) == STRICT:
            found.append((name, [place for place, value in values.items() if value == STRICT]))
    return found


def uncovered_keys(facts: Facts, named: Sequence[str]) -> list[ArpKey]:
    """Return the ARP keys of interfaces that `up` did not get and that would answer for the VIP.

    conf/all covers every interface, unless its own value is higher and wrong.
    """
    keys = []
    for interface in facts.interfaces:
        if interface.up and interface.arp and interface.name not in named:
            for name in WANTED:
                key = ArpKey(interface.name, name)
                if not is_silent(key, effective_value(facts.arp, key)):
                    keys.append(key)
    return keys
