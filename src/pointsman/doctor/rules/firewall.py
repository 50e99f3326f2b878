# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the firewall about the packets of a director and of a real server. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from pointsman.doctor.facts import DirectorFacts, Host, InstanceFact, RealServerFacts
from pointsman.doctor.finding import Finding, Verdict, fault, right, unknown, warning
from pointsman.doctor.firewall.chain import Interval, Rule, Ruleset, Value
from pointsman.doctor.firewall.icmp import FRAGMENTATION_NEEDED, PACKET_TOO_BIG
from pointsman.doctor.firewall.packet import ACK, ANY_PORT, EPHEMERAL, SYN, TCP, UDP, Packet
from pointsman.doctor.firewall.simulation import Fate, Judgement, judge
from pointsman.model.address import Address, format_endpoint

ICMP_OF = {4: 1, 6: 58}
BFD_PORT = 3784
_BFD_SOURCES = (49152, 65535)
"""Source ports of BFD (RFC 5881)."""
_GROUPS: dict[int, Address] = {
    4: ipaddress.IPv4Address("224.0.0.18"),
    6: ipaddress.IPv6Address("ff02::12"),
}
_MOST_CHECKED = 16
"""Most real servers whose checks are simulated."""
_KEEP = (
    "and put the rule into the firewall's own configuration too (nftables.conf, ufw, firewalld), "
    "or it is lost"
)


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of packet that must pass the firewall of this host."""

    what: str
    why: str
    """Consequence if it is dropped."""
    packet: Packet
    nft: str
    """Words of a rule of nft that accepts it, without `accept`."""
    iptables: str
    unnamed: str = ""
    """Advice that makes the packet more exact: name the port."""


def judge_flows(host: Host, flows: Iterable[Flow], passes: str) -> Iterator[Finding]:
    """Yield a finding for each place that drops packets, and for each that cannot be decided."""
    if host.rules_problem:
        yield unknown("firewall", host.rules_problem)
    told: set[tuple[object, ...]] = set()
    for flow in flows:
        found = judge(host.ruleset, flow.packet)
        if found.fate is Fate.PASSES or (key := (found.fate, found.place, flow.what)) in told:
            continue
        told.add(key)
        yield _dropped(flow, found) if found.fate is Fate.DROPPED else _undecided(flow, found)
    if not told and not host.rules_problem:
        yield right("firewall", passes)


def _dropped(flow: Flow, found: Judgement) -> Finding:
    assert found.chain is not None and found.base is not None
    if found.rule is not None and _is_special(found.rule):
        return fault("firewall", f"{found.place} drops {flow.what}", flow.why, remedy=[found.rule.removal])
    command = found.base.insertion(f"{flow.nft} accept", f"{flow.iptables} -j ACCEPT")
    return fault("firewall", f"{found.place} drops {flow.what}", flow.why, remedy=[command], advice=_KEEP)


def _is_special(rule: Rule) -> bool:
    """True if a rule is for one address, port or protocol, so that deleting it does not open the host."""
    return any(
        _is_one(field, value)
        for match in rule.matches
        if not match.negated
        for row in match.alternatives
        for field, value in zip(match.fields, row, strict=False)
    )


def _is_one(field: str, value: Value) -> bool:
    if field in ("saddr", "daddr") and not isinstance(value, str | tuple):
        return value.prefixlen > 0
    if field == "protocol":
        return isinstance(value, tuple) and value[0] not in (TCP, UDP)
    return field == "dport" and isinstance(value, tuple) and value[0] == value[1]


def _undecided(flow: Flow, found: Judgement) -> Finding:
    more = f"; {flow.unnamed}" if flow.unnamed else ""
    return unknown(
        "firewall",
        f"it is not decided if {flow.what} pass this host's firewall: it depends on {found.place}{more}",
    )


def requests(facts: RealServerFacts) -> Iterator[Flow]:
    """Yield the clients' requests, and the answers to them."""
    ways_out = tuple(card.name for card in facts.host.cards if not card.loopback and card.up)
    for vip in facts.vips:
        cards = _cards_towards(facts.host, vip)
        for port in facts.ports.get(vip, ()) or (0,):
            name = _name(vip, port)
            hint = "" if port else f"name the port: pointsman doctor {format_endpoint(vip, 0)[:-1]}PORT"
            asking = _syn(vip, port, ANY_PORT, inwards=cards)
            yield Flow(
                what=f"requests for {name}",
                why="clients get no answer from this real server",
                packet=asking,
                unnamed=hint,
                **_matches("d", vip, port),
            )
            yield Flow(
                what=f"answers from {name}",
                why="requests arrive, and their answers never leave this host",
                packet=_answer(asking, outwards=ways_out),
                unnamed=hint,
                **_matches("s", vip, port),
            )


def _name(address: Address, port: int) -> str:
    return format_endpoint(address, port) if port else str(address)


def _syn(
    target: Address,
    port: int,
    source_ports: Interval,
    *,
    source: Address | None = None,
    inwards: tuple[str, ...] = (),
    outwards: tuple[str, ...] = (),
) -> Packet:
    """Return the first packet of a TCP connection. Port 0: any."""
    return Packet(
        version=target.version,
        protocol=TCP,
        source=source,
        destination=target,
        source_port=source_ports,
        destination_port=(port, port) if port else ANY_PORT,
        inwards=inwards,
        outwards=outwards,
        flags=SYN,
    )


def _answer(syn: Packet, *, inwards: tuple[str, ...] = (), outwards: tuple[str, ...] = ()) -> Packet:
    """Return the answer to the first packet of a TCP connection."""
    return msgspec.structs.replace(
        syn,
        source=syn.destination,
        destination=syn.source,
        source_port=syn.destination_port,
        destination_port=syn.source_port,
        inwards=inwards,
        outwards=outwards,
        flags=SYN | ACK,
        state="established",
    )


def _matches(side: str, address: Address, port: int = 0) -> dict[str, str]:
    """Return the words of a rule for packets to (`d`) or from (`s`) an address. Port 0: any protocol."""
    nft = f"{'ip' if address.version == 4 else 'ip6'} {side}addr {address}"
    iptables = f"-{side} {address}"
    if port:
        nft += f" tcp {side}port {port}"
        iptables += f" -p tcp --{side}port {port}"
    return {"nft": nft, "iptables": iptables}


def health_checks(facts: RealServerFacts) -> Iterator[Finding]:
    """Warn if no health check by TCP can pass: it goes to this host's own address, not to the VIP."""
    told: set[str] = set()
    for vip in facts.vips:
        for port in facts.ports.get(vip, ()) or (0,):
            for flow in _checks_of(facts, vip, port):
                found = judge(facts.host.ruleset, flow.packet)
                if found.fate is Fate.DROPPED and flow.what not in told:
                    told.add(flow.what)
                    yield msgspec.structs.replace(_dropped(flow, found), verdict=Verdict.WARNING)


def _checks_of(facts: RealServerFacts, vip: Address, port: int) -> Iterator[Flow]:
    """Yield the checks of this host's addresses in the network of the VIP. Port 0: any."""
    for card in facts.host.links_of(vip):
        for own in (each.ip for each in card.addresses):
            if own.version != vip.version or own in facts.vips or own.is_link_local:
                continue
            yield Flow(
                what=f"health checks of {_name(own, port)}",
                why="a director whose checks use TCP takes this real server out of its table",
                packet=_syn(own, port, EPHEMERAL, inwards=(card.name,)),
                **_matches("d", own, port),
            )


def path_mtu(facts: RealServerFacts) -> Iterator[Finding]:
    """Check that ICMP messages about a smaller MTU beyond the gateway arrive."""
    told: set[str] = set()
    for vip in facts.vips:
        found = judge(facts.host.ruleset, _about_the_mtu(facts.host, vip))
        if found.fate is Fate.PASSES or found.place in told:
            continue
        told.add(found.place)
        if found.fate is Fate.UNDECIDED:
            yield unknown(
                "path-mtu", f"it is not decided if ICMP about the MTU arrives: it depends on {found.place}"
            )
            continue
        until = (
            ""
            if facts.host.system.mtu_probing
            else "; sysctl -w net.ipv4.tcp_mtu_probing=1 helps TCP until then"
        )
        assert found.base is not None
        nft = "icmp type destination-unreachable" if vip.version == 4 else "icmpv6 type packet-too-big"
        iptables = "-p icmp --icmp-type 3" if vip.version == 4 else "-p ipv6-icmp --icmpv6-type 2"
        yield warning(
            "path-mtu",
            f"{found.place} drops ICMP about the MTU",
            "this is `fragmentation needed`: answers to clients behind a smaller MTU (tunnels, DSL) hang",
            remedy=[found.base.insertion(f"{nft} accept", f"{iptables} -j ACCEPT")],
            advice=_KEEP + until,
        )
    if not told and not facts.host.rules_problem:
        yield right("path-mtu", "the firewall lets messages about the MTU pass")


def _about_the_mtu(host: Host, vip: Address) -> Packet:
    """Return the ICMP message about a smaller MTU on the path of answers."""
    return Packet(
        version=vip.version,
        protocol=ICMP_OF[vip.version],
        destination=vip,
        inwards=_cards_towards(host, vip),
        state="related",
        icmp=FRAGMENTATION_NEEDED if vip.version == 4 else PACKET_TOO_BIG,
    )


def of_director(facts: DirectorFacts) -> Iterator[Flow]:
    """Yield the packets of VRRP, BFD and the health checks."""
    for instance in facts.instances:
        yield from _adverts(facts, instance)
    for neighbour in facts.bfd_neighbours:
        yield from _bfd(facts.host, neighbour)
    yield from _checks(facts)


def _adverts(facts: DirectorFacts, instance: InstanceFact) -> Iterator[Flow]:
    """Yield the adverts from the other directors, and those to them."""
    version = instance.version
    own = _own_address(facts, instance.interface, next(iter(instance.peers), _GROUPS[version]))
    why = "a director that does not receive the master's adverts becomes master too: two hosts have the VIP"
    limit = {"nft": f"meta l4proto {instance.protocol}", "iptables": f"-p {instance.protocol}"}
    heard = {
        advert.source
        for advert in facts.adverts
        if advert.virtual_router_id == instance.virtual_router_id and advert.source.version == version
    }
    for peer in instance.peers or sorted(heard - {own}, key=int) or (None,):
        packet = Packet(
            version=version,
            protocol=instance.protocol,
            source=peer,
            destination=own if instance.peers else _GROUPS[version],
            inwards=(instance.interface,),
        )
        yield Flow(what=f"VRRP adverts for {instance.name}", why=why, packet=packet, **limit)
    for target in instance.peers or (_GROUPS[version],):
        packet = Packet(
            version=version,
            protocol=instance.protocol,
            source=own,
            destination=target,
            outwards=(instance.interface,),
        )
        yield Flow(what=f"VRRP adverts of {instance.name} to others", why=why, packet=packet, **limit)


def _bfd(host: Host, neighbour: Address) -> Iterator[Flow]:
    route = host.route(neighbour)
    cards = (route.interface,) if route else _ethernets(host)
    packet = Packet(
        version=neighbour.version,
        protocol=UDP,
        source_port=_BFD_SOURCES,
        destination_port=(BFD_PORT, BFD_PORT),
    )
    ways = {
        f"BFD from {neighbour}": msgspec.structs.replace(packet, source=neighbour, inwards=cards),
        f"BFD to {neighbour}": msgspec.structs.replace(packet, destination=neighbour, outwards=cards),
    }
    for what, each in ways.items():
        yield Flow(
            what=what,
            why="the session never comes up, and everything that tracks it is in FAULT",
            packet=each,
            nft=f"udp dport {BFD_PORT}",
            iptables=f"-p udp --dport {BFD_PORT}",
        )


def _checks(facts: DirectorFacts) -> Iterator[Flow]:
    """Yield the health checks by TCP, and their answers."""
    checked = {
        (server.address, server.port)
        for service in facts.services
        for server in service.servers
        if service.tcp and server.up is not None
    }
    for address, port in sorted(checked, key=lambda pair: (pair[0].version, int(pair[0]), pair[1]))[
        :_MOST_CHECKED
    ]:
        route = facts.host.route(address)
        card = (route.interface,) if route else _ethernets(facts.host)
        own = _own_address(facts, card[0], address) if card else None
        name = f"health checks of {format_endpoint(address, port)}"
        why = "the checks fail, and the real server is taken out of the table"
        sent = _syn(address, port, EPHEMERAL, source=own, outwards=card)
        yield Flow(what=name, why=why, packet=sent, **_matches("d", address))
        answer = _answer(sent, inwards=card)
        yield Flow(what=f"the answers to {name}", why=why, packet=answer, **_matches("s", address))


def drops_arp_requests(ruleset: Ruleset, vip: Address) -> bool:
    """True if ARP requests for the VIP are dropped before the kernel answers (realserver up --method nft)."""
    asked = Packet(version=0, destination=vip, inwards=("any",))
    return judge(ruleset, asked).fate is Fate.DROPPED


def _own_address(facts: DirectorFacts, interface: str, target: Address) -> Address | None:
    """Return this host's own address on an interface for packets to `target`. None: there is none.

    For a link-local address or group of IPv6 it is the link-local one, if there is one.
    """
    card = facts.host.card(interface)
    vips = facts.vips()
    near = target.version == 6 and (target.is_link_local or target.is_multicast)
    own = [
        held.ip
        for held in (card.addresses if card else ())
        if held.version == target.version and held.ip not in vips
    ]
    return min(own, key=lambda address: address.is_link_local is not near, default=None)


def _cards_towards(host: Host, vip: Address) -> tuple[str, ...]:
    """Return the interfaces on which requests for the VIP may arrive."""
    return tuple(card.name for card in host.links_of(vip)) or _ethernets(host)


def _ethernets(host: Host) -> tuple[str, ...]:
    return tuple(card.name for card in host.cards if not card.loopback and card.up and card.addresses)
