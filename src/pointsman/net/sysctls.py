"""Settings of the network stack in /proc/sys/net: changed for a while, and put back as they were."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

log = logging.getLogger("vrrp")

ROOT = Path("/proc/sys/net")


class Wish(msgspec.Struct, frozen=True):
    """A setting below /proc/sys/net that somebody needs, such as ipv4/conf/eth0/arp_ignore."""

    name: str
    value: int


class _Kept(msgspec.Struct):
    before: str
    ours: str


class Sysctls:
    """Carries out wishes. What was there before is kept in a file, so that it can be put back after a crash.

    A setting is put back when nobody wishes it any more, unless somebody else has changed it meanwhile.
    """

    def __init__(self, file: Path, root: Path = ROOT) -> None:
        self._file = file
        self._root = root
        self._wishes: dict[str, tuple[Wish, ...]] = {}
        self._kept: dict[str, _Kept] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self._kept = msgspec.json.decode(file.read_bytes(), type=dict[str, _Kept])

    def wish(self, owner: str, wishes: Iterable[Wish]) -> None:
        """`owner` needs these settings from now on, and no others. Failures are logged."""
        self._wishes[owner] = tuple(wishes)
        for wish in self._wishes[owner]:
            self._change(wish)
        self._write()

    def withdraw(self, owner: str) -> None:
        """`owner` needs nothing any more."""
        self._wishes.pop(owner, None)
        self.put_back_unwanted()

    def put_back_unwanted(self) -> None:
        """What nobody wishes gets its former value; also what a process before this one has left changed."""
        wanted = {wish.name for wishes in self._wishes.values() for wish in wishes}
        for name in [name for name in self._kept if name not in wanted]:
            kept = self._kept.pop(name)
            with contextlib.suppress(OSError):  # the interface is gone, and the setting with it
                if self._read(name) == kept.ours:
                    (self._root / name).write_text(kept.before)
        self._write()

    def _change(self, wish: Wish) -> None:
        ours = str(wish.value)
        try:
            before = self._read(wish.name)
            if before != ours:
                (self._root / wish.name).write_text(ours)
                # What was kept first is the host's own value; ours need not be kept.
                if wish.name not in self._kept:
                    self._kept[wish.name] = _Kept(before, ours)
        except OSError as error:
            log.error("cannot set net.%s to %s: %s", wish.name.replace("/", "."), ours, error.strerror)

    def _read(self, name: str) -> str:
        return (self._root / name).read_text().strip()

    def _write(self) -> None:
        try:
            if not self._kept:
                self._file.unlink(missing_ok=True)
                return
            new = self._file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self._kept))
            new.replace(self._file)
        except OSError as error:
            log.error("cannot keep the former settings in %s: %s", self._file, error.strerror)
