# SPDX-License-Identifier: Apache-2.0
"""Record of the changes of `realserver up`, which `down` restores."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pointsman.model.address import Address
from pointsman.model.decoding import InvalidDataError, decoding
from pointsman.realserver.facts import ArpKey, SetupError

FILE_NAME = "realserver.json"


class Change(msgspec.Struct, frozen=True):
    """A sysctl value before Pointsman, and the value that Pointsman wrote."""

    before: int
    written: int


class State(msgspec.Struct, forbid_unknown_fields=True):
    """All changes of `up` in one network namespace. Written before the first change."""

    namespace: str
    """Identity of the namespace in this boot (host.namespace_identity). The state of another one is stale."""
    was_there: dict[str, bool] = {}
    """True by VIP if this host had it before."""
    places: dict[str, str] = {}
    """Interface by VIP, if it is not lo."""
    made: str = ""
    """Dummy interface that was created for VIPs."""
    sysctls: dict[str, Change] = {}
    """Changes by key in the form of sysctl(8). Keys that were right before are not included."""
    interfaces: list[str] = []
    """Given or chosen interfaces except lo."""
    method: str = ""
    """Way to keep the VIPs out of ARP: sysctl, nft or redirect. Empty: none yet."""
    told: str = ""
    """Our nftables tables in the form of the input for nft."""
    rules: str = ""
    """Our nftables tables in the form of nft's listing after their creation."""
    lo_was_down: bool = False
    loopback_was_absent: bool = False
    """127.0.0.1 was not on lo before. The kernel adds it when lo is set up."""

    def change(self, key: ArpKey) -> Change | None:
        """Return the change of `key`, or None."""
        return self.sysctls.get(str(key))

    def place(self, vip: Address | str) -> str:
        """Return the interface for this VIP."""
        return self.places.get(str(vip), "lo")

    def knows(self, vip: Address) -> bool:
        """True if `up` was run for this VIP."""
        return str(vip) in self.was_there


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let a second `up` or `down` of the same namespace wait. Removes the directory if it is empty."""
    descriptor = _lock(directory)
    try:
        yield
    finally:
        tidy(directory)
        os.close(descriptor)


def tidy(directory: Path) -> None:
    """Remove the directory if it exists and is empty (after a run that was killed early)."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def _lock(directory: Path) -> int:
    while True:
        # Not exist_ok: it checks the directory a second time, when it may be removed.
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # the previous holder of the lock has just removed the directory
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(directory.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)  # a lock on a removed directory has no effect


def load(directory: Path, namespace: str) -> State:
    """Return the state of this namespace. It is empty if there is none, or one of another boot or namespace.

    Raises SetupError if the file is damaged.
    """
    path = directory / FILE_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return State(namespace=namespace)
    try:
        with decoding():
            state = msgspec.json.decode(text, type=State)
    except InvalidDataError as error:
        raise SetupError(
            f"{path} is damaged ({error}): the changes on this host are unknown. "
            f"Read it, undo the changes by hand, and delete it"
        ) from error
    return state if state.namespace == namespace else State(namespace=namespace)


def save(directory: Path, state: State) -> None:
    """Replace the file in one step. After a crash either the old or the new one exists."""
    path = directory / FILE_NAME
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def forget(directory: Path) -> None:
    """Delete the file."""
    (directory / FILE_NAME).unlink(missing_ok=True)
