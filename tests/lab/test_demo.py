# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: to its end, and broken off at the worst moments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

from pointsman.control import paths
from pointsman.lab import namespace, processes

pytestmark = [pytest.mark.root, pytest.mark.slow]

PREFIX = f"pmt-demo-{os.getpid()}"
DEMO = [sys.executable, "-m", "pointsman.cli.main", "lab", "--prefix", PREFIX, "demo"]


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def namespaces() -> dict[str, int]:
    return {name: namespace.inode(name) for name in namespace.names() if name.startswith(PREFIX)}


def hold(held: contextlib.ExitStack) -> set[int]:
    """The inodes of the lab's namespaces; as long as they are held, no other namespace gets one of them."""
    handles = [held.enter_context(namespace.path(name).open()) for name in namespaces()]
    return {os.fstat(handle.fileno()).st_ino for handle in handles}


def assert_nothing_is_left(inodes: set[int]) -> None:
    assert namespaces() == {}
    assert processes.find_processes(inodes) == {}
    assert [place for inode in inodes for place in paths.namespace_directories(inode)] == []
    assert list(Path(paths.RUN_DIRECTORY / "lab").glob(f"*@{PREFIX}")) == []


def test_the_demo_holds_what_it_promises_within_two_minutes() -> None:
    told = started()
    try:
        said, _ = told.communicate(timeout=2 * DEADLINE)
    finally:
        told.kill()
    assert told.returncode == 0, said
    assert "✗" not in said
    assert "kill -9 -1" not in said, "a reader who repeats it kills every process of the host"
    for promise in (
        "All expectations were met",
        "persistence works",
        "mail: [lb-01] Realserver [192.168.100.21]",
        "the client got no answer for",
        "not through the director",
        "no namespace, no process, no pin, no file",
    ):
        assert promise in said, said
    assert max(map(len, said.splitlines())) <= 120
    assert_nothing_is_left(set())


@pytest.mark.parametrize(
    ("topology", "moment", "number"),
    [
        ("ha-pair", "lb-01: pointsman run", signal.SIGINT),
        ("ha-pair", "lb-02: pointsman run", signal.SIGTERM),
        ("ha-pair", "20 requests", signal.SIGINT),
        ("dual-homed", "namespaces and their cables", signal.SIGINT),
        ("dual-homed", "lvs: pointsman ipvsadm", signal.SIGHUP),
        ("dual-homed", "pointsman trace", signal.SIGINT),
    ],
)
def test_broken_off_it_leaves_nothing(topology: str, moment: str, number: signal.Signals) -> None:
    with contextlib.ExitStack() as held:
        told = started(topology)
        assert told.stdout is not None
        try:
            said = ""
            for line in told.stdout:
                said += line
                if moment in line:
                    break
            inodes = hold(held)
            told.send_signal(number)
            rest, _ = told.communicate(timeout=2 * DEADLINE)
        finally:
            told.kill()
        assert moment in said, said + rest
        assert told.returncode == 130, said + rest
        assert "interrupted; nothing is left behind" in rest
        assert inodes or moment == "namespaces and their cables"  # said just before the first one is made
        assert_nothing_is_left(inodes)
