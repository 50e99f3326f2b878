# SPDX-License-Identifier: Apache-2.0
"""Rules for a director: its program, services and VRRP. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pointsman.doctor.facts import DirectorFacts, InstanceFact, Pins, SeenAdvert, ServiceFact, join_words
from pointsman.doctor.finding import Diagnosis, Finding, fault, note, right, unknown, warning
from pointsman.doctor.rules import firewall
from pointsman.doctor.rules import host as host_rules
from pointsman.doctor.rules.addresses import CHECKS as ADDRESS_CHECKS
from pointsman.doctor.rules.adverts import dropped_adverts
from pointsman.doctor.rules.servers import CHECKS as SERVER_CHECKS
from pointsman.model.address import format_endpoint
from pointsman.model.wording import NEARLY_FULL, fullness

ETHERNET_MTU = 1500


def examine(facts: DirectorFacts) -> Diagnosis:
    """Run every check. If no director answers, look only for what may be in its place."""
    if facts.problem:
        others = host_rules.other_balancers(facts.host)
        return Diagnosis(role="director", findings=(_not_running(facts), *others))
    findings = [finding for check in (*_CHECKS, *SERVER_CHECKS) for finding in check(facts)]
    return Diagnosis(role="director", findings=tuple(findings))


def _not_running(facts: DirectorFacts) -> Finding:
    if facts.left_in_force:
        return fault(
            "director",
            "no director runs; the program and table of an earlier one still forward packets: "
            f"{facts.problem}",
            "health, VRRP states and MAC addresses do not change any more since it ended",
            advice="start it again; it takes over the table in the kernel: systemctl restart pointsman",
        )
    return fault(
        "director",
        facts.problem,
        "requests for the VIP are not forwarded by this host",
        advice="start it: systemctl start pointsman, or pointsman run -f keepalived.conf",
    )


def _links(facts: DirectorFacts) -> Iterable[Finding]:
    for name in facts.attachments:
        card = facts.host.card(name)
        if card is None:
            yield fault(
                "link",
                f"the interface {name} does not exist any more",
                "requests that arrived on it are not forwarded",
                advice="restart the director when the interface is back",
            )
        elif not card.up:
            yield fault(
                "link",
                f"{name} is down",
                "no packet is received or sent on it",
                remedy=[f"ip link set {name} up"],
            )
        elif not card.running:
            yield fault(
                "link",
                f"{name} has no carrier",
                "no packet is received or sent on it",
                advice="check the cable and the switch port",
            )
        elif card.mac and not card.arp:
            yield fault(
                "link",
                f"{name} is set to NOARP",
                "other hosts cannot find the VIP, and the director cannot find the real servers",
                remedy=[f"ip link set {name} arp on"],
                safe=True,
            )
        elif card.mtu < ETHERNET_MTU:
            yield warning(
                "mtu",
                f"the MTU of {name} is {card.mtu}, below Ethernet's {ETHERNET_MTU}",
                "longer requests from another interface are dropped here without an ICMP message",
                remedy=[f"ip link set {name} mtu {ETHERNET_MTU}"],
            )
        else:
            yield right("link", f"{name} is up")


def _program(facts: DirectorFacts) -> Iterable[Finding]:
    for name, (mode, reason) in facts.attachments.items():
        card = facts.host.card(name)
        if card is not None and mode != "tc" and not card.xdp:
            yield fault(
                "program",
                f"the director's program is no longer on {name}",
                "requests that arrive on it go to this host's own network stack, which refuses them",
                advice="restart the director to attach it again: systemctl restart pointsman",
            )
        elif mode == "native":
            yield right("program", f"{name}: native XDP")
        else:
            yield note("program", f"{name}: {mode}, slower than native XDP{f' ({reason})' if reason else ''}")
    if not facts.attachments:
        yield fault(
            "program",
            "the director's program is not attached to any interface",
            "no requests are forwarded",
            advice="name the interfaces: pointsman run --interface IF",
        )


def _pins(facts: DirectorFacts) -> Iterable[Finding]:
    """Check that program and table outlive a director that is killed."""
    place = "the bpf file system with the director's pins is only in its own mount namespace"
    if facts.pins is Pins.FLEETING:
        yield warning(
            "pins",
            place,
            "if the director is killed, its program and table end too: forwarding stops until it runs again",
            advice="mount it for the whole host and start the director again: mount -t bpf bpf /sys/fs/bpf; "
            "in a namespace use nsenter --net=/run/netns/NAME in place of ip netns exec; in a container "
            "mount /sys/fs/bpf of the host",
        )
    elif facts.pins is Pins.KEPT:
        yield note("pins", f"{place}, which other processes keep")
    elif facts.pins is Pins.HOST:
        yield right("pins", "program and table stay in force if the director is killed")


def _services(facts: DirectorFacts) -> Iterable[Finding]:
    for service in facts.services:
        usable = [server for server in service.servers if server.weight]
        if usable:
            yield right("service", f"{service.name} has {len(usable)} real servers in use")
        else:
            yield _no_server_in_use(service)
    if facts.services or facts.standby:
        return
    if facts.instances:
        yield unknown(
            "service",
            "there are no virtual services in the table: right only if this host is to do VRRP alone",
        )
    else:
        yield warning(
            "service",
            "there are no virtual services in the table",
            "nothing is forwarded: this host itself answers what arrives, as any other host",
            advice="name the configuration file: pointsman run -f FILE; or add one: pointsman ipvsadm -A ...",
        )


def _no_server_in_use(service: ServiceFact) -> Finding:
    why = "every new connection is refused"
    quiesced = [server for server in service.servers if server.weight == 0]
    if not service.servers:
        return fault(
            "service",
            f"{service.name} has no real server",
            why,
            advice=f"add one: pointsman ipvsadm -a {service.option} -r RIP:{service.port} -g",
        )
    if quiesced and not service.managed:
        return fault(
            "service",
            f"every real server of {service.name} has weight 0",
            why,
            remedy=[
                f"pointsman ipvsadm -e {service.option} -r "
                f"{format_endpoint(server.address, server.port)} -g -w 1"
                for server in quiesced
            ],
        )
    if ordered := [server for server in service.servers if server.by_hand]:
        return fault(
            "service",
            f"no real server of {service.name} is in use, {len(ordered)} of {len(service.servers)} by hand",
            why,
            remedy=[
                f"pointsman release {format_endpoint(server.address, server.port)}" for server in ordered
            ],
        )
    return fault(
        "service",
        f"no real server of {service.name} is in use",
        why,
        advice="see the findings about its real servers, or configure a weight above 0",
    )


def _data_plane_problems(facts: DirectorFacts) -> Iterable[Finding]:
    for problem in facts.problems:
        if problem.startswith("cannot "):
            yield warning(
                "data-plane",
                problem,
                "the table in force is not the configured one",
                advice="correct the configuration; `pointsman check` explains the problem",
            )
        elif problem.startswith("no sign of life "):
            yield fault(
                "processes",
                problem,
                "`pointsman status` cannot know more than that process last reported",
                advice="the supervisor restarts the process; its log says why it was hung",
            )
        elif problem.startswith("the table differs "):
            what, _, mend = problem.partition("; fix: ")
            yield fault("table", what, "clients are not served as configured", remedy=[mend])
        elif _is_of_an_interface(problem, facts.attachments):
            what, _, mend = problem.partition("; fix: ")
            yield fault(
                "interface",
                what,
                "packets that arrive there are not forwarded, or not all of them",
                remedy=[mend] if mend else [],
            )


def _is_of_an_interface(problem: str, attached: Iterable[str]) -> bool:
    """True if the data plane reported a problem of an interface that it is, or should be, attached to."""
    first = ("interface ", "no packets are taken from ", *(f"{name} has " for name in attached))
    return problem.startswith(first)


def _instances(facts: DirectorFacts) -> Iterable[Finding]:
    for instance in facts.instances:
        if instance.state == "FAULT":
            yield fault(
                "vrrp",
                f"VRRP {instance.name} is in FAULT: {instance.reason}",
                "this director cannot take over",
                advice="remove the cause; the instance then leaves FAULT by itself",
            )
        elif instance.state == "UNKNOWN":
            yield fault(
                "vrrp",
                f"the state of VRRP {instance.name} is unknown: {instance.reason}",
                "this director sends no adverts, and another one takes over",
                advice="the supervisor restarts the process; its log says why it was hung",
            )
        else:
            yield right("vrrp", f"VRRP {instance.name} is {instance.state}")


def _adverts(facts: DirectorFacts) -> Iterable[Finding]:
    own = {held.ip for card in facts.host.cards for held in card.addresses}
    for instance in facts.instances:
        heard = [
            advert
            for advert in facts.adverts
            if (advert.interface, advert.virtual_router_id)
            == (instance.interface, instance.virtual_router_id)
            and advert.source.version == instance.version
            and advert.source not in own
        ]
        strangers = sorted({str(advert.source) for advert in heard if _is_strange(instance, advert)})
        if strangers:
            yield warning(
                "vrid-unique",
                f"{join_words(strangers)} sends adverts of virtual router {instance.virtual_router_id} on "
                f"{instance.interface} and does not belong to {instance.name}",
                "two groups of directors with the same virtual_router_id treat each other as master",
                advice="give one of them another virtual_router_id, or configure it as unicast_peer",
            )
        yield from _masters(instance, {str(advert.source) for advert in heard if advert.priority}, strangers)


def _is_strange(instance: InstanceFact, advert: SeenAdvert) -> bool:
    """True if an advert does not belong to the instance's group.

    With unicast, its sender is no peer. With multicast, it contains none of the instance's addresses.
    """
    if instance.peers:
        return advert.source not in instance.peers
    return bool(advert.addresses) and not set(advert.addresses) & set(instance.addresses)


def _masters(instance: InstanceFact, senders: set[str], strangers: list[str]) -> Iterable[Finding]:
    others = sorted(senders - set(strangers))
    if instance.state == "MASTER" and others:
        yield fault(
            "one-master",
            f"{join_words(others)} is also master of {instance.name}: its adverts arrive here",
            "both have the VIP",
            advice="compare priority, authentication and advert_int on both; "
            "`pointsman run` logs why it drops an advert",
        )
    elif instance.state == "BACKUP" and not senders:
        yield warning(
            "one-master",
            f"no adverts from the master of {instance.name} arrive on {instance.interface}",
            "this director will take the VIP while the master still holds it",
            advice=f"look for a firewall between them that drops IP protocol {instance.protocol}",
        )
    else:
        yield right("one-master", f"VRRP {instance.name} has one master")


def _firewall(facts: DirectorFacts) -> Iterable[Finding]:
    yield from firewall.judge_flows(
        facts.host,
        firewall.of_director(facts),
        "the firewall lets VRRP, BFD and health checks pass",
    )


def _tables(facts: DirectorFacts) -> Iterable[Finding]:
    if facts.connection_limit and facts.connections >= NEARLY_FULL * facts.connection_limit:
        yield warning(
            "connection-table",
            fullness("connection table", facts.connections, facts.connection_limit, "connections"),
            "new connections without an entry are scheduled by hash: "
            "they break when the list of real servers changes",
            advice="restart with a larger table: pointsman run --connections "
            f"{min(1 << 24, 4 * facts.connection_limit)}",
        )
    else:
        fill = f"{facts.connections} of {facts.connection_limit}"
        yield right("connection-table", f"room in the connection table: {fill} connections")


def _host(facts: DirectorFacts) -> Iterable[Finding]:
    modes = {name: mode for name, (mode, _) in facts.attachments.items()}
    yield from host_rules.other_balancers(facts.host)
    yield from host_rules.forwarding(facts.host.system, _services_with_nat(facts))
    yield from host_rules.neighbours(facts.host, facts.fresh_overflows)
    yield from host_rules.offloads(facts.host.cards, modes)
    yield from host_rules.kernel(facts.host.system, facts.lacks)
    yield from host_rules.speed(facts.host.system, facts.vrrp_is_slow)
    yield from host_rules.clock(facts.host.system, facts.clock_jump)


def _services_with_nat(facts: DirectorFacts) -> list[str]:
    """Return the services whose packets the kernel itself has to forward: those with NAT."""
    return [
        service.name
        for service in facts.services
        if any(server.forwarding == "Masq" for server in service.servers)
    ]


_CHECKS: tuple[Callable[[DirectorFacts], Iterable[Finding]], ...] = (
    _links,
    _program,
    _pins,
    _services,
    _data_plane_problems,
    _instances,
    dropped_adverts,
    _adverts,
    *ADDRESS_CHECKS,
    _firewall,
    _tables,
    _host,
)
