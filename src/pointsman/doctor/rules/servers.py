"""What is wrong between a director and its real servers, seen from the director. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pointsman.doctor.facts import DirectorFacts, Response, ServerFact, ServiceFact, joined
from pointsman.doctor.finding import Finding, fault, right, unknown, warning
from pointsman.model.address import bracketed, resolution


def _direct(facts: DirectorFacts) -> Iterator[tuple[ServiceFact, ServerFact]]:
    """The real servers of direct routing, service by service."""
    for service in facts.services:
        for server in service.servers:
            if server.forwarding == "Route":
                yield service, server


def _health(facts: DirectorFacts) -> Iterable[Finding]:
    for service in facts.services:
        for server in service.servers:
            name = bracketed(server.address, server.port)
            if server.up is False:
                yield fault(
                    "health",
                    f"{name} of {service.name} failed its check: {server.reason}",
                    "it is out of the table; the others carry its load",
                    advice=f"on {server.address}: start the program that listens at {name}",
                )
            elif server.up:
                yield right("health", f"{name} of {service.name} is up")


def _ports(facts: DirectorFacts) -> Iterable[Finding]:
    for service, server in _direct(facts):
        if not service.port or server.port == service.port:
            continue
        name = bracketed(server.address, server.port)
        target = bracketed(server.address, service.port)
        yield fault(
            "port",
            f"{name} of {service.name} has another port than the service",
            f"direct routing changes no port: requests arrive at port {service.port} of the real server, and "
            f"nothing ever at {server.port}",
            remedy=[]
            if service.managed
            else [
                f"pointsman ipvsadm -a {service.option} -r {target} -g -w {server.weight or 1}",
                f"pointsman ipvsadm -d {service.option} -r {name}",
            ],
            advice=f"write {target} in the configuration" if service.managed else "",
        )


def _on_link(facts: DirectorFacts) -> Iterable[Finding]:
    for address in facts.real_servers():
        route = facts.host.route(address)
        if facts.host.holders(address):
            yield right("on-link", f"{address} is this host itself")
        elif route is not None and route.gateway is None:
            yield right("on-link", f"{address} is on-link on {route.interface}")
        else:
            how = f"behind the gateway {route.gateway}" if route else "in no network of this host"
            removals = [
                f"pointsman ipvsadm -d {service.option} -r {bracketed(server.address, server.port)}"
                for service, server in _direct(facts)
                if server.address == address and not service.managed
            ]
            yield fault(
                "on-link",
                f"{address} is {how}",
                "direct routing addresses the frame to the real server itself: both must be on one Ethernet",
                remedy=removals,
                advice=""
                if removals
                else "give the director's interface an address in its network, or take "
                "it out of the configuration",
            )


def _macs(facts: DirectorFacts) -> Iterable[Finding]:
    gateways = {
        mac
        for route in facts.host.routes
        if route.gateway is not None
        for mac in facts.answers.macs(route.gateway)
    }
    for address in facts.real_servers():
        route = facts.host.route(address)
        if route is None or route.gateway is not None or facts.host.holders(address):
            continue
        macs = facts.answers.macs(address, route.interface)
        known = next(
            (
                entry
                for entry in facts.host.neighbours
                if (entry.address, entry.interface) == (address, route.interface) and entry.mac
            ),
            None,
        )
        forget = f"ip neigh del {address} dev {route.interface}"
        if len(macs) > 1:
            yield fault(
                "rip-unique",
                f"{joined(macs)} all answer {resolution(address)} for {address}",
                "requests go now to one, now to the other host",
                advice="find the hosts in the switch's table of MAC addresses; give each its own address",
            )
        elif known is not None and macs and known.mac not in macs:
            yield fault(
                "mac",
                f"the neighbour table has {known.mac} for {address}"
                f"{' for ever (permanent)' if known.permanent else ''}, but {macs[0]} answers",
                "requests are sent to a MAC address that is not the real server's",
                remedy=[forget],
                safe=True,
            )
        elif not macs:
            yield fault(
                "mac",
                f"{address} does not answer {resolution(address)} on {route.interface}",
                "its MAC address is unknown or will soon be: requests for it are dropped",
                advice=f"is the host up, is its interface? On it: pointsman doctor {_any_vip(facts)}",
            )
        elif gateways & set(macs):
            yield warning(
                "mac",
                f"{address} has the MAC address of the gateway ({macs[0]})",
                "a router that answers for others (proxy ARP) routes the request, back to the VIP",
                advice="switch proxy_arp off on the gateway, or put the real server on this Ethernet",
            )
        else:
            yield right("mac", f"{address} is {macs[0]}")


def _responses(facts: DirectorFacts) -> Iterable[Finding]:
    """What the real server says to a SYN for the VIP that comes the way the director sends it."""
    services = {service.name: service for service in facts.services}
    for (name, address), response in facts.responses.items():
        service = services[name]
        assert service.address is not None
        target = bracketed(service.address, service.port)
        if response is Response.ACCEPTED:
            yield right("delivery", f"{address} accepts connections to {target}")
        elif response is Response.REFUSED:
            yield fault(
                "delivery",
                f"{address} has the VIP, but refuses connections to {target}",
                "clients that are sent there get RST",
                advice=f"on {address}: let the program listen at {target} or at every address; then: "
                f"pointsman doctor {target}",
            )
        else:
            yield fault(
                "delivery",
                f"{address} does not answer a SYN for {target} that is sent to its MAC address",
                "the VIP is not on its lo, or a firewall or rp_filter drops the packet: clients sent there "
                "wait in vain",
                advice=f"on {address}: pointsman doctor {target}; most often it lacks: "
                f"pointsman realserver up {service.address}",
            )


def _mtu(facts: DirectorFacts) -> Iterable[Finding]:
    for address, echo in facts.echoes.items():
        if echo.large:
            yield right("mtu", f"packets of {echo.size} bytes reach {address}")
        elif not echo.small:
            yield unknown(
                "mtu", f"{address} answers no ping: whether {echo.size} bytes reach it is not known"
            )
        else:
            yield fault(
                "mtu",
                f"packets of {echo.size} bytes do not reach {address}; short ones do",
                "large requests hang: they are dropped on the way without an ICMP message",
                advice=f"the MTU of {address}, or of a switch on the way, is smaller than the director's: "
                f"on {address}: pointsman doctor {_any_vip(facts)}",
            )


def _any_vip(facts: DirectorFacts) -> str:
    return next((str(vip) for vip in facts.vips()), "VIP")


CHECKS: tuple[Callable[[DirectorFacts], Iterable[Finding]], ...] = (
    _health,
    _ports,
    _on_link,
    _macs,
    _responses,
    _mtu,
)
