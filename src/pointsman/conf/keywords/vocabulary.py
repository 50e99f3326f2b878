"""keepalived's language, word by word: what may be written where. What becomes of a word is in `words_*`.

A line is `word | type | default | meaning`; a block's name stands in brackets above its words. Types:

    flag            nothing          bool     on, off ...          int A..B UNIT    a whole number
    sec A..B        seconds          text     a word, or "..."     one of A B       one of these words
    ip, if, mask    address, interface, netmask or prefix length   endpoint         IP [port]
    hostport        host [port]      script   a command line       weight N         -N..N [reverse]
    lines           a block of values                              block B HEAD     a block of words, B
    any WHAT        something else, in words

Facts: keepalived.conf(5), keepalived's parsers up to 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pointsman.conf.keywords.values import (
    Anything,
    Boolean,
    Choice,
    Endpoint,
    Flag,
    Granularity,
    HostPort,
    Integer,
    Interface,
    Ip,
    Kind,
    Seconds,
    Text,
)
from pointsman.conf.keywords.vocabulary_global import GLOBAL
from pointsman.conf.keywords.vocabulary_lvs import CONNECTING, LVS, RETRYING
from pointsman.conf.keywords.vocabulary_vrrp import VRRP

NEWER = "after 2.2.7"
NEWER_WORDS = frozenset(
    [
        "active_key",
        "anti_replay",
        "auth_hmac",
        "dbus_no_interface_name",
        "iproute_etc_dir",
        "iproute_usr_dir",
        "json_dump_file",
        "json_version",
        "multihop",
        "no_virtual_ipaddress",
        "owner_ignore_adverts",
        "set_supplementary_groups",
        "sni_name",
        "snmp_rs_stats_update_interval",
        "snmp_vs_stats_update_interval",
        "state_dump_file",
        "stats_dump_file",
        "thread_timer_expired",
        "time_window",
        "timer_expired_backup",
        "tls_compliant",
        "use_symlink_paths",
        "v3_checksum_as_v2",
        "vrrp_delay_after_boot",
        "vrrp_ipsets",
        "vrrp_owner_ignore_adverts",
    ]
)
"""Words that keepalived 2.2.7 does not know as Debian builds it (its program was searched)."""

_RETRYING = [
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "PING_CHECK",
    "UDP_CHECK",
    "MISC_CHECK",
    "FILE_CHECK",
]
_CONNECTING = [
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "PING_CHECK",
    "UDP_CHECK",
    "host",
]


class Entry(NamedTuple):
    """A word of the language."""

    block: str
    name: str
    kind: Kind
    default: str
    """For people; empty: none."""
    meaning: str
    opens: str
    """The block behind it, `lines` for one that holds values; empty: none."""
    since: str
    """Empty: keepalived 2.2.7 knows it, and maybe older ones do."""


def entries() -> Iterator[Entry]:
    """Every word of every block."""
    for text in (GLOBAL, VRRP, LVS):
        block = ""
        for line in text.split("\n"):
            if line.startswith("["):
                block = line.strip("[]")
            elif line:
                for home in (block, "SSL_GET") if block == "HTTP_GET" else (block,):
                    yield _entry(home, line)
    for blocks, text in ((_RETRYING, RETRYING), (_CONNECTING, CONNECTING)):
        for block in blocks:
            yield from (_entry(block, line) for line in text.split("\n") if line)


def _entry(block: str, line: str) -> Entry:
    name, form, default, meaning = (part.strip() for part in line.split("|"))
    first, _, rest = form.partition(" ")
    opens = {"block": rest.partition(" ")[0], "lines": "lines"}.get(first, "")
    return Entry(
        block, name, _KINDS[first](rest), default, meaning, opens, NEWER if name in NEWER_WORDS else ""
    )


def _integer(rest: str) -> Kind:
    bounds, _, unit = rest.partition(" ")
    low, high = bounds.split("..")
    return Integer(int(low), int(high), unit)


def _seconds(rest: str) -> Kind:
    low, high = rest.split("..")
    return Seconds(float(low), float(high))


def _block(rest: str) -> Kind:
    head = rest.partition(" ")[2]
    return Anything(f"{head} and a block" if head else "a block")


_KINDS: dict[str, Callable[[str], Kind]] = {
    "flag": lambda _: Flag(),
    "bool": lambda _: Boolean(),
    "int": _integer,
    "sec": _seconds,
    "text": lambda _: Text(),
    "one": lambda rest: Choice(tuple(rest.split()[1:]), any_case=True),
    "ip": lambda _: Ip(),
    "if": lambda _: Interface(),
    "mask": lambda _: Granularity(),
    "endpoint": lambda _: Endpoint(),
    "hostport": lambda _: HostPort(),
    "script": lambda _: Anything("a command line, in quotes when it has arguments"),
    "weight": lambda rest: Anything(f"a number from -{rest} to {rest}, and perhaps reverse"),
    "lines": lambda rest: Anything(f"{rest} and a block of values" if rest else "a block of values"),
    "block": _block,
    "any": lambda rest: Anything(rest),
}
