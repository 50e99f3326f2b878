# SPDX-License-Identifier: Apache-2.0
"""The values of lvs_method (a forwarding method, with TUN the type of tunnel) and of lvs_timeouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pointsman.conf.keywords.values import BadValueError, Integer, parse_port
from pointsman.model.operations import SetTimeouts
from pointsman.model.service import Forwarding, Tunnel, TunnelChecksum, TunnelType


class LvsMethod(NamedTuple):
    """The value of lvs_method."""

    forwarding: Forwarding
    tunnel: Tunnel = Tunnel()


_METHODS = {"DR": Forwarding.ROUTE, "TUN": Forwarding.TUNNEL, "NAT": Forwarding.MASQ}
_TYPES = {kind.value: kind for kind in TunnelType}
_CHECKSUMS = {checksum.value: checksum for checksum in TunnelChecksum}


class Method(NamedTuple):
    """DR, or TUN with its options in any order, as keepalived reads them; NAT, which is refused elsewhere."""

    expected: str = "DR or TUN [type ipip|gue port NUMBER|gre] [nocsum|csum|remcsum]"
    words: int = 64
    choices: tuple[str, ...] = ("DR", "TUN")
    """The methods that a misspelt one may mean."""

    def read(self, words: Sequence[str]) -> object:
        if not words:
            raise BadValueError(f"the value is missing; write {self.expected}")
        if words[0] not in _METHODS:
            raise BadValueError(f"must be {' or '.join(self.choices)}")
        method = _METHODS[words[0]]
        if method is Forwarding.MASQ:
            return LvsMethod(method)
        if method is Forwarding.ROUTE and len(words) > 1:
            raise BadValueError("is an option of TUN only", 1)
        return LvsMethod(method, _tunnel(words))


def _tunnel(words: Sequence[str]) -> Tunnel:
    """Return the options after TUN. The last one of each kind counts."""
    kind, port, checksum = TunnelType.IPIP, 0, TunnelChecksum.NONE
    at = 1
    while at < len(words):
        word, behind = words[at], words[at + 1 : at + 2]
        if word in _CHECKSUMS:
            checksum = _CHECKSUMS[word]
            at += 1
            continue
        if word not in ("type", "port"):
            raise BadValueError("must be type, port, nocsum, csum or remcsum", at)
        if not behind:
            raise BadValueError("the value is missing", at)
        if word == "port":
            port = _port(behind[0], at + 1)
        elif behind[0] in _TYPES:
            kind = _TYPES[behind[0]]
        else:
            raise BadValueError("must be ipip, gue or gre", at + 1)
        at += 2
    if problem := _contradiction(kind, port, checksum):
        raise BadValueError(problem)
    return Tunnel(kind, port, checksum)


def _port(text: str, index: int) -> int:
    try:
        return parse_port(text)
    except BadValueError as error:
        raise BadValueError(str(error), index) from None


def _contradiction(kind: TunnelType, port: int, checksum: TunnelChecksum) -> str:
    """Return the contradiction that keepalived refuses, too; empty: none."""
    if (kind is TunnelType.GUE) != bool(port):
        return "type gue needs a port, such as port 6080; the other types have none"
    if kind is TunnelType.IPIP and checksum is not TunnelChecksum.NONE:
        return f"type ipip has no {checksum.value}"
    if kind is TunnelType.GRE and checksum is TunnelChecksum.REMOTE:
        return "type gre has no remcsum"
    return ""


_TIMEOUTS = {"tcp": "tcp", "tcpfin": "tcp_fin", "udp": "udp"}
_SECONDS = Integer(0, 31 * 86_400, "seconds")
"""0 keeps the present value."""


class Timeouts(NamedTuple):
    """Connection timeouts by protocol, in any order; at least one."""

    expected: str = "tcp SECONDS, tcpfin SECONDS, udp SECONDS"
    words: int = 6

    def read(self, words: Sequence[str]) -> object:
        if not words:
            raise BadValueError(f"the value is missing; write {self.expected}")
        found: dict[str, int] = {}
        for at in range(0, len(words), 2):
            if words[at] not in _TIMEOUTS:
                raise BadValueError("must be tcp, tcpfin or udp", at)
            try:
                seconds = _SECONDS.read(words[at + 1 : at + 2])
            except BadValueError as error:
                raise BadValueError(str(error), at + 1) from None
            assert isinstance(seconds, int)
            found[_TIMEOUTS[words[at]]] = seconds
        return SetTimeouts(**found)
