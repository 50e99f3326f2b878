"""Checkers as canonical keepalived.conf: every value that is in force, one keyword a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from pointsman.conf.show.layout import block, number, on, text
from pointsman.conf.text.commands import quoted
from pointsman.health.check_types import words
from pointsman.model.checks import (
    BfdCheck,
    Check,
    DirectCheck,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    NetworkCheck,
    SmtpCheck,
    UdpCheck,
    Url,
)
from pointsman.model.health import AnyCheck
from pointsman.model.tracking import Command


def check_block(check: AnyCheck) -> Iterator[str]:
    """The block of a checker."""
    if isinstance(check, HttpCheck):
        return block(words(check).keyword, _http(check))
    if isinstance(check, MiscCheck):
        return block(words(check).keyword, _misc(check))
    if isinstance(check, DirectCheck):
        return block(words(check).keyword, _direct(check))
    if isinstance(check, FileCheck):
        return block(words(check).keyword, _file(check))
    if isinstance(check, BfdCheck):
        return block(words(check).keyword, iter([f"name {text(check.session)}"]))
    own: Iterator[str] = iter(())
    if isinstance(check, SmtpCheck):
        own = iter([f"helo_name {text(check.helo_name)}"])
    elif isinstance(check, DnsCheck):
        own = iter([f"type {check.record}", f"name {text(check.name)}"])
    elif isinstance(check, UdpCheck):
        own = _udp(check)
    return block(words(check).keyword, chain(_connecting(check), own))


def _direct(check: DirectCheck) -> Iterator[str]:
    yield f"connect_port {check.connect_port}"
    if check.bind_address is not None:
        yield f"bindto {check.bind_address}"
    yield f"connect_timeout {number(check.connect_timeout)}"
    yield from _timing(check)
    yield f"http_protocol {check.version.value}"
    for url in check.urls:
        yield from block("url", _url(url))


def command_line(command: Command) -> str:
    """`"PROGRAM ARGUMENTS" [USER [GROUP]]`."""
    user = "".join(f" {text(name)}" for name in (command.user, command.group) if name)
    return f"{quoted(command.words)}{user}"


def _misc(check: MiscCheck) -> Iterator[str]:
    yield f"misc_path {quoted(check.command.words)}"
    if check.command.user:
        yield f"user {' '.join(map(text, filter(None, (check.command.user, check.command.group))))}"
    yield f"misc_timeout {number(check.timeout)}"
    if check.dynamic:
        yield "misc_dynamic"
    yield from _timing(check)


def _file(check: FileCheck) -> Iterator[str]:
    yield f"track_file {text(check.file.name)}"
    yield f"weight {check.weight} {'reverse' if check.reverse else 'noreverse'}"


def _udp(check: UdpCheck) -> Iterator[str]:
    if check.payload is not None:
        yield f"payload {check.payload.hex()}"
    if check.require_reply:
        yield f"require_reply {_masked(check.reply, check.reply_mask)}".rstrip()
    yield f"min_reply_length {check.min_reply_length}"
    yield f"max_reply_length {check.max_reply_length}"


def _masked(data: bytes, mask: bytes) -> str:
    pairs = zip(data.hex(), mask.hex(), strict=True)
    return "".join(digit if counts == "f" else "x" for digit, counts in pairs)


def _timing(check: Check) -> Iterator[str]:
    yield f"retry {check.retry}"
    if check.rise != 1:
        yield f"rise {check.rise}"
    yield f"delay_before_retry {number(check.delay_before_retry)}"
    yield f"delay_loop {number(check.delay_loop)}"
    yield f"warmup {number(check.warmup)}"
    if check.log_all_failures:
        yield "log_all_failures"


def _connecting(check: NetworkCheck) -> Iterator[str]:
    yield f"connect_ip {check.connect_address}"
    if check.connect_port:
        yield f"connect_port {check.connect_port}"
    if check.bind_address is not None:
        yield f"bindto {check.bind_address}"
    if check.bind_port:
        yield f"bind_port {check.bind_port}"
    if check.bind_interface:
        yield f"bind_if {text(check.bind_interface)}"
    if check.fwmark:
        yield f"fwmark {check.fwmark}"
    yield f"connect_timeout {number(check.connect_timeout)}"
    yield from _timing(check)


def _http(check: HttpCheck) -> Iterator[str]:
    yield from _connecting(check)
    yield f"http_protocol {check.version.value}"
    yield f"fast_recovery {on(check.fast_recovery)}"
    if check.sni_from_host:
        yield "enable_sni"
    if check.server_name:
        yield f"sni_name {text(check.server_name)}"
    if check.verify:
        yield "tls_verify"
    if check.authority:
        yield f"tls_ca {text(check.authority)}"
    for url in check.urls:
        yield from block("url", _url(url))


def _url(url: Url) -> Iterator[str]:
    yield f"path {text(url.path)}"
    ranges = (f"{low}-{high}" if low != high else str(low) for low, high in url.status)
    yield f"status_code {' '.join(ranges)}"
    if url.virtualhost:
        yield f"virtualhost {text(url.virtualhost)}"
    if url.digest:
        yield f"digest {url.digest}"
    if url.pattern is not None:
        yield f"regex {text(url.pattern.text)}"
        if not url.pattern.wanted:
            yield "regex_no_match"
        if url.pattern.options:
            yield f"regex_options {' '.join(url.pattern.options)}"
        yield f"regex_min_offset {url.pattern.min_offset}"
        yield f"regex_max_offset {url.pattern.max_offset}"
