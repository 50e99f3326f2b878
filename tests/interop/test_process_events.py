# SPDX-License-Identifier: Apache-2.0
"""Tracked processes: the kernel's events, and looking again and again where there are none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from pointsman.control.vrrp_messages import TrackerValue
from pointsman.daemon.scripts import proc_connector, tracked_process, trackers
from pointsman.daemon.scripts.problems import Problems
from pointsman.daemon.scripts.proc_connector import ProcessChange, ProcessEvent, ProcessEvents, parse
from pointsman.daemon.scripts.trackers import Trackers
from pointsman.model.tracking import TrackProcess, VrrpSurroundings
from pointsman.net.netlink import NetlinkOverrunError

pytestmark = pytest.mark.root


def datagram(what: int, *details: int) -> bytes:
    body = struct.pack("=IIQ", what, 0, 0) + struct.pack(f"={len(details)}I", *details)
    return bytes(16) + struct.pack("=IIIIHH", 1, 1, 0, 0, len(body), 0) + body


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (datagram(0x1, 7, 7, 8, 8), ProcessEvent(ProcessChange.FORK, 8, 7)),
        (datagram(0x1, 9, 7, 8, 8), ProcessEvent(ProcessChange.FORK, 8, 7)),
        (datagram(0x1, 7, 7, 8, 7), None),
        (datagram(0x2, 8, 8, 0, 0), ProcessEvent(ProcessChange.EXEC, 8)),
        (datagram(0x200, 8, 8, 0, 0), ProcessEvent(ProcessChange.COMM, 8)),
        (datagram(0x80000000, 8, 8, 0, 17), ProcessEvent(ProcessChange.EXIT, 8)),
        (datagram(0x80000000, 9, 8, 0, 17), None),
        (datagram(0x4, 8, 8, 0, 0), None),
        (datagram(0x2, 8, 8, 0, 0)[:50], None),
        (b"", None),
    ],
)
def test_events_of_processes_are_told_from_those_of_threads(data: bytes, event: ProcessEvent | None) -> None:
    assert parse(data) == event


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that nobody else runs; its name has 15 characters, as much as the kernel keeps."""
    path = tmp_path / f"pmt-{os.getpid():011d}"
    shutil.copy("/bin/sleep", path)
    return path


@contextlib.asynccontextmanager
async def watched(*processes: TrackProcess) -> AsyncIterator[Callable[[str, int], Awaitable[None]]]:
    """Trackers that follow processes; yields what waits for their next value."""
    values: asyncio.Queue[TrackerValue] = asyncio.Queue()
    trackers = Trackers(values.put_nowait, Problems())
    trackers.start(VrrpSurroundings(processes=processes))

    async def told(name: str, value: int) -> None:
        found = await asyncio.wait_for(values.get(), 30)
        assert (found.name, found.value) == (name, value)

    try:
        yield told
    finally:
        await trackers.stop()


@contextlib.contextmanager
def running(program: Path, argument: str = "600") -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([program, argument])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def story(program: Path) -> None:
    """One, two, one, none; each is told before the next happens."""
    one = TrackProcess(name="one", words=(program.name,))
    two = TrackProcess(name="two", words=(program.name, "601"), quorum=1, quorum_max=1)
    async with watched(one, two) as told:
        await told("one", 0)
        await told("two", 0)
        with running(program):
            await told("one", 1)
            with running(program, "601"):
                await told("two", 1)
            await told("two", 0)
        await told("one", 0)


def have_events() -> bool:
    try:
        ProcessEvents().close()
    except OSError:
        return False
    return True


needs_events = pytest.mark.skipif(not have_events(), reason="no proc connector here: another namespace")


@needs_events
def test_processes_are_followed_without_looking_again(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[dict[int, list[str]]] = []
    original = tracked_process.command_lines

    def looking() -> dict[int, list[str]]:
        looks.append(original())
        return looks[-1]

    monkeypatch.setattr(tracked_process, "command_lines", looking)
    asyncio.run(story(program))
    assert len(looks) == 1


def test_where_there_are_no_events_they_are_looked_at_every_second(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> ProcessEvents:
        raise OSError(111, "Connection refused")

    monkeypatch.setattr(trackers, "ProcessEvents", refused)
    monkeypatch.setattr(trackers, "PROCESS_INTERVAL", 0.05)
    asyncio.run(story(program))


def test_in_a_network_namespace_of_ones_own_there_are_no_events() -> None:
    code = "from pointsman.daemon.scripts.proc_connector import ProcessEvents; ProcessEvents()"
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", code], capture_output=True, text=True)
    assert "ConnectionRefusedError" in done.stderr


@needs_events
def test_what_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc_connector, "_BUFFER", 2048)
    with contextlib.closing(ProcessEvents()) as events:
        subprocess.run(["sh", "-c", "for i in $(seq 300); do true & done; wait"], check=True)
        with pytest.raises(NetlinkOverrunError):
            events.read()
