# SPDX-License-Identifier: Apache-2.0
"""Build the fields that checks have in common: times and connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from pointsman.conf.build.groups import Groups
from pointsman.conf.keywords.settings import Setting, Settings, inherited
from pointsman.conf.text.problems import Findings
from pointsman.model.bfd import BfdSession
from pointsman.model.checks import ClientCertificate
from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.tracking import TrackFile

T = TypeVar("T")


class Tls(NamedTuple):
    """The content of the SSL block."""

    certificate: ClientCertificate | None = None
    authority: str = ""
    """File with the certificates to trust; empty: those of the system."""


class NamedObjects(NamedTuple):
    """The objects that virtual servers refer to by name."""

    files: Mapping[str, TrackFile]
    sessions: Mapping[str, BfdSession]
    groups: Groups
    marks: Iterator[int] | None = None
    """Unused firewall marks. With nftables_ipvs each group becomes one service with a mark."""
    tls: Tls = Tls()


class CheckContext(NamedTuple):
    """The real server of a check, and the blocks that the check inherits from."""

    virtual: ServiceKey
    key: ServerKey
    member: Settings
    service: Settings
    globals: Settings
    named: NamedObjects


def own_alpha(own: Settings) -> bool | None:
    """Return the check's own `alpha`, if it has one."""
    return own.get("alpha", bool)


def value_or(value: T | None, default: T) -> T:
    """Return the value, or the default if it is None."""
    return default if value is None else value


def timing_fields(
    own: Settings, place: CheckContext, *, retry: int = 1, before_retry: float | None = 1.0
) -> dict[str, Any]:
    """Return the fields of every check. `retry` and `before_retry` (None: delay_loop) are defaults."""
    blocks = (own, place.member, place.service)
    delay_loop = value_or(inherited("delay_loop", float, *blocks), 60.0)
    return {
        "delay_loop": delay_loop,
        "delay_before_retry": value_or(
            inherited("delay_before_retry", float, *blocks), value_or(before_retry, delay_loop)
        ),
        "retry": value_or(_retry(*blocks), retry),
        "rise": value_or(inherited("rise", int, *blocks), 1),
        "warmup": value_or(inherited("warmup", float, *blocks), delay_loop),
        "log_all_failures": value_or(
            inherited("log_all_failures", bool, own, place.member),
            place.globals.get("checker_log_all_failures", bool) or False,
        ),
    }


def _retry(*blocks: Settings) -> int | None:
    """Return the retries of the innermost block that has them.

    `fall` includes the first attempt. It has precedence over `retry` in the same block.
    """
    for block in blocks:
        fall = block.get("fall", int)
        if fall is not None:
            return fall - 1
        if block.has("retry"):
            return block.get("retry", int)
    return None


def connection_fields(
    setting: Setting, own: Settings, place: CheckContext, findings: Findings, *, port: bool = True
) -> dict[str, Any]:
    """Return the fields of a check that connects. Report a missing port if `port` is true."""
    blocks = (own, place.member, place.service)
    address, written = own.address("connect_ip"), own.get("connect_port", int)
    if port and written is None and not place.key.port:
        keyword = setting.node.keyword
        text = "the service has no port, so the check needs its own"
        findings.error(keyword.location, text, "add connect_port", keyword.width)
    return {
        "connect_address": value_or(address, place.key.address),
        "connect_port": value_or(written, place.key.port),
        "bind_address": own.address("bindto"),
        "bind_port": own.get("bind_port", int) or 0,
        "bind_interface": own.get("bind_if", str) or "",
        "fwmark": own.get("fwmark", int) or 0,
        "connect_timeout": value_or(inherited("connect_timeout", float, *blocks), 5.0),
        "location": setting.location,
    }


def check_header_value(setting: Setting | None, findings: Findings) -> None:
    """Report control characters, which would break a line of the protocol."""
    if setting is not None and any(sign < " " or sign == "\x7f" for sign in str(setting.value)):
        word = setting.node.values[0]
        findings.error(word.location, "a header cannot hold control characters", "remove them", word.width)
