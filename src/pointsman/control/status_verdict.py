# SPDX-License-Identifier: Apache-2.0
"""Judge a status: what is wrong, so that a script can tell by the exit code of `pointsman status`."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.control.status import DroppedStatus, InstanceStatus, ServerStatus, ServiceStatus, Status
from pointsman.model.wording import NEARLY_FULL, count, duration, fullness

UNRESOLVED = "not resolved"
"""Text of a next hop whose MAC address is not known."""
MOST_NAMED = 3
"""Real servers or services of one kind of trouble that are named."""
LOST_ADVERTS = 3
"""Intervals without an advert after which a router is no longer heard."""
RECENT, RECENT_ADVERTS = 30.0, 5
"""Seconds, and intervals of adverts, after which a dropped advert is no longer wrong."""


def is_serving(server: ServerStatus) -> bool:
    """True if new connections can reach this real server."""
    return bool(server.weight) and server.next_hop != UNRESOLVED


def is_unknown(server: ServerStatus) -> bool:
    """True if the state of this real server was known, but is too old."""
    return server.up is None and bool(server.reason)


def is_meant(server: ServerStatus) -> bool:
    """True if an administrator or the configuration has taken this real server out of service."""
    return bool(server.by_hand) or (server.up is not False and server.weight == 0)


def is_deserted(service: ServiceStatus) -> bool:
    """True if clients of this service reach no real server."""
    return not service.standby and not any(map(is_serving, service.servers))


def is_recent(dropped: DroppedStatus, advert_interval: float | None) -> bool:
    """True if the cause of a dropped advert may still be there."""
    return dropped.seconds <= max(RECENT, RECENT_ADVERTS * (advert_interval or 1.0))


def hears_rival(instance: InstanceStatus) -> bool:
    """True if this master still hears another one."""
    heard = instance.last_advert
    if instance.state != "MASTER" or heard is None or not heard.priority:
        return False
    limit = LOST_ADVERTS * (instance.advert_interval or 1.0)
    return heard.age < min(limit, instance.seconds)


def find_wrong(status: Status) -> list[str]:
    """Return all that is wrong, each as a line; empty: all is well."""
    return [
        *_interfaces(status),
        *(text for each in status.instances for text in (*find_wrong_state(each), *_dropped(each))),
        *(
            f"BFD {each.name}: {'unknown' if each.up is None else 'down'}: {each.reason}"
            for each in status.sessions
            if not each.up
        ),
        *_services(status),
        *_fill(status),
        *(status.sync.problems if status.sync else ()),
        *status.problems,
    ]


def _interfaces(status: Status) -> Iterator[str]:
    for each in status.data_plane.attachments:
        if each.link:
            yield f"interface {each.interface}: {each.link}; no packet can arrive"
    attached = {each.interface for each in status.data_plane.attachments}
    for name in status.data_plane.interfaces:
        if name not in attached and not any(name in problem for problem in status.problems):
            yield f"interface {name}: not attached; no packet can arrive"


def find_wrong_state(each: InstanceStatus) -> Iterator[str]:
    """Yield what is wrong with the state of an instance, each as a line."""
    if each.state in ("FAULT", "UNKNOWN"):
        yield f"VRRP {each.instance}: {each.state}" + (f": {each.reason}" if each.reason else "")
    elif each.state == "MASTER" and not each.holds_addresses:
        yield f"VRRP {each.instance}: MASTER without its virtual addresses"
    elif each.last_advert is not None and hears_rival(each):
        heard = each.last_advert
        yield (
            f"VRRP {each.instance}: {heard.source} (priority {heard.priority}) is master, too; its last "
            f"advert came {duration(heard.age)} ago"
        )
    if each.conflict:
        yield f"VRRP {each.instance}: {each.conflict}, too: clients may reach either"


def _dropped(each: InstanceStatus) -> Iterator[str]:
    recent = [dropped for dropped in each.dropped if is_recent(dropped, each.advert_interval)]
    for dropped in recent[:MOST_NAMED]:
        number = count(dropped.count, "advert")
        yield (
            f"VRRP {each.instance}: {number} of {dropped.sender} dropped, the last "
            f"{duration(dropped.seconds)} ago: {dropped.text}"
        )
    if (more := len(recent) - MOST_NAMED) > 0:
        yield f"VRRP {each.instance}: adverts dropped from {count(more, 'more sender')}"


def _services(status: Status) -> Iterator[str]:
    here = [each for each in status.services if not each.standby]
    servers = [(service, server) for service in here for server in service.servers]
    deserted = [each.service for each in here if is_deserted(each)]
    if deserted:
        refused = "no real server can take a connection"
        yield f"{count(len(deserted), 'service')} of {len(here)}: {refused}: {_named(deserted)}"
    kinds = {
        "down": [each for each in servers if each[1].up is False and not is_meant(each[1])],
        "in an unknown state": [each for each in servers if is_unknown(each[1])],
        "without a known MAC address": [
            each for each in servers if each[1].weight and each[1].next_hop == UNRESOLVED
        ],
    }
    for kind, found in kinds.items():
        if found:
            names = _named([f"{server.server} of {service.service}" for service, server in found])
            yield f"{count(len(found), 'real server')} of {len(servers)} {kind}: {names}"


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _fill(status: Status) -> Iterator[str]:
    plane = status.data_plane
    tables = (
        ("connection table", plane.connections, plane.connection_limit),
        ("neighbour table", plane.neighbours, plane.neighbour_limit),
    )
    for name, used, size in tables:
        if used is not None and size and used >= NEARLY_FULL * size:
            yield fullness(name, used, size, "entries")
