# SPDX-License-Identifier: Apache-2.0
"""Build HTTP_GET and SSL_GET checks, and the url blocks of checks."""

from __future__ import annotations

import itertools
from typing import cast

from pointsman.conf.build.check_fields import (
    CheckContext,
    Tls,
    check_header_value,
    connection_fields,
    timing_fields,
)
from pointsman.conf.keywords.settings import Setting, Settings, read_block
from pointsman.conf.text.problems import Findings
from pointsman.model.checks import ClientCertificate, HttpCheck, HttpVersion, Pattern, Url


def build_tls(settings: list[Setting], findings: Findings) -> Tls:
    """Return the settings of the SSL blocks. The last one of each kind counts."""
    block = read_block([node for setting in settings for node in setting.block], "SSL", findings)
    certificate = block.get("certificate", str) or ""
    if not certificate:
        for name in ("key", "password"):
            if alone := block.last(name):
                word = alone.node.keyword
                text = f"{name} without a certificate has no effect"
                findings.error(word.location, text, "add certificate FILE", word.width)
    shown = ClientCertificate(
        certificate=certificate,
        key=block.get("key", str) or "",
        password=block.get("password", str) or "",
    )
    return Tls(shown if certificate else None, block.get("ca", str) or "")


def build_http_check(setting: Setting, own: Settings, place: CheckContext, findings: Findings) -> HttpCheck:
    """Build one HTTP_GET or SSL_GET check."""
    keyword = setting.node.keyword
    urls = build_urls(own, place, findings)
    if not urls:
        text = f"{keyword.text} without a url checks nothing"
        findings.error(keyword.location, text, "add url { path / }", keyword.width)
    tls, verify = own.block == "SSL_GET", own.get("tls_verify", bool) or False
    return HttpCheck(
        urls=urls or (Url(),),
        version=HttpVersion(own.get("http_protocol", str) or "1.0"),
        tls=tls,
        server_name=own.get("sni_name", str) or "",
        sni_from_host=own.get("enable_sni", bool) or False,
        verify=verify,
        authority=own.get("tls_ca", str) or (place.named.tls.authority if verify else ""),
        shown=place.named.tls.certificate if tls else None,
        fast_recovery=own.get("fast_recovery", bool) or False,
        **connection_fields(setting, own, place, findings),
        **timing_fields(own, place, before_retry=3.0),
    )


def build_urls(own: Settings, place: CheckContext, findings: Findings) -> tuple[Url, ...]:
    """Return the URLs of a check."""
    outer = [block.get("virtualhost", str) for block in (own, place.member, place.service)]
    host = next((each for each in outer if each), "")
    return tuple(_build_url(each, host, findings) for each in own.all("url"))


def _build_url(setting: Setting, host: str, findings: Findings) -> Url:
    block = read_block(setting.block, "url", findings)
    path = block.get("path", str) or "/"
    if not path.startswith("/") or any(sign <= " " or sign == "\x7f" for sign in path):
        word = cast(Setting, block.last("path")).node.values[0]
        text = f"path {path} is not the path of a URL"
        findings.error(word.location, text, "begin it with /, and write no blanks", word.width)
    check_header_value(block.last("virtualhost"), findings)
    codes = [cast("tuple[tuple[int, int], ...]", each.value) for each in block.all("status_code")]
    return Url(
        path=path,
        virtualhost=block.get("virtualhost", str) or host,
        status=tuple(itertools.chain(*codes)) or ((200, 299),),
        digest=block.get("digest", str) or "",
        pattern=_build_pattern(block, findings),
    )


def _build_pattern(block: Settings, findings: Findings) -> Pattern | None:
    setting = block.last("regex")
    if setting is None:
        return None
    pattern = Pattern(
        text=str(setting.value),
        options=cast("tuple[str, ...]", block.get("regex_options", tuple) or ()),
        wanted=not (block.get("regex_no_match", bool) or False),
        min_offset=block.get("regex_min_offset", int) or 0,
        max_offset=block.get("regex_max_offset", int) or 0,
    )
    # Imported here: few configurations have a regex, and the import takes long.
    from pointsman.health.http import compile_pattern

    try:
        compile_pattern(pattern)
    except ValueError as error:
        word = setting.node.values[0]
        findings.error(word.location, f"regex {pattern.text}: {error}", width=word.width)
    return pattern
