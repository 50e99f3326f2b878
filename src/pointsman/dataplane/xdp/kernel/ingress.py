# SPDX-License-Identifier: Apache-2.0
"""Ingress interfaces: attach the program to them, and keep their MAC addresses up to date."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from pointsman.dataplane.interface import Attachment
from pointsman.dataplane.xdp.kernel import interfaces, libbpf, pins
from pointsman.dataplane.xdp.kernel.attach import PROGRAM_OF, Links, hidden_vlans, is_veth
from pointsman.dataplane.xdp.kernel.local_macs import LocalMacs
from pointsman.dataplane.xdp.kernel.xdp_features import NDO_XMIT, xdp_features

log = logging.getLogger("director")

_SEND_NO_FRAMES = ("802.1Q VLAN Support", "macvlan", "bridge", "ipvlan", "team", "vxlan")
_SEND_WITH_A_PROGRAM = ("virtio_net",)
"""Drivers to which native XDP cannot redirect packets: they are lost silently. Those of the second kind can
send them once they have a program themselves. Only for kernels that do not tell it (xdp_features)."""


class Ingress:
    """The ingress interfaces of one director. Call its methods in their network namespace."""

    def __init__(self, programs: dict[str, int], local_macs: LocalMacs, directory: Path, mode: str) -> None:
        """Manage the pinned links in the director's own `directory`. `mode` is as in XdpDataPlane.open()."""
        self._programs = programs
        self._local_macs = local_macs
        self._links = Links(pins.links_directory(directory))
        self._mode = mode
        self._virtual_macs: frozenset[tuple[str, bytes]] | None = None
        self.names: tuple[str, ...] = ()
        """The wanted interfaces; `attachments` are those to which the program is attached."""
        self.attachments: list[Attachment] = []
        """With the name that the interface has now."""
        self._attached_as: dict[int, str] = {}
        """The wanted name by index."""
        self._first_too_big: int | None = None

    def adopt(self, names: Sequence[str]) -> None:
        """Leave the programs of an earlier director attached until `attach`."""
        self.attachments = self._links.attachments()
        self.names = tuple(names)
        self._attached_as = {each.index: each.interface for each in self.attachments}

    def attach(self, names: Sequence[str], allow_missing: bool) -> None:
        """Attach to exactly these interfaces. Where the program is attached already, no packet is lost.

        `allow_missing`: an interface that does not exist yet is no error; `follow` attaches to it later.
        Raises DataPlaneError; then nothing has changed.
        """
        existing = [name for name in names if not allow_missing or _indexes(name)]
        before = self._local_macs.add(_hardware_addresses(names))
        try:
            self.attachments = self._links.replace(self._programs, existing, self._mode)
        except OSError:
            self._local_macs.restore(before)
            raise
        self.names = tuple(names)
        self._attached_as = {each.index: each.interface for each in self.attachments}
        self.follow_addresses()

    def follow(self, egress_indexes: Collection[int], too_big: int = 0) -> list[str]:
        """Attach to interfaces that have appeared, and replace native XDP where it would lose packets.

        `egress_indexes` are the indexes of the interfaces to real servers. `too_big` is the number of packets
        that were too long to be sent. Return the problems.
        """
        live = {pin.index for pin in self._links.list_pinned()}
        self.attachments = [
            msgspec.structs.replace(each, interface=name)
            for each in self.attachments
            if each.index in live and (name := _name_of(each.index))
        ]
        existing, problems = self._find_interfaces()
        for name, index in existing.items():
            if index not in live:
                problems += self._attach_late(name, index)
        problems += self._avoid_losses(egress_indexes)
        problems += self._find_joined(egress_indexes, too_big)
        problems += self._find_earlier_programs()
        problems += _without_frames(self.attachments)
        self.follow_addresses()
        self._follow_virtual_macs()
        return problems

    def _find_interfaces(self) -> tuple[dict[str, int], list[str]]:
        existing, problems = {}, []
        for name in self.names:
            try:
                existing[name] = interfaces.index_of(name)
            except OSError:
                problems.append(self._why_not_there(name))
        return existing, problems

    def _why_not_there(self, name: str) -> str:
        for each in self.attachments:
            if self._attached_as.get(each.index) == name:
                return (
                    f"interface {name} is called {each.interface} now: its packets are taken until the next "
                    f"start; name {each.interface} instead"
                )
        return f"interface {name} is not there: no packets are taken from it until it is"

    def _attach_late(self, name: str, index: int) -> list[str]:
        was_there = self._attached_as.get(index) == name
        try:
            self.attachments.append(self._links.add(self._programs, name, index, self._mode))
        except OSError as error:
            return [f"no packets are taken from {name}, which has come meanwhile: {error.strerror}"]
        self._attached_as[index] = name
        log.warning(
            "attached to %s, which %s", name, "had lost the program" if was_there else "has come meanwhile"
        )
        return []

    def _avoid_losses(self, egress_indexes: Iterable[int]) -> list[str]:
        """In mode auto replace native XDP where it would lose packets; in other modes report it."""
        native = {each.index for each in self.attachments if each.mode == "native"}
        unable = _cannot_transmit(egress_indexes, native) if native else {}
        problems = []
        for place, attached in enumerate(self.attachments):
            why = _hazard(attached, unable)
            if why and attached.mode == "native" and self._mode == "auto":
                try:
                    attached = self._links.fall_back(self._programs, attached, why)
                except OSError as error:
                    problems.append(str(error.strerror))
                    continue
                log.warning("%s uses %s now: %s", attached.interface, attached.mode, attached.reason)
                self.attachments[place] = attached
                why = _hazard(attached, unable)
            if why:
                problems.append(f"{attached.interface} has {attached.mode} XDP, and {why}: use mode tc")
        return problems

    def _find_joined(self, egress_indexes: Collection[int], too_big: int) -> list[str]:
        """Report generic XDP that cannot redirect received segments, because offload has joined them.

        Over a veth pair come segments that the sender has joined. This end cannot know that beforehand, so
        there the problem is reported as soon as packets were too long.
        """
        if self._first_too_big is None:
            self._first_too_big = too_big
        problems = []
        for each in self.attachments:
            out = sorted({_name_of(index) for index in egress_indexes if index != each.index} - {""})
            if each.mode != "generic" or not out:
                continue
            lowest = interfaces.receivers(each.interface)
            fixes = [_do_not_join(name) for name in lowest if interfaces.joins_received(name)]
            remedies = [] if self._mode == "auto" else ["use mode tc"]
            if fixes:
                by = "GRO"
            elif too_big > self._first_too_big and any(map(is_veth, lowest)):
                by = "the other end of the veth pair"
                remedies.append("switch tso off there (`ethtool -K`)")
            else:
                continue
            problems.append(
                f"{each.interface} has generic XDP: segments that {by} joins are too long to leave by "
                f"{', '.join(out)}, and uploads hang{': ' if remedies else ''}{' or '.join(remedies)}"
                f"{'; fix: ' if fixes else ''}{' && '.join(fixes)}"
            )
        return problems

    def _find_earlier_programs(self) -> list[str]:
        """Report programs of others that run before the director's in mode tc. XDP has one program."""
        problems = []
        for each in self.attachments:
            if each.mode != "tc":
                continue
            with contextlib.suppress(OSError, ValueError):
                order = libbpf.attached_programs(each.index, libbpf.ATTACH_TCX_INGRESS)
                earlier = order[: order.index(libbpf.program_id(self._programs[PROGRAM_OF["tc"]]))]
                if earlier:
                    problems.append(
                        f"{each.interface} has other tc programs before the director's (`bpftool prog show "
                        f"id {earlier[0]}`): packets that they end do not reach it; attach them later"
                    )
        return problems

    def follow_addresses(self) -> None:
        """Write the MAC addresses of the interfaces: only frames to them are taken."""
        if self.names:
            names = {*self.names, *(each.interface for each in self.attachments)}
            self._local_macs.write(_hardware_addresses(names))

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        """Take frames to exactly these further MAC addresses, by interface. Raises OSError.

        Until the first call the addresses of an earlier director stay in force.
        """
        self._virtual_macs = frozenset(wanted)
        self._follow_virtual_macs()

    def _follow_virtual_macs(self) -> None:
        if self._virtual_macs is None:
            return
        self._local_macs.write_virtual(
            (index, mac) for name, mac in self._virtual_macs for index in _indexes(name)
        )


def _hazard(attached: Attachment, unable: Mapping[int, str]) -> str:
    """Describe the packets that this attachment would silently lose; empty: none."""
    names = [name for index, name in unable.items() if index != attached.index]
    if attached.mode == "native" and names:
        return (
            f"{', '.join(sorted(names))} cannot send what it redirects: "
            "packets for the real servers there are lost"
        )
    return "" if attached.mode == "tc" else hidden_vlans(attached.interface)


def _cannot_transmit(egress_indexes: Iterable[int], native: Collection[int]) -> dict[int, str]:
    """Return names by index of the interfaces that cannot send packets that native XDP redirects.

    `native` are the indexes of the interfaces that have native XDP.
    """
    found = {}
    for index in egress_indexes:
        with contextlib.suppress(OSError):
            name = socket.if_indextoname(index)
            if not _transmits(name, index, index in native):
                found[index] = name
    return found


def _transmits(name: str, index: int, is_native: bool) -> bool:
    features = xdp_features(index)
    if features is not None:
        return bool(features & NDO_XMIT)
    driver = interfaces.driver(name)
    return driver not in _SEND_NO_FRAMES and (is_native or driver not in _SEND_WITH_A_PROGRAM)


def _do_not_join(name: str) -> str:
    """Return the command that keeps an interface from joining received segments."""
    hardware = " rx-gro-hw off" if interfaces.driver(name) == "virtio_net" else ""
    return f"ethtool -K {name} gro off{hardware}"


def _without_frames(attachments: Iterable[Attachment]) -> list[str]:
    """Report interfaces whose packets the program cannot read: they have no Ethernet header."""
    problems = []
    for each in attachments:
        with contextlib.suppress(OSError):
            if not interfaces.has_ethernet_frames(each.interface):
                problems.append(
                    f"{each.interface} has no Ethernet frames (tun, WireGuard, PPP): "
                    "its packets are left to this host's own stack"
                )
    return problems


def _name_of(index: int) -> str:
    """Return the name of an interface; empty when it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def _indexes(name: str) -> list[int]:
    """Return the ingress indexes that the program may see. Native XDP on a bond sees those of its slaves."""
    found = []
    for each in (name, *interfaces.slaves(name)):
        with contextlib.suppress(OSError):
            found.append(interfaces.index_of(each))
    return found


def _hardware_addresses(names: Iterable[str]) -> dict[int, bytes]:
    """Return MAC addresses by index. Interfaces that do not exist are left out; `follow` reports them."""
    found: dict[int, bytes] = {}
    for name in names:
        with contextlib.suppress(OSError):
            found |= dict.fromkeys(_indexes(name), interfaces.hardware_address(name))
    return found
