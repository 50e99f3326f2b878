# SPDX-License-Identifier: Apache-2.0
"""Messages between the processes of the daemon.

Each is a tagged msgspec Struct, encoded as JSON, so that a capture is readable.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.control.codec import decoder, encoder
from pointsman.control.sync_messages import HandedOver, HandOver, SyncReport
from pointsman.model.config import Config
from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.tracking import Command

# vrrp -> director


class InstanceChanged(msgspec.Struct, frozen=True, tag=True):
    """A VRRP instance has entered a state."""

    instance: str
    state: str
    priority: int
    reason: str
    holds_addresses: bool
    conflict: str = ""
    """Another host that answers for a virtual address of this master; empty: none is known."""


class GroupChanged(msgspec.Struct, frozen=True, tag=True):
    """A VRRP sync group has entered a state."""

    group: str
    state: str


class AdvertsDropped(msgspec.Struct, frozen=True, tag=True):
    """Adverts of one sender that an instance drops for one reason. It comes again when there are more."""

    instance: str
    sender: str
    """Address; or "others", if there are too many senders."""
    reason: str
    """A value of vrrp.admission.Drop."""
    text: str
    """The received value, and the expected one."""
    count: int


class AdvertHeard(msgspec.Struct, frozen=True):
    """The last valid advert that a VRRP instance has received from another router."""

    instance: str
    source: str
    priority: int
    time: float
    """Seconds since boot (CLOCK_BOOTTIME), so that the age is right however late the message is read."""


class AdvertsHeard(msgspec.Struct, frozen=True, tag=True):
    """The last adverts of the instances that have received one since the previous message."""

    adverts: tuple[AdvertHeard, ...]


# checker -> director


class CheckResult(msgspec.Struct, frozen=True, tag=True):
    """First result or changed result of one check of one real server."""

    service: ServiceKey
    server: ServerKey
    check: str
    """Check.identity of the check."""
    up: bool
    reason: str
    weight_change: int = 0
    """Number that the check adds to the weight of the real server."""
    weight: int | None = None
    """Weight that replaces the configured one (misc_dynamic); None: the configured one."""


# scripts -> director


class ProgramProblems(msgspec.Struct, frozen=True, tag=True):
    """All present problems of pm-scripts with programs, files and FIFOs, for `status`."""

    problems: tuple[str, ...]


# bfd -> director, checker


class SessionChanged(msgspec.Struct, frozen=True, tag=True):
    """First state or changed state of a BFD session.

    The checker receives it on its own channel from bfd. It sends Resync there once after its start, and bfd
    then reports all sessions.
    """

    session: str
    """Name of its bfd_instance."""
    up: bool
    reason: str


# to every process that reports


class Resync(msgspec.Struct, frozen=True, tag=True):
    """Request to report every current state again: the sender has just started."""


# director -> all others


class NewConfiguration(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """A new configuration is in force."""

    rollback: bool = False
    """True: it is the previous configuration again."""
    serial: int = 0
    """ConfigHistory.serial of the configuration. A process that starts with a later one ignores this one."""
    config: Config | None = None
    """Not encoded: it is passed as a file descriptor with the message (daemon/runtime/config_history.py)."""


# director -> supervisor


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The table of the director is in force."""


# director -> vrrp


class YieldMaster(msgspec.Struct, frozen=True, tag=True):
    """Request to hand the master role to another router without packet loss."""

    instance: str
    """Empty: every instance that is master here."""


# director -> checker, scripts


class CheckNow(msgspec.Struct, frozen=True, tag=True):
    """Request to check a real server at once, because clients seem to get no answer from it."""

    service: ServiceKey
    server: ServerKey


class RunProgram(msgspec.Struct, frozen=True, tag=True):
    """Request to pm-scripts to run a notify program."""

    command: Command
    service: ServiceKey
    server: ServerKey | None = None
    """Real server whose state has changed. None: the quorum of the service."""
    secure: bool = False
    """True: do not run it as root if a user other than root can change it (enable_script_security)."""


class TellServers(msgspec.Struct, frozen=True, tag=True):
    """Request to pm-scripts to write a line into the notify FIFOs of servers."""

    line: str


VrrpReport = InstanceChanged | GroupChanged | AdvertsDropped | AdvertsHeard
"""From vrrp to the director."""
ScriptsReport = CheckResult | ProgramProblems
"""From pm-scripts to the director."""
Report = VrrpReport | ScriptsReport | SessionChanged | SyncReport | HandedOver
"""From any process to the director. The checker sends CheckResult, bfd SessionChanged, sync SyncReport."""
BfdOrder = Resync | NewConfiguration
"""From the director to bfd."""
SyncOrder = Resync | NewConfiguration | HandOver
"""From the director to sync."""
VrrpOrder = Resync | NewConfiguration | YieldMaster
CheckerOrder = Resync | NewConfiguration | CheckNow | RunProgram | TellServers
"""From the director to checker and scripts."""
SupervisorMessage = Ready | NewConfiguration
"""From the director to the supervisor."""


def encode(message: Report | VrrpOrder | CheckerOrder | SyncOrder | SupervisorMessage) -> bytes:
    """Return a message as bytes."""
    return encoder.encode(message)


# A decoder of a type with a Config in it takes long to make, and each process needs only some of them: each
# is made when it is first used (PEP 562).
vrrp_report_decoder: msgspec.json.Decoder[VrrpReport]
result_decoder: msgspec.json.Decoder[CheckResult]
scripts_report_decoder: msgspec.json.Decoder[ScriptsReport]
session_decoder: msgspec.json.Decoder[SessionChanged]
"""From bfd, to the director and to the checker."""
vrrp_order_decoder: msgspec.json.Decoder[VrrpOrder]
checker_order_decoder: msgspec.json.Decoder[CheckerOrder]
bfd_order_decoder: msgspec.json.Decoder[BfdOrder]
sync_report_decoder: msgspec.json.Decoder[SyncReport | HandedOver]
sync_order_decoder: msgspec.json.Decoder[SyncOrder]
resync_decoder: msgspec.json.Decoder[Resync]
"""From vrrp and the checker to bfd."""
supervisor_decoder: msgspec.json.Decoder[SupervisorMessage]

_KINDS: dict[str, Any] = {
    "vrrp_report_decoder": VrrpReport,
    "result_decoder": CheckResult,
    "scripts_report_decoder": ScriptsReport,
    "session_decoder": SessionChanged,
    "vrrp_order_decoder": VrrpOrder,
    "checker_order_decoder": CheckerOrder,
    "bfd_order_decoder": BfdOrder,
    "sync_report_decoder": SyncReport | HandedOver,
    "sync_order_decoder": SyncOrder,
    "resync_decoder": Resync,
    "supervisor_decoder": SupervisorMessage,
}


def __getattr__(name: str) -> msgspec.json.Decoder[Any]:
    if name not in _KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return decoder(_KINDS[name])
