# SPDX-License-Identifier: Apache-2.0
"""A master needs a table: a first start waits for it. What a killed process has left waits for nobody."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance
from tests.support.vrrp.switch import Switch, switch

from pointsman.control.messages import Resync, encode

pytestmark = pytest.mark.root


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def test_a_first_start_waits_for_the_table_and_a_restart_does_not(made: Switch, tmp_path: Path) -> None:
    host = made.host("a", "10.9.0.1/24")
    first = Ours(host, tmp_path, instance(), without_table=True)
    until("it waits", lambda: "waiting for the service table" in first.log.read_text())
    assert first.state() == ""
    first.channel.send(encode(Resync()))
    until("it is master", lambda: first.state() == "MASTER")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again = Ours(host, tmp_path, instance(advert_interval=5.0), without_table=True)
    until("it is master again", lambda: again.state() == "MASTER", explain=again.log.read_text)
    assert "continuing as master" in again.states["VI_1"].reason
    assert again.stop() == 0
