"""What is wrong with a real server. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pointsman.doctor.facts import Card, Host, RealServerFacts, joined
from pointsman.doctor.finding import Diagnosis, Finding, fault, note, right, unknown, warning
from pointsman.doctor.rules import host as host_rules
from pointsman.doctor.rules.firewall import blocking_requests, silencing
from pointsman.model.address import Address, bracketed, resolution

ETHERNET_MTU = 1500
SILENT_IGNORE, SILENT_ANNOUNCE = (1, 2), (2,)
"""Values that keep the VIP out of ARP; see realserver/plan.py for the others."""
STRICT = 1
TOO_MANY_BAD_CHECKSUMS = 0.001
"""Share of TCP segments with a wrong checksum above which something is broken."""

_NOT_TAKEN = (
    "requests reach this host with the VIP as destination; a host without the address does not take them"
)
_SENT_BACK = (
    "; with ip_forward 1 it sends them back to the director, round and round until the TTL is used up"
)


def examine(facts: RealServerFacts) -> Diagnosis:
    """Every check, in the order in which a packet meets them."""
    findings = [finding for check in _CHECKS for finding in check(facts)]
    return Diagnosis(role="real server", findings=tuple(findings))


def _links(facts: RealServerFacts) -> Iterable[Finding]:
    lo = facts.host.card("lo")
    if lo is not None and not lo.up:
        lost = [vip for vip in facts.vips if vip.version == 6]
        yield (fault if lost else warning)(
            "link",
            "lo is down",
            "IPv6 addresses on it are gone, and programs here do not reach each other by 127.0.0.1",
            remedy=["ip link set lo up"],
            safe=True,
        )
    for card in facts.host.cards:
        if card.loopback or not card.mac or not card.addresses:
            continue
        if not card.up:
            yield fault(
                "link",
                f"{card.name} is switched off",
                "requests that come by it are lost",
                remedy=[f"ip link set {card.name} up"],
            )
        elif not card.running:
            yield fault(
                "link",
                f"{card.name} has no carrier",
                "requests that come by it are lost",
                advice="look at the cable, or at the switch port",
            )
        elif not card.arp:
            yield fault(
                "link",
                f"{card.name} is set to NOARP",
                "nobody finds this host there: the director cannot learn its MAC address",
                remedy=[f"ip link set {card.name} arp on"],
                safe=True,
            )
        else:
            yield right("link", f"{card.name} is up")


def _vip_on_lo(facts: RealServerFacts) -> Iterable[Finding]:
    for vip in facts.vips:
        holders = [card for card in facts.host.holders(vip) if vip not in card.moving]
        up = f"pointsman realserver up {vip}"
        if _redirected(facts.host, vip) and not holders:
            yield right("vip-on-lo", f"{vip} is handed to this host's own address by nftables")
            continue
        quiet = [card for card in holders if not card.arp or card.loopback or _silenced(facts.host, vip)]
        elsewhere = [card for card in holders if card not in quiet]
        place = quiet[0].name if quiet else "lo"
        length = next(
            (held.network.prefixlen for card in quiet for held in card.addresses if held.ip == vip), None
        )
        if elsewhere:
            yield from (_on_a_card(card, vip, up) for card in elsewhere)
        elif length is None:
            why = _NOT_TAKEN + (_SENT_BACK if facts.host.system.forwarding else "")
            yield fault("vip-on-lo", f"{vip} is no address of this host", why, remedy=[up], safe=True)
        elif length != vip.max_prefixlen:
            yield fault(
                "vip-on-lo",
                f"{vip} is on {place} as /{length}",
                "the whole network becomes local to this host: answers to its other hosts never leave",
                remedy=[f"ip address del {vip}/{length} dev {place}", up],
            )
        else:
            yield right("vip-on-lo", f"{vip}/{length} is on {place}")


def _redirected(host: Host, vip: Address) -> bool:
    return any(vip.version == network.version and vip in network for network in host.redirected)


def _silenced(host: Host, vip: Address) -> bool:
    """nftables keeps it out of ARP or neighbour discovery, so it may be on a network card."""
    return vip in host.undiscovered if vip.version == 6 else silencing(host.rules, vip)


def _on_a_card(card: Card, vip: Address, up: str) -> Finding:
    length = next(held.network.prefixlen for held in card.addresses if held.ip == vip)
    return fault(
        "vip-on-lo",
        f"{vip} is on {card.name}, not on lo",
        f"this host answers {resolution(vip)} for it and so takes the clients away from the director",
        remedy=[f"ip address del {vip}/{length} dev {card.name}", up],
    )


def _arp(facts: RealServerFacts) -> Iterable[Finding]:
    silenced = {vip for vip in facts.vips if vip.version == 4 and silencing(facts.host.rules, vip)}
    absent = {vip for vip in facts.vips if _redirected(facts.host, vip)}
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
                "this host does not even say where its own address is"
                if ignore == 8
                else f"this host answers ARP for {joined(vips)}: who hears it first misses the director",
                remedy=[up],
                safe=True,
            )
        else:
            yield right("arp-ignore", f"arp_ignore on {card.name} is {ignore}")
        if announce not in SILENT_ANNOUNCE:
            yield fault(
                "arp-announce",
                f"arp_announce on {card.name} is {announce} (the maximum of all and {card.name})",
                f"its own ARP requests bear {joined(vips)} as sender: whoever hears them, the router too, "
                "sends the next requests here, past the director",
                remedy=[up],
                safe=True,
            )
        else:
            yield right("arp-announce", f"arp_announce on {card.name} is {announce}")


def _vip_unique(facts: RealServerFacts) -> Iterable[Finding]:
    for vip in facts.vips:
        macs = facts.answers.macs(vip)
        if not facts.answers.was_asked(vip):
            yield unknown(
                "vip-unique",
                f"{vip} is in no network of this host's interfaces: who holds it was not asked",
            )
        elif len(macs) > 1:
            yield fault(
                "vip-unique",
                f"{len(macs)} hosts answer {resolution(vip)} for {vip}: {joined(macs)}",
                "clients go to whoever answers first; only one of them is the director",
                advice="run `pointsman doctor` on the hosts with these MAC addresses; all but the director "
                f"must be silent: pointsman realserver up {vip}",
            )
        elif not macs and any(vip in card.moving for card in facts.host.cards):
            yield right("vip-unique", f"{vip} is answered by this host alone, the master")
        elif not macs:
            yield warning(
                "vip-unique",
                f"nobody answers {resolution(vip)} for {vip}",
                "no request from this network reaches a director",
                advice="is a director running? `pointsman doctor` there says why it does not hold the VIP",
            )
        else:
            yield right("vip-unique", f"{vip} is answered by one host, {macs[0]}")


def _own_addresses(facts: RealServerFacts) -> Iterable[Finding]:
    for card in _ethernets(facts):
        for held in card.addresses:
            macs = [mac for mac in facts.answers.macs(held.ip, card.name) if mac != card.mac]
            if macs and held.ip not in facts.vips:
                yield fault(
                    "rip-unique",
                    f"{held.ip} of {card.name} is also an address of {joined(macs)}",
                    "the director sends requests now to one, now to the other",
                    advice="find that host in the switch's table of MAC addresses and give it an address of "
                    "its own",
                )


def _reverse_path(facts: RealServerFacts) -> Iterable[Finding]:
    """Strict rp_filter drops a request whose source is routed back through another interface (RFC 3704)."""
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
                "rp-filter", f"rp_filter on {card.name} is strict, and every source is routed back there"
            )
        else:
            networks = joined(dict.fromkeys(f"{route.network} ({route.interface})" for route in elsewhere))
            places = ["all", card.name] if facts.host.settings.get("all.rp_filter") == STRICT else [card.name]
            yield fault(
                "rp-filter",
                f"rp_filter on {card.name} is strict, and these sources are routed elsewhere: {networks}",
                f"requests that the director sends {'through' if card.tunnel else 'to'} {card.name} from "
                "clients there are dropped silently",
                remedy=[f"sysctl -w net.ipv4.conf.{place}.rp_filter=2" for place in places],
                safe=True,
            )


def _gateways(facts: RealServerFacts) -> Iterable[Finding]:
    """The answer leaves by this host's own gateway, which must be there and must not be the director."""
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
                f"{resolution(route.gateway)}",
                "answers to clients beyond it are lost; requests were taken all the same",
                advice=f"give the right one: ip route replace default via GATEWAY dev {route.interface}",
            )
        elif directors & set(macs):
            yield warning(
                "gateway",
                f"the default gateway {route.gateway} is the host that holds the VIP ({macs[0]})",
                "answers pass the director: it becomes the bottleneck that direct routing avoids, and drops "
                "them if its kernel sees its own VIP as source (a martian)",
                advice=f"give a router: ip route replace default via GATEWAY dev {route.interface}",
            )
        else:
            yield right("gateway", f"the default gateway {route.gateway} answers")
    if not defaults:
        yield note("gateway", "no default gateway: only clients in this host's own networks get answers")


def _mtu(facts: RealServerFacts) -> Iterable[Finding]:
    for card in _ethernets(facts):
        if card.mtu < ETHERNET_MTU:
            yield warning(
                "mtu",
                f"the MTU of {card.name} is {card.mtu}, below Ethernet's {ETHERNET_MTU}",
                "a director passes frames on as they come: those longer than this are lost here, without an "
                "ICMP message to the client, and only large requests hang",
                remedy=[f"ip link set {card.name} mtu {ETHERNET_MTU}"],
            )
        else:
            yield right("mtu", f"the MTU of {card.name} is {card.mtu}")


def _firewall(facts: RealServerFacts) -> Iterable[Finding]:
    if facts.host.rules_problem:
        yield unknown("firewall", facts.host.rules_problem)
    blocked = False
    for vip in facts.vips:
        for rule in blocking_requests(facts.host.rules, vip, facts.ports.get(vip, ())):
            blocked = True
            yield fault(
                "firewall",
                f"{rule} drops packets for or from {vip}",
                "requests or their answers end here",
                remedy=[rule.removal],
            )
    if not blocked and not facts.host.rules_problem:
        yield right("firewall", "no firewall rule names the VIP in a drop or reject")


def _listening(facts: RealServerFacts) -> Iterable[Finding]:
    for vip in facts.vips:
        if not facts.ports.get(vip):
            yield unknown(
                "listening",
                f"no port of {vip} was named, so no program was looked for: pointsman doctor "
                f"{bracketed(vip, 0).removesuffix('0')}PORT",
            )
    for vip, ports in facts.ports.items():
        anywhere = {str(vip), "0.0.0.0", "::"} if vip.version == 4 else {str(vip), "::"}
        if _redirected(facts.host, vip):
            anywhere |= {str(held.ip) for card in facts.host.cards for held in card.addresses}
        for port in ports:
            bound = sorted(address for address, number in facts.listeners if number == port)
            target = bracketed(vip, port)
            if anywhere & set(bound):
                yield right("listening", f"a program listens at {target}")
                continue
            only = f": only {joined(bound)} is bound" if bound else ""
            yield fault(
                "listening",
                f"no program listens at {target}{only}",
                "the request arrives and is refused with RST",
                advice=f"let the program listen at {vip} or at every address (0.0.0.0), and start it",
            )


def _checksums(facts: RealServerFacts) -> Iterable[Finding]:
    why = (
        "a director in native XDP forwards frames whose sender left the checksum to the hardware "
        "(virtual machines on one host do): they arrive with none, and are dropped"
    )
    advice = (
        "on the senders, or the director's host: ethtool -K INTERFACE tx off; or run the director with "
        "--xdp-mode generic"
    )
    total = f"{facts.bad_checksums} of {facts.segments_in} TCP segments since boot had a wrong checksum"
    if facts.fresh_bad_checksums:
        yield fault(
            "checksum",
            f"TCP segments with a wrong checksum came while the doctor looked: {facts.fresh_bad_checksums}",
            why,
            advice=advice,
        )
    elif facts.bad_checksums > max(3, facts.segments_in * TOO_MANY_BAD_CHECKSUMS):
        yield note("checksum", f"{total}, none while the doctor looked: if clients hang, {advice}")
    else:
        yield right("checksum", "TCP checksums are right")


def _answers_fit(facts: RealServerFacts) -> Iterable[Finding]:
    """The way back: answers as long as this host's MTU have to reach its gateway."""
    for gateway, echo in facts.echoes.items():
        if echo.small and not echo.large:
            yield fault(
                "mtu",
                f"packets of {echo.size} bytes do not reach the gateway {gateway}; short ones do",
                "long answers are lost on the way without an ICMP message: pages hang half way",
                advice="make the MTU the same on this host, its switch and the gateway: ip link show",
            )
        elif echo.large:
            yield right("mtu", f"packets of {echo.size} bytes reach the gateway {gateway}")


def _host(facts: RealServerFacts) -> Iterable[Finding]:
    yield from host_rules.path_mtu(facts.host)
    yield from host_rules.conntrack(facts.host.system)
    yield from host_rules.neighbours(facts.host)
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
    _listening,
    _checksums,
    _gateways,
    _answers_fit,
    _host,
)
