# SPDX-License-Identifier: Apache-2.0
"""Configuration of the checks of a real server: one type per keyword of keepalived.conf, with all defaults.

All times are in seconds. Types are tagged, so that a configuration can be sent between processes.
"""

from __future__ import annotations

import enum
import hashlib
from functools import lru_cache
from typing import TypeVar

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location
from pointsman.model.tracking import Command, TrackFile

_encoder = msgspec.json.Encoder(enc_hook=str)
_DIGEST_SIZE = 8
"""Bytes; no more than a few checks of one real server have to differ."""


class Check(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Settings of every check: its schedule and its retries."""

    delay_loop: float = 60.0
    delay_before_retry: float = 1.0
    retry: int = 1
    """Number of failed attempts that are repeated before the real server counts as down."""
    rise: int = 1
    """Ours: number of consecutive successes (of all URLs) until the real server is up again."""
    warmup: float = 60.0
    """The first check starts at a random moment of this time span."""
    log_all_failures: bool = False
    """Log every failed probe, not only changes of the result."""
    location: Location | None = None

    @property
    def identity(self) -> str:
        """A digest of everything that is checked, and how: equal in every process and after a restart.

        Places in files do not count.
        """
        return _identity(self)


@lru_cache(maxsize=1 << 16)
def _identity(check: Check) -> str:
    """Return Check.identity; kept, because every change of the table needs those of all checks."""
    plain = _encoder.encode(without_location(check))
    return hashlib.blake2b(plain, digest_size=_DIGEST_SIZE).hexdigest()


class NetworkCheck(Check, frozen=True, kw_only=True):
    """A check that connects to an address and a port."""

    connect_address: Address
    connect_port: int
    bind_address: Address | None = None
    bind_port: int = 0
    bind_interface: str = ""
    fwmark: int = 0
    """SO_MARK of the probe's packets. 0: none."""
    connect_timeout: float = 5.0


class TcpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """TCP_CHECK: a TCP handshake with the real server."""


class HttpVersion(enum.Enum):
    """http_protocol. 1.0C is 1.0 with `Connection: close`."""

    V1_0 = "1.0"
    V1_0C = "1.0C"
    V1_1 = "1.1"


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """A regular expression for the body of an answer."""

    text: str
    options: tuple[str, ...] = ()
    """Options of PCRE2 by keepalived's names, if they affect matching."""
    wanted: bool = True
    """False (`regex_no_match`): a match is a failure."""
    min_offset: int = 0
    max_offset: int = 0
    """A match must start before this offset. 0: no limit."""


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """A `url` block."""

    path: str = "/"
    virtualhost: str = ""
    """Value of the Host header. Empty: address and port."""
    status: tuple[tuple[int, int], ...] = ((200, 299),)
    """Ranges of status codes, both ends included."""
    digest: str = ""
    """MD5 of the body in hexadecimal. Empty: not compared."""
    pattern: Pattern | None = None


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The SSL block: client certificate of SSL_GET. The files are in PEM format."""

    certificate: str
    key: str = ""
    """Empty: the key is in the certificate's file."""
    password: str = ""
    """Password of the key."""


class HttpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """HTTP_GET, or SSL_GET with `tls`: one URL after the other, one per probe."""

    urls: tuple[Url, ...] = (Url(),)
    version: HttpVersion = HttpVersion.V1_0
    tls: bool = False
    server_name: str = ""
    """Server name of the TLS handshake (SNI). Empty: none."""
    sni_from_host: bool = False
    """enable_sni without sni_name: the virtual host of the URL is the server name."""
    fast_recovery: bool = False
    verify: bool = False
    """Ours: the certificate must be valid for the server name, or for the address if there is none."""
    authority: str = ""
    """File with the trusted certificates. Empty: those of the system."""
    shown: ClientCertificate | None = None
    """With `tls`: certificate for servers that request one."""


class SmtpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """SMTP_CHECK: greeting, HELO, QUIT."""

    helo_name: str = "smtpchecker.keepalived.org"


class DnsCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """DNS_CHECK: one query over UDP, and an answer without an error code."""

    name: str = "."
    record: str = "SOA"
    """Record type of the query."""


class UdpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """UDP_CHECK: a datagram that is not refused, or one that is answered."""

    payload: bytes | None = None
    """None: a few random bytes."""
    require_reply: bool = False
    """False: no answer is a success."""
    reply: bytes = b""
    """Expected start of a reply. Only bytes that both have are compared."""
    reply_mask: bytes = b""
    """Mask of the bits of `reply` that are compared. As long as `reply`."""
    min_reply_length: int = 0
    max_reply_length: int = 255


class PingCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """PING_CHECK: an ICMP echo. The port has no meaning."""


class DirectCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """DR_CHECK (ours): a TCP handshake with the VIP, sent to the real server's MAC address.

    `connect_address` is the real server's, `connect_port` the service's.
    """

    virtual_address: Address
    urls: tuple[Url, ...] = ()
    """URLs that are fetched over that connection, one per probe. Empty: only the handshake."""
    version: HttpVersion = HttpVersion.V1_0


class MiscCheck(Check, frozen=True, kw_only=True, tag=True):
    """MISC_CHECK: a program whose exit code 0 means success."""

    command: Command
    """Its user is set if the configuration names one (user, script_user)."""
    secure: bool = False
    """enable_script_security: the program is not run as root if other users can change it."""
    timeout: float = 60.0
    """Seconds after which the program is killed and has failed."""
    dynamic: bool = False
    """misc_dynamic: exit code n >= 2 is a success and sets the weight to n - 2."""


class FileCheck(Check, frozen=True, kw_only=True, tag=True):
    """FILE_CHECK: the number in a tracked file, times `weight`, is added to the real server's weight."""

    file: TrackFile
    weight: int = 1
    """0: a number other than 0 in the file means down (with `reverse`: 0 means down)."""
    reverse: bool = False
    """The product is negated."""


class BfdCheck(Check, frozen=True, kw_only=True, tag=True):
    """BFD_CHECK: the state of a BFD session. Nothing is probed."""

    session: str
    """Name of the bfd_instance."""


_AnyCheck = TypeVar("_AnyCheck", bound=Check)


def without_location(check: _AnyCheck) -> _AnyCheck:
    """Return the check without its location and that of the file it tracks. Equal checks share one probe."""
    plain = msgspec.structs.replace(check, location=None)
    if isinstance(plain, FileCheck):
        return msgspec.structs.replace(plain, file=msgspec.structs.replace(plain.file, location=None))
    return plain
