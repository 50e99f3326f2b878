"""Lines of virtual_ipaddress and its like as model types: `IP[/length]` and the options of ip-address(8)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple

from pointsman.conf.keywords.settings import Settings
from pointsman.conf.keywords.values import BadValueError, Interface, parse_address
from pointsman.conf.problems import Findings
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


class Line(NamedTuple):
    """One address as written. `device` is empty when no `dev` was written."""

    node: Node
    entry: VirtualAddress
    device: str
    use_vmac: bool


def address_lines(block: Settings, word: str, findings: Findings, static: bool = False) -> list[Line]:
    """What stands in the blocks of this word, each address once for each device."""
    found: dict[tuple[Address, str, bool], Line] = {}
    for setting in block.all(word):
        for node in setting.block:
            try:
                line = _line(node, static)
            except BadValueError as error:
                wrong = node.words[min(error.index, len(node.words) - 1)]
                findings.error(wrong.location, f"{word} {wrong.text}: {error}", width=wrong.width)
                continue
            key = (line.entry.address, line.device, line.use_vmac)
            if key in found:
                text = f"{line.entry.address} is listed twice"
                findings.warning(node.keyword.location, text, "remove it", node.keyword.width)
            found.setdefault(key, line)
    if word == "virtual_ipaddress" and len(found) > MAX_ADDRESSES:
        keyword = block.all(word)[0].node.keyword
        text = f"{len(found)} addresses; an advert carries at most {MAX_ADDRESSES}"
        remedy = "write the others into virtual_ipaddress_excluded"
        findings.error(keyword.location, text, remedy, keyword.width)
    return list(found.values())


def _line(node: Node, static: bool) -> Line:
    """Raises BadValueError."""
    words = [word.text for word in node.words]
    network = _interface_address(words[0])
    options, flags = _options(words)
    for name in ("no_track", "use_vmac") if static else ("track_group",):
        if name in words:
            where = "only moving addresses know it" if static else "only static addresses know it"
            raise BadValueError(where, words.index(name))
    ipv6 = network.ip.version == 6
    for name in _IPV6_ONLY:
        if name in flags and not ipv6:
            raise BadValueError("only IPv6 addresses know it", words.index(name))
    peer, prefix_length = _peer(options, words, network.network.prefixlen)
    entry = VirtualAddress(
        address=network.ip,
        prefix_length=prefix_length,
        device="",
        broadcast=_broadcast(options, words, network),
        scope=_scope(options, words),
        label=_label(options, words),
        peer=peer,
        preferred=_preferred(options, words, ipv6 and prefix_length == 128),
        flags=tuple(_FLAGS[name] for name in _FLAGS if name in flags),
        tracked="no_track" not in flags,
        track_group=options.get("track_group", ""),
    )
    return Line(node, entry, options.get("dev", ""), "use_vmac" in flags)


def _interface_address(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        if "/" in text and not re.fullmatch(r"[0-9]{1,3}", text.partition("/")[2]):
            raise ValueError
        return ipaddress.ip_interface(text)
    except ValueError:
        raise BadValueError(
            "it wants an address with or without a prefix length, such as 192.0.2.9/24"
        ) from None


def _options(words: list[str]) -> tuple[dict[str, str], set[str]]:
    """Options with a value, and those without."""
    options: dict[str, str] = {}
    flags: set[str] = set()
    position = 1
    while position < len(words):
        name = _WORDS.get(words[position], words[position])
        if name in _FLAGS or name in ("no_track", "use_vmac"):
            flags.add(name)
            position += 1
            continue
        if name not in _VALUES:
            another = re.match(r"[0-9a-fA-F:.]+(/|$)", name)
            raise BadValueError("one address in a line" if another else "an option nobody knows", position)
        if position + 1 >= len(words):
            raise BadValueError("its value is missing", position)
        if name == "dev":
            Interface().read(words[position + 1 : position + 2])
        options[name] = words[position + 1]
        position += 2
    return options, flags


def _place(words: list[str], name: str) -> int:
    """Of an option's value."""
    return next(at for at, word in enumerate(words) if _WORDS.get(word, word) == name) + 1


def _broadcast(
    options: Mapping[str, str],
    words: list[str],
    network: ipaddress.IPv4Interface | ipaddress.IPv6Interface,
) -> Address | None:
    written = options.get("brd", "-")
    if written == "-":
        return None
    if written == "+":
        return network.network.broadcast_address
    return parse_address(written, _place(words, "brd"))


def _scope(options: Mapping[str, str], words: list[str]) -> str:
    scope = options.get("scope", "global")
    if scope not in _SCOPES and not re.fullmatch(r"[0-9]{1,3}", scope):
        text = f"a scope is one of {' '.join(sorted(_SCOPES))}, or a number"
        raise BadValueError(text, _place(words, "scope"))
    return scope


def _label(options: Mapping[str, str], words: list[str]) -> str:
    label = options.get("label", "")
    if len(label.encode()) > 15:
        raise BadValueError("a label has at most 15 characters", _place(words, "label"))
    return label


def _peer(options: Mapping[str, str], words: list[str], prefix_length: int) -> tuple[Address | None, int]:
    """The prefix length belongs to the peer's address, when it has one."""
    if "peer" not in options:
        return None, prefix_length
    try:
        peer = _interface_address(options["peer"])
    except BadValueError as error:
        raise BadValueError(str(error), _place(words, "peer")) from None
    return peer.ip, peer.network.prefixlen if "/" in options["peer"] else prefix_length


def _preferred(options: Mapping[str, str], words: list[str], single: bool) -> int | None:
    """A single IPv6 address is deprecated unless it is said otherwise, so that it is no source by itself."""
    written = options.get("preferred_lft", "0" if single else "forever")
    if written == "forever":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", written):
        raise BadValueError("it wants seconds, or forever", _place(words, "preferred_lft"))
    return int(written)
