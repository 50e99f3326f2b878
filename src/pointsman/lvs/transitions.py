# SPDX-License-Identifier: Apache-2.0
"""Changes between two states of a pool, in the order and the words of keepalived's log."""

from __future__ import annotations

import enum

import msgspec

from pointsman.lvs.desired import PoolState
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.naming import server_name, virtual_name
from pointsman.model.service import RealServer, ServerKey, ServiceKey
from pointsman.model.tracking import Command


class Change(enum.Enum):
    """Kinds of transitions."""

    REMOVED = "removed"
    ADDED = "added"
    DISABLED = "disabled"
    ENABLED = "enabled"
    DRAINED = "drained"
    """Disabled for some time, and now removed."""
    WEIGHT = "weight"
    QUORUM_GAINED = "quorum gained"
    QUORUM_LOST = "quorum lost"
    SORRY_ADDED = "sorry server added"
    SORRY_REMOVED = "sorry server removed"
    BEGUN = "begun"
    """Present in a new service from the start."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a service."""

    change: Change
    service: ServiceKey
    server: ServerKey | None = None
    """The real server or sorry server that changed. None: the quorum."""
    text: str
    """keepalived's log line."""
    detail: str = ""
    """For a quorum the calculation, as in the mail: `Gained quorum 1+0=1 <= 2`."""


def transitions(virtual: VirtualServer, before: PoolState | None, after: PoolState) -> list[Transition]:
    """Return the changes between two states of `virtual`'s pool. `before` None: the service is new.

    A new service has only a quorum and a sorry server as changes. With `initial_notifies` its real servers
    are reported too, but not as added.
    """
    if before == after:
        return []
    begun: list[Transition] = []
    if before is None:
        begun = _beginnings(virtual, after) if virtual.initial_notifies else []
        before = PoolState(quorum_up=False, living=after.living, inhibited=after.inhibited)
    told = [*begun, *_departures(virtual, before, after), *_arrivals(virtual, before, after)]
    if before.quorum_up is not after.quorum_up:
        told.append(_quorum(virtual, after))
    return [*told, *_sorry(virtual, before.sorry_server, after.sorry_server)]


UP = frozenset({Change.ADDED, Change.ENABLED})
"""Changes that make a real server alive. `DOWN` has the opposite ones."""
DOWN = frozenset({Change.REMOVED, Change.DISABLED})
LOSSES = DOWN | {Change.QUORUM_LOST}
"""Changes that an administrator should know about soon."""
_TOLD_UP = UP | {Change.BEGUN}
"""Changes that programs and FIFOs get as `up`."""


def notify_command(
    virtual: VirtualServer, member: PoolMember | None, transition: Transition
) -> Command | None:
    """Return the program for this transition: notify_up, notify_down, quorum_up or quorum_down.

    `member`: its real server; None: it is not about one of the pool.
    """
    if transition.change is Change.QUORUM_GAINED:
        return virtual.quorum_up_command
    if transition.change is Change.QUORUM_LOST:
        return virtual.quorum_down_command
    if member is None or transition.change not in _TOLD_UP | DOWN:
        return None
    return member.notify_up if transition.change in _TOLD_UP else member.notify_down


def fifo_line(virtual: VirtualServer, transition: Transition) -> str | None:
    """Return the line for notify FIFOs in keepalived's words. None: there is none."""
    where = virtual_name(virtual)
    if transition.change in (Change.QUORUM_GAINED, Change.QUORUM_LOST):
        return f"VS {where} {'UP' if transition.change is Change.QUORUM_GAINED else 'DOWN'}"
    if transition.server is None or transition.change not in _TOLD_UP | DOWN:
        return None
    name = server_name(virtual.service.key, transition.server)
    return f"RS {name} {where} {'UP' if transition.change in _TOLD_UP else 'DOWN'}"


def _beginnings(virtual: VirtualServer, after: PoolState) -> list[Transition]:
    key, where = virtual.service.key, virtual_name(virtual)
    return [
        Transition(
            change=Change.BEGUN,
            service=key,
            server=server.key,
            text=f"Starting with service {server_name(key, server.key)} in VS {where}",
        )
        for server in after.living
    ]


def _departures(virtual: VirtualServer, before: PoolState, after: PoolState) -> list[Transition]:
    key, where = virtual.service.key, virtual_name(virtual)
    alive = {server.key for server in after.living}
    kept = {server.key for server in after.inhibited}
    told = []
    for server in before.living:
        name = server_name(key, server.key)
        if server.key in kept:
            text = f"Disabling service {name} of VS {where}"
            told.append(Transition(change=Change.DISABLED, service=key, server=server.key, text=text))
        elif server.key not in alive:
            text = f"Removing service {name} from VS {where}"
            told.append(Transition(change=Change.REMOVED, service=key, server=server.key, text=text))
    for server in before.inhibited:
        if server.key not in alive | kept:
            text = f"Removing service {server_name(key, server.key)} from VS {where}"
            told.append(Transition(change=Change.DRAINED, service=key, server=server.key, text=text))
    return told


def _arrivals(virtual: VirtualServer, before: PoolState, after: PoolState) -> list[Transition]:
    key, where = virtual.service.key, virtual_name(virtual)
    living = {server.key: server.weight for server in before.living}
    kept = {server.key for server in before.inhibited}
    told = []
    for server in after.living:
        name = server_name(key, server.key)
        if server.key in living:
            old = living[server.key]
            if old != server.weight:
                text = (
                    f"Changing weight from {old} to {server.weight} for active service {name} of VS {where}"
                )
                told.append(Transition(change=Change.WEIGHT, service=key, server=server.key, text=text))
        elif server.key in kept:
            text = f"Enabling service {name} of VS {where}"
            told.append(Transition(change=Change.ENABLED, service=key, server=server.key, text=text))
        else:
            text = f"Adding service {name} to VS {where}"
            told.append(Transition(change=Change.ADDED, service=key, server=server.key, text=text))
    return told


def _quorum(virtual: VirtualServer, after: PoolState) -> Transition:
    key, quorum, hysteresis = virtual.service.key, virtual.quorum, virtual.hysteresis
    if after.quorum_up:
        change = Change.QUORUM_GAINED
        detail = f"Gained quorum {quorum}+{hysteresis}={quorum + hysteresis} <= {after.weight}"
    else:
        change = Change.QUORUM_LOST
        detail = f"Lost quorum {quorum}-{hysteresis}={quorum - hysteresis} > {after.weight}"
    text = f"{detail} for VS {virtual_name(virtual)}"
    return Transition(change=change, service=key, text=text, detail=detail)


def _sorry(virtual: VirtualServer, before: RealServer | None, after: RealServer | None) -> list[Transition]:
    key, where = virtual.service.key, virtual_name(virtual)
    told = []
    comes, goes = ("Enabling", "Disabling") if virtual.sorry_inhibit else ("Adding", "Removing")
    if after is not None and before is None:
        text = f"{comes} sorry server {server_name(key, after.key)} to VS {where}"
        told.append(Transition(change=Change.SORRY_ADDED, service=key, server=after.key, text=text))
    if before is not None and after is None:
        text = f"{goes} sorry server {server_name(key, before.key)} from VS {where}"
        told.append(Transition(change=Change.SORRY_REMOVED, service=key, server=before.key, text=text))
    return told
