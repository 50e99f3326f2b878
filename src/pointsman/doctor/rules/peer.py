"""Two directors of one service compared: what each says of itself, side by side. Pure.

`pointsman doctor --facts` prints a director's PeerFacts; `--peer` takes those of the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pointsman.doctor.facts import DirectorFacts, InstanceFact, ServiceFact, joined
from pointsman.doctor.finding import Diagnosis, Finding, fault, note, right, warning
from pointsman.model.address import bracketed

SKEW = 5.0
"""Seconds by which the clocks of two directors may differ; asking takes a while, too."""


class PeerInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A VRRP instance, as one director has it."""

    name: str
    state: str
    interface: str
    virtual_router_id: int
    priority: int
    advert_interval: float
    addresses: tuple[str, ...] = ()


class PeerService(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual service, as one director has it."""

    scheduler: str
    persistence: int | None
    servers: dict[str, int | None] = {}
    """Weight by address and port; None: out of the table."""
    down: tuple[str, ...] = ()
    """Real servers that fail their checks, seen from this director."""


class PeerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What two directors of one service should have in common, and what they must not."""

    host: str
    version: str
    time: float
    """Seconds since 1970; 0: not known any more."""
    problem: str = ""
    """Why the director could not be asked."""
    instances: tuple[PeerInstance, ...] = ()
    services: dict[str, PeerService] = {}
    """By name."""
    standby: tuple[str, ...] = ()
    """Services that wait for their VIP, on a director that is a real server of them."""
    connection_limit: int = 0


def of_director(facts: DirectorFacts, version: str, time: float) -> PeerFacts:
    """What a director tells its peer."""
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
    names = {bracketed(server.address, server.port): server for server in service.servers}
    return PeerService(
        scheduler=service.scheduler,
        persistence=service.persistence,
        servers={name: server.weight for name, server in names.items()},
        down=tuple(sorted(name for name, server in names.items() if server.up is False)),
    )


def compare(here: PeerFacts, peer: PeerFacts) -> Diagnosis:
    """Every difference that matters; `peer.host` should be the name by which the user knows it."""
    if peer.problem:
        found = fault(
            "peer",
            f"on {peer.host}: {peer.problem}",
            "nobody takes over when this director fails",
            advice=f"start it there: systemctl start pointsman; see pointsman doctor on {peer.host}",
        )
        return Diagnosis(role=f"peer {peer.host}", findings=(found,))
    findings = [finding for check in _CHECKS for finding in check(here, peer)]
    return Diagnosis(role=f"peer {peer.host}", findings=tuple(findings))


def _version(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    if here.version != peer.version:
        yield warning(
            "peer-version",
            f"this is pointsman {here.version}, {peer.host} has {peer.version}",
            "the two may decide differently about the same configuration",
            advice="install the same version on both; the backup first",
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
            "the logs of both cannot be read side by side, and times of a trace do not fit",
            advice="timedatectl on both; let chronyd or systemd-timesyncd keep them",
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
                "the two do not hear each other: both become master, or nobody takes over",
                advice=f"write {item.name} with the same virtual_router_id in both configurations",
            )
        else:
            yield from _states(item, other, peer.host)
            yield from _settings(item, other, peer.host)
    for other in others.values():
        yield fault(
            "peer-vrrp",
            f"only {peer.host} has {other.name}, virtual_router_id {other.virtual_router_id}",
            "nobody takes its addresses over when it fails",
            advice="write it in both configurations",
        )


def _group(item: PeerInstance) -> tuple[int, bool]:
    """What adverts are known by: IPv4 and IPv6 each have virtual routers of their own."""
    return item.virtual_router_id, any(":" in address for address in item.addresses[:1])


def _states(item: PeerInstance, other: PeerInstance, host: str) -> Iterable[Finding]:
    states = sorted((item.state, other.state))
    what = f"{item.name} is {item.state} here and {other.state} on {host}"
    if states == ["MASTER", "MASTER"]:
        yield fault(
            "peer-vrrp",
            what,
            "both hold the VIP: each gets a part of the clients, and connections break",
            advice="their adverts do not reach each other: look for a filter of IP protocol 112 on either, "
            "compare authentication and interface",
        )
    elif "MASTER" not in states:
        yield fault(
            "peer-vrrp",
            what,
            "nobody holds the VIP",
            advice="see why an instance is in FAULT: pointsman status on both",
        )
    elif "FAULT" in states:
        yield warning(
            "peer-vrrp",
            what,
            "nobody takes over when the master fails",
            advice="remove the cause: pointsman status there",
        )
    else:
        yield right("peer-vrrp", what)


def _settings(item: PeerInstance, other: PeerInstance, host: str) -> Iterable[Finding]:
    pairs = (
        ("advert_int", item.advert_interval, other.advert_interval),
        ("virtual_ipaddress", joined(item.addresses), joined(other.addresses)),
    )
    for word, mine, yours in pairs:
        if mine != yours:
            yield fault(
                "peer-settings",
                f"{word} of {item.name} is {mine} here and {yours} on {host}",
                "adverts that differ in it are dropped, or addresses change with the master",
                advice=f"write the same {word} in both configurations",
            )
    if item.priority == other.priority:
        yield note(
            "peer-settings",
            f"both have priority {item.priority} in {item.name}: whoever is master stays so",
        )


def _services(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    why = "clients are served differently after a take-over"
    same = True
    waiting = {*here.standby, *peer.standby}
    for name in sorted((here.services.keys() | peer.services.keys()) - waiting):
        mine, yours = here.services.get(name), peer.services.get(name)
        if mine is None or yours is None:
            same = False
            where = "here" if mine else f"on {peer.host}"
            yield fault(
                "peer-services",
                f"{name} is in force only {where}",
                "its clients are refused after a take-over",
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
                text = f"{word} of {name}: {_told(one)} here, {_told(two)} on {peer.host}"
                yield warning("peer-services", text, why, advice="use the same configuration on both")
        yield from _health(name, mine, yours, peer.host)
    if same:
        yield right("peer-services", f"both have the same {len(here.services)} services")


def _weights(one: PeerService, two: PeerService) -> list[str]:
    """The real servers in use, without those that one of both finds down: that is told apart."""
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
            "one of the two cannot reach it: a cable, a VLAN, a firewall",
            advice="pointsman doctor on the one that cannot",
        )


def _told(value: object) -> str:
    return (joined(value) or "none") if isinstance(value, list) else str(value)


def _sizes(here: PeerFacts, peer: PeerFacts) -> Iterable[Finding]:
    if here.connection_limit != peer.connection_limit:
        yield warning(
            "peer-table",
            f"room for {here.connection_limit} connections here, {peer.connection_limit} on {peer.host}",
            "the smaller one may be full after a take-over",
            advice="start both with the same --connections",
        )


_CHECKS: tuple[Callable[[PeerFacts, PeerFacts], Iterable[Finding]], ...] = (
    _vrrp,
    _services,
    _version,
    _clocks,
    _sizes,
)
