# SPDX-License-Identifier: Apache-2.0
"""State that a director keeps across a crash or a stop: overrides, results, quorums, VRRP states.

Without it a restart would forget overrides, and send again mails that were already sent.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import msgspec

from pointsman.control.codec import decoder, encoder
from pointsman.control.messages import CheckResult
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.model.decoding import InvalidDataError, decoding
from pointsman.model.override import Override
from pointsman.model.service import ServerKey, ServiceKey

log = logging.getLogger("director")

NAME = "director.state"
LARGEST = 64 * 1024 * 1024
"""Bytes of the file that are read. It has entries for configured real servers and instances only."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class KeptOverride(msgspec.Struct, frozen=True):
    """Override of a real server. `until`: CLOCK_MONOTONIC; None: until it is removed."""

    service: ServiceKey
    server: ServerKey
    override: Override
    until: float | None = None


class TableState(msgspec.Struct, frozen=True):
    """State of TableSync."""

    stopped: bool = False
    """True after an orderly stop: quorums and real servers are announced again, as at a first start."""
    overrides: tuple[KeptOverride, ...] = ()
    results: tuple[CheckResult, ...] | None = ()
    """Results that differ from the initial result of a check that has not run.

    None: they are unknown, and the table must tell.
    """
    quorums: tuple[tuple[ServiceKey, bool], ...] = ()
    ramps: tuple[tuple[ServiceKey, ServerKey, float, float], ...] = ()
    """Real servers in slow start: begin (CLOCK_MONOTONIC) and duration in seconds."""
    drains: tuple[tuple[ServiceKey, ServerKey, float, float], ...] = ()
    """Real servers in drain: begin (CLOCK_MONOTONIC) and duration in seconds."""


class DirectorState(msgspec.Struct, frozen=True):
    """Content of the file."""

    boot: str = ""
    """Boot ID: CLOCK_MONOTONIC and the table in the kernel do not survive a boot."""
    table: TableState = msgspec.field(default=TableState(), name="keeper")
    instances: dict[str, tuple[str, float]] = {}
    """State of each VRRP instance, and the time it entered that state (CLOCK_MONOTONIC)."""


def _decode(data: bytes) -> DirectorState:
    """Decode the file. Results in the form of another version are left out: words by hand are worth more.

    Raises InvalidDataError.
    """
    try:
        return decoder(DirectorState).decode(data)
    except msgspec.ValidationError as error:
        found = msgspec.json.decode(data, type=dict[str, object])
        keeper = found.get("keeper")
        if not isinstance(keeper, dict) or not keeper.get("results"):
            raise
        found["keeper"] = keeper | {"results": None}
        state = decoder(DirectorState).decode(encoder.encode(found))
        log.warning("results of checks from another version are not taken over: %s", error)
        return state


class StateFile:
    """The state file in the run directory, replaced atomically: a kill leaves the old or the new one."""

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / NAME
        self._boot = _BOOT.read_text().strip()
        self._written = b""
        self._once = LogOnce(log)

    def read(self) -> DirectorState | None:
        """Return the state of the previous process; None: there is none of this boot, or it is not valid."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
                if os.fstat(file.fileno()).st_uid not in (0, os.geteuid()):
                    raise PermissionError("it is owned by another user")
                with decoding():
                    found = _decode(file.read(LARGEST))
        except FileNotFoundError:
            return None
        except (OSError, InvalidDataError) as error:
            log.error("cannot use %s, starting without the previous state: %s", self._path, error)
            return None
        return found if found.boot == self._boot else None

    def write(self, table: TableState, instances: dict[str, tuple[str, float]]) -> None:
        """Write the state if it has changed. An error is logged, not raised."""
        data = encoder.encode(DirectorState(self._boot, table, instances))
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
            self._once.clear()
        except OSError as error:
            text = "cannot write the state for a restart to %s: %s"
            self._once.error("write", text, self._path, error.strerror)

    def forget(self) -> None:
        """Remove the file: there is nothing that the next start should know."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
