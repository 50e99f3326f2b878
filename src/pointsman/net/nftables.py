"""Just enough nf_tables over netlink: one table that drops what goes to some addresses, or comes from them.

The VRRP process may not wait for a program of its own: docs/decisions/nftables.md. The rules are text, as
`nft list table inet pointsman_vrrp` prints them; nft_rules.py turns them into what the kernel takes.
Layouts: include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence

import msgspec

from pointsman.model.address import Address
from pointsman.net.netlink import NLM_F_APPEND, NLM_F_CREATE, NetlinkSocket, Request, attribute
from pointsman.net.nft_rules import LIST_ELEMENT, compile_rule, nest, number_attribute, text_attribute

NETLINK_NETFILTER = 12
TABLE = "pointsman_vrrp"
"""Of the family inet."""

_SUBSYSTEM, _INET = 10, 1
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _GET_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 1, 2, 3, 6
_NEW_SET, _NEW_ELEMENT, _DEL_ELEMENT = 9, 12, 14
_PRIORITY = -1
"""keepalived's, just before what an administrator usually writes."""
_HOOKS = {"in": 1, "out": 3}
RULES = {
    "in": (
        "ip daddr @vips drop",
        "icmpv6 type 135-136 accept",
        "ip6 daddr @vips6 drop",
        "ip6 daddr . iif @link_local drop",
    ),
    "out": (
        "ip saddr @vips drop",
        "icmpv6 type 135-136 accept",
        "ip6 saddr @vips6 drop",
        "ip6 saddr . oif @link_local drop",
    ),
}
"""By chain. Neighbour discovery (types 135 and 136) goes on: addresses are to be found, not to be reached."""
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
            self._socket.get(_SUBSYSTEM << 8 | _GET_TABLE, _header() + text_attribute(1, TABLE))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def replace(self, shielded: Iterable[Shielded]) -> None:
        """The table anew, with these addresses. Raises OSError; then it is as it was."""
        requests = [*_removal(), _request(_NEW_TABLE, text_attribute(1, TABLE))]
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


def _removal() -> list[Request]:
    """What is not there cannot be removed: so it is made first."""
    return [_request(kind, text_attribute(1, TABLE)) for kind in (_NEW_TABLE, _DEL_TABLE)]


def _set(number: int, name: str) -> Request:
    kind, size = _SETS[name]
    content = (
        text_attribute(1, TABLE)
        + text_attribute(2, name)
        + number_attribute(3, 0)
        + number_attribute(4, kind)
        + number_attribute(5, size)
    )
    return _request(_NEW_SET, content + number_attribute(10, number))


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
        _request(kind, text_attribute(1, TABLE) + text_attribute(2, name) + nest(3, *map(_element, keys)))
        for name, keys in by_set.items()
    ]


def _element(key: bytes) -> bytes:
    return nest(LIST_ELEMENT, nest(1, attribute(1, key)))


def _chain(name: str) -> list[Request]:
    hook = nest(4, number_attribute(1, _HOOKS[name]), number_attribute(2, _PRIORITY))
    kind = text_attribute(7, "filter")
    rules = [compile_rule(text) for text in RULES[name]]
    return [
        _request(_NEW_CHAIN, text_attribute(1, TABLE) + text_attribute(3, name) + hook + kind),
        *(
            _request(_NEW_RULE, text_attribute(1, TABLE) + text_attribute(2, name) + nest(4, *rule))
            for rule in rules
        ),
    ]
