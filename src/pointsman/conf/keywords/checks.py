"""Rows of the keyword table: the checkers of a real server."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import Keyword, accepted, honoured
from pointsman.conf.keywords.values import (
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
)

_RS = "real_server"
_MONTH = 31 * 86400


def inherited_words(block: str) -> list[Keyword]:
    """What a checker takes from its real server, and that from its virtual server."""
    return [
        *_times(block),
        honoured(block, "connect_timeout", Seconds(1e-6, 3600), "How long a connection may take.", 5.0),
    ]


def log_all_failures(block: str) -> Keyword:
    """The word of real servers and checkers."""
    return honoured(block, "log_all_failures", Boolean(), "Log each probe that fails.", False)


def _times(block: str) -> list[Keyword]:
    return [
        honoured(block, "delay_loop", Seconds(1e-6, _MONTH), "Between two checks of a server.", 60.0),
        honoured(
            block, "retry", Integer(0, 2**31 - 1), "Failed checks that are repeated before it is down.", 1
        ),
        honoured(block, "delay_before_retry", Seconds(0, _MONTH), "Before a failed check is repeated.", 1.0),
        honoured(block, "rise", Integer(1, 1000), "Ours: successes in a row that bring a server back.", 1),
        honoured(
            block, "fall", Integer(1, 2**31 - 1), "Ours: failures in a row until a server is down: retry + 1."
        ),
        honoured(
            block, "warmup", Seconds(0, _MONTH), "The first check comes within it; default: delay_loop."
        ),
    ]


def _timed(block: str) -> list[Keyword]:
    return [
        honoured(block, "alpha", Boolean(), "Down until this check succeeds."),
        *_times(block),
        log_all_failures(block),
    ]


def _connecting(block: str) -> list[Keyword]:
    return [*_endpoint(block), *_timed(block)]


def _endpoint(block: str) -> list[Keyword]:
    return [
        honoured(block, "connect_ip", Ip(), "Address to connect to; default: the real server's."),
        honoured(block, "connect_port", Integer(1, 65535), "Port to connect to; default: the real server's."),
        honoured(block, "bindto", Ip(), "Source address of the connection."),
        honoured(block, "bind_port", Integer(1, 65535), "Source port of the connection."),
        honoured(block, "bind_if", Interface(), "Interface that the connection goes through."),
        honoured(block, "fwmark", Integer(0, 2**32 - 1), "Firewall mark of the probe's packets.", 0),
        honoured(block, "connect_timeout", Seconds(1e-6, 3600), "How long a connection may take.", 5.0),
    ]


def _http(block: str) -> list[Keyword]:
    return [
        honoured(_RS, block, Flag(), f"Check by {block[:-4]} requests of URLs.", opens=block, repeats=True),
        *_connecting(block),
        *_urls(block),
        honoured(block, "fast_recovery", Boolean(), "No pause between URLs until the server is up.", False),
        honoured(block, "nb_get_retry", Integer(0, 2**31 - 1), "Old word for retry.", 1, same_as="retry"),
        *accepted(block, "tls_compliant", "an answer that is cut off is a failure in any case"),
    ]


def _urls(block: str) -> list[Keyword]:
    return [
        honoured(block, "url", Flag(), "A URL; several are fetched in turn.", opens="url", repeats=True),
        honoured(block, "virtualhost", Text(), "Host header of URLs that name none."),
        honoured(block, "http_protocol", Choice(("1.0", "1.0C", "1.1")), "Version of the requests.", "1.0"),
    ]


CHECKS: list[Keyword] = [
    honoured(_RS, "TCP_CHECK", Flag(), "Check by a TCP connection.", opens="TCP_CHECK", repeats=True),
    *_connecting("TCP_CHECK"),
    honoured(
        "TCP_CHECK",
        "nb_get_retry",
        Integer(0, 2**31 - 1),
        "Old word of HTTP_GET for retry; keepalived 2.x does not know it in TCP_CHECK.",
    ),
    *_http("HTTP_GET"),
    *accepted("HTTP_GET", "enable_sni sni_name", "HTTP has no handshake that would carry it"),
    *_http("SSL_GET"),
    honoured("SSL_GET", "enable_sni", Boolean(), "Send the virtual host as server name.", False),
    honoured("SSL_GET", "sni_name", Text(), "Send this server name in the handshake."),
    honoured("SSL_GET", "tls_verify", Boolean(), "Ours: the certificate has to be good.", False),
    honoured(
        "SSL_GET", "tls_ca", Text("a path", 4095), "Ours: certificates to trust; default: the system's."
    ),
    honoured("url", "path", Text(longest=4096), "What to fetch.", "/"),
    honoured("url", "digest", Md5(), "MD5 that the body has to have; see `pointsman genhash`."),
    honoured("url", "status_code", Ranges(100, 999), "Status codes that count as success.", ((200, 299),)),
    honoured("url", "virtualhost", Text(), "Host header; default: that of checker, real or virtual server."),
    honoured("url", "regex", Text(longest=4096), "Regular expression that the body has to match."),
    honoured("url", "regex_no_match", Boolean(), "A body that matches is the failure.", False),
    honoured(
        "url",
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
        "Options of the regular expression, as in pcre2api(3).",
    ),
    honoured("url", "regex_min_offset", Integer(0, 1 << 20), "Byte of the body where the search begins.", 0),
    honoured("url", "regex_max_offset", Integer(0, 1 << 20), "A match has to start before this byte.", 0),
    *accepted("url", "regex_stack", "the search is bounded in time, not by its stack"),
    *accepted("url", "tls_compliant", "an answer that is cut off is a failure in any case"),
    honoured(_RS, "SMTP_CHECK", Flag(), "Check by SMTP: HELO, QUIT.", opens="SMTP_CHECK", repeats=True),
    *_connecting("SMTP_CHECK"),
    honoured(
        "SMTP_CHECK", "helo_name", Text("a host name"), "Name said in HELO.", "smtpchecker.keepalived.org"
    ),
    honoured(
        "SMTP_CHECK",
        "host",
        Flag(),
        "An address to check; all of them have to pass.",
        opens="host",
        repeats=True,
    ),
    *_endpoint("host"),
    honoured(_RS, "DNS_CHECK", Flag(), "Check by a question over UDP.", opens="DNS_CHECK", repeats=True),
    *_connecting("DNS_CHECK"),
    honoured(
        "DNS_CHECK",
        "type",
        Choice(("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"), any_case=True),
        "Type of record asked for.",
        "SOA",
    ),
    honoured("DNS_CHECK", "name", Text("a domain name"), "Name asked for.", "."),
    honoured(_RS, "UDP_CHECK", Flag(), "Check by a datagram.", opens="UDP_CHECK", repeats=True),
    *_connecting("UDP_CHECK"),
    honoured("UDP_CHECK", "payload", Hexadecimal(), "Content of the datagram; default: random bytes."),
    honoured(
        "UDP_CHECK",
        "require_reply",
        Hexadecimal(wildcards=True, bare=True),
        "A reply must come, and begin so; without the word, silence is success.",
    ),
    honoured("UDP_CHECK", "min_reply_length", Integer(0, 65535, "bytes"), "Shortest good reply.", 0),
    honoured("UDP_CHECK", "max_reply_length", Integer(0, 65535, "bytes"), "Longest good reply.", 255),
    honoured(_RS, "PING_CHECK", Flag(), "Check by an ICMP echo.", opens="PING_CHECK", repeats=True),
    *_connecting("PING_CHECK"),
    honoured(
        _RS,
        "DR_CHECK",
        Flag(),
        "Ours: check by TCP with the VIP itself, and HTTP over it, sent to the real server's MAC address.",
        opens="DR_CHECK",
        repeats=True,
    ),
    honoured("DR_CHECK", "connect_port", Integer(1, 65535), "Port of the VIP; default: the service's."),
    honoured("DR_CHECK", "bindto", Ip(), "Source address; default: that of the route to the real server."),
    honoured("DR_CHECK", "connect_timeout", Seconds(1e-6, 3600), "How long the handshake may take.", 5.0),
    *_urls("DR_CHECK"),
    *_timed("DR_CHECK"),
    honoured(_RS, "MISC_CHECK", Flag(), "Check by a program.", opens="MISC_CHECK", repeats=True),
    *_timed("MISC_CHECK"),
    honoured("MISC_CHECK", "misc_path", Anything("a command line", words=1), "The program."),
    honoured(
        "MISC_CHECK", "misc_timeout", Seconds(1e-6, _MONTH), "How long it may run; default: delay_loop."
    ),
    honoured("MISC_CHECK", "misc_dynamic", Flag(), "Exit codes from 2 on are weights, plus 2."),
    honoured("MISC_CHECK", "user", Anything("USER [GROUP]", words=2), "Who runs it; default: script_user."),
    honoured(
        _RS, "FILE_CHECK", Flag(), "Check by the number in a track_file.", opens="FILE_CHECK", repeats=True
    ),
    honoured("FILE_CHECK", "track_file", Text("the name of a track_file"), "The file with the number."),
    honoured(
        "FILE_CHECK",
        "weight",
        Anything("a number, and perhaps reverse", words=2),
        "Times the number, added to the weight; 0: a number other than 0 means down.",
    ),
    honoured("FILE_CHECK", "alpha", Boolean(), "Down until this check succeeds."),
    *accepted(
        "FILE_CHECK",
        "delay_loop retry delay_before_retry warmup log_all_failures",
        "the file is looked at five times a second",
    ),
    honoured(_RS, "BFD_CHECK", Flag(), "Check by a BFD session.", opens="BFD_CHECK", repeats=True),
    honoured("BFD_CHECK", "name", Text("the name of a bfd_instance"), "The session."),
    honoured("BFD_CHECK", "alpha", Boolean(), "Down until the session is up."),
]
