"""What the VRRP process is told, and what it tells the process that runs programs; JSON, one per datagram."""

from __future__ import annotations

import msgspec

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


class ResendTrackers(msgspec.Struct, frozen=True, tag=True):
    """VRRP has just started and knows no reading."""


class Finished(msgspec.Struct, frozen=True, tag=True):
    """No notice will come any more."""


# scripts -> vrrp


class TrackerValue(msgspec.Struct, frozen=True, tag=True):
    """What a tracker has found out: 1 good, 0 bad; for a file its number."""

    kind: TrackKind
    name: str
    value: int


# director -> vrrp


class YieldMaster(msgspec.Struct, frozen=True, tag=True):
    """Let another router be master, without losing a packet."""

    instance: str
    """Empty: every instance that is master here."""


Message = NotifyEvent | ResendTrackers | Finished

_notice_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_reading_decoder: msgspec.json.Decoder[TrackerValue] = msgspec.json.Decoder(TrackerValue)
_hand_over_decoder: msgspec.json.Decoder[YieldMaster] = msgspec.json.Decoder(YieldMaster)


def decode_notify_event(data: bytes) -> Message:
    """Raises msgspec.MsgspecError."""
    return _notice_decoder.decode(data)


def decode_tracker_value(data: bytes) -> TrackerValue:
    """Raises msgspec.MsgspecError."""
    return _reading_decoder.decode(data)


def decode_yield_master(data: bytes) -> YieldMaster | None:
    """None for a datagram that is none: it asks for all states again."""
    try:
        return _hand_over_decoder.decode(data)
    except msgspec.MsgspecError:
        return None


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
