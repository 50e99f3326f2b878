# SPDX-License-Identifier: Apache-2.0
"""Build virtual_server_group blocks, and the destinations that a virtual_server line names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pointsman.conf.keywords.settings import Setting
from pointsman.conf.keywords.values import BadValueError, parse_address, parse_host, parse_port
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tokens import Word
from pointsman.model.address import Address
from pointsman.model.service import Front, Transport

MAX_TARGETS = 65536
"""Limit of services in one group."""
_MARKS = range(1, 1 << 32)


class Target(NamedTuple):
    """The destination of one service: address and port (0: every port), or a firewall mark."""

    address: Address | None
    port: int = 0
    fwmark: int = 0
    ipv6: bool | None = None
    """True if a mark is for IPv6. None: the real servers decide."""


Groups = Mapping[str, tuple[Target, ...]]


def build_groups(settings: list[Setting], findings: Findings) -> dict[str, tuple[Target, ...]]:
    """Return the groups by name, with each address of a range. Report lines with errors."""
    found: dict[str, tuple[Target, ...]] = {}
    for setting in settings:
        name, keyword = str(setting.value), setting.node.keyword
        if name in found:
            text = f"virtual_server_group {name} is repeated"
            findings.error(setting.location, text, "give each group its own name", keyword.width)
        targets: dict[Target, None] = {}
        for node in setting.block:
            try:
                for target in _parse_line([word.text for word in node.words]):
                    targets[target] = None
                    if len(targets) > MAX_TARGETS:
                        raise BadValueError(f"the group has more than {MAX_TARGETS} addresses")
            except BadValueError as error:
                word = node.words[min(error.index, len(node.words) - 1)]
                findings.error(word.location, f"virtual_server_group {name}: {error}", width=word.width)
        if not targets and not setting.block:
            text = f"virtual_server_group {name} has no address"
            findings.error(setting.location, text, "add lines with IP [port]", keyword.width)
        found[name] = tuple(targets)
    return found


def build_targets(words: Sequence[Word], known: Groups) -> tuple[str, tuple[Target, ...]]:
    """Return group name (empty: none) and destinations of a virtual_server. Raises BadValueError."""
    texts = [word.text for word in words]
    if texts[:1] == ["group"]:
        if len(texts) < 2 or texts[1] not in known:
            raise BadValueError(f"there is no virtual_server_group {texts[1] if len(texts) > 1 else ''}", 1)
        return texts[1], known[texts[1]]
    if texts[:1] == ["fwmark"]:
        return "", (_parse_mark(texts[:2]),)
    address = parse_host(texts[0])
    try:
        port = parse_port(texts[1]) if len(texts) > 1 and texts[1] != "0" else 0
    except BadValueError as error:
        raise BadValueError(str(error), 1) from None
    return "", (Target(address, port),)


def targets_by_mark(
    targets: tuple[Target, ...], transport: Transport, marks: Iterator[int]
) -> dict[Target, frozenset[Front]]:
    """Return one mark for all addresses of a family, with the destinations that get the mark."""
    found: dict[Target, frozenset[Front]] = {}
    for version in (4, 6):
        fronts = frozenset(
            Front(transport, target.address, target.port)
            for target in targets
            if target.address is not None and target.address.version == version
        )
        if fronts:
            found[Target(None, fwmark=next(marks), ipv6=version == 6)] = fronts
    return found


def _parse_line(words: list[str]) -> Iterator[Target]:
    """Yield the targets of one line of a group. Raises BadValueError."""
    if words[0] == "fwmark":
        yield _parse_mark(words)
        return
    try:
        port = parse_port(words[1]) if len(words) > 1 and words[1] != "0" else 0
    except BadValueError as error:
        raise BadValueError(str(error), 1) from None
    if len(words) > 2:
        raise BadValueError(f"{words[2]} after the port is not allowed; a line is IP [port]", 2)
    yield from (Target(address, port) for address in _parse_range(words[0]))


def _parse_mark(words: list[str]) -> Target:
    number = words[1] if len(words) > 1 else ""
    if not number.isascii() or not number.isdigit() or int(number) not in _MARKS:
        raise BadValueError(f"fwmark {number} is not a number from 1 to {_MARKS[-1]}", 1)
    family = words[2] if len(words) > 2 else ""
    if family not in ("", "inet", "inet6"):
        raise BadValueError(f"{family} is neither inet nor inet6", 2)
    return Target(None, fwmark=int(number), ipv6=family == "inet6" if family else None)


def _parse_range(text: str) -> Iterator[Address]:
    """Yield each address of `A`, `A-LAST`, `A-B` or `A/LENGTH`. Raises BadValueError."""
    if "/" in text:
        try:
            yield from ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise BadValueError(f"{text} is not a range of addresses") from None
        return
    first, dash, last = text.partition("-")
    start = parse_address(first)
    if not dash:
        yield start
        return
    end = _parse_range_end(start, last)
    if end.version != start.version or int(end) < int(start):
        raise BadValueError(f"{text} is not a range of addresses: it ends before it begins")
    for number in range(int(start), int(end) + 1):
        yield type(start)(number)


def _parse_range_end(start: Address, text: str) -> Address:
    """Return the end of a range: an address, or its last part (decimal in IPv4, hexadecimal in IPv6)."""
    if "." in text or ":" in text:
        return parse_address(text)
    base, size = (10, 8) if start.version == 4 else (16, 16)
    try:
        part = int(text, base)
    except ValueError:
        raise BadValueError(f"{text} does not end a range of addresses") from None
    if not 0 <= part < 1 << size:
        raise BadValueError(f"{text} does not end a range of addresses")
    return type(start)((int(start) >> size << size) + part)
