# SPDX-License-Identifier: Apache-2.0
"""A whole director is killed and started again: the other one notices nothing, the address has never gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.director_process import VIP, Director, configuration
from tests.support.until import until
from tests.support.vrrp.switch import Capture, Switch, switch

from pointsman.lab import namespace
from pointsman.net.addresses import RTM_DELADDR
from pointsman.net.netlink import NetlinkMonitor

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def test_everything_is_killed_and_started_again(made: Switch, tmp_path: Path) -> None:
    """The backup waits for more than a minute: a start on a busy machine is no reason to take over."""
    a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
    first = Director(a, tmp_path, configuration(150, interval="1"))
    until("a is master", lambda: first.state() == "MASTER")
    second = Director(b, tmp_path, configuration(100, "down_timer_adverts 90", interval="1"))
    until("b is backup", lambda: second.state() == "BACKUP")
    with namespace.entered(a.namespace):
        monitor = NetlinkMonitor(NetlinkMonitor.IPV4_ADDRESS)
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    capture = Capture(made, a)
    again = Director(a, tmp_path, configuration(150, interval="1"))
    until("a is master again", lambda: again.state() == "MASTER")
    until("it has told b, again and again", lambda: len(capture.adverts()) >= 3)
    assert capture.longest_pause() < 2.0
    assert f"{VIP}/24" in a.addresses()
    assert RTM_DELADDR not in {message.type for message in monitor.read()}
    monitor.close()
    assert second.state() == "BACKUP"
    assert "MASTER" not in second.log.read_text()
    assert b.addresses() == ["10.9.0.2/24"]
