"""What the processes tell each other over their channels, and clients over the control socket.

Everything is a tagged msgspec Struct; JSON on the wire, so that a person can read a capture of it.
"""

from __future__ import annotations

import ipaddress
from typing import Any, TypeVar

import msgspec

from pointsman.control.status import Status
from pointsman.model.address import Address, Network
from pointsman.model.config import Config
from pointsman.model.operations import Operation, Refusal
from pointsman.model.override import Override
from pointsman.model.service import ServerKey, ServiceKey, ServiceTable
from pointsman.model.tracking import Command
from pointsman.model.traffic import Connection, Counters

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes; a longer message ends the connection."""


# vrrp -> director


class InstanceChanged(msgspec.Struct, frozen=True, tag=True):
    """A VRRP instance has entered a state."""

    instance: str
    state: str
    priority: int
    reason: str
    holds_addresses: bool


class GroupChanged(msgspec.Struct, frozen=True, tag=True):
    """A VRRP sync group has entered a state."""

    group: str
    state: str


# checker -> director


class CheckResult(msgspec.Struct, frozen=True, tag=True):
    """The verdict of one check of one real server has changed, or is known for the first time."""

    service: ServiceKey
    server: ServerKey
    check: str
    """Check.identity of the check."""
    up: bool
    reason: str
    weight_change: int = 0
    """What the check adds to the real server's weight."""
    weight: int | None = None
    """What the check sets in place of the configured weight (misc_dynamic); None: nothing."""


# bfd -> director, checker


class SessionChanged(msgspec.Struct, frozen=True, tag=True):
    """A BFD session has gone up, is no longer up, or is told for the first time.

    The checker hears it on a channel of its own. It asks once (Resync, there); bfd then tells all.
    """

    session: str
    """The name of its bfd_instance."""
    up: bool
    reason: str


# to every process that reports


class Resync(msgspec.Struct, frozen=True, tag=True):
    """Report everything in force again: the sender has (re)started and knows nothing."""


# director -> all others


class NewConfiguration(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Another configuration is in force."""

    rollback: bool = False
    """True: it is the one before the last."""
    config: Config | None = None
    """Never on the wire: it comes beside the message, as a file descriptor (generations.py)."""


# director -> supervisor


class Alive(msgspec.Struct, frozen=True, tag=True):
    """The director is ready, and not hung: sent when the table is in force and then each second."""


# director -> vrrp


class YieldMaster(msgspec.Struct, frozen=True, tag=True):
    """Let another router be master, without losing a packet."""

    instance: str
    """Empty: every instance that is master here."""


# director -> checker, scripts


class CheckNow(msgspec.Struct, frozen=True, tag=True):
    """Clients seem to wait for this real server in vain: check it at once."""

    service: ServiceKey
    server: ServerKey


class RunProgram(msgspec.Struct, frozen=True, tag=True):
    """Run a notify program; to the process that may become another user."""

    command: Command
    secure: bool = False
    """Not as root if others than root can change it (enable_script_security)."""


class TellServers(msgspec.Struct, frozen=True, tag=True):
    """Write a line into the notify FIFOs of servers; to the same process."""

    line: str


# client -> director


class StatusRequest(msgspec.Struct, frozen=True, tag=True):
    pass


class TableRequest(msgspec.Struct, frozen=True, tag=True):
    """The table and its counters; with connections when asked."""

    connections: bool = False


class ApplyRequest(msgspec.Struct, frozen=True, tag=True):
    """Carry out operations on the data plane, as ipvsadm does."""

    operations: tuple[Operation, ...]


class ReloadRequest(msgspec.Struct, frozen=True, tag=True):
    """Take this configuration in place of the one in force; None: the one before it."""

    config: Config | None
    dry_run: bool = False
    """Only say what would be done."""
    force: bool = False
    """Even if it takes everything away."""
    file: str | None = None
    """Where it comes from, for `status`; None: as before."""


class ReloadRefused(msgspec.Struct, frozen=True, tag=True):
    """A configuration that was to be loaded has errors; nobody may be looking, so status shall tell."""

    problems: tuple[str, ...]


class SwitchoverRequest(msgspec.Struct, frozen=True, tag=True):
    """Let another router be master, where this one is."""

    instance: str
    """Empty: every instance."""


class OverrideRequest(msgspec.Struct, frozen=True, tag=True):
    """Decide about a real server by hand, over configuration and checks."""

    server: Address
    port: int = 0
    """0: every port."""
    service: str = ""
    """As log and status name it; empty: every service that has this real server."""
    override: Override | None = None
    """None: configuration and checks decide again."""
    seconds: float = 0.0
    """How long it holds; 0: for good."""


# director -> client


class StatusReply(msgspec.Struct, frozen=True, tag=True):
    status: Status


class TableReply(msgspec.Struct, frozen=True, tag=True):
    table: ServiceTable
    counters: Counters
    timeouts: tuple[int, int, int]
    connection_table_size: int
    connections: tuple[Connection, ...] = ()
    rates: Counters = Counters()
    """Traffic per second (lvs/estimator.py), in the places of the counters."""


class ApplyReply(msgspec.Struct, frozen=True, tag=True):
    refusals: tuple[Refusal, ...] = ()


class ReloadReply(msgspec.Struct, frozen=True, tag=True):
    plan: tuple[str, ...]
    """What was done, or would be."""
    generation: int
    """The number of the configuration in force now."""


class SwitchoverReply(msgspec.Struct, frozen=True, tag=True):
    """VRRP has been asked."""


class OverrideReply(msgspec.Struct, frozen=True, tag=True):
    """The real servers that it was about."""

    servers: tuple[str, ...]


class ErrorReply(msgspec.Struct, frozen=True, tag=True):
    error: str


VrrpReport = InstanceChanged | GroupChanged
"""From vrrp to the director."""
Report = VrrpReport | CheckResult | SessionChanged
"""From any process to the director: checker and scripts send CheckResult, bfd SessionChanged."""
Request = (
    StatusRequest
    | TableRequest
    | ApplyRequest
    | ReloadRequest
    | ReloadRefused
    | SwitchoverRequest
    | OverrideRequest
)
BfdOrder = Resync | NewConfiguration
"""From the director to bfd."""
VrrpOrder = Resync | NewConfiguration | YieldMaster
CheckerOrder = Resync | NewConfiguration | CheckNow | RunProgram | TellServers
"""From the director to checker and scripts."""
Sign = Alive | NewConfiguration
"""From the director to the supervisor."""
Reply = StatusReply | TableReply | ApplyReply | ReloadReply | SwitchoverReply | ErrorReply | OverrideReply


def _decode_custom(kind: Any, value: object) -> object:
    if kind is Address and isinstance(value, str):
        return ipaddress.ip_address(value)
    if kind is Network and isinstance(value, str):
        return ipaddress.ip_network(value)
    raise TypeError(f"cannot decode {kind!r}")


encoder = msgspec.json.Encoder(enc_hook=str)
"""Writes models (addresses among them) as JSON."""

_Kind = TypeVar("_Kind")


def decoder(kind: type[_Kind]) -> msgspec.json.Decoder[_Kind]:
    """Reads what `encoder` has written."""
    return msgspec.json.Decoder(kind, dec_hook=_decode_custom)


def encode(message: Report | VrrpOrder | CheckerOrder | Sign | Request | Reply) -> bytes:
    """One message as bytes."""
    return encoder.encode(message)


report_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report, dec_hook=_decode_custom)
vrrp_report_decoder: msgspec.json.Decoder[VrrpReport] = msgspec.json.Decoder(VrrpReport)
result_decoder = decoder(CheckResult)
session_decoder = decoder(SessionChanged)
"""From bfd, to the director and to the checker."""
vrrp_order_decoder: msgspec.json.Decoder[VrrpOrder] = msgspec.json.Decoder(VrrpOrder, dec_hook=_decode_custom)
checker_order_decoder: msgspec.json.Decoder[CheckerOrder] = msgspec.json.Decoder(
    CheckerOrder, dec_hook=_decode_custom
)
bfd_order_decoder: msgspec.json.Decoder[BfdOrder] = msgspec.json.Decoder(BfdOrder, dec_hook=_decode_custom)
resync_decoder: msgspec.json.Decoder[Resync] = decoder(Resync)
"""From vrrp and the checker to bfd."""
sign_decoder: msgspec.json.Decoder[Sign] = msgspec.json.Decoder(Sign, dec_hook=_decode_custom)
_request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request, dec_hook=_decode_custom)
_config_decoder: msgspec.json.Decoder[Config] = msgspec.json.Decoder(Config, dec_hook=_decode_custom)
_reply_decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply, dec_hook=_decode_custom)


def decode_report(data: bytes) -> Report:
    """A message of any process to the director. Raises msgspec.DecodeError."""
    return report_decoder.decode(data)


def decode_request(data: bytes) -> Request:
    """A message of a client. Raises msgspec.DecodeError."""
    return _request_decoder.decode(data)


def decode_reply(data: bytes) -> Reply:
    """An answer of the director. Raises msgspec.DecodeError."""
    return _reply_decoder.decode(data)


def encode_config(config: Config) -> bytes:
    """A whole configuration as bytes."""
    return encoder.encode(config)


def decode_config(data: bytes) -> Config:
    """The way back. Raises msgspec.MsgspecError."""
    return _config_decoder.decode(data)
