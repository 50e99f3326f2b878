# SPDX-License-Identifier: Apache-2.0
"""Build the checks of a real server. Values are inherited: virtual_server -> real_server -> checker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import cast

import msgspec

from pointsman.conf.build.check_fields import (
    CheckContext,
    check_header_value,
    connection_fields,
    own_alpha,
    timing_fields,
    value_or,
)
from pointsman.conf.build.tracking import build_command
from pointsman.conf.build.urls import build_http_check, build_urls
from pointsman.conf.keywords.settings import Setting, Settings, inherited, read_block, unknown_name
from pointsman.conf.text.corrections import replace
from pointsman.conf.text.problems import Findings
from pointsman.model.checks import (
    BfdCheck,
    DirectCheck,
    DnsCheck,
    FileCheck,
    HttpVersion,
    MiscCheck,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
)
from pointsman.model.health import AnyCheck
from pointsman.model.service import Transport
from pointsman.model.tracking import Command, TrackFile


def build_checks(place: CheckContext, findings: Findings) -> list[tuple[AnyCheck, bool | None]]:
    """Return the checks of a real server, each with its own `alpha` (None: it has none)."""
    found: list[tuple[AnyCheck, bool | None]] = []
    for setting in place.member.all("TCP_CHECK"):
        own = read_block(setting.block, "TCP_CHECK", findings)
        common = timing_fields(own, place, retry=_read_nb_get_retry(own, findings))
        found.append((TcpCheck(**connection_fields(setting, own, place, findings), **common), own_alpha(own)))
    for word in ("HTTP_GET", "SSL_GET"):
        for setting in place.member.all(word):
            own = read_block(setting.block, word, findings)
            found.append((build_http_check(setting, own, place, findings), own_alpha(own)))
    for word, build in _BUILDERS.items():
        for setting in place.member.all(word):
            own = read_block(setting.block, word, findings)
            found.append((build(setting, own, place, findings), own_alpha(own)))
    for setting in place.member.all("SMTP_CHECK"):
        own = read_block(setting.block, "SMTP_CHECK", findings)
        found += [(check, own_alpha(own)) for check in _build_smtp_checks(setting, own, place, findings)]
    return found


def _read_nb_get_retry(own: Settings, findings: Findings) -> int:
    """Use nb_get_retry of a TCP_CHECK as retry, unless there is a retry. keepalived 2.x ignores it."""
    old = own.last("nb_get_retry")
    if old is None:
        return 1
    findings.warning(
        old.location,
        "keepalived 2.x does not know nb_get_retry in TCP_CHECK and ignores it; here it counts as retry",
        "write retry",
        len("nb_get_retry"),
        replace(old.node.keyword, "retry"),
    )
    if not own.has("retry"):
        own.add("retry", old)
    return cast(int, old.value)


def _build_smtp_checks(
    setting: Setting, own: Settings, place: CheckContext, findings: Findings
) -> Iterator[SmtpCheck]:
    """Yield one check, or one for each `host` block."""
    name = own.get("helo_name", str) or "smtpchecker.keepalived.org"
    check_header_value(own.last("helo_name"), findings)
    hosts = [read_block(host.block, "host", findings) for host in own.all("host")]
    for host in hosts or [own]:
        where = connection_fields(setting, host, place, findings)
        if not host.has("connect_timeout"):
            where["connect_timeout"] = value_or(
                inherited("connect_timeout", float, own, place.member, place.service), 5.0
            )
        yield SmtpCheck(helo_name=name, **where, **timing_fields(own, place))


def _build_dns_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> DnsCheck:
    from pointsman.health import dns  # imported here because it takes longer than all other imports

    name = own.get("name", str) or "."
    if not dns.is_valid_name(name):
        word = cast(Setting, own.last("name")).node.values[0]
        findings.error(word.location, f"name {name} is not a domain name", width=word.width)
    return DnsCheck(
        name=name,
        record=own.get("type", str) or "SOA",
        **connection_fields(setting, own, place, findings),
        **timing_fields(own, place, retry=3, before_retry=None),
    )


def _build_udp_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> UdpCheck:
    payload = own.get("payload", tuple)
    reply, mask = own.get("require_reply", tuple) or (b"", b"")
    shortest = own.get("min_reply_length", int) or 0
    longest = value_or(own.get("max_reply_length", int), 255)
    if shortest > longest:
        word = cast(Setting, own.last("min_reply_length")).node.keyword
        text = f"min_reply_length {shortest} is above max_reply_length {longest}: the check always fails"
        findings.error(word.location, text, "lower it, or raise max_reply_length", word.width)
    return UdpCheck(
        payload=None if payload is None else payload[0],
        require_reply=own.has("require_reply"),
        reply=reply,
        reply_mask=mask,
        min_reply_length=shortest,
        max_reply_length=longest,
        **connection_fields(setting, own, place, findings),
        **timing_fields(own, place),
    )


def _build_ping_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> PingCheck:
    return PingCheck(
        **connection_fields(setting, own, place, findings, port=False), **timing_fields(own, place)
    )


def _build_misc_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> MiscCheck:
    path, user = own.last("misc_path"), cast("tuple[str, ...]", own.get("user", tuple) or ())
    if path is None:
        keyword = setting.node.keyword
        findings.error(
            keyword.location, "MISC_CHECK without misc_path checks nothing", "add misc_path", keyword.width
        )
    made = build_command(path, findings) or Command(("/",))
    times = timing_fields(own, place, retry=0)
    return MiscCheck(
        command=with_script_user(Command(made.words, *(user[:2] or (made.user, made.group))), place.globals),
        secure=place.globals.has("enable_script_security"),
        timeout=own.get("misc_timeout", float) or times["delay_loop"],
        dynamic=own.has("misc_dynamic"),
        location=setting.location,
        **times,
    )


def with_script_user(made: Command, globals_: Settings) -> Command:
    """Return the command. script_user is its user if it names none."""
    user = cast("tuple[str, ...]", globals_.get("script_user", tuple) or ())
    return made if made.user or not user else Command(made.words, *user[:2])


_FILE_SPACING = 0.2
"""Seconds between two reads of a file."""


def _build_file_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> FileCheck:
    keyword, written = setting.node.keyword, own.last("track_file")
    if written is None:
        findings.error(
            keyword.location, "FILE_CHECK without track_file checks nothing", "add track_file", keyword.width
        )
    file = place.named.files.get(str(written.value)) if written else None
    if written is not None and file is None:
        word = written.node.values[0]
        unknown_name(word, f"there is no track_file {word.text}", place.named.files, findings)
    file = file or TrackFile(name="", path="")
    weight, reverse = _file_weight(own, file, findings)
    return FileCheck(
        file=msgspec.structs.replace(file, location=None),
        weight=weight,
        reverse=reverse,
        delay_loop=_FILE_SPACING,
        retry=0,
        warmup=0.0,
        location=setting.location,
    )


def _file_weight(own: Settings, file: TrackFile, findings: Findings) -> tuple[int, bool]:
    """Return the factor for the number in the file, and True if its sign is reversed."""
    setting = own.last("weight")
    if setting is None:
        return file.weight, file.reverse
    number, *more = cast("tuple[str, ...]", setting.value) or ("",)
    if (
        not re.fullmatch(r"[+-]?[0-9]{1,10}", number)
        or abs(int(number)) >= 2**31
        or more[:1]
        not in (
            [],
            ["reverse"],
            ["noreverse"],
        )
    ):
        text = "weight must be a number from -2147483647 to 2147483647, and perhaps reverse"
        findings.error(setting.location, text, width=len("weight"))
        return file.weight, file.reverse
    return int(number), more[:1] == ["reverse"] if more else file.reverse


def _build_bfd_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> BfdCheck:
    keyword, written = setting.node.keyword, own.last("name")
    session = place.named.sessions.get(str(written.value)) if written else None
    if written is None:
        text = "BFD_CHECK without name checks nothing"
        findings.error(keyword.location, text, "add name BFD_INSTANCE", keyword.width)
    elif session is None or not session.for_checker:
        word = written.node.values[0]
        text = f"bfd_instance {word.text} {'is for VRRP only (vrrp)' if session else 'does not exist'}"
        heard = [name for name, each in place.named.sessions.items() if each.for_checker]
        unknown_name(word, text, heard, findings)
    return BfdCheck(
        session=str(written.value) if written else "",
        delay_loop=0.0,
        retry=0,
        warmup=0.0,
        location=setting.location,
    )


def _build_direct_check(
    setting: Setting, own: Settings, place: CheckContext, findings: Findings
) -> DirectCheck:
    virtual = place.virtual
    if virtual.transport is not Transport.TCP or virtual.address is None:
        keyword = setting.node.keyword
        text = "DR_CHECK needs a TCP service with an address"
        findings.error(keyword.location, text, "use another checker", keyword.width)
    return DirectCheck(
        virtual_address=virtual.address or place.key.address,
        urls=build_urls(own, place, findings),
        version=HttpVersion(own.get("http_protocol", str) or "1.0"),
        **connection_fields(setting, own, place, findings),
        **timing_fields(own, place),
    )


_Builder = Callable[[Setting, Settings, CheckContext, Findings], AnyCheck]
_BUILDERS: dict[str, _Builder] = {
    "DNS_CHECK": _build_dns_check,
    "UDP_CHECK": _build_udp_check,
    "PING_CHECK": _build_ping_check,
    "MISC_CHECK": _build_misc_check,
    "DR_CHECK": _build_direct_check,
    "FILE_CHECK": _build_file_check,
    "BFD_CHECK": _build_bfd_check,
}
