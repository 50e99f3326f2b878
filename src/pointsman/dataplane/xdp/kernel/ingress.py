"""The interfaces that packets are taken from: how the program is attached, and their MAC addresses."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from pointsman.dataplane.interface import Attachment
from pointsman.dataplane.xdp.kernel import interfaces, pins
from pointsman.dataplane.xdp.kernel.attach import Links, hidden_vlans
from pointsman.dataplane.xdp.kernel.local_macs import LocalMacs

log = logging.getLogger("director")

_SEND_NO_FRAMES = ("802.1Q VLAN Support", "macvlan", "bridge")
"""Drivers without ndo_xdp_xmit: what native XDP redirects to them is lost without a word."""


class Ingress:
    """The interfaces of one director. Its methods are called in their network namespace."""

    def __init__(self, programs: dict[str, int], local_macs: LocalMacs, directory: Path, mode: str) -> None:
        """`directory` is the director's own; its links are in there. `mode` as in XdpDataPlane.open()."""
        self._programs = programs
        self._local_macs = local_macs
        self._links = Links(pins.links_directory(directory))
        self._mode = mode
        self._virtual_macs: frozenset[tuple[str, bytes]] | None = None
        self.names: tuple[str, ...] = ()
        """The wanted interfaces; `attachments` are those to which the program is attached."""
        self.attachments: list[Attachment] = []

    def attach(self, names: Sequence[str], patient: bool) -> None:
        """Attach to exactly these interfaces. Where the program is attached already, no packet is lost.

        `patient`: on those that do not exist yet as soon as they do (`follow`).
        Raises DataPlaneError; then it is still where it was.
        """
        there = [name for name in names if not patient or _indexes(name)]
        before = self._local_macs.prepare(_hardware_addresses(names))
        try:
            self.attachments = self._links.replace(self._programs, there, self._mode)
        except OSError:
            self._local_macs.undo(before)
            raise
        self.names = tuple(names)
        self.follow_addresses()

    def follow(self, ways_out: Iterable[int]) -> list[str]:
        """Attach to interfaces that have come (back), give up native XDP where it would lose packets.

        `ways_out` are the indexes of the interfaces to real servers. Returns what is amiss.
        """
        there, problems = self._look()
        live = {pin.index for pin in self._links.present()}
        self.attachments = [
            each
            for each in self.attachments
            if each.index in live and there.get(each.interface) == each.index
        ]
        for name, index in there.items():
            if index not in live:
                problems += self._attach_late(name, index)
        problems += self._avoid_losses(ways_out)
        self.follow_addresses()
        self._follow_virtual_macs()
        return problems

    def _look(self) -> tuple[dict[str, int], list[str]]:
        there, problems = {}, []
        for name in self.names:
            try:
                there[name] = interfaces.index_of(name)
            except OSError:
                problems.append(f"interface {name} is not there: no packets are taken from it until it is")
        return there, problems

    def _attach_late(self, name: str, index: int) -> list[str]:
        try:
            self.attachments.append(self._links.add(self._programs, name, index, self._mode))
        except OSError as error:
            return [f"no packets are taken from {name}, which has come meanwhile: {error.strerror}"]
        log.warning("attached to %s, which has come meanwhile", name)
        return []

    def _avoid_losses(self, ways_out: Iterable[int]) -> list[str]:
        """In mode auto replace native XDP where it would lose packets; in other modes report it."""
        mute = _mute(ways_out) if any(each.mode == "native" for each in self.attachments) else {}
        problems = []
        for place, attached in enumerate(self.attachments):
            why = _hazard(attached, mute)
            if why and attached.mode == "native" and self._mode == "auto":
                try:
                    attached = self._links.fall_back(self._programs, attached, why)
                except OSError as error:
                    problems.append(str(error.strerror))
                    continue
                log.warning("%s has %s XDP now: %s", attached.interface, attached.mode, attached.reason)
                self.attachments[place] = attached
                why = _hazard(attached, mute)
            if why:
                problems.append(f"{attached.interface} has {attached.mode} XDP, and {why}: use mode tc")
        return problems

    def follow_addresses(self) -> None:
        """Write the MAC addresses of the interfaces: frames must be addressed to their ingress interface."""
        if self.names:
            self._local_macs.write(_hardware_addresses(self.names))

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        """Take frames to these, too, by interface. Until it is told for the first time, those of an earlier
        director count. Raises OSError."""
        self._virtual_macs = frozenset(wanted)
        self._follow_virtual_macs()

    def _follow_virtual_macs(self) -> None:
        if self._virtual_macs is None:
            return
        self._local_macs.write_virtual(
            (index, mac) for name, mac in self._virtual_macs for index in _indexes(name)
        )


def _hazard(attached: Attachment, mute: Mapping[int, str]) -> str:
    """Return what this attachment would silently lose; empty: nothing."""
    if attached.mode == "native" and mute:
        return (
            f"{', '.join(sorted(mute.values()))} cannot send what it redirects: "
            "packets for the real servers there are lost"
        )
    return "" if attached.mode == "tc" else hidden_vlans(attached.interface)


def _mute(ways_out: Iterable[int]) -> dict[int, str]:
    """Return the interfaces that cannot send what native XDP redirects, by index."""
    found = {}
    for index in ways_out:
        with contextlib.suppress(OSError):
            name = socket.if_indextoname(index)
            if interfaces.driver(name) in _SEND_NO_FRAMES:
                found[index] = name
    return found


def _indexes(name: str) -> list[int]:
    """Return the ingress indexes that the program may see; with native XDP on a bond, those of its slaves."""
    found = []
    for each in (name, *interfaces.slaves(name)):
        with contextlib.suppress(OSError):
            found.append(interfaces.index_of(each))
    return found


def _hardware_addresses(names: Iterable[str]) -> dict[int, bytes]:
    """Return MAC addresses by index. Names that do not exist are reported elsewhere."""
    found: dict[int, bytes] = {}
    for name in names:
        with contextlib.suppress(OSError):
            found |= dict.fromkeys(_indexes(name), interfaces.hardware_address(name))
    return found
