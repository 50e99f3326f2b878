# SPDX-License-Identifier: Apache-2.0
"""Build the model from the tree: global_defs, then instances, then virtual servers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import cast

from pointsman.conf.build.auth import KeyFiles
from pointsman.conf.build.bfd import build_sessions
from pointsman.conf.build.check_fields import NamedObjects
from pointsman.conf.build.connection_sync import build_connection_sync
from pointsman.conf.build.fast_path.cache import MakerCache
from pointsman.conf.build.groups import build_groups
from pointsman.conf.build.rules import RulePreferences
from pointsman.conf.build.static import add_track_groups, build_static
from pointsman.conf.build.sync_groups import build_surroundings
from pointsman.conf.build.tracking import build_fifos, build_trackers
from pointsman.conf.build.urls import build_tls
from pointsman.conf.build.virtual_servers import build_virtual_servers
from pointsman.conf.build.vmac import InterfaceNames
from pointsman.conf.build.vrrp import build_instance
from pointsman.conf.keywords.settings import Setting, Settings, read_block
from pointsman.conf.text.problems import Findings, TooManyProblemsError
from pointsman.conf.text.source import Chunk
from pointsman.conf.text.tree import Node, parse_chunk
from pointsman.model.config import Config, Mail, MailTls
from pointsman.model.health import VirtualServer
from pointsman.model.operations import SetTimeouts

MAX_SERVERS = 150_000
"""Limit of virtual servers, real servers and checks together.

10,000 services with four real servers and a check each are 90,000.
"""

_SERVICE = len("virtual_server")
_DISPLAYED = re.compile(r"[^<>@]*<\s*([^\s@<>,]+@[^\s@<>,]+)\s*>")
"""A display name and an address: Jane Doe <jane@example.org>."""
_MAIL_ADDRESS = re.compile(r"[^\s@<>,]+(@[^\s@<>,]+)?")


def build_config(nodes: list[Node | Chunk], host_name: str, findings: Findings, keys: KeyFiles) -> Config:
    """Return the configuration. Parts with errors are reported and left out."""
    top = read_block((node for node in nodes if isinstance(node, Node)), "", findings)
    defaults = read_block(
        [node for setting in top.all("global_defs") for node in setting.block], "global_defs", findings
    )
    heard = build_sessions(top.all("bfd_instance"), findings)
    order = {id(node): number for number, node in enumerate(nodes)}
    known = build_trackers(top, order, findings)._replace(sessions=heard)
    names = InterfaceNames(defaults)
    preferences = RulePreferences()
    static = build_static(top, defaults, preferences, findings)
    complete = tuple(
        build_instance(setting, defaults, known, names, preferences, keys, findings)
        for setting in top.all("vrrp_instance")
    )
    fifos = build_fifos(defaults, findings)
    shared, instances = build_surroundings(top, defaults, known, complete, fifos, findings)
    named = NamedObjects(
        known.files,
        heard,
        build_groups(top.all("virtual_server_group"), findings),
        _group_marks(defaults),
        build_tls(top.all("SSL"), findings),
    )

    def services(chunk: Chunk, told: Findings) -> list[VirtualServer]:
        """Parse a block and build its services, without the cache."""
        setting = read_block(parse_chunk(chunk, told), "", told).last("virtual_server")
        return (
            list(_limit_servers(build_virtual_servers(setting, defaults, named, told), told))
            if setting
            else []
        )

    shapes = MakerCache(services, findings)
    chunks = (node for node in nodes if isinstance(node, Chunk))
    servers = _limit_servers(
        (server for chunk in chunks for server in shapes.virtual_servers(chunk)), findings
    )
    return Config(
        router_id=defaults.get("router_id", str) or host_name,
        mail=_build_mail(defaults, findings),
        instances=instances,
        static=add_track_groups(static, top, complete, findings),
        vrrp=shared,
        bfd=tuple(heard.values()),
        server_fifos=tuple(fifo for fifo in fifos if not fifo.word.startswith("vrrp_")),
        timeouts=defaults.get("lvs_timeouts", SetTimeouts) or SetTimeouts(),
        grace=defaults.get("connection_grace", int),
        virtual_servers=tuple(servers),
        sync=build_connection_sync(top.last("connection_sync"), keys, findings),
    )


def _limit_servers(servers: Iterable[VirtualServer], findings: Findings) -> Iterator[VirtualServer]:
    """Yield the servers. Stop with an error at the limit: a small text can stand for very many."""
    count = 0
    for server in servers:
        count += 1 + sum([1 + len(member.checks) for member in server.members])
        if count > MAX_SERVERS:
            text = f"more than {MAX_SERVERS} virtual servers, real servers and checks in total"
            findings.error(server.location, text, "divide them among several directors", _SERVICE)
            raise TooManyProblemsError
        yield server


def _group_marks(defaults: Settings) -> Iterator[int] | None:
    if not defaults.has("nftables_ipvs"):
        return None
    return itertools.count(defaults.get("nftables_ipvs_start_fwmark", int) or 1000)


def _build_mail(defaults: Settings, findings: Findings) -> Mail:
    server = defaults.last("smtp_server")
    host, port = server.value if server and isinstance(server.value, tuple) else ("", None)
    credentials = cast("tuple[str, ...]", defaults.get("smtp_auth", tuple) or ("", ""))
    if len(credentials) != 2:
        word = cast(Setting, defaults.last("smtp_auth")).node.keyword
        findings.error(word.location, "smtp_auth needs USER PASSWORD", width=word.width)
        credentials = ("", "")
    stated = [setting for setting in (defaults.last("notification_email"), server) if setting]
    return Mail(
        recipients=tuple(_read_recipients(defaults.all("notification_email"), findings)),
        sender=_read_sender(defaults, findings),
        server=host,
        port=25 if port is None else port,
        helo_name=defaults.get("smtp_helo_name", str) or "",
        tls=MailTls(defaults.get("smtp_tls", str) or "none"),
        tls_verify=defaults.get("smtp_tls_verify", bool) is not False,
        tls_authority=defaults.get("smtp_tls_ca", str) or "",
        user=credentials[0],
        password=credentials[1],
        timeout=float(defaults.get("smtp_connect_timeout", int) or 30),
        location=stated[0].location if stated else None,
    )


def _read_recipients(settings: list[Setting], findings: Findings) -> dict[str, None]:
    """Return the addresses of the blocks. A line has several, or a display name and one in <>."""
    found: dict[str, None] = {}
    for node in (node for setting in settings for node in setting.block):
        line = _DISPLAYED.fullmatch(" ".join(word.text for word in node.words))
        if line:
            found[line[1]] = None
            continue
        for word in node.words:
            if not _MAIL_ADDRESS.fullmatch(word.text):
                text = f"{word.text} is not a mail address"
                findings.error(word.location, text, "write name@host", word.width)
            found[word.text] = None
    return found


def _read_sender(defaults: Settings, findings: Findings) -> str:
    """Return the sender; the display name in front of an address in <> is left out."""
    setting = defaults.last("notification_email_from")
    if setting is None:
        return ""
    words = cast("tuple[str, ...]", setting.value)
    shown = _DISPLAYED.fullmatch(" ".join(words))
    if shown is None and len(words) > 1:
        word = setting.node.values[1]
        text = f"{word.text} after the value of notification_email_from has no effect"
        findings.warning(word.location, text, "remove it", word.width)
    return shown[1] if shown else words[0]
