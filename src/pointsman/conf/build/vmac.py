# SPDX-License-Identifier: Apache-2.0
"""Build the virtual interfaces of an instance (use_vmac, use_ipvlan), and the addresses on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pointsman.conf.build.addresses import AddressLine, build_addresses
from pointsman.conf.keywords.settings import Settings
from pointsman.conf.keywords.values import BadValueError, Interface, parse_address
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tokens import Word
from pointsman.model.vrrp import VirtualAddress, VirtualInterface

_MODES = ("bridge", "private", "vepa")
_MAC = re.compile(r"[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){4,5}")


class InstanceAddresses(NamedTuple):
    """The addresses of an instance, and the virtual interfaces that hold them."""

    addresses: tuple[VirtualAddress, ...]
    excluded: tuple[VirtualAddress, ...]
    own: VirtualInterface | None
    others: tuple[VirtualInterface, ...]


class InterfaceNames:
    """Names of virtual interfaces, each used once in a configuration."""

    def __init__(self, defaults: Settings) -> None:
        self._prefix = defaults.get("vmac_prefix", str) or "vrrp"
        self._address_prefix = defaults.get("vmac_addr_prefix", str) or self._prefix
        self._given: set[str] = set()

    def take(self, name: str) -> bool:
        """Reserve a configured name. True if it was free."""
        free = name not in self._given
        self._given.add(name)
        return free

    def make(self, router: int, family: int, of_address: bool = False) -> str:
        """Return and reserve keepalived's name, with a number appended if it is taken."""
        prefix = self._address_prefix if of_address else self._prefix
        first = f"{prefix}{'6' if family == 6 else ''}.{router}"
        name, number = first, 0
        while name in self._given:
            number += 1
            name = f"{first}.{number}"
        self._given.add(name)
        return name


def build_instance_addresses(
    block: Settings,
    interface: str,
    router: int,
    family: int | None,
    names: InterfaceNames,
    findings: Findings,
) -> InstanceAddresses:
    """Return addresses and interfaces. `family` is that of the adverts; None: that of the first address."""
    lines = build_addresses(block, "virtual_ipaddress", findings)
    excluded = build_addresses(block, "virtual_ipaddress_excluded", findings)
    family = family or (lines[0].entry.address.version if lines else 4)
    own = _build_own(block, interface, router, family, names, findings)
    others: dict[tuple[str, int], VirtualInterface] = {}
    every = block.has("use_vmac_addr")

    def bear(line: AddressLine) -> VirtualAddress:
        version = line.entry.address.version
        elsewhere = line.device not in ("", interface) or (version != family and (every or own is not None))
        device = line.device or interface
        if line.use_vmac and own is None and not elsewhere:
            elsewhere = True
        if (line.use_vmac or every) and elsewhere:
            made = others.get((device, version)) or VirtualInterface(
                name=names.make(router, version, of_address=True),
                base=device,
                mac=_virtual_mac(router, version),
            )
            others[device, version] = made
            return msgspec.structs.replace(line.entry, device=made.name)
        if own is not None and version == family and line.device in ("", interface):
            device = own.name
        return msgspec.structs.replace(line.entry, device=device)

    return InstanceAddresses(
        addresses=tuple(bear(line) for line in lines),
        excluded=tuple(bear(line) for line in excluded),
        own=own,
        others=tuple(others.values()),
    )


def _virtual_mac(router: int, family: int) -> bytes:
    """Return the virtual router MAC address (RFC 5798 section 7.3)."""
    return bytes((0, 0, 0x5E, 0, 2 if family == 6 else 1, router))


def _build_own(
    block: Settings, interface: str, router: int, family: int, names: InterfaceNames, findings: Findings
) -> VirtualInterface | None:
    setting = block.last("use_vmac") or block.last("use_ipvlan")
    if setting is None:
        return None
    keyword, values = setting.node.keyword, setting.node.values
    is_ipvlan = keyword.text == "use_ipvlan"
    if not is_ipvlan and block.has("use_ipvlan"):
        text = "use_vmac and use_ipvlan contradict each other"
        findings.error(keyword.location, text, "remove one of them", keyword.width)
    try:
        options = (
            _parse_ipvlan_options(values, router, findings) if is_ipvlan else _parse_options(values, router)
        )
    except BadValueError as error:
        word = values[min(error.index, len(values) - 1)]
        findings.error(word.location, f"{keyword.text} {word.text}: {error}", width=word.width)
        return None
    if options.name and not names.take(options.name):
        text = f"{keyword.text} {options.name}: another instance has this name"
        findings.error(values[0].location, text, "choose another name", values[0].width)
    return VirtualInterface(
        name=options.name or names.make(router, family),
        base=interface,
        mac=b"" if is_ipvlan else options.mac or _virtual_mac(router, family),
        mode=options.mode,
        group=options.group,
    )


class _Options(NamedTuple):
    name: str
    mac: bytes
    group: int
    mode: str = "private"


def _parse_ipvlan_options(words: Sequence[Word], router: int, findings: Findings) -> _Options:
    """Parse `[[name] IF] [IP] [bridge|private|vepa] [group N]`. Raises BadValueError."""
    mode, left = "bridge", []
    for position, word in enumerate(words):
        named = position > 0 and words[position - 1].text in ("name", "group")
        if word.text in _MODES and not named:
            mode = word.text
        elif not named and _is_address(word.text):
            text = "the address has no effect: adverts leave by the base interface, with its address"
            findings.warning(word.location, text, "remove it", word.width)
        elif _MAC.fullmatch(word.text):
            raise BadValueError("an ipvlan has no MAC address of its own; write use_vmac", position)
        else:
            left.append(word)
    return _parse_options(left, router)._replace(mode=mode)


def _is_address(text: str) -> bool:
    try:
        parse_address(text.partition("/")[0])
    except BadValueError:
        return False
    return True


def _parse_options(words: Sequence[Word], router: int) -> _Options:
    """Parse `[[name] IF] [MAC] [netlink_notify_msg] [group N]`. Raises BadValueError."""
    name, mac, group = "", b"", 0
    texts = [word.text for word in words]
    position = 0
    while position < len(texts):
        text = texts[position]
        if text in ("name", "group"):
            position += 1
            if position == len(texts):
                raise BadValueError("the value is missing", position - 1)
        if text == "group":
            if not re.fullmatch(r"[0-9]{1,10}", texts[position]):
                raise BadValueError("must be a number", position)
            group = int(texts[position])
        elif text == "name":
            name = _parse_name(texts[position], position)
        elif _MAC.fullmatch(text):
            octets = bytes(int(part, 16) for part in re.split("[:-]", text))
            mac = octets if len(octets) == 6 else octets + bytes([router])
            if mac[0] & 1 or not any(mac):
                raise BadValueError("must be a unicast MAC address", position)
        elif text != "netlink_notify_msg":
            if name:
                raise BadValueError("there is already a name", position)
            name = _parse_name(text, position)
        position += 1
    return _Options(name, mac, group)


def _parse_name(text: str, position: int) -> str:
    try:
        Interface().read([text])
    except BadValueError as error:
        raise BadValueError(str(error), position) from None
    return text
