# SPDX-License-Identifier: Apache-2.0
"""Format checks as canonical keepalived.conf: each effective value, one keyword a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from pointsman.conf.show.layout import format_block, format_seconds, format_switch, format_text
from pointsman.conf.text.commands import quote_command
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


def show_check(check: AnyCheck) -> Iterator[str]:
    """Return the lines of a check's block."""
    if isinstance(check, HttpCheck):
        return format_block(words(check).keyword, _show_http(check))
    if isinstance(check, MiscCheck):
        return format_block(words(check).keyword, _show_misc(check))
    if isinstance(check, DirectCheck):
        return format_block(words(check).keyword, _show_direct(check))
    if isinstance(check, FileCheck):
        return format_block(words(check).keyword, _show_file(check))
    if isinstance(check, BfdCheck):
        return format_block(words(check).keyword, iter([f"name {format_text(check.session)}"]))
    own: Iterator[str] = iter(())
    if isinstance(check, SmtpCheck):
        own = iter([f"helo_name {format_text(check.helo_name)}"])
    elif isinstance(check, DnsCheck):
        own = iter([f"type {check.record}", f"name {format_text(check.name)}"])
    elif isinstance(check, UdpCheck):
        own = _show_udp(check)
    return format_block(words(check).keyword, chain(_show_connection(check), own))


def _show_direct(check: DirectCheck) -> Iterator[str]:
    yield f"connect_port {check.connect_port}"
    if check.bind_address is not None:
        yield f"bindto {check.bind_address}"
    yield f"connect_timeout {format_seconds(check.connect_timeout)}"
    yield from _show_timing(check)
    yield f"http_protocol {check.version.value}"
    for url in check.urls:
        yield from format_block("url", _show_url(url))


def format_command(command: Command) -> str:
    """Return `"PROGRAM ARGUMENTS" [USER [GROUP]]`."""
    user = "".join(f" {format_text(name)}" for name in (command.user, command.group) if name)
    return f"{quote_command(command.words)}{user}"


def _show_misc(check: MiscCheck) -> Iterator[str]:
    yield f"misc_path {quote_command(check.command.words)}"
    if check.command.user:
        yield f"user {' '.join(map(format_text, filter(None, (check.command.user, check.command.group))))}"
    yield f"misc_timeout {format_seconds(check.timeout)}"
    if check.dynamic:
        yield "misc_dynamic"
    yield from _show_timing(check)


def _show_file(check: FileCheck) -> Iterator[str]:
    yield f"track_file {format_text(check.file.name)}"
    yield f"weight {check.weight} {'reverse' if check.reverse else 'noreverse'}"


def _show_udp(check: UdpCheck) -> Iterator[str]:
    if check.payload is not None:
        yield f"payload {check.payload.hex()}"
    if check.require_reply:
        yield f"require_reply {_format_masked(check.reply, check.reply_mask)}".rstrip()
    yield f"min_reply_length {check.min_reply_length}"
    yield f"max_reply_length {check.max_reply_length}"


def _format_masked(data: bytes, mask: bytes) -> str:
    pairs = zip(data.hex(), mask.hex(), strict=True)
    return "".join(digit if counts == "f" else "x" for digit, counts in pairs)


def _show_timing(check: Check) -> Iterator[str]:
    yield f"retry {check.retry}"
    if check.rise != 1:
        yield f"rise {check.rise}"
    yield f"delay_before_retry {format_seconds(check.delay_before_retry)}"
    yield f"delay_loop {format_seconds(check.delay_loop)}"
    yield f"warmup {format_seconds(check.warmup)}"
    if check.log_all_failures:
        yield "log_all_failures"


def _show_connection(check: NetworkCheck) -> Iterator[str]:
    yield f"connect_ip {check.connect_address}"
    if check.connect_port:
        yield f"connect_port {check.connect_port}"
    if check.bind_address is not None:
        yield f"bindto {check.bind_address}"
    if check.bind_port:
        yield f"bind_port {check.bind_port}"
    if check.bind_interface:
        yield f"bind_if {format_text(check.bind_interface)}"
    if check.fwmark:
        yield f"fwmark {check.fwmark}"
    yield f"connect_timeout {format_seconds(check.connect_timeout)}"
    yield from _show_timing(check)


def _show_http(check: HttpCheck) -> Iterator[str]:
    yield from _show_connection(check)
    yield f"http_protocol {check.version.value}"
    yield f"fast_recovery {format_switch(check.fast_recovery)}"
    if check.sni_from_host:
        yield "enable_sni"
    if check.server_name:
        yield f"sni_name {format_text(check.server_name)}"
    if check.verify:
        yield "tls_verify"
    if check.authority:
        yield f"tls_ca {format_text(check.authority)}"
    for url in check.urls:
        yield from format_block("url", _show_url(url))


def _show_url(url: Url) -> Iterator[str]:
    yield f"path {format_text(url.path)}"
    ranges = (f"{low}-{high}" if low != high else str(low) for low, high in url.status)
    yield f"status_code {' '.join(ranges)}"
    if url.virtualhost:
        yield f"virtualhost {format_text(url.virtualhost)}"
    if url.digest:
        yield f"digest {url.digest}"
    if url.pattern is not None:
        yield f"regex {format_text(url.pattern.text)}"
        if not url.pattern.wanted:
            yield "regex_no_match"
        if url.pattern.options:
            yield f"regex_options {' '.join(url.pattern.options)}"
        yield f"regex_min_offset {url.pattern.min_offset}"
        yield f"regex_max_offset {url.pattern.max_offset}"
