# SPDX-License-Identifier: Apache-2.0
"""Attaching the programs to interfaces, by links that are pinned so that they outlive the process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.dataplane.interface import Attachment, DataPlaneError
from pointsman.dataplane.xdp.kernel import interfaces, libbpf, pins

MODES = ("auto", "native", "generic", "tc")
_XDP_FLAGS = {"generic": 1 << 1, "native": 1 << 2}
PROGRAM_OF = {"native": "direct_xdp", "generic": "direct_xdp", "tc": "direct_tc"}
_WITHOUT_NATIVE = ("tc", "generic")
"""tc first: generic XDP loses segments that offload has merged when it redirects them (docs/decisions)."""
_VETH_REASON = "on veth it needs prepared peers and loses checksum offload"


@dataclass(frozen=True)
class Pinned:
    """A pinned link."""

    index: int
    mode: str
    path: Path


class Links:
    """The pinned links of one director: `<directory>/<interface index>-<mode>`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def list_pinned(self) -> list[Pinned]:
        """Return the links in force. Pins of interfaces that are gone are removed."""
        found: list[Pinned] = []
        for pin in sorted(self._directory.iterdir()) if self._directory.is_dir() else []:
            number, _, mode = pin.name.partition("-")
            link = libbpf.open_pinned(pin)
            try:
                if libbpf.link_interface(link) == int(number):
                    found.append(Pinned(int(number), mode, pin))
                else:
                    pin.unlink()
            finally:
                os.close(link)
        return found

    def attachments(self) -> list[Attachment]:
        """Return the attachments, with the interface names of this network namespace."""
        listed = []
        for pin in self.list_pinned():
            try:
                name = socket.if_indextoname(pin.index)
            except OSError:
                name = f"if{pin.index}"
            listed.append(Attachment(name, pin.index, pin.mode, "adopted"))
        return listed

    def replace(self, programs: dict[str, int], names: Sequence[str], mode: str) -> list[Attachment]:
        """Attach the programs to exactly these interfaces. An attached program is replaced atomically.

        Raises DataPlaneError; then the former attachments stay in force.
        """
        wanted = {name: _index_of(name) for name in names}
        pins.make_directory(self._directory)
        present = self.list_pinned()
        kept = {
            pin.index: pin for pin in present if pin.index in wanted.values() and mode in ("auto", pin.mode)
        }
        listed = []
        with contextlib.ExitStack() as undo:
            for name, index in wanted.items():
                if index in kept:
                    listed.append(Attachment(name, index, kept[index].mode, "adopted"))
                    continue
                for pin in present:
                    if pin.index == index and pin.mode in _XDP_FLAGS and mode in _XDP_FLAGS:
                        # An interface has one XDP program, so the old one must go first.
                        self._remove(pin.path)
                        undo.callback(self._restore, programs, pin)
                listed.append(self._attach(programs, name, index, mode))
                undo.callback(self._remove, self._directory / f"{index}-{listed[-1].mode}")
            for pin in kept.values():
                self._update(pin.path, programs[PROGRAM_OF[pin.mode]])
            undo.pop_all()
        for pin in present:
            if kept.get(pin.index) is not pin and pin.path.exists():
                self._remove(pin.path)
        return listed

    def fall_back(self, programs: dict[str, int], attached: Attachment, why: str) -> Attachment:
        """Replace native XDP on an interface by the next best mode.

        Raises DataPlaneError; then native XDP stays in force.
        """
        reasons, native = [f"not native: {why}"], self._directory / f"{attached.index}-native"
        try:
            # While both are attached, the first one handles all packets.
            fallback = self._attach_one_of(["tc"], programs, attached.interface, attached.index, reasons)
        except DataPlaneError:
            self._remove(native)
            with contextlib.ExitStack() as undo:
                undo.callback(self._restore, programs, Pinned(attached.index, "native", native))
                fallback = self._attach_one_of(
                    ["generic"], programs, attached.interface, attached.index, reasons
                )
                undo.pop_all()
        else:
            self._remove(native)
        return fallback

    def add(self, programs: dict[str, int], name: str, index: int, mode: str) -> Attachment:
        """Attach the programs to one more interface. Raises OSError."""
        pins.make_directory(self._directory)
        return self._attach(programs, name, index, mode)

    def _restore(self, programs: dict[str, int], pin: Pinned) -> None:
        with contextlib.suppress(OSError):  # nothing more can be done
            self._pin(_create(programs[PROGRAM_OF[pin.mode]], pin.index, pin.mode), pin.path)

    def _update(self, pin: Path, program: int) -> None:
        link = libbpf.open_pinned(pin)
        try:
            libbpf.link_update(link, program)
        finally:
            os.close(link)

    def _attach(self, programs: dict[str, int], name: str, index: int, mode: str) -> Attachment:
        reasons: list[str] = []
        candidates = self._candidates(name, mode, reasons)
        return self._attach_one_of(candidates, programs, name, index, reasons)

    def _attach_one_of(
        self, modes: Sequence[str], programs: dict[str, int], name: str, index: int, reasons: list[str]
    ) -> Attachment:
        """Attach in the first of these modes that works. The failures of earlier ones go to `reasons`."""
        for mode in modes:
            try:
                link = _create(programs[PROGRAM_OF[mode]], index, mode)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise DataPlaneError(
                        errno.EBUSY,
                        f"another XDP program is attached to {name}: "
                        f"remove it (`ip link set {name} xdp off`) or use mode tc",
                    ) from error
                reasons.append(f"not {mode}: {_why(error, mode)}")
                continue
            self._pin(link, self._directory / f"{index}-{mode}")
            return Attachment(name, index, mode, "; ".join(reasons))
        raise DataPlaneError(errno.EOPNOTSUPP, f"no program can be attached to {name} ({'; '.join(reasons)})")

    def _pin(self, link: int, path: Path) -> None:
        try:
            libbpf.pin(link, path)
        finally:
            os.close(link)

    def _candidates(self, name: str, mode: str, reasons: list[str]) -> list[str]:
        if mode != "auto":
            return [mode]
        why_not = _VETH_REASON if is_veth(name) else hidden_vlans(name)
        if why_not:
            reasons.append(f"not native: {why_not}")
            return list(_WITHOUT_NATIVE)
        return ["native", *_WITHOUT_NATIVE]

    def _remove(self, pin: Path) -> None:
        link = libbpf.open_pinned(pin)
        try:
            with contextlib.suppress(OSError):  # the interface may have gone just now
                libbpf.link_detach(link)
        finally:
            os.close(link)
            pin.unlink()

    def remove_all(self) -> None:
        """Detach every program and remove the pins."""
        if not self._directory.is_dir():
            return
        for pin in self._directory.iterdir():
            self._remove(pin)
        self._directory.rmdir()


def is_veth(name: str) -> bool:
    """True if an interface, or a slave of it, is one end of a veth pair."""
    return "veth" in map(interfaces.driver, [name, *interfaces.slaves(name)])


def hidden_vlans(name: str) -> str:
    """Explain why XDP sees frames of VLANs without their tags; empty if it does not."""
    vlans = interfaces.vlans(name)
    if not vlans or not interfaces.strips_tags(name):
        return ""
    return (
        f"{name} takes the tags out of the frames of its VLANs ({', '.join(vlans)}) before XDP sees them "
        f"(`ethtool -K {name} rxvlan off`)"
    )


def _why(error: OSError, mode: str) -> str:
    """Explain an error of attaching (dev_xdp_attach in net/core/dev.c, tcx_link_attach)."""
    if mode == "tc" and error.errno == errno.EINVAL:
        return "tcx needs Linux 6.6"
    if error.errno == errno.EEXIST:
        return "an interface that stands on it (VLAN, bond, macvlan) has an XDP program; this one goes first"
    if mode == "native" and error.errno == errno.ERANGE:
        return "its driver takes no XDP with an MTU this large"
    if mode == "native" and error.errno == errno.EOPNOTSUPP:
        return "its driver has no XDP"
    return os.strerror(error.errno or 0)


def _index_of(name: str) -> int:
    try:
        return interfaces.index_of(name)
    except OSError as error:
        raise DataPlaneError(
            errno.ENODEV, f"interface {name} does not exist here: check its name with `ip link`"
        ) from error


def _create(program: int, index: int, mode: str) -> int:
    if mode == "tc":
        return libbpf.link_create(program, index, libbpf.ATTACH_TCX_INGRESS, 0)
    return libbpf.link_create(program, index, libbpf.ATTACH_XDP, _XDP_FLAGS[mode])
