"""Messages between the VRRP process and pm-scripts, which runs programs. JSON, one per datagram."""

from __future__ import annotations

import msgspec

from pointsman.control.messages import Resync
from pointsman.model.tracking import Command, SyncGroupSettings, TrackKind
from pointsman.model.vrrp import VrrpState

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
    """Value of a tracked object: 1 good, 0 bad, or the number in a file."""

    kind: TrackKind
    name: str
    value: int


NotifyMessage = NotifyEvent | Resync
"""Message from VRRP to pm-scripts. Resync: VRRP has just started and knows no tracker value."""

notify_decoder: msgspec.json.Decoder[NotifyMessage] = msgspec.json.Decoder(NotifyMessage)
tracker_value_decoder: msgspec.json.Decoder[TrackerValue] = msgspec.json.Decoder(TrackerValue)


def group_event(settings: SyncGroupSettings, state: VrrpState) -> NotifyEvent:
    """Return the event for a new state of a sync group."""
    notify = settings.notify
    command = {
        VrrpState.MASTER: notify.master,
        VrrpState.BACKUP: notify.backup,
        VrrpState.FAULT: notify.fault,
        VrrpState.INIT: notify.stop,
    }[state]
    return NotifyEvent(
        kind="GROUP",
        name=settings.name,
        state="STOP" if state is VrrpState.INIT else state.value,
        priority=0,
        commands=(command,) if command else (),
        with_arguments=notify.every,
    )
