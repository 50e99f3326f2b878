"""What a director remembers across a crash of its process: words by hand, verdicts, quorums, VRRP states.

Without it a restart would forget an administrator's drain, and mail everything that it has mailed before.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import msgspec

from pointsman.control.messages import CheckResult, decoder, encoder
from pointsman.model.override import Override
from pointsman.model.service import ServerKey, ServiceKey

log = logging.getLogger("director")

NAME = "director.state"
LARGEST = 64 * 1024 * 1024
"""Bytes of a file that is read; what is kept is about configured real servers and instances only."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class KeptOverride(msgspec.Struct, frozen=True):
    """An administrator's word about a real server; `until` on CLOCK_MONOTONIC, None: for good."""

    service: ServiceKey
    server: ServerKey
    override: Override
    until: float | None = None


class TableState(msgspec.Struct, frozen=True):
    """What a keeper goes on with."""

    overrides: tuple[KeptOverride, ...] = ()
    results: tuple[CheckResult, ...] = ()
    """Of the checks that say something else than is presumed of a check that has not run."""
    quorums: tuple[tuple[ServiceKey, bool], ...] = ()
    ramps: tuple[tuple[ServiceKey, ServerKey, float, float], ...] = ()
    """Real servers that start slowly: when each began (CLOCK_MONOTONIC), and seconds that it takes."""
    drains: tuple[tuple[ServiceKey, ServerKey, float, float], ...] = ()
    """Dead real servers that keep their connections for a while, in the same way."""


class DirectorState(msgspec.Struct, frozen=True):
    """Everything in the file."""

    boot: str = ""
    """CLOCK_MONOTONIC begins anew with each boot, and so does the table in the kernel."""
    keeper: TableState = TableState()
    instances: dict[str, tuple[str, float]] = {}
    """State of each VRRP instance, and since when (CLOCK_MONOTONIC)."""


_decoder = decoder(DirectorState)


class StateFile:
    """The file in the run directory; replaced as a whole, so that a kill leaves the old or the new one."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / NAME
        self._boot = _BOOT.read_text().strip()
        self._written = b""

    def read(self) -> DirectorState | None:
        """What the former process knew; None: nothing that is of use."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
                if os.fstat(file.fileno()).st_uid not in (0, os.geteuid()):
                    raise PermissionError("it belongs to somebody else")
                found = _decoder.decode(file.read(LARGEST))
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.error("%s is of no use and is not taken over: %s", self._path, error)
            return None
        return found if found.boot == self._boot else None

    def write(self, keeper: TableState, instances: dict[str, tuple[str, float]]) -> None:
        """Keep this from now on; a disk that is full is logged and costs no more than the memory."""
        data = encoder.encode(DirectorState(self._boot, keeper, instances))
        if data == self._written:
            return
        fresh = self._path.with_suffix(".new")
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            fresh.replace(self._path)
            self._written = data
        except OSError as error:
            log.error("what a restart needs to know cannot be written to %s: %s", self._path, error)

    def forget(self) -> None:
        """After a stop in order there is nothing to go on with."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
