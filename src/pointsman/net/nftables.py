# SPDX-License-Identifier: Apache-2.0
"""One nftables table, over netlink, that drops packets to and from a set of addresses (`no_accept`).

The VRRP process must not wait for the program nft: docs/decisions/nftables.md. The rules are text, as
`nft list table inet pointsman_vrrp` prints them; nft_rules.py compiles them.
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
"""The table's name; its family is inet."""

_SUBSYSTEM, _INET = 10, 1
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _GET_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 1, 2, 3, 6
_NEW_SET, _NEW_ELEMENT, _DEL_ELEMENT = 9, 12, 14
_PRIORITY = -1
"""The same as keepalived's: just before the chains that administrators usually write."""
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
"""Rules by chain. Neighbour discovery (types 135 and 136) is accepted: addresses are still resolved."""
_SETS = {"vips": (7, 4), "vips6": (8, 16), "link_local": (8 << 6 | 20, 20)}
"""Sets by name: type (nft's number for ipv4_addr, ipv6_addr, ipv6_addr . iface_index) and bytes of a key."""


class FilteredAddress(msgspec.Struct, frozen=True):
    """An address whose packets are dropped."""

    address: Address
    index: int
    """Interface index, for a link-local address only; ignored for others."""


class FilterTable:
    """The table in the kernel."""

    def __init__(self) -> None:
        """Open a netlink socket; the table is not created. Raises OSError if the kernel has no nf_tables."""
        self._socket = NetlinkSocket(NETLINK_NETFILTER)
        try:
            self.exists()
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def exists(self) -> bool:
        """Return True if the table is in the kernel. Raises OSError."""
        try:
            self._socket.get(_SUBSYSTEM << 8 | _GET_TABLE, _header() + text_attribute(1, TABLE))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def replace(self, addresses: Iterable[FilteredAddress]) -> None:
        """Create the table anew with these addresses. Raises OSError; then nothing has changed."""
        requests = [*_removal_requests(), _request(_NEW_TABLE, text_attribute(1, TABLE))]
        requests += [_set(number, name) for number, name in enumerate(_SETS, 1)]
        requests += [request for chain in _HOOKS for request in _chain(chain)]
        self._transaction([*requests, *_elements(_NEW_ELEMENT, addresses)])

    def update(self, removed: Iterable[FilteredAddress], added: Iterable[FilteredAddress]) -> None:
        """Remove and add addresses. Raises OSError (ENOENT: no such table, no such address).

        Then nothing has changed.
        """
        self._transaction([*_elements(_DEL_ELEMENT, removed), *_elements(_NEW_ELEMENT, added)])

    def remove(self) -> None:
        """Remove the table if it exists. Raises OSError."""
        self._transaction(_removal_requests())

    def _transaction(self, requests: Sequence[Request]) -> None:
        if requests:
            frame = _header(family=0, resource=_SUBSYSTEM)
            self._socket.transaction(Request(_BATCH_BEGIN, 0, frame), requests, Request(_BATCH_END, 0, frame))


def _header(family: int = _INET, resource: int = 0) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _request(kind: int, content: bytes) -> Request:
    flags = 0 if kind in (_DEL_TABLE, _DEL_ELEMENT) else NLM_F_CREATE | NLM_F_APPEND
    return Request(_SUBSYSTEM << 8 | kind, flags, _header() + content)


def _removal_requests() -> list[Request]:
    """Return requests that remove the table. It is created first, as removing a missing table is an error."""
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


def _elements(kind: int, addresses: Iterable[FilteredAddress]) -> list[Request]:
    by_set: dict[str, list[bytes]] = {}
    for each in addresses:
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
