"""Just enough nf_tables over netlink: one table that drops what goes to some addresses, or comes from them.

Written by hand as netlink.py is: the VRRP process may not wait for a program of its own.
Layouts: include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence

import msgspec

from pointsman.model.address import Address
from pointsman.net.netlink import NLM_F_APPEND, NLM_F_CREATE, NetlinkSocket, Request, attribute

NETLINK_NETFILTER = 12
TABLE = "pointsman_vrrp"
"""Of the family inet."""

_SUBSYSTEM, _INET = 10, 1
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _GET_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 1, 2, 3, 6
_NEW_SET, _NEW_ELEMENT, _DEL_ELEMENT = 9, 12, 14
_NESTED, _LIST_ELEMENT = 0x8000, 1
_PRIORITY = -1
"""keepalived's, just before what an administrator usually writes."""
_IIF, _OIF, _NFPROTO, _L4PROTO = 4, 5, 15, 16
_EQUAL, _AT_MOST, _AT_LEAST = 0, 3, 5
_NETWORK, _TRANSPORT = 1, 2
_VERDICT, _FIRST, _SECOND = 0, 1, 2
"""Registers."""
_DROP, _ACCEPT = 0, 1
_IPV4, _IPV6, _ICMPV6 = 2, 10, 58
_SOLICITATION, _ADVERTISEMENT = 135, 136
_HOOKS = {"in": 1, "out": 3}
_SETS = {"vips": (7, 4), "vips6": (8, 16), "link_local": (8 << 6 | 20, 20)}
"""Name: type (nft's number of ipv4_addr, ipv6_addr, ipv6_addr . iface_index) and bytes."""


class Shielded(msgspec.Struct, frozen=True):
    """An address that nobody reaches; one that is link-local on this interface only."""

    address: Address
    index: int


class ShieldSocket:
    """The table in the kernel. Making it raises OSError when the kernel has no nf_tables."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(NETLINK_NETFILTER)
        try:
            self.present()
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def present(self) -> bool:
        """Whether the table is there. Raises OSError."""
        try:
            self._socket.get(_SUBSYSTEM << 8 | _GET_TABLE, _header() + _text(1, TABLE))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def replace(self, shielded: Iterable[Shielded]) -> None:
        """The table anew, with these addresses. Raises OSError; then it is as it was."""
        requests = [*_removal(), _request(_NEW_TABLE, _text(1, TABLE))]
        requests += [_set(number, name) for number, name in enumerate(_SETS, 1)]
        requests += [request for chain in _HOOKS for request in _chain(chain)]
        self._transaction([*requests, *_elements(_NEW_ELEMENT, shielded)])

    def change(self, gone: Iterable[Shielded], new: Iterable[Shielded]) -> None:
        """Other addresses. Raises OSError; then it is as it was (ENOENT: no such table or address)."""
        self._transaction([*_elements(_DEL_ELEMENT, gone), *_elements(_NEW_ELEMENT, new)])

    def remove(self) -> None:
        """The table is no more, if it ever was. Raises OSError."""
        self._transaction(_removal())

    def _transaction(self, requests: Sequence[Request]) -> None:
        if requests:
            frame = _header(family=0, resource=_SUBSYSTEM)
            self._socket.transaction(Request(_BATCH_BEGIN, 0, frame), requests, Request(_BATCH_END, 0, frame))


def _header(family: int = _INET, resource: int = 0) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _request(kind: int, content: bytes) -> Request:
    flags = 0 if kind in (_DEL_TABLE, _DEL_ELEMENT) else NLM_F_CREATE | NLM_F_APPEND
    return Request(_SUBSYSTEM << 8 | kind, flags, _header() + content)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def _nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _removal() -> list[Request]:
    """What is not there cannot be removed: so it is made first."""
    return [_request(kind, _text(1, TABLE)) for kind in (_NEW_TABLE, _DEL_TABLE)]


def _set(number: int, name: str) -> Request:
    kind, size = _SETS[name]
    content = _text(1, TABLE) + _text(2, name) + _number(3, 0) + _number(4, kind) + _number(5, size)
    return _request(_NEW_SET, content + _number(10, number))


def _elements(kind: int, shielded: Iterable[Shielded]) -> list[Request]:
    by_set: dict[str, list[bytes]] = {}
    for each in shielded:
        if each.address.version == 4:
            by_set.setdefault("vips", []).append(each.address.packed)
        elif not each.address.is_link_local:
            by_set.setdefault("vips6", []).append(each.address.packed)
        else:
            key = each.address.packed + struct.pack("=I", each.index)
            by_set.setdefault("link_local", []).append(key)
    return [
        _request(kind, _text(1, TABLE) + _text(2, name) + _nest(3, *map(_element, keys)))
        for name, keys in by_set.items()
    ]


def _element(key: bytes) -> bytes:
    return _nest(_LIST_ELEMENT, _nest(1, attribute(1, key)))


def _chain(name: str) -> list[Request]:
    """Neighbour discovery goes on: the addresses are to be found, not to be reached."""
    hook = _nest(4, _number(1, _HOOKS[name]), _number(2, _PRIORITY))
    incoming = name == "in"
    source_or_destination = _payload(_NETWORK, 16 if incoming else 12, 4)
    source_or_destination6 = _payload(_NETWORK, 24 if incoming else 8, 16)
    ipv4, ipv6 = ([_meta(_NFPROTO), _compare(_EQUAL, number)] for number in (_IPV4, _IPV6))
    discovery = [
        *(_meta(_L4PROTO), _compare(_EQUAL, _ICMPV6), _payload(_TRANSPORT, 0, 1)),
        *(_compare(_AT_LEAST, _SOLICITATION), _compare(_AT_MOST, _ADVERTISEMENT)),
    ]
    interface = _meta(_IIF if incoming else _OIF, _SECOND)
    rules = (
        [*ipv4, source_or_destination, _lookup("vips"), _verdict(_DROP)],
        [*ipv6, *discovery, _verdict(_ACCEPT)],
        [*ipv6, source_or_destination6, _lookup("vips6"), _verdict(_DROP)],
        [*ipv6, source_or_destination6, interface, _lookup("link_local"), _verdict(_DROP)],
    )
    return [
        _request(_NEW_CHAIN, _text(1, TABLE) + _text(3, name) + hook + _text(7, "filter")),
        *(_request(_NEW_RULE, _text(1, TABLE) + _text(2, name) + _nest(4, *rule)) for rule in rules),
    ]


def _expression(name: str, *content: bytes) -> bytes:
    return _nest(_LIST_ELEMENT, _text(1, name), _nest(2, *content))


def _meta(key: int, register: int = _FIRST) -> bytes:
    return _expression("meta", _number(1, register), _number(2, key))


def _payload(base: int, offset: int, size: int) -> bytes:
    numbers = (_FIRST, base, offset, size)
    return _expression("payload", *(_number(kind, value) for kind, value in enumerate(numbers, 1)))


def _compare(how: int, value: int) -> bytes:
    """The register's first byte."""
    return _expression("cmp", _number(1, _FIRST), _number(2, how), _nest(3, attribute(1, bytes([value]))))


def _lookup(name: str) -> bytes:
    return _expression("lookup", _text(1, name), _number(2, _FIRST))


def _verdict(code: int) -> bytes:
    return _expression("immediate", _number(1, _VERDICT), _nest(2, _nest(2, _number(1, code))))
