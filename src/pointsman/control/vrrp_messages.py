# SPDX-License-Identifier: Apache-2.0
"""Messages between the VRRP process and pm-scripts, which runs programs. JSON, one per datagram."""

from __future__ import annotations

import msgspec

from pointsman.control.messages import Resync
from pointsman.model.tracking import Command, Notify, SyncGroupSettings, TrackKind
from pointsman.model.vrrp import VrrpInstance, VrrpState

LOWER_PRIORITY = "MASTER_RX_LOWER_PRI"
"""keepalived's word for a master that received an advert with a lower priority."""

# vrrp -> scripts


class NotifyEvent(msgspec.Struct, frozen=True, tag=True):
    """Event of an instance or sync group, for notify scripts and FIFOs."""

    kind: str
    """INSTANCE or GROUP."""
    name: str
    state: str
    """keepalived's word: MASTER, BACKUP, FAULT, STOP, MASTER_RX_LOWER_PRI, {MASTER,BACKUP}_PRIORITY."""
    priority: int
    commands: tuple[Command, ...] = ()
    """Commands that run with their own arguments only."""
    with_arguments: Command | None = None
    """Command that gets kind, name, state and priority behind its own arguments."""


# scripts -> vrrp


class TrackerValue(msgspec.Struct, frozen=True, tag=True):
    """Value of a tracked object: 1 good, 0 bad, or the number in a file. None: not tracked any more."""

    kind: TrackKind
    name: str
    value: int | None


NotifyMessage = NotifyEvent | Resync
"""Message from VRRP to pm-scripts. Resync: VRRP has just started and knows no tracker value."""

notify_decoder: msgspec.json.Decoder[NotifyMessage] = msgspec.json.Decoder(NotifyMessage)
tracker_value_decoder: msgspec.json.Decoder[TrackerValue] = msgspec.json.Decoder(TrackerValue)


def group_event(group: SyncGroupSettings, state: VrrpState) -> NotifyEvent:
    """Return the event for a new state of a sync group."""
    notify = group.notify
    return NotifyEvent("GROUP", group.name, _word(state), 0, _commands(notify, state), notify.every)


def instance_event(instance: VrrpInstance, state: VrrpState, priority: int, deleted: bool) -> NotifyEvent:
    """Return the event for a new state of an instance. `deleted`: a reload has removed the instance."""
    notify = instance.notify
    word, commands = _word(state), _commands(notify, state)
    if deleted and state is VrrpState.INIT:
        word = "DELETED" if notify.tells_deleted else VrrpState.FAULT.value
        commands = _some(notify.deleted if notify.tells_deleted else notify.fault)
    return NotifyEvent("INSTANCE", instance.name, word, priority, commands, notify.every)


def lower_priority_event(instance: VrrpInstance, priority: int) -> NotifyEvent:
    """Return the event for a master that received an advert with a lower priority."""
    commands = _some(instance.notify.lower_priority)
    return NotifyEvent("INSTANCE", instance.name, LOWER_PRIORITY, priority, commands)


def priority_event(instance: VrrpInstance, state: VrrpState, priority: int) -> NotifyEvent:
    """Return the event for a changed priority of a master or backup."""
    return NotifyEvent("INSTANCE", instance.name, f"{state.value}_PRIORITY", priority)


def _word(state: VrrpState) -> str:
    return "STOP" if state is VrrpState.INIT else state.value


def _commands(notify: Notify, state: VrrpState) -> tuple[Command, ...]:
    return _some(
        {
            VrrpState.MASTER: notify.master,
            VrrpState.BACKUP: notify.backup,
            VrrpState.FAULT: notify.fault,
            VrrpState.INIT: notify.stop,
        }[state]
    )


def _some(command: Command | None) -> tuple[Command, ...]:
    return (command,) if command else ()
