# SPDX-License-Identifier: Apache-2.0
"""Notify programs, FIFO lines and mails about transitions of services and real servers."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pointsman.control.messages import RunProgram, TellServers, encode
from pointsman.daemon.director.services import ServiceIndex
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.health.alerts import Alert, quorum_alert
from pointsman.lvs.transitions import LOSSES, Change, Transition, fifo_line, notify_command
from pointsman.model.health import VirtualServer
from pointsman.model.service import ServiceKey
from pointsman.model.wording import count

MAX_WAITING = 10_000
"""Orders that wait while pm-scripts takes none. The oldest of more are dropped."""

log = logging.getLogger("director")
_once = LogOnce(log)

_QUORUM_CHANGES = {Change.QUORUM_GAINED: True, Change.QUORUM_LOST: False}


MAX_LINES = 100
"""Transitions of one kind that are logged one by one. More at once are one line, and each at debug."""


def log_transitions(changes: Sequence[Transition]) -> None:
    """Log transitions that happen at once."""
    counts = Counter(each.change for each in changes)
    for each in changes:
        many = counts[each.change] > MAX_LINES
        log.log(logging.DEBUG if many else _level(each.change), "%s", each.text)
    for change, number in counts.items():
        if number > MAX_LINES:
            services = {each.service for each in changes if each.change is change}
            servers = f"{count(number, 'real server')} of " if change not in _QUORUM_CHANGES else ""
            log.log(_level(change), "%s: %s%s", change.value, servers, count(len(services), "service"))


def _level(change: Change) -> int:
    return logging.WARNING if change in LOSSES else logging.INFO


def notify_orders(
    index: ServiceIndex, changes: Iterable[Transition], *, to_fifos: bool
) -> list[RunProgram | TellServers]:
    """Return the notify programs and, for FIFOs, the lines of these transitions, in their order."""
    found: list[RunProgram | TellServers] = []
    for change in changes:
        virtual = index.services[change.service]
        member = index.member(change.service, change.server) if change.server else None
        if (command := notify_command(virtual, member, change)) is not None:
            found.append(RunProgram(command, change.service, change.server, virtual.secure_commands))
        if to_fifos and (line := fifo_line(virtual, change)) is not None:
            found.append(TellServers(line))
    return found


def send_orders(orders: list[RunProgram | TellServers], scripts: socket.socket) -> None:
    """Send orders to pm-scripts until its channel is full. Those that were sent or dropped are removed."""
    sent = 0
    with contextlib.suppress(OSError):
        for order in orders:
            scripts.send(encode(order))
            sent += 1
    del orders[:sent]
    if len(orders) > MAX_WAITING:
        del orders[:-MAX_WAITING]
        text = "pm-scripts takes no orders, and more than %d wait: the oldest are dropped"
        _once.error(send_orders, text, MAX_WAITING)
    elif not orders:
        _once.forget(send_orders)


def quorum_alerts(
    router_id: str, services: Mapping[ServiceKey, VirtualServer], changes: Iterable[Transition]
) -> list[Alert]:
    """Return the mails about a gained or lost quorum."""
    found = [
        quorum_alert(router_id, services[each.service], up=_QUORUM_CHANGES[each.change], detail=each.detail)
        for each in changes
        if each.change in _QUORUM_CHANGES
    ]
    return [alert for alert in found if alert is not None]
