# SPDX-License-Identifier: Apache-2.0
"""Notify programs, FIFO lines and mails about transitions of services and real servers."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.control.messages import RunProgram, TellServers
from pointsman.health.alerts import Alert, quorum_alert
from pointsman.lvs.transitions import Change, Transition, fifo_line, notify_command
from pointsman.model.config import Config

_QUORUM_CHANGES = {Change.QUORUM_GAINED: True, Change.QUORUM_LOST: False}


def notify_orders(config: Config, changes: Iterable[Transition]) -> list[RunProgram | TellServers]:
    """Return the notify programs and FIFO lines of these transitions, in their order."""
    services = {virtual.service.key: virtual for virtual in config.virtual_servers}
    found: list[RunProgram | TellServers] = []
    for change in changes:
        virtual = services[change.service]
        if (command := notify_command(virtual, change)) is not None:
            found.append(RunProgram(command, change.service, change.server, virtual.secure_commands))
        if config.server_fifos and (line := fifo_line(virtual, change)) is not None:
            found.append(TellServers(line))
    return found


def quorum_alerts(config: Config, changes: Iterable[Transition]) -> list[Alert]:
    """Return the mails about a gained or lost quorum."""
    services = {virtual.service.key: virtual for virtual in config.virtual_servers}
    found = [
        quorum_alert(
            config.router_id, services[each.service], up=_QUORUM_CHANGES[each.change], detail=each.detail
        )
        for each in changes
        if each.change in _QUORUM_CHANGES
    ]
    return [alert for alert in found if alert is not None]
