# SPDX-License-Identifier: Apache-2.0
"""Rules for the path between a director and its real servers, seen from the director. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pointsman.doctor.facts import DirectorFacts, Response, ServerFact, ServiceFact, join_words
from pointsman.doctor.finding import Finding, fault, right, unknown, warning
from pointsman.model.address import format_endpoint, resolution_protocol


def _direct(facts: DirectorFacts) -> Iterator[tuple[ServiceFact, ServerFact]]:
    """Yield the real servers with direct routing, service by service."""
    for service in facts.services:
        for server in service.servers:
            if server.forwarding == "Route":
                yield service, server


def _health(facts: DirectorFacts) -> Iterable[Finding]:
    for service in facts.services:
        in_use = any(server.weight for server in service.servers)
        for server in service.servers:
            name = format_endpoint(server.address, server.port)
            if server.up is False:
                yield fault(
                    "health",
                    f"{name} of {service.name} failed its check: {server.reason}",
                    "it is out of the table"
                    + (", and the other real servers get its load" if in_use else " and gets no connection"),
                    advice=f"on {server.address}: {_cure(service, server)}",
                )
            elif server.up:
                yield right("health", f"{name} of {service.name} is up")


def _cure(service: ServiceFact, server: ServerFact) -> str:
    """Return what to do on a real server whose check failed."""
    name = format_endpoint(server.address, server.port)
    if "refused" in server.reason:
        return f"start the program that listens at {name}"
    if "timeout" in server.reason:
        vip = format_endpoint(service.address, service.port) if service.address else "VIP:PORT"
        return (
            f"pointsman doctor {vip}; it is the firewall, the network, or a program at {name} that accepts "
            "no connections"
        )
    return f"look into the log of the program that listens at {name}"


def _ports(facts: DirectorFacts) -> Iterable[Finding]:
    for service, server in _direct(facts):
        if not service.port or server.port == service.port:
            continue
        name = format_endpoint(server.address, server.port)
        target = format_endpoint(server.address, service.port)
        yield fault(
            "port",
            f"{name} of {service.name} has a different port than the service",
            f"direct routing does not change ports: requests arrive at port {service.port} of the real "
            f"server, never at {server.port}",
            remedy=[]
            if service.managed
            else [
                f"pointsman ipvsadm -a {service.option} -r {target} -g -w {server.weight or 1}",
                f"pointsman ipvsadm -d {service.option} -r {name}",
            ],
            advice=f"configure {target} instead" if service.managed else "",
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
                f"pointsman ipvsadm -d {service.option} -r {format_endpoint(server.address, server.port)}"
                for service, server in _direct(facts)
                if server.address == address and not service.managed
            ]
            yield fault(
                "on-link",
                f"{address} is {how}",
                "direct routing sends the frame to the real server's "
                "MAC address: both must be on one Ethernet",
                remedy=removals,
                advice=""
                if removals
                else "add an address in its network to the director's interface, or remove "
                "the real server from the configuration",
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
                f"{join_words(macs)} all answer {resolution_protocol(address)} for {address}",
                "requests go sometimes to one host, sometimes to the other",
                advice="find the hosts in the switch's MAC address table, and give each its own address",
            )
        elif known is not None and macs and known.mac not in macs:
            yield fault(
                "mac",
                f"the neighbour table has {known.mac} for {address}"
                f"{' (permanent)' if known.permanent else ''}, but {macs[0]} answers",
                "requests are sent to a MAC address that is not the real server's",
                remedy=[forget],
                safe=True,
            )
        elif not macs:
            yield fault(
                "mac",
                f"{address} does not answer {resolution_protocol(address)} on {route.interface}",
                "its MAC address is unknown, or will be soon: requests for it are dropped",
                advice="check that the host and its interface are up; on it run: pointsman doctor "
                f"{_any_vip(facts)}",
            )
        elif gateways & set(macs):
            yield warning(
                "mac",
                f"{address} has the MAC address of the gateway ({macs[0]})",
                "a router that answers for other hosts (proxy ARP) sends the request back to the VIP",
                advice="disable proxy_arp on the gateway, or move the real server to this Ethernet",
            )
        else:
            yield right("mac", f"{address} is {macs[0]}")


def _responses(facts: DirectorFacts) -> Iterable[Finding]:
    """Check the response of each real server to a SYN for the VIP that is sent to its MAC address."""
    services = {service.name: service for service in facts.services}
    for (name, address), response in facts.responses.items():
        service = services[name]
        assert service.address is not None
        target = format_endpoint(service.address, service.port)
        if response is Response.ACCEPTED:
            yield right("delivery", f"{address} accepts connections to {target}")
        elif response is Response.REFUSED:
            yield fault(
                "delivery",
                f"{address} has the VIP, but refuses connections to {target}",
                "clients that are scheduled to it get RST",
                advice=f"on {address}: let the program listen at {target} or at every address; then: "
                f"pointsman doctor {target}",
            )
        else:
            yield fault(
                "delivery",
                f"{address} does not answer a SYN for {target} that is sent to its MAC address",
                "the VIP is not on its lo, or a firewall or rp_filter drops the packet: clients scheduled to "
                "it get no answer",
                advice=f"on {address}: pointsman doctor {target}; the usual remedy is: "
                f"pointsman realserver up {service.address}",
            )


def _mtu(facts: DirectorFacts) -> Iterable[Finding]:
    for address, echo in facts.echoes.items():
        if echo.large:
            yield right("mtu", f"packets of {echo.size} bytes reach {address}")
        elif not echo.small:
            yield unknown(
                "mtu", f"{address} does not answer pings, so it is unknown if {echo.size} bytes reach it"
            )
        else:
            yield fault(
                "mtu",
                f"packets of {echo.size} bytes do not reach {address}; short ones do",
                "large requests hang: they are dropped on the path without an ICMP message",
                advice=f"the MTU of {address}, or of a switch on the path, is smaller than the director's: "
                f"on {address} run: pointsman doctor {_any_vip(facts)}",
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
