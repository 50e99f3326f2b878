# SPDX-License-Identifier: Apache-2.0
"""Rules for the virtual addresses of a director. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pointsman.doctor.facts import Card, DirectorFacts, InstanceFact, join_words
from pointsman.doctor.finding import Finding, fault, note, right, warning
from pointsman.model.address import Address, resolution_protocol
from pointsman.realserver.facts import ArpKey


def _vip_held(facts: DirectorFacts) -> Iterable[Finding]:
    for vip in facts.vips():
        held = [card for card in facts.host.holders(vip) if not card.loopback]  # on lo: as a real server
        instance = _instance_of(facts, vip)
        wanted = instance is None or instance.state == "MASTER"
        if instance is not None and instance.state == "UNKNOWN":
            continue
        if held and not wanted:
            assert instance is not None
            length = next(item.network.prefixlen for item in held[0].addresses if item.ip == vip)
            yield fault(
                "vip-held",
                f"{vip} is on {held[0].name} although VRRP {instance.name} is {instance.state}",
                "two hosts answer for the VIP, and each gets a part of the clients",
                remedy=[f"ip address del {vip}/{length} dev {held[0].name}"],
            )
        elif wanted and not held:
            known = (
                next((item for item in instance.virtual if item.address == vip), None) if instance else None
            )
            yield fault(
                "vip-held",
                f"{vip} is on no interface of this director"
                + (f" although VRRP {instance.name} is MASTER" if instance else ""),
                f"no host answers {resolution_protocol(vip)} for it, so no requests arrive",
                remedy=[f"ip address add {vip}/{known.prefix_length} dev {known.device}"] if known else [],
                advice=""
                if known
                else f"add it to the interface that faces the clients: "
                f"ip address add {vip}/PREFIX dev INTERFACE",
            )
        else:
            yield right("vip-held", f"{vip} is {'on ' + held[0].name if held else 'not here, as a backup'}")


def _vip_unique(facts: DirectorFacts) -> Iterable[Finding]:
    for vip in facts.vips():
        second = _second_card(facts, vip)
        own = {card.mac for card in facts.host.cards}
        macs = [mac for mac in facts.answers.macs(vip) if mac not in own]
        held = [card for card in facts.host.holders(vip) if not card.loopback]
        here = bool(held)
        instance = _instance_of(facts, vip)
        announces = here and vip.version == 4 and (instance is None or instance.state == "MASTER")
        if not facts.answers.was_asked(vip):
            yield note(
                "vip-unique", f"{vip} is in no network of this host's interfaces, so it was not probed"
            )
        elif second is not None:
            yield fault(
                "vip-unique",
                f"{second.name} answers ARP for {vip} too, and the director takes no packets from it",
                f"this host refuses clients that learn its MAC address, {second.mac}",
                remedy=[f"sysctl -w {ArpKey(second.name, 'arp_ignore')}=1"],
                advice=f"or start the director with --interface {second.name}, too",
                safe=True,
            )
        elif len(macs) + here > 1:
            yield fault(
                "vip-unique",
                f"{vip} is answered by {join_words(_owner_of(facts, mac) for mac in macs)}"
                + (", and this director holds it too" if here else ""),
                "clients and routers use the first or the last answer, "
                "so some requests do not reach the director",
                advice=f"on a real server: pointsman realserver up {vip}; on another director: check "
                f"its VRRP state; on any other host: remove {vip} from its interface"
                + (_announce_advice(held[0], vip) if announces else ""),
            )
        elif not macs and not here:
            yield warning(
                "vip-unique",
                f"no host answers {resolution_protocol(vip)} for {vip}",
                "no requests arrive at any director",
                advice="run `pointsman doctor` on the other director",
            )
        else:
            yield right("vip-unique", f"{vip} is answered by one host only")


def _second_card(facts: DirectorFacts, vip: Address) -> Card | None:
    """Return an interface of this host that answers for a VIP of another one, without the program."""
    answering = facts.answers.macs(vip)
    holders = facts.host.holders(vip)
    return next(
        (
            card
            for card in facts.host.cards
            if card.mac in answering
            and holders
            and card not in holders
            and card.name not in facts.attachments
        ),
        None,
    )


def _announce_advice(card: Card, vip: Address) -> str:
    """Return advice to announce the VIP to the neighbours, after no other host has it any more."""
    return f"; then announce it from here, to update ARP caches: arping -U -c 3 -I {card.name} {vip}"


def _below_macvlans(facts: DirectorFacts) -> Iterable[Finding]:
    """Check that the interface below a macvlan (use_vmac) does not answer ARP for the VIP on the macvlan."""
    for card in facts.host.cards:
        vips = [vip for vip in facts.vips() if vip.version == 4 and card in facts.host.holders(vip)]
        if not (card.lower and vips):
            continue
        if facts.host.effective(card.lower, "arp_ignore"):
            yield right(
                "vmac", f"only {card.name} answers ARP for {join_words(vips)}, not {card.lower} below it"
            )
            continue
        below = facts.host.card(card.lower)
        yield fault(
            "vmac",
            f"{join_words(vips)} is on {card.name} ({card.mac}), and {card.lower} below it answers ARP too"
            + (f" ({below.mac})" if below else ""),
            "hosts that learn that MAC address keep sending to this "
            "host after another director has taken over",
            remedy=[f"sysctl -w {ArpKey(card.lower, 'arp_ignore')}=1"],
            safe=True,
        )


def _owner_of(facts: DirectorFacts, mac: str) -> str:
    """Return a MAC address with the real server that has it."""
    owners = [str(address) for address in facts.real_servers() if mac in facts.answers.macs(address)]
    return f"{mac} (real server {join_words(owners)})" if owners else mac


def _sources(facts: DirectorFacts) -> Iterable[Finding]:
    """Check that this host does not use a VIP as source towards real servers, which have it themselves."""
    vips = facts.vips()
    wrong: dict[Address, list[Address]] = {}
    for server, source in facts.sources.items():
        if source in vips:
            wrong.setdefault(source, []).append(server)
    for vip, servers in wrong.items():
        card = next(iter(facts.host.holders(vip)), None)
        length = next((held.network.prefixlen for held in card.addresses if held.ip == vip), 0) if card else 0
        six = vip.version == 6
        change = [f"ip address change {vip}/{length} dev {card.name} preferred_lft 0"] if card and six else []
        yield warning(
            "source",
            f"this host's own packets to {join_words(servers)} have the VIP {vip} as source",
            "a real server has the VIP itself, so its answers never come back: "
            "checks by programs fail, and so do ssh and ping",
            remedy=change,
            advice=f"and write it as {vip}/{vip.max_prefixlen} or with preferred_lft 0 in virtual_ipaddress"
            if six
            else "give this host an address of its own in the network of these real servers",
        )
    if facts.sources and not wrong:
        yield right("source", "this host's own packets to the real servers do not have a VIP as source")


def _instance_of(facts: DirectorFacts, vip: object) -> InstanceFact | None:
    return next((instance for instance in facts.instances if vip in instance.addresses), None)


CHECKS: tuple[Callable[[DirectorFacts], Iterable[Finding]], ...] = (
    _vip_held,
    _vip_unique,
    _below_macvlans,
    _sources,
)
