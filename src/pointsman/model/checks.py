"""The checks of a real server, one type a keyword of keepalived.conf; every default is already resolved.

All times are seconds. Types are tagged, so that a configuration can travel between processes.
"""

from __future__ import annotations

import enum
import hashlib
from functools import lru_cache

import msgspec

from pointsman.model.address import Address
from pointsman.model.location import Location
from pointsman.model.tracking import Command, TrackFile

_encoder = msgspec.json.Encoder(enc_hook=str)
_DIGEST_SIZE = 8
"""Bytes; no more than a few checks of one real server have to differ."""


class Check(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every check has: when it runs, and how often it may fail."""

    delay_loop: float = 60.0
    delay_before_retry: float = 1.0
    retry: int = 1
    """Failed attempts that are repeated before the real server counts as down."""
    rise: int = 1
    """Ours: successes in a row (of all URLs) that bring a real server back."""
    warmup: float = 60.0
    """The first check comes at a random moment of this span."""
    log_all_failures: bool = False
    """Log each probe that fails, not only verdicts."""
    location: Location | None = None

    @property
    def identity(self) -> str:
        """A digest of everything that is checked, and how: equal in every process and after a restart.

        The place in the file does not count.
        """
        return _identity(self)


@lru_cache(maxsize=1 << 16)
def _identity(check: Check) -> str:
    """Return Check.identity; kept, because every change of the table needs those of all checks."""
    plain = msgspec.structs.replace(check, location=None)
    return hashlib.blake2b(_encoder.encode(plain), digest_size=_DIGEST_SIZE).hexdigest()


class NetworkCheck(Check, frozen=True, kw_only=True):
    """A check that talks to an address and a port."""

    connect_address: Address
    connect_port: int
    bind_address: Address | None = None
    bind_port: int = 0
    bind_interface: str = ""
    fwmark: int = 0
    """SO_MARK of the probe's packets; 0: none."""
    connect_timeout: float = 5.0


class TcpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """TCP_CHECK: a handshake with the real server, then close."""


class HttpVersion(enum.Enum):
    """http_protocol; 1.0C is 1.0 with `Connection: close`."""

    V1_0 = "1.0"
    V1_0C = "1.0C"
    V1_1 = "1.1"


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """A regular expression that an answer's body has to match, or must not."""

    text: str
    options: tuple[str, ...] = ()
    """Those of PCRE2 by keepalived's names, as far as they change whether there is a match."""
    wanted: bool = True
    """False (`regex_no_match`): a match is the failure."""
    min_offset: int = 0
    max_offset: int = 0
    """A match has to start in front of it; 0: anywhere."""


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """One `url` block."""

    path: str = "/"
    virtualhost: str = ""
    """Value of the Host header; empty: address and port."""
    status: tuple[tuple[int, int], ...] = ((200, 299),)
    """Ranges of status codes, both ends included."""
    digest: str = ""
    """MD5 of the body in hexadecimal; empty: not compared."""
    pattern: Pattern | None = None


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The SSL block: what SSL_GET shows to a server that asks who is there. Files in PEM format."""

    certificate: str
    key: str = ""
    """Empty: it is in the file of the certificate."""
    password: str = ""
    """Of the key."""


class HttpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """HTTP_GET, and with `tls` SSL_GET: one URL after the other, one a probe."""

    urls: tuple[Url, ...] = (Url(),)
    version: HttpVersion = HttpVersion.V1_0
    tls: bool = False
    server_name: str = ""
    """The name sent in the TLS handshake (SNI); empty: none."""
    sni_from_host: bool = False
    """enable_sni without sni_name: the virtual host of the URL is sent."""
    fast_recovery: bool = False
    verify: bool = False
    """Ours: the certificate has to be good for the server name, else for the address."""
    authority: str = ""
    """File with the certificates to trust; empty: those of the system."""
    shown: ClientCertificate | None = None
    """With `tls`: for servers that ask for a certificate."""


class SmtpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """SMTP_CHECK: greeting, HELO, QUIT."""

    helo_name: str = "smtpchecker.keepalived.org"


class DnsCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """DNS_CHECK: one question over UDP, and an answer without an error code."""

    name: str = "."
    record: str = "SOA"
    """Type of record asked for."""


class UdpCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """UDP_CHECK: a datagram that is not refused, or one that is answered."""

    payload: bytes | None = None
    """None: a few random bytes."""
    require_reply: bool = False
    """Without it, silence is success."""
    reply: bytes = b""
    """What a reply has to begin with, as far as both are long."""
    reply_mask: bytes = b""
    """The bits of `reply` that count, as long as `reply`."""
    min_reply_length: int = 0
    max_reply_length: int = 255


class PingCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """PING_CHECK: an ICMP echo; the port means nothing."""


class DirectCheck(NetworkCheck, frozen=True, kw_only=True, tag=True):
    """DR_CHECK (ours): a TCP handshake with the VIP itself, sent to the real server's MAC address.

    `connect_address` is the real server's, `connect_port` the service's.
    """

    virtual_address: Address
    urls: tuple[Url, ...] = ()
    """Fetched over that connection, one a probe; none: the handshake is all."""
    version: HttpVersion = HttpVersion.V1_0


class MiscCheck(Check, frozen=True, kw_only=True, tag=True):
    """MISC_CHECK: a program whose exit code 0 means good."""

    command: Command
    """Its user is never empty when the configuration names one (user, script_user)."""
    secure: bool = False
    """enable_script_security: not run as root if others than root can change it."""
    timeout: float = 60.0
    """Seconds after which it is ended and has failed."""
    dynamic: bool = False
    """misc_dynamic: exit code n from 2 on means good, with a weight of n - 2."""


class FileCheck(Check, frozen=True, kw_only=True, tag=True):
    """FILE_CHECK: the number in a tracked file, times `weight`, is added to the real server's weight."""

    file: TrackFile
    weight: int = 1
    """0: a number other than 0 in the file means down (`reverse`: 0 does)."""
    reverse: bool = False
    """The product counts with the other sign."""


class BfdCheck(Check, frozen=True, kw_only=True, tag=True):
    """BFD_CHECK: whether a BFD session is up; nothing is probed."""

    session: str
    """The name of its bfd_instance."""
