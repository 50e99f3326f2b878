"""Which settings make a host a silent real server, and how the present ones compare. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pointsman.model.address import Address
from pointsman.realserver.facts import ArpKey, Facts, HostAddress, Route, SetupError

WANTED = {"arp_ignore": 1, "arp_announce": 2}
"""What `up` sets."""

REVERSE_PATH = "rp_filter"
STRICT = 1
"""Of rp_filter: a packet is dropped unless its source is routed back where it came from (RFC 3704). What
counts is the maximum of `all` and the interface, and so 2 (loose) at either undoes it."""

SILENT = {"arp_ignore": {1, 2}, "arp_announce": {2}}
"""Values that do the work. arp_ignore: 3 silences only scope-host addresses, 4-7 are unused and answer, 8
leaves even the RIP unanswered. arp_announce: 0 and 1 ask with the VIP as sender, above 2 is as 0
(Documentation/networking/ip-sysctl.rst, net/ipv4/arp.c)."""


def validate(
    facts: Facts,
    places: Mapping[Address, str],
    interfaces: Iterable[str],
    to_make: str = "",
    *,
    silenced: bool = False,
) -> None:
    """Raise SetupError if `up` would break this host or cannot work on it.

    `places`: the interface that each VIP shall be on; empty: on none (redirect). `to_make`: one that need not
    be there. `silenced`: nftables keeps the VIPs out of ARP and neighbour discovery, wherever they are.
    """
    require_interfaces(facts, ["lo", *interfaces, *(set(places.values()) - {"", to_make})])
    for vip, place in places.items():
        for held in facts.holders(vip):
            if held.interface != place:
                raise SetupError(_misplaced(held, place))
            if held.prefix_length != vip.max_prefixlen:
                raise SetupError(
                    f"{vip} is on {place} as /{held.prefix_length}: that makes its whole network local, and "
                    f"no answer leaves this host. Nothing changed. Remove it first: "
                    f"ip address del {vip}/{held.prefix_length} dev {place}"
                )
        card = facts.interface(place) if place != "lo" else None
        if card is not None and not card.up:
            raise SetupError(f"{place} is down. Nothing changed. Bring it up: ip link set {place} up")
        if card is not None and card.arp and not silenced:
            raise SetupError(
                f"{place} speaks ARP, and answers for its own addresses whatever arp_ignore is (but 8). "
                f"Nothing changed. Use lo or a dummy interface, or --method nft"
            )


def _misplaced(held: HostAddress, place: str) -> str:
    remove = f"ip address del {held.address}/{held.prefix_length} dev {held.interface}"
    if not place:
        return (
            f"{held.address} is on {held.interface}, and with --method redirect this host shall not have it. "
            f"Nothing changed. Remove it first: {remove}"
        )
    if held.interface == "lo":
        return f"{held.address} is on lo, not on {place}. Nothing changed. Remove it first: {remove}"
    return (
        f"{held.address} is on {held.interface}: this host is the director that holds the VIP now, or the "
        f"VIP is on the wrong interface of a real server. Nothing changed. On a real server remove it first: "
        f"{remove}"
    )


def require_interfaces(facts: Facts, wanted: Iterable[str]) -> None:
    """Raise SetupError if one of these interfaces does not exist."""
    names = [interface.name for interface in facts.interfaces]
    for name in wanted:
        if name not in names:
            raise SetupError(
                f"there is no interface {name} here; there are: {', '.join(names)}. Nothing changed"
            )


def routes_to(facts: Facts, vip: Address) -> list[Route]:
    """The routes off this host that lead to the VIP's network: on-link ones, else the most specific."""
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
    """The sysctl keys to set: of `all`, `lo` and the named interfaces."""
    places = dict.fromkeys(["all", "lo", *interfaces])
    return [ArpKey(place, name) for place in places for name in WANTED]


def effective(facts: Facts, key: ArpKey) -> int:
    """What the kernel goes by: the maximum of conf/all and conf/interface."""
    return max(facts.arp.get(key, 0), facts.arp.get(ArpKey("all", key.name), 0))


def is_silent(key: ArpKey, value: int) -> bool:
    """Whether this value keeps the VIP out of ARP."""
    return value in SILENT[key.name]


def strict_against_others(facts: Facts) -> list[tuple[str, list[str]]]:
    """Interfaces with strict rp_filter on a host that routes other sources elsewhere, and at which places
    (`all`, the interface) it is set. Requests for the VIP from clients there would be dropped silently."""
    found = []
    for name in (each.name for each in facts.interfaces if each.up and each.arp):
        values = {place: facts.reverse_path.get(place, 0) for place in ("all", name)}
        elsewhere = any(
            route.network.version == 4 and route.interface not in ("lo", name) for route in facts.routes
        )
        if elsewhere and max(values.values()) == STRICT:
            found.append((name, [place for place, value in values.items() if value == STRICT]))
    return found


def loud_elsewhere(facts: Facts, named: Sequence[str]) -> list[ArpKey]:
    """Keys of interfaces that `up` was not told of and that would still speak for the VIP.

    conf/all covers every interface except where its own value is higher and bad.
    """
    keys = []
    for interface in facts.interfaces:
        if interface.up and interface.arp and interface.name not in named:
            for name in WANTED:
                key = ArpKey(interface.name, name)
                if not is_silent(key, effective(facts, key)):
                    keys.append(key)
    return keys
