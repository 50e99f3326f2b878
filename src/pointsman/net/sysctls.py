# SPDX-License-Identifier: Apache-2.0
"""Settings of the network stack in /proc/sys/net that are changed for a while and restored afterwards."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pointsman.model.decoding import InvalidDataError, decoding

log = logging.getLogger("vrrp")

ROOT = Path("/proc/sys/net")


class Setting(msgspec.Struct, frozen=True):
    """A required value of a setting below /proc/sys/net, such as ipv4/conf/eth0/arp_ignore."""

    name: str
    value: int


class _Saved(msgspec.Struct):
    before: str
    ours: str


class Sysctls:
    """The settings that owners require. Former values are saved in a file, so a crash does not lose them.

    A setting is restored when no owner requires it any more, unless another program has changed it meanwhile.
    """

    def __init__(self, file: Path, root: Path = ROOT) -> None:
        self._file = file
        self._root = root
        self._required: dict[str, tuple[Setting, ...]] = {}
        self._saved: dict[str, _Saved] = {}
        self._unsaved = ""
        """Reason why the file could not be written. Empty: it was."""
        with contextlib.suppress(OSError, InvalidDataError), decoding():
            self._saved = msgspec.json.decode(file.read_bytes(), type=dict[str, _Saved])

    def require(self, owner: str, settings: Iterable[Setting]) -> None:
        """Change these settings for `owner`, in place of those it required before. Failures are logged.

        Settings of an interface that does not exist are left out: require them again when it exists.
        """
        self._required[owner] = tuple(settings)
        for setting in self._required[owner]:
            self._change(setting)
        self._write()

    def release(self, owner: str) -> None:
        """Restore the settings that only `owner` required."""
        self._required.pop(owner, None)
        self.restore_unneeded()

    def restore_unneeded(self) -> None:
        """Restore the settings that no owner requires, also those that an earlier process has changed."""
        required = {setting.name for settings in self._required.values() for setting in settings}
        for name in [name for name in self._saved if name not in required]:
            saved = self._saved.pop(name)
            with contextlib.suppress(OSError):  # the interface is gone, and the setting with it
                if self._read(name) == saved.ours:
                    (self._root / name).write_text(saved.before)
        self._write()

    def _change(self, setting: Setting) -> None:
        ours = str(setting.value)
        try:
            before = self._read(setting.name)
            if before != ours:
                (self._root / setting.name).write_text(ours)
                # The first saved value is the host's own; later ones are ours.
                if setting.name not in self._saved:
                    self._saved[setting.name] = _Saved(before, ours)
        except OSError as error:
            if not (self._root / setting.name).parent.exists():
                return
            log.error("cannot set net.%s to %s: %s", setting.name.replace("/", "."), ours, error.strerror)

    def _read(self, name: str) -> str:
        return (self._root / name).read_text().strip()

    def _write(self) -> None:
        try:
            if not self._saved:
                self._file.unlink(missing_ok=True)
                return
            new = self._file.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self._saved))
            new.replace(self._file)
            self._unsaved = ""
        except OSError as error:
            if self._unsaved != (reason := error.strerror or ""):
                text = "cannot save the former settings in %s: %s; after a crash they are not restored"
                log.error(text, self._file, reason)
            self._unsaved = reason
