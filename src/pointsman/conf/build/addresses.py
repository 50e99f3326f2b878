# SPDX-License-Identifier: Apache-2.0
"""Build addresses from virtual_ipaddress and similar blocks: `IP[/length]` and options of ip-address(8)."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from pointsman.conf.keywords.settings import Settings
from pointsman.conf.keywords.values import BadValueError, Interface, parse_address
from pointsman.conf.text.corrections import remove, replace
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tree import Node
from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress

MAX_ADDRESSES = 255
"""The count field of an advert has one byte (RFC 5798 section 5.2.5)."""

_SCOPES = frozenset({"global", "link", "host", "site", "nowhere"})
_FLAGS = {
    "home": "home",
    "-nodad": "dad",
    "mngtmpaddr": "mngtmpaddr",
    "noprefixroute": "noprefixroute",
    "autojoin": "autojoin",
}
_IPV6_ONLY = ("home", "-nodad", "mngtmpaddr")
_VALUES = ("brd", "dev", "scope", "label", "peer", "preferred_lft", "track_group")
_WORDS = {"broadcast": "brd"}


class AddressLine(NamedTuple):
    """One address as written. `device` is empty if there is no `dev`."""

    node: Node
    entry: VirtualAddress
    device: str
    use_vmac: bool


def build_addresses(
    block: Settings, word: str, findings: Findings, static: bool = False
) -> list[AddressLine]:
    """Return the addresses in the blocks of this keyword, each once for each device."""
    found: dict[tuple[Address, str, bool], AddressLine] = {}
    for setting in block.all(word):
        for node in setting.block:
            try:
                line = _build_line(node, static)
            except BadValueError as error:
                wrong = node.words[min(error.index, len(node.words) - 1)]
                text = f"{word} {wrong.text}: {error}"
                prefix = _parse_netmask(wrong.text)
                edits = replace(wrong, prefix) if prefix and error.index == 0 else ()
                findings.error(wrong.location, text, f"write {prefix}" * bool(edits), wrong.width, edits)
                continue
            key = (line.entry.address, line.device, line.use_vmac)
            if key in found:
                text = f"{line.entry.address} is listed twice"
                edits = remove(node.keyword)
                findings.warning(node.keyword.location, text, "remove it", node.keyword.width, edits)
            found.setdefault(key, line)
    if word == "virtual_ipaddress" and len(found) > MAX_ADDRESSES:
        keyword = block.all(word)[0].node.keyword
        text = f"there are {len(found)} addresses; an advert carries at most {MAX_ADDRESSES}"
        remedy = "move the others to virtual_ipaddress_excluded"
        findings.error(keyword.location, text, remedy, keyword.width)
    return list(found.values())


def _build_line(node: Node, static: bool) -> AddressLine:
    """Raises BadValueError."""
    words = [word.text for word in node.words]
    network = _parse_interface_address(words[0])
    options = _split_options(words)
    for name in ("no_track", "use_vmac") if static else ("track_group",):
        if name in options:
            where = "is not allowed for static addresses" if static else "is for static addresses only"
            raise BadValueError(where, options[name].at)
    ipv6 = network.ip.version == 6
    for name in _IPV6_ONLY:
        if name in options and not ipv6:
            raise BadValueError("is for IPv6 addresses only", options[name].at)
    peer, prefix_length = _parse_peer(options.get("peer"), network.network.prefixlen)
    entry = VirtualAddress(
        address=network.ip,
        prefix_length=prefix_length,
        device="",
        broadcast=_parse_broadcast(options.get("brd"), network),
        scope=_parse_scope(options.get("scope", _Option("global"))),
        label=_parse_label(options.get("label", _NOTHING)),
        peer=peer,
        preferred=_parse_preferred(options.get("preferred_lft"), ipv6 and prefix_length == 128),
        flags=tuple(_FLAGS[name] for name in _FLAGS if name in options),
        tracked="no_track" not in options,
        track_group=options.get("track_group", _NOTHING).value,
    )
    return AddressLine(node, entry, options.get("dev", _NOTHING).value, "use_vmac" in options)


def _parse_interface_address(text_of_address: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        if "/" in text_of_address and not re.fullmatch(r"[0-9]{1,3}", text_of_address.partition("/")[2]):
            raise ValueError
        return ipaddress.ip_interface(text_of_address)
    except ValueError:
        text = "must be an address with or without a prefix length, such as 192.0.2.9/24"
        if _parse_netmask(text_of_address):
            text = "has a netmask in place of a prefix length"
        raise BadValueError(text) from None


def _parse_netmask(text: str) -> str:
    """Return `IP/NETMASK` with a prefix length. Empty: it is something else."""
    try:
        return str(ipaddress.IPv4Interface(text)) if "/" in text else ""
    except ValueError:
        return ""


class _Option(NamedTuple):
    """The value of an option (empty: it takes none), and the index of the option in the line."""

    value: str = ""
    at: int = 0


_NOTHING = _Option()


def _split_options(words: list[str]) -> dict[str, _Option]:
    """Return the options by name. A value may equal the name of an option: `label no_track`."""
    options: dict[str, _Option] = {}
    position = 1
    while position < len(words):
        name = _WORDS.get(words[position], words[position])
        if name in _FLAGS or name in ("no_track", "use_vmac"):
            options[name] = _Option("", position)
            position += 1
            continue
        if name not in _VALUES:
            another = re.match(r"[0-9a-fA-F:.]+(/|$)", name)
            raise BadValueError(
                "write one address in each line" if another else "is no option of an address", position
            )
        if position + 1 >= len(words):
            raise BadValueError("the value is missing", position)
        if name == "dev":
            Interface().read(words[position + 1 : position + 2])
        options[name] = _Option(words[position + 1], position)
        position += 2
    return options


def _parse_broadcast(
    option: _Option | None, network: ipaddress.IPv4Interface | ipaddress.IPv6Interface
) -> Address | None:
    if option is None or option.value == "-":
        return None
    if option.value == "+":
        return network.network.broadcast_address
    return parse_address(option.value, option.at + 1)


def _parse_scope(option: _Option) -> str:
    if option.value not in _SCOPES and not re.fullmatch(r"[0-9]{1,3}", option.value):
        text = f"the scope must be {', '.join(sorted(_SCOPES))} or a number"
        raise BadValueError(text, option.at + 1)
    return option.value


def _parse_label(option: _Option) -> str:
    if len(option.value.encode()) > 15:
        raise BadValueError("the label must have at most 15 characters", option.at + 1)
    return option.value


def _parse_peer(option: _Option | None, prefix_length: int) -> tuple[Address | None, int]:
    """Return the peer and the prefix length: the peer's if it has one, else that of the address."""
    if option is None:
        return None, prefix_length
    try:
        peer = _parse_interface_address(option.value)
    except BadValueError as error:
        raise BadValueError(str(error), option.at + 1) from None
    return peer.ip, peer.network.prefixlen if "/" in option.value else prefix_length


def _parse_preferred(option: _Option | None, single: bool) -> int | None:
    """Return preferred_lft in seconds; None: forever.

    The default of an IPv6 address with /128 is 0: a deprecated address is not chosen as source.
    """
    if option is None:
        return 0 if single else None
    if option.value == "forever":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", option.value):
        raise BadValueError("must be a number of seconds, or forever", option.at + 1)
    return int(option.value)
