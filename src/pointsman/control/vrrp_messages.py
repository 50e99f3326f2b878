"""Messages between VRRP and pm-scripts, which runs programs; JSON, one per datagram."""

from __future__ import annotations

import msgspec

from pointsman.control.messages import Resync
from pointsman.model.tracking import Command, SyncGroupSettings, TrackKind
from pointsman.model.vrrp import VrrpState

# vrrp -> scripts


class NotifyEvent(msgspec.Struct, frozen=True, tag=True):
    """Something has happened that programs and FIFOs want to know."""

    kind: str
    """INSTANCE or GROUP."""
    name: str
    state: str
    """keepalived's word: MASTER, BACKUP, FAULT, STOP, MASTER_RX_LOWER_PRI, {MASTER,BACKUP}_PRIORITY."""
    priority: int
    commands: tuple[Command, ...] = ()
    """Run with their own arguments only."""
    with_arguments: Command | None = None
    """Run with kind, name, state and priority behind its own arguments."""


# scripts -> vrrp


class TrackerValue(msgspec.Struct, frozen=True, tag=True):
    """What a tracker has found out: 1 good, 0 bad; for a file its number."""

    kind: TrackKind
    name: str
    value: int


Message = NotifyEvent | Resync
"""From vrrp to scripts; Resync: VRRP has just started and knows no reading."""

notice_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
reading_decoder: msgspec.json.Decoder[TrackerValue] = msgspec.json.Decoder(TrackerValue)


def group_event(settings: SyncGroupSettings, state: VrrpState) -> NotifyEvent:
    """What programs and FIFOs are told about a sync group."""
    wanted = settings.notify
    special = {
        VrrpState.MASTER: wanted.master,
        VrrpState.BACKUP: wanted.backup,
        VrrpState.FAULT: wanted.fault,
        VrrpState.INIT: wanted.stop,
    }[state]
    return NotifyEvent(
        kind="GROUP",
        name=settings.name,
        state="STOP" if state is VrrpState.INIT else state.value,
        priority=0,
        commands=(special,) if special else (),
        with_arguments=wanted.every,
    )
