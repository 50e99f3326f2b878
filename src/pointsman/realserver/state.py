"""What `realserver up` changed, remembered so that `down` restores exactly that."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pointsman.model.address import Address
from pointsman.realserver.facts import ArpKey, SetupError

FILE_NAME = "realserver.json"


class Change(msgspec.Struct, frozen=True):
    """One sysctl value: what it was before Pointsman, and what Pointsman wrote."""

    before: int
    written: int


class State(msgspec.Struct, forbid_unknown_fields=True):
    """Everything `up` did in one network namespace. Written before the first change is made."""

    namespace: str
    """The namespace's own name for this boot (host.namespace_identity): state of another one is stale."""
    was_there: dict[str, bool] = {}
    """VIP: whether this host had it before."""
    places: dict[str, str] = {}
    """VIP: the interface it is on, where that is not lo."""
    made: str = ""
    """The dummy interface that was made for VIPs."""
    sysctls: dict[str, Change] = {}
    """Key as sysctl(8) writes it: what was done to it. Keys that were right before are not here."""
    interfaces: list[str] = []
    """Interfaces named or chosen, beside lo."""
    method: str = ""
    """What keeps the VIPs out of ARP: sysctl, nft, or redirect. Empty: nothing yet."""
    told: str = ""
    """Our nftables tables as nft was told them."""
    rules: str = ""
    """Our nftables tables as they were listed when they were made."""
    lo_was_down: bool = False
    loopback_was_absent: bool = False
    """127.0.0.1 was not on lo before: the kernel put it there when lo came up."""

    def change(self, key: ArpKey) -> Change | None:
        """What Pointsman did to `key`, if anything."""
        return self.sysctls.get(str(key))

    def place(self, vip: Address | str) -> str:
        """The interface that shall have this VIP."""
        return self.places.get(str(vip), "lo")

    def knows(self, vip: Address) -> bool:
        """Whether `up` was run for this VIP."""
        return str(vip) in self.was_there


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep a second `up` or `down` of the same namespace waiting; leaves no empty directory behind."""
    descriptor = _lock(directory)
    try:
        yield
    finally:
        tidy(directory)
        os.close(descriptor)


def tidy(directory: Path) -> None:
    """Remove the directory, if it is there and empty (a run that was killed early has left it)."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def _lock(directory: Path) -> int:
    while True:
        # Not exist_ok: that looks at the directory a second time, when it may be gone.
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # whoever had the lock removed the directory just now
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(directory.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)  # a lock on a directory that was removed is none


def load(directory: Path, namespace: str) -> State:
    """The state of this namespace; an empty one if there is none or it is of an earlier boot or namespace.

    Raises SetupError if the file is there but not ours to read.
    """
    path = directory / FILE_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return State(namespace=namespace)
    try:
        state = msgspec.json.decode(text, type=State)
    except msgspec.DecodeError as error:
        raise SetupError(
            f"{path} is damaged ({error}): what was changed on this host is not known. "
            f"Look at it, undo by hand, and delete it"
        ) from error
    return state if state.namespace == namespace else State(namespace=namespace)


def save(directory: Path, state: State) -> None:
    """Replace the file in one step; after a crash there is the old or the new one, never half of one."""
    path = directory / FILE_NAME
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def forget(directory: Path) -> None:
    """Nothing of ours is left on this host."""
    (directory / FILE_NAME).unlink(missing_ok=True)
