# SPDX-License-Identifier: Apache-2.0
"""Rules for a real server. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pointsman.doctor.facts import Card, Host, RealServerFacts, join_words
from pointsman.doctor.finding import Diagnosis, Finding, fault, note, right, unknown, warning
from pointsman.doctor.rules import firewall
from pointsman.doctor.rules import host as host_rules
from pointsman.doctor.rules.firewall import drops_arp_requests
from pointsman.doctor.rules.programs import listening
from pointsman.model.address import Address, resolution_protocol
from pointsman.realserver.facts import ArpKey

ETHERNET_MTU = 1500
SILENT_IGNORE, SILENT_ANNOUNCE = (1, 2), (2,)
"""Values that keep the VIP out of ARP. realserver/plan.py explains the others."""
STRICT = 1
TOO_MANY_BAD_CHECKSUMS = 0.001
"""Share of TCP segments with a wrong checksum above which something is broken."""

_NOT_TAKEN = "requests reach this host with the VIP as destination; a host without this address drops them"
_SENT_BACK = "; with ip_forward=1 it sends them back to the director, in a loop until the TTL is 0"


def examine(facts: RealServerFacts) -> Diagnosis:
    """Run every check, in the order in which a packet meets them."""
    findings = [finding for check in _CHECKS for finding in check(facts)]
    return Diagnosis(role="real server", findings=tuple(findings))


def _links(facts: RealServerFacts) -> Iterable[Finding]:
    lo = facts.host.card("lo")
    if lo is not None and not lo.up:
        lost = [vip for vip in facts.vips if vip.version == 6]
        yield (fault if lost else warning)(
            "link",
            "lo is down",
            "its IPv6 addresses are removed, and programs on this host cannot use 127.0.0.1",
            remedy=["ip link set lo up"],
            safe=True,
        )
    for card in facts.host.cards:
        if card.loopback or not card.mac or not card.addresses:
            continue
        if not card.up:
            yield fault(
                "link",
                f"{card.name} is down",
                "requests that arrive on it are lost",
                remedy=[f"ip link set {card.name} up"],
            )
        elif not card.running:
            yield fault(
                "link",
                f"{card.name} has no carrier",
                "requests that arrive on it are lost",
                advice="check the cable and the switch port",
            )
        elif not card.arp:
            yield fault(
                "link",
                f"{card.name} is set to NOARP",
                "other hosts cannot find this host there: the director cannot learn its MAC address",
                remedy=[f"ip link set {card.name} arp on"],
                safe=True,
            )
        else:
            yield right("link", f"{card.name} is up")


def _vip_on_lo(facts: RealServerFacts) -> Iterable[Finding]:
    for vip in facts.vips:
        holders = [card for card in facts.host.holders(vip) if vip not in card.moving]
        up = f"pointsman realserver up {vip}"
        if facts.host.redirects(vip) and not holders:
            yield right("vip-on-lo", f"nftables redirects {vip} to this host's own address")
            continue
        quiet = [card for card in holders if not card.arp or card.loopback or _is_silenced(facts.host, vip)]
        elsewhere = [card for card in holders if card not in quiet]
        place = quiet[0].name if quiet else "lo"
        length = next(
            (held.network.prefixlen for card in quiet for held in card.addresses if held.ip == vip), None
        )
        if elsewhere:
            yield from (_on_an_ethernet(card, vip, up) for card in elsewhere)
        elif length is None:
            why = _NOT_TAKEN + (_SENT_BACK if facts.host.system.forwarding else "")
            yield fault("vip-on-lo", f"{vip} is not an address of this host", why, remedy=[up], safe=True)
        elif length != vip.max_prefixlen:
            yield fault(
                "vip-on-lo",
                f"{vip} is on {place} as /{length}",
                "the whole network is local to this host: answers to other hosts in it are never sent",
                remedy=[f"ip address del {vip}/{length} dev {place}", up],
            )
        else:
            yield right("vip-on-lo", f"{vip}/{length} is on {place}")


def _is_silenced(host: Host, vip: Address) -> bool:
    """True if nftables drops ARP or neighbour discovery for the VIP, so that it may be on an Ethernet
    interface.
    """
    return vip in host.undiscovered if vip.version == 6 else drops_arp_requests(host.ruleset, vip)


def _on_an_ethernet(card: Card, vip: Address, up: str) -> Finding:
    length = next(held.network.prefixlen for held in card.addresses if held.ip == vip)
    return fault(
        "vip-on-lo",
        f"{vip} is on {card.name}, not on lo",
        f"this host answers {resolution_protocol(vip)} for it and "
        "so takes the clients away from the director",
        remedy=[f"ip address del {vip}/{length} dev {card.name}", up],
    )


def _arp(facts: RealServerFacts) -> Iterable[Finding]:
    silenced = {vip for vip in facts.vips if vip.version == 4 and drops_arp_requests(facts.host.ruleset, vip)}
    absent = {vip for vip in facts.vips if facts.host.redirects(vip)}
    vips = [vip for vip in facts.vips if vip.version == 4 and vip not in silenced | absent]
    for vip in facts.vips:
        if vip in silenced:
            yield right("arp-ignore", f"nftables drops ARP requests for {vip}")
    for card in _ethernets(facts) if vips else ():
        up = f"pointsman realserver up {' '.join(map(str, vips))} --interface {card.name}"
        ignore = facts.host.effective(card.name, "arp_ignore")
        announce = facts.host.effective(card.name, "arp_announce")
        if ignore not in SILENT_IGNORE:
            yield fault(
                "arp-ignore",
                f"arp_ignore on {card.name} is {ignore} (the maximum of all and {card.name})",
                _loudness(facts.host, vips, ignore),
                remedy=[up],
                safe=True,
            )
        else:
            yield right("arp-ignore", f"arp_ignore on {card.name} is {ignore}")
        if announce not in SILENT_ANNOUNCE:
            yield fault(
                "arp-announce",
                f"arp_announce on {card.name} is {announce} (the maximum of all and {card.name})",
                f"its own ARP requests may have {join_words(vips)} as sender: hosts that receive them, "
                "also the router, send their next requests here and not to the director",
                remedy=[up],
                safe=True,
            )
        else:
            yield right("arp-announce", f"arp_announce on {card.name} is {announce}")


def _loudness(host: Host, vips: Sequence[Address], ignore: int) -> str:
    """Return the consequence of a wrong arp_ignore, for the VIPs that this host has or will have."""
    held = [vip for vip in vips if host.holders(vip)]
    if ignore == 8:
        return "this host does not answer ARP for its own address either"
    if not held:
        return f"this host will answer ARP for {join_words(vips)} when it has the VIP, and take clients away"
    return (
        f"this host answers ARP for {join_words(held)}: clients that use its answer do not reach the director"
    )


def _vip_unique(facts: RealServerFacts) -> Iterable[Finding]:
    for vip in facts.vips:
        macs = facts.answers.macs(vip)
        if not facts.answers.was_asked(vip):
            yield unknown(
                "vip-unique",
                f"{vip} is in no network of this host's interfaces, so it was not probed",
            )
        elif len(macs) > 1:
            yield fault(
                "vip-unique",
                f"{len(macs)} hosts answer {resolution_protocol(vip)} for {vip}: {join_words(macs)}",
                "clients use the first answer, and only one of the hosts is the director",
                advice="run `pointsman doctor` on the hosts with these MAC addresses; all but the director "
                f"must not answer: pointsman realserver up {vip}",
            )
        elif not macs and any(vip in card.moving for card in facts.host.cards):
            yield right("vip-unique", f"{vip} is answered by this host only, which is the master")
        elif not macs:
            yield warning(
                "vip-unique",
                f"no host answers {resolution_protocol(vip)} for {vip}",
                "no requests from this network reach a director",
                advice="check that a director runs; `pointsman doctor` "
                "there says why it does not have the VIP",
            )
        else:
            yield right("vip-unique", f"{vip} is answered by one host only, {macs[0]}")


def _own_addresses(facts: RealServerFacts) -> Iterable[Finding]:
    for card in _ethernets(facts):
        for held in card.addresses:
            macs = [mac for mac in facts.answers.macs(held.ip, card.name) if mac != card.mac]
            if macs and held.ip not in facts.vips:
                yield fault(
                    "rip-unique",
                    f"{held.ip} of {card.name} is also an address of {join_words(macs)}",
                    "the director sends requests sometimes to one, sometimes to the other",
                    advice="find that host in the switch's MAC address table and give it another address",
                )


def _reverse_path(facts: RealServerFacts) -> Iterable[Finding]:
    """Check rp_filter: strict mode drops a request whose source is routed through another interface (RFC
    3704).
    """
    ends = [card for card in facts.host.cards if card.tunnel and card.up]
    for card in [*_ethernets(facts), *ends]:
        value = facts.host.effective(card.name, "rp_filter")
        elsewhere = [
            route
            for route in facts.host.routes
            if route.interface not in (card.name, "lo") and route.network.version == 4
        ]
        if value != STRICT:
            yield right("rp-filter", f"rp_filter on {card.name} is {value}")
        elif not elsewhere:
            yield right(
                "rp-filter",
                f"rp_filter on {card.name} is strict, and every source is routed through this interface",
            )
        else:
            networks = join_words(
                dict.fromkeys(f"{route.network} ({route.interface})" for route in elsewhere)
            )
            places = ["all", card.name] if facts.host.settings.get("all.rp_filter") == STRICT else [card.name]
            yield fault(
                "rp-filter",
                f"rp_filter on {card.name} is strict, and these sources are "
                f"routed through other interfaces: {networks}",
                f"requests that the director sends {'through' if card.tunnel else 'to'} {card.name} from "
                "clients there are dropped silently",
                remedy=[f"sysctl -w {ArpKey(place, 'rp_filter')}=2" for place in places],
                safe=True,
            )


def _gateways(facts: RealServerFacts) -> Iterable[Finding]:
    """Check the default gateways: answers leave by them, so they must exist and must not be the director."""
    directors = {mac for vip in facts.vips for mac in facts.answers.macs(vip)}
    defaults = [
        route for route in facts.host.routes if route.gateway is not None and not route.network.prefixlen
    ]
    for route in defaults:
        assert route.gateway is not None
        macs = facts.answers.macs(route.gateway)
        if not macs:
            yield fault(
                "gateway",
                f"the default gateway {route.gateway} on {route.interface} does not answer "
                f"{resolution_protocol(route.gateway)}",
                "answers to clients beyond it are lost, although their requests arrive",
                advice=f"set the right one: ip route replace default via GATEWAY dev {route.interface}",
            )
        elif directors & set(macs):
            yield warning(
                "gateway",
                f"the default gateway {route.gateway} is the host that holds the VIP ({macs[0]})",
                "answers go through the director: it becomes the bottleneck that direct routing avoids. Its "
                "kernel drops them if the VIP is its own address (martian source)",
                advice=f"set a router: ip route replace default via GATEWAY dev {route.interface}",
            )
        else:
            yield right("gateway", f"the default gateway {route.gateway} answers")
    if not defaults:
        yield note(
            "gateway", "there is no default gateway: only clients in this host's own networks get answers"
        )


def _mtu(facts: RealServerFacts) -> Iterable[Finding]:
    for card in _ethernets(facts):
        if card.mtu < ETHERNET_MTU:
            yield warning(
                "mtu",
                f"the MTU of {card.name} is {card.mtu}, below Ethernet's {ETHERNET_MTU}",
                "a director forwards frames unchanged: longer ones are lost here without an ICMP message to "
                "the client, so only large requests hang",
                remedy=[f"ip link set {card.name} mtu {ETHERNET_MTU}"],
            )
        else:
            yield right("mtu", f"the MTU of {card.name} is {card.mtu}")


def _firewall(facts: RealServerFacts) -> Iterable[Finding]:
    yield from firewall.judge_flows(
        facts.host,
        firewall.requests(facts),
        "the firewall lets requests for the VIP pass, and the answers",
    )
    yield from firewall.health_checks(facts)


def _checksums(facts: RealServerFacts) -> Iterable[Finding]:
    why = (
        "a director in native XDP forwards frames unchanged. If their sender leaves the checksum to the "
        "hardware (as virtual machines on one host do), they arrive without one and are dropped"
    )
    advice = (
        "on the senders or on the director's host: ethtool -K INTERFACE tx off; or run the director with "
        "--xdp-mode generic"
    )
    total = f"{facts.bad_checksums} of {facts.segments_in} TCP segments since boot had a wrong checksum"
    if facts.fresh_bad_checksums:
        yield fault(
            "checksum",
            f"TCP segments with a wrong checksum arrived while the doctor ran: {facts.fresh_bad_checksums}",
            why,
            advice=advice,
        )
    elif facts.bad_checksums > max(3, facts.segments_in * TOO_MANY_BAD_CHECKSUMS):
        yield note("checksum", f"{total}, none while the doctor ran. If clients hang, {advice}")
    else:
        yield right("checksum", "TCP checksums are right")


def _path_to_gateway(facts: RealServerFacts) -> Iterable[Finding]:
    """Check that answers as long as this host's MTU reach the gateway."""
    for gateway, echo in facts.echoes.items():
        if echo.small and not echo.large:
            yield fault(
                "mtu",
                f"packets of {echo.size} bytes do not reach the gateway {gateway}; short ones do",
                "long answers are lost without an ICMP message: connections hang half way",
                advice="set the same MTU on this host, its switch and the gateway; ip link show prints it",
            )
        elif echo.large:
            yield right("mtu", f"packets of {echo.size} bytes reach the gateway {gateway}")


def _host(facts: RealServerFacts) -> Iterable[Finding]:
    yield from firewall.path_mtu(facts)
    yield from host_rules.conntrack(facts.host.system)
    yield from host_rules.neighbours(facts.host, facts.fresh_overflows)
    yield from host_rules.clock(facts.host.system, facts.clock_jump)


def _ethernets(facts: RealServerFacts) -> list[Card]:
    return [
        card for card in facts.host.cards if not card.loopback and card.mac and card.up and card.addresses
    ]


_CHECKS: tuple[Callable[[RealServerFacts], Iterable[Finding]], ...] = (
    _links,
    _vip_on_lo,
    _arp,
    _vip_unique,
    _own_addresses,
    _mtu,
    _firewall,
    _reverse_path,
    listening,
    _checksums,
    _gateways,
    _path_to_gateway,
    _host,
)
