# SPDX-License-Identifier: Apache-2.0
"""`pointsman status --watch` on a terminal of 80 columns and 24 rows, and without a terminal."""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.cli import status as verb
from pointsman.cli.main import main
from pointsman.cli.screens.live_screen import ENTER, HOME, LEAVE, LiveScreen
from pointsman.control.client import DirectorNotRunning
from pointsman.control.status import (
    ConfigurationStatus,
    DataPlaneStatus,
    ServerStatus,
    ServiceStatus,
    Status,
)

ROWS, COLUMNS = 24, 80
SERVER = ServerStatus(
    server="[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", weight=1, up=True, reason="", next_hop="eth0"
)
STATE = Status(
    router_id="lb-01",
    uptime=1.0,
    data_plane=DataPlaneStatus(name="xdp"),
    configuration=ConfigurationStatus(file="", config_id=None, generation=1, seconds=1.0),
    services=tuple(
        ServiceStatus(service=f"TCP [2001:db8::{n}]:80", scheduler="rr", managed=True, servers=(SERVER,) * 4)
        for n in range(200)
    ),
)
PLAIN = re.compile("\x1b\\[[0-9;?]*[a-zA-Z]")


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Run the live screen in another process on a pty; yield our end. It must end well."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    process, ours = pty.fork()
    if not process:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            LiveScreen(0.02).run(verb._watched)
            os._exit(0)
        finally:
            os._exit(1)
    yield ours
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(ours)


def read_until(end: int, wanted: str) -> str:
    """Read from the pty until this text has come. It ends with an OSError if the process does."""
    found = ""
    while wanted not in found:
        found += os.read(end, 65536).decode(errors="replace")
    return found


def test_the_screen_is_drawn_within_the_terminal_and_ctrl_c_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "fetch", lambda: STATE)
    with terminal(monkeypatch) as end:
        seen = read_until(end, HOME)
        seen += read_until(end, HOME) + read_until(end, HOME)
        os.write(end, b"\x03")
        seen += read_until(end, LEAVE)
    assert seen.startswith(ENTER) and seen.endswith(LEAVE)
    frames = [PLAIN.sub("", frame).split("\r\n") for frame in seen.split(HOME)[1:]]
    assert all(len(frame) <= ROWS and max(map(len, frame)) <= COLUMNS for frame in frames)
    assert frames[0][1] == "lb-01: all is well" and frames[0][0].endswith("Ctrl-C ends")
    assert re.fullmatch(r"\.\.\. [0-9]+ more lines", frames[0][-1])


def test_it_goes_on_while_there_is_no_director(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def fetch() -> Status:
        if next(calls) in (1, 2):
            raise DirectorNotRunning(Path("/run/nowhere"))
        return STATE

    monkeypatch.setattr(verb, "fetch", fetch)
    monkeypatch.setattr(verb, "_left_in_force", lambda: "")
    with terminal(monkeypatch) as end:
        read_until(end, "all is well")
        read_until(end, "no director is running here")
        read_until(end, "all is well")
        os.write(end, b"\x03")
        read_until(end, LEAVE)


def test_without_a_terminal_each_screen_follows_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def fetch() -> Status:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return STATE

    monkeypatch.setattr(verb, "fetch", fetch)
    outcome = CliRunner().invoke(main, ["status", "--watch", "0.5"])
    assert outcome.exit_code == 0
    assert outcome.output.count("lb-01: all is well\n") == 2 and "\x1b" not in outcome.output
    assert "TCP [2001:db8::199]:80" in outcome.output


def test_a_screen_and_a_document_do_not_go_together() -> None:
    outcome = CliRunner().invoke(main, ["status", "--watch", "2", "--json"])
    assert outcome.exit_code == 2 and "--watch shows a screen" in outcome.output
