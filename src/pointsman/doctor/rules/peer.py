# SPDX-License-Identifier: Apache-2.0
"""Rules for two directors of one service: compare what each reports about itself. Pure.

`pointsman doctor --facts` prints a director's PeerFacts; `--peer` reads those of the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pointsman.doctor.facts import DirectorFacts, InstanceFact, ServiceFact, join_words
from pointsman.doctor.finding import Diagnosis, Finding, fault, note, right, warning
from pointsman.model.address import format_endpoint

SKEW = 5.0
"""Seconds by which the clocks of two directors may differ. It includes the time of the request."""


class PeerInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A VRRP instance, as one director reports it."""

    name: str
    state: str
    interface: str
    virtual_router_id: int
    priority: int
    advert_interval: float
    addresses: tuple[str, ...] = ()


class PeerService(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual service, as one director reports it."""

    scheduler: str
    persistence: int | None
    servers: dict[str, int | None] = {}
    """Weight by address and port. None: out of the table."""
    down: tuple[str, ...] = ()
    """Real servers that fail their checks on this director."""


class PeerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about one director that its peer is compared with."""

    host: str
    version: str
    time: float
    """Seconds since 1970. 0: unknown."""
    problem: str = ""
    """Reason why the director could not be asked."""
    instances: tuple[PeerInstance, ...] = ()
    services: dict[str, PeerService] = {}
    """By name."""
    standby: tuple[str, ...] = ()
    """Services that wait for their VIP, on a director that is also a real server of them."""
    connection_limit: int = 0


def describe_director(facts: DirectorFacts, version: str, time: float) -> PeerFacts:
    """Return the facts about a director in the form for its peer."""
    return PeerFacts(
        host=facts.host.name,
        version=version,
        time=time,
        problem=facts.problem,
        instances=tuple(_instance(item) for item in facts.instances),
        services={service.name: _service(service) for service in facts.services},
        standby=facts.standby,
        connection_limit=facts.connection_limit,
    )


def _instance(item: InstanceFact) -> PeerInstance:
    return PeerInstance(
        name=item.name,
        state=item.state,
        interface=item.interface,
        virtual_router_id=item.virtual_router_id,
        priority=item.priority,
        advert_interval=item.advert_interval,
        addresses=tuple(sorted(map(str, item.addresses))),
    )


def _service(service: ServiceFact) -> PeerService:
    names = {format_endpoint(server.address, server.port): server for server in service.servers}
    return PeerService(
        scheduler=service.scheduler,
        persistence=service.persistence,
        servers={name: server.weight for name, server in names.items()},
        down=tuple(sorted(name for name, server in names.items() if server.up is False)),
    )


def compare(here: PeerFacts, peer: PeerFacts) -> Diagnosis:
    """Return every difference that matters. `peer.host` should be the name the user knows the peer by."""
    if peer.problem:
        found = fault(
            "peer",
            f"on {peer.host}: {peer.problem}",
            "no director takes over when this one fails",
            advice=f"start it there: systemctl start pointsman; then run pointsman doctor on {peer.host}",
        )
        return Diagnosis(role=f"peer {peer.host}", findings=(found,))
    findings = [finding for check in _CHECKS for finding in check(here, peer)]
    return Diagnosis(role=f"peer {peer.host}", findings=tuple(findings))


def _version(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    if here.version != peer.version:
        yield warning(
            "peer-version",
            f"this is pointsman {here.version}, {peer.host} has {peer.version}",
            "the two may treat the same configuration differently",
            advice="install the same version on both, on the backup first",
        )
    else:
        yield right("peer-version", f"both have pointsman {here.version}")


def _clocks(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    skew = peer.time - here.time
    if not peer.time:
        return
    if abs(skew) > SKEW:
        yield warning(
            "peer-clock",
            f"the clock of {peer.host} is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
            "times in the logs and traces of the two do not match",
            advice="run timedatectl on both, and let chronyd or systemd-timesyncd synchronise the clocks",
        )
    else:
        yield right("peer-clock", "the clocks agree")


def _vrrp(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    others = {_group(item): item for item in peer.instances}
    for item in here.instances:
        other = others.pop(_group(item), None)
        if other is None:
            yield fault(
                "peer-vrrp",
                f"{peer.host} has no instance with virtual_router_id {item.virtual_router_id} ({item.name})",
                "the two do not receive each other's adverts: both become master, or neither takes over",
                advice=f"configure {item.name} with the same virtual_router_id on both",
            )
        else:
            yield from _states(item, other, peer.host)
            yield from _settings(item, other, peer.host)
    for other in others.values():
        yield fault(
            "peer-vrrp",
            f"only {peer.host} has {other.name}, virtual_router_id {other.virtual_router_id}",
            "no director takes over its addresses when it fails",
            advice="configure it on both",
        )


def _group(item: PeerInstance) -> tuple[int, bool]:
    """Return the key of a virtual router in adverts: its number, and True for IPv6."""
    return item.virtual_router_id, any(":" in address for address in item.addresses[:1])


def _states(item: PeerInstance, other: PeerInstance, host: str) -> Iterable[Finding]:
    states = sorted((item.state, other.state))
    what = f"{item.name} is {item.state} here and {other.state} on {host}"
    if states == ["MASTER", "MASTER"]:
        yield fault(
            "peer-vrrp",
            what,
            "both have the VIP: each gets a part of the clients, and connections break",
            advice="their adverts do not reach each other: look for a firewall that drops IP protocol 112 on "
            "either, and compare authentication and interface",
        )
    elif "MASTER" not in states:
        yield fault(
            "peer-vrrp",
            what,
            "no director has the VIP",
            advice="run pointsman status on both to see why an instance is in FAULT",
        )
    elif "FAULT" in states:
        yield warning(
            "peer-vrrp",
            what,
            "no director takes over when the master fails",
            advice="remove the cause; pointsman status there shows it",
        )
    else:
        yield right("peer-vrrp", what)


def _settings(item: PeerInstance, other: PeerInstance, host: str) -> Iterable[Finding]:
    pairs = (
        ("advert_int", item.advert_interval, other.advert_interval),
        ("virtual_ipaddress", join_words(item.addresses), join_words(other.addresses)),
    )
    for word, mine, yours in pairs:
        if mine != yours:
            yield fault(
                "peer-settings",
                f"{word} of {item.name} is {mine} here and {yours} on {host}",
                "adverts with a different value are dropped, or the addresses change when the master changes",
                advice=f"configure the same {word} on both",
            )
    if item.priority == other.priority:
        yield note(
            "peer-settings",
            f"both have priority {item.priority} in {item.name}: the present master stays master",
        )


def _services(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    why = "clients are served differently after a failover"
    same = True
    waiting = {*here.standby, *peer.standby}
    for name in sorted((here.services.keys() | peer.services.keys()) - waiting):
        mine, yours = here.services.get(name), peer.services.get(name)
        if mine is None or yours is None:
            same = False
            where = "here" if mine else f"on {peer.host}"
            yield fault(
                "peer-services",
                f"{name} is active only {where}",
                "its clients are refused after a failover",
                advice="use the same configuration on both: pointsman check --peer FILE compares them",
            )
            continue
        for word, one, two in (
            ("scheduler", mine.scheduler, yours.scheduler),
            ("persistence_timeout", mine.persistence, yours.persistence),
            ("real servers", _weights(mine, yours), _weights(yours, mine)),
        ):
            if one != two:
                same = False
                text = f"{word} of {name}: {_in_words(one)} here, {_in_words(two)} on {peer.host}"
                yield warning("peer-services", text, why, advice="use the same configuration on both")
        yield from _health(name, mine, yours, peer.host)
    if same:
        yield right("peer-services", f"both have the same {len(here.services)} services")


def _weights(one: PeerService, two: PeerService) -> list[str]:
    """Return the real servers in use with their weights, except those that are down on either director.

    _health reports these.
    """
    down = {*one.down, *two.down}
    return sorted(
        f"{name} weight {weight}"
        for name, weight in one.servers.items()
        if name not in down and weight is not None
    )


def _health(name: str, mine: PeerService, yours: PeerService, host: str) -> Iterable[Finding]:
    for server in sorted({*mine.down} ^ {*yours.down}):
        where, elsewhere = ("here", f"on {host}") if server in mine.down else (f"on {host}", "here")
        yield warning(
            "peer-health",
            f"{server} of {name} fails its check {where} and passes {elsewhere}",
            "one of the two cannot reach it: check cable, VLAN and firewall",
            advice="run pointsman doctor on the one that cannot reach it",
        )


def _in_words(value: object) -> str:
    return (join_words(value) or "none") if isinstance(value, list) else str(value)


def _sizes(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    if here.connection_limit != peer.connection_limit:
        yield warning(
            "peer-table",
            f"room for {here.connection_limit} connections here, {peer.connection_limit} on {peer.host}",
            "the smaller table may be full after a failover",
            advice="start both with the same --connections",
        )


_CHECKS: tuple[Callable[[PeerFacts, PeerFacts], Iterable[Finding]], ...] = (
    _vrrp,
    _services,
    _version,
    _clocks,
    _sizes,
)
