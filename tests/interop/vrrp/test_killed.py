"""A whole director is killed and started again: the other one notices nothing, the address has never gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.director_process import START, VIP, Director, configuration
from tests.support.switch import Capture, Switch, switch
from tests.support.until import until

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def test_everything_is_killed_and_started_again(made: Switch, tmp_path: Path) -> None:
    """Adverts of 1.5 s: a start takes about one, and several on a busy machine."""
    a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
    first = Director(a, tmp_path, configuration(150, interval="1.5"))
    until("a is master", lambda: first.state() == "MASTER", START)
    second = Director(b, tmp_path, configuration(100, interval="1.5"))
    until("b is backup", lambda: second.state() == "BACKUP", START)
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    capture = Capture(made, a)
    again = Director(a, tmp_path, configuration(150, interval="1.5"))
    deadline = time.monotonic() + 6.0  # longer than b would wait
    while time.monotonic() < deadline:
        assert f"{VIP}/24" in a.addresses()
        time.sleep(0.05)
    assert again.state() == "MASTER"
    assert len(capture.adverts()) >= 2
    assert second.state() == "BACKUP"
    assert "MASTER" not in second.log.read_text()
    assert b.addresses() == ["10.9.0.2/24"]
