"""use_vmac and its like: which virtual interfaces an instance has, and which of its addresses they bear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pointsman.conf.build_addresses import Line, address_lines
from pointsman.conf.problems import Findings
from pointsman.conf.settings import Setting, Settings
from pointsman.conf.tokens import Word
from pointsman.conf.values import BadValueError, Interface
from pointsman.model.vrrp import VirtualAddress, VirtualInterface

_MAC = re.compile(r"[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){4,5}")


class Bearers(NamedTuple):
    """What a configuration says about addresses and the interfaces that bear them."""

    addresses: tuple[VirtualAddress, ...]
    excluded: tuple[VirtualAddress, ...]
    own: VirtualInterface | None
    others: tuple[VirtualInterface, ...]


class Names:
    """Names of virtual interfaces, each given once in a configuration; `used` are those of real ones."""

    def __init__(self, defaults: Settings) -> None:
        self._prefix = defaults.get("vmac_prefix", str) or "vrrp"
        self._address_prefix = defaults.get("vmac_addr_prefix", str) or self._prefix
        self._given: set[str] = set()

    def take(self, name: str) -> bool:
        """Whether a written name is still to be had."""
        free = name not in self._given
        self._given.add(name)
        return free

    def make(self, router: int, family: int, of_address: bool = False) -> str:
        """keepalived's name, with a number behind it when there is one already."""
        prefix = self._address_prefix if of_address else self._prefix
        first = f"{prefix}{'6' if family == 6 else ''}.{router}"
        name, number = first, 0
        while name in self._given:
            number += 1
            name = f"{first}.{number}"
        self._given.add(name)
        return name


def bearers(
    block: Settings, interface: str, router: int, family: int | None, names: Names, findings: Findings
) -> Bearers:
    """`family`: that of the adverts; None: it follows from the first address."""
    lines = address_lines(block, "virtual_ipaddress", findings)
    excluded = address_lines(block, "virtual_ipaddress_excluded", findings)
    family = family or (lines[0].entry.address.version if lines else 4)
    own = _own(block, interface, router, family, names, findings)
    others: dict[tuple[str, int], VirtualInterface] = {}
    every = block.has("use_vmac_addr")

    def bear(line: Line) -> VirtualAddress:
        version = line.entry.address.version
        elsewhere = line.device not in ("", interface) or (own is not None and version != family)
        device = line.device or interface
        if line.use_vmac and own is None and not elsewhere:
            elsewhere = True
        if (line.use_vmac or every) and elsewhere:
            made = others.get((device, version)) or VirtualInterface(
                name=names.make(router, version, of_address=True),
                base=device,
                mac=_mac(router, version),
            )
            others[device, version] = made
            return msgspec.structs.replace(line.entry, device=made.name)
        if own is not None and (not line.device or line.use_vmac):
            device = own.name
        return msgspec.structs.replace(line.entry, device=device)

    return Bearers(
        addresses=tuple(bear(line) for line in lines),
        excluded=tuple(bear(line) for line in excluded),
        own=own,
        others=tuple(others.values()),
    )


def _mac(router: int, family: int) -> bytes:
    """RFC 5798 section 7.3."""
    return bytes((0, 0, 0x5E, 0, 2 if family == 6 else 1, router))


def _own(
    block: Settings, interface: str, router: int, family: int, names: Names, findings: Findings
) -> VirtualInterface | None:
    setting = block.last("use_vmac")
    if setting is None:
        return None
    try:
        name, mac, group = _options(setting.node.values, router)
    except BadValueError as error:
        _report(setting, error, findings)
        return None
    if name and not names.take(name):
        word = setting.node.values[0]
        findings.error(word.location, f"use_vmac {name}: another instance has it", width=word.width)
    return VirtualInterface(
        name=name or names.make(router, family),
        base=interface,
        mac=mac or _mac(router, family),
        group=group,
    )


def _report(setting: Setting, error: BadValueError, findings: Findings) -> None:
    word = setting.node.values[min(error.index, len(setting.node.values) - 1)]
    findings.error(word.location, f"use_vmac {word.text}: {error}", width=word.width)


def _options(words: Sequence[Word], router: int) -> tuple[str, bytes, int]:
    """`[[name] IF] [MAC] [netlink_notify_msg] [group N]`. Raises BadValueError."""
    name, mac, group = "", b"", 0
    texts = [word.text for word in words]
    position = 0
    while position < len(texts):
        text = texts[position]
        if text in ("name", "group"):
            position += 1
            if position == len(texts):
                raise BadValueError("its value is missing", position - 1)
        if text == "group":
            if not re.fullmatch(r"[0-9]{1,10}", texts[position]):
                raise BadValueError("it wants a number", position)
            group = int(texts[position])
        elif text == "name":
            name = _name(texts[position], position)
        elif _MAC.fullmatch(text):
            octets = bytes(int(part, 16) for part in re.split("[:-]", text))
            mac = octets if len(octets) == 6 else octets + bytes([router])
            if mac[0] & 1 or not any(mac):
                raise BadValueError("it wants the address of one interface, not of a group", position)
        elif text != "netlink_notify_msg":
            if name:
                raise BadValueError("a name stands there already", position)
            name = _name(text, position)
        position += 1
    return name, mac, group


def _name(text: str, position: int) -> str:
    try:
        Interface().read([text])
    except BadValueError as error:
        raise BadValueError(str(error), position) from None
    return text
