# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: the checkers of a real server, and SSL."""

from __future__ import annotations

import msgspec

from pointsman.conf.keywords.keyword import NEWER, NO_VALUE, OURS, Keyword, accepted, honoured, in_block
from pointsman.conf.keywords.values import (
    EVERY_UNSIGNED,
    OWNER,
    PATH,
    Anything,
    Boolean,
    Choice,
    Flag,
    Hexadecimal,
    Integer,
    Interface,
    Ip,
    Md5,
    Ranges,
    Seconds,
    Text,
    Texts,
    weight_up_to,
)

_INTERVAL = Seconds(1e-6, EVERY_UNSIGNED)
_WAIT = Seconds(0, EVERY_UNSIGNED)
_RETRY = Integer(0, EVERY_UNSIGNED)
_MOST_KEPT = 1 << 20
"""Bytes of an answer that a regular expression sees."""
_MEMBERS = "that of the real server"
_SERVICES = "the service's"
_CUT_OFF = "an answer that is cut off is a failure in any case"


def timing(delay_loop: str, retry: str, rise: str, fall: str, warmup: str) -> list[Keyword]:
    """Return the words that say when checks are made, with where each value comes from."""
    return [
        honoured("delay_loop", _INTERVAL, "time between two checks", delay_loop, zero=NO_VALUE),
        honoured("retry", _RETRY, "failed checks that are repeated before the server is down", retry),
        honoured("delay_before_retry", _WAIT, "wait before a failed check is repeated", retry),
        honoured(
            "rise", Integer(1, 1000), "successes in a row that bring a server back", rise, known_to=OURS
        ),
        honoured(
            "fall",
            Integer(1, EVERY_UNSIGNED),
            "failures in a row until the server is down: retry + 1",
            fall,
            known_to=OURS,
        ),
        honoured("warmup", _WAIT, "the first check comes at a random moment of this time", warmup),
    ]


def inherited_timing(origin: str) -> list[Keyword]:
    """Return the same words, with all values inherited from one place."""
    return timing(origin, origin, origin, origin, origin)


def server_timing(words: list[Keyword]) -> list[Keyword]:
    """Return these words as servers have them: keepalived ignores retry 0 outside of checkers."""
    kind = Integer(1, EVERY_UNSIGNED)
    return [
        msgspec.structs.replace(word, kind=kind, zero=NO_VALUE) if word.name == "retry" else word
        for word in words
    ]


def connect_timeout(default: str) -> Keyword:
    """Return the word of services, servers and checkers."""
    return honoured(
        "connect_timeout",
        Seconds(1e-6, 4294.967295),
        "longest time for a connection or an answer",
        default,
        zero=NO_VALUE,
    )


def log_all_failures(default: str, known_to: str = "") -> Keyword:
    """Return the word of servers and checkers."""
    return honoured("log_all_failures", Boolean(), "log every failed check", default, known_to=known_to)


_REPEATING = [
    honoured("alpha", Boolean(), "down until this check succeeds", _MEMBERS),
    *inherited_timing(_MEMBERS),
    log_all_failures(_MEMBERS),
]
"""Words of every checker that repeats its checks."""

_CONNECTING = [
    honoured("connect_ip", Ip(), "address to connect to", "the real server's"),
    honoured("connect_port", Integer(1, 65535), "port to connect to", "the real server's", zero=NO_VALUE),
    honoured("bindto", Ip(), "source address"),
    honoured("bind_port", Integer(1, 65535), "source port", zero=NO_VALUE),
    honoured("bind_if", Interface(), "interface to leave by"),
    honoured("fwmark", Integer(0, EVERY_UNSIGNED), "firewall mark of the packets"),
    connect_timeout(_MEMBERS),
]
"""Words of every checker that connects to something."""

_URLS = [
    honoured("url", Flag(), "a page to get; several are fetched in turn", opens="url", repeats=True),
    honoured("virtualhost", Text(), "Host header of pages that name none", _MEMBERS),
    honoured(
        "http_protocol",
        Choice(("1.0", "1.0C", "1.1")),
        "HTTP version; 1.0C: 1.0 with Connection: close",
        "1.0",
    ),
]
"""Words of every checker that gets pages."""

_PAGES = [
    *_CONNECTING,
    *_REPEATING,
    *_URLS,
    honoured("fast_recovery", Boolean(), "no pause between pages until the server is up", "off"),
    honoured("nb_get_retry", _RETRY, "old spelling of retry", same_as="retry"),
    accepted(
        "tls_compliant",
        Boolean(),
        "the server must end TLS properly (SSL_GET)",
        "off",
        why=_CUT_OFF,
        known_to=NEWER,
    ),
]
"""Words of HTTP_GET and SSL_GET."""


def _check(name: str, help: str, *words: Keyword, known_to: str = "") -> list[Keyword]:
    """Return the row of the word that opens a checker, and those of the words inside."""
    opening = honoured(name, Flag(), help, opens=name, repeats=True, known_to=known_to)
    return [*in_block("real_server", opening), *in_block(name, *words)]


_NO_HANDSHAKE = "HTTP has no handshake that would carry it"
_URL = in_block(
    "url",
    honoured("path", Text(longest=4096), "path of the page", "/"),
    honoured(
        "digest",
        Md5(),
        "MD5 sum that the page must have; see `pointsman genhash`",
        first_counts=True,
    ),
    honoured("status_code", Ranges(100, 599), "HTTP status that is success", "200-299", repeats=True),
    honoured("virtualhost", Text(), "Host header", "that of the checker"),
    honoured("regex", Text(longest=4096), "regular expression that the page must match"),
    honoured("regex_no_match", Boolean(), "the page must not match", "off"),
    honoured(
        "regex_options",
        Texts(
            (
                "alt_circumflex",
                "caseless",
                "dollar_endonly",
                "dotall",
                "extended",
                "firstline",
                "multiline",
            ),
            [
                "alt_verbnames",
                "dupnames",
                "never_backslash_c",
                "no_auto_capture",
                "ungreedy",
                "use_offset_limit",
                "auto_callout",
                "no_auto_possess",
                "no_dotstar_anchor",
                "no_start_optimize",
                "never_ucp",
                "never_utf",
            ],
        ),
        "options of the regular expression, as in pcre2api(3)",
    ),
    honoured("regex_min_offset", Integer(0, _MOST_KEPT), "byte of the page where the search begins", "0"),
    honoured(
        "regex_max_offset", Integer(0, _MOST_KEPT), "a match must begin before this byte; 0: anywhere", "0"
    ),
    accepted(
        "regex_stack",
        Anything("start max"),
        "memory for the regular expression",
        why="the search is bounded in time, not by its stack",
    ),
    accepted("tls_compliant", Flag(), "the server must end TLS properly", why=_CUT_OFF, known_to=NEWER),
)

_SSL = in_block(
    "SSL",
    honoured("certificate", PATH, "certificate to show to real servers that ask for one (PEM)"),
    honoured("key", PATH, "key of the certificate", "in the file of the certificate"),
    honoured("password", Text(), "password of the key"),
    honoured(
        "ca", PATH, "default of tls_ca where tls_verify is on; keepalived reads it and verifies nothing"
    ),
)

CHECKS = [
    *_SSL,
    *_check(
        "TCP_CHECK",
        "check by a TCP connection",
        *_CONNECTING,
        *_REPEATING,
        honoured("nb_get_retry", _RETRY, "old spelling of retry", known_to=OURS),
    ),
    *_check(
        "HTTP_GET",
        "check by pages over HTTP",
        *_PAGES,
        accepted("enable_sni", Flag(), "send the virtual host as server name (SSL_GET)", why=_NO_HANDSHAKE),
        accepted("sni_name", Text(), "server name to send (SSL_GET)", why=_NO_HANDSHAKE, known_to=NEWER),
    ),
    *_check(
        "SSL_GET",
        "check by pages over HTTPS",
        *_PAGES,
        honoured("enable_sni", Boolean(), "send the virtual host as server name", "off"),
        honoured("sni_name", Text(), "server name to send", known_to=NEWER),
        honoured("tls_verify", Boolean(), "the certificate must be valid", "off", known_to=OURS),
        honoured("tls_ca", PATH, "certificates to trust", "the system's", known_to=OURS),
    ),
    *_URL,
    *_check(
        "SMTP_CHECK",
        "check by a dialogue with a mail server: HELO, QUIT",
        *_CONNECTING,
        *_REPEATING,
        honoured(
            "helo_name", Text("a host name"), "name said to the mail server", "smtpchecker.keepalived.org"
        ),
        honoured("host", Flag(), "another address to check; all must succeed", opens="host", repeats=True),
    ),
    *in_block("host", *_CONNECTING),
    *_check(
        "DNS_CHECK",
        "check by a DNS query over UDP",
        *_CONNECTING,
        *_REPEATING,
        honoured(
            "type",
            Choice(("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"), any_case=True),
            "type of the query",
            "SOA",
        ),
        honoured("name", Text("a domain name"), "name to ask for", "."),
    ),
    *_check(
        "UDP_CHECK",
        "check by a UDP datagram",
        *_CONNECTING,
        *_REPEATING,
        honoured("payload", Hexadecimal(), "bytes to send", "random bytes"),
        honoured(
            "require_reply",
            Hexadecimal(wildcards=True, bare=True),
            "a reply must come, and begin so; without the word, silence is success",
        ),
        honoured("min_reply_length", Integer(0, 65535, "bytes"), "shortest good reply", "0"),
        honoured("max_reply_length", Integer(0, 65535, "bytes"), "longest good reply", "255"),
    ),
    *_check("PING_CHECK", "check by ICMP echo", *_CONNECTING, *_REPEATING),
    *_check(
        "DR_CHECK",
        "check by TCP to the VIP itself, and HTTP over it, sent to the MAC address of the real server",
        honoured("connect_port", Integer(1, 65535), "port of the VIP", _SERVICES),
        honoured("bindto", Ip(), "source address", "that of the route to the real server"),
        connect_timeout(_MEMBERS),
        *_URLS,
        *_REPEATING,
        known_to=OURS,
    ),
    *_check(
        "MISC_CHECK",
        "check by a program",
        *_REPEATING,
        honoured("misc_path", Anything("a command line", words=1), "program to run; exit code 0 is success"),
        honoured("misc_timeout", _WAIT, "longest run; 0: delay_loop", "delay_loop"),
        honoured("misc_dynamic", Flag(), "exit codes 2 to 255 set the weight to 0 to 253"),
        honoured("user", OWNER, "owner of the program", "script_user"),
    ),
    *_check(
        "FILE_CHECK",
        "check by the number in a file",
        honoured("track_file", Text("the name of a track_file"), "file with the number"),
        honoured(
            "weight",
            weight_up_to(2**31 - 1),
            "factor of the number, which is added to the weight; 0: a number other than 0 means down",
            "1",
        ),
        honoured("alpha", Boolean(), "down until this check succeeds", _MEMBERS, known_to=OURS),
        *(
            accepted(
                word.name,
                word.kind,
                word.help,
                _MEMBERS,
                why="the file is read five times a second",
                known_to=OURS,
            )
            for word in _REPEATING
            if word.name in ("delay_loop", "retry", "delay_before_retry", "warmup", "log_all_failures")
        ),
    ),
    *_check(
        "BFD_CHECK",
        "check by a BFD session",
        honoured("name", Text("the name of a bfd_instance"), "session"),
        honoured("alpha", Boolean(), "down until the session is up", "off"),
    ),
]
