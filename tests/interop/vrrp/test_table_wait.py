# SPDX-License-Identifier: Apache-2.0
"""A master needs a table: a first start is backup until then. What a killed process left waits for nobody."""

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


def test_a_first_start_leaves_the_role_to_another_router_until_the_table_is_in_force(
    made: Switch, tmp_path: Path
) -> None:
    first = Ours(made.host("a", "10.9.0.1/24"), tmp_path, instance(priority=150), without_table=True)
    until("it listens", lambda: first.state() == "BACKUP", explain=first.log.read_text)
    other = Ours(made.host("b", "10.9.0.2/24"), tmp_path, instance(priority=50))
    until("the other is master", lambda: other.state() == "MASTER", explain=other.log.read_text)
    assert first.state() == "BACKUP"
    first.channel.send(encode(Resync()))
    until("it takes over", lambda: first.state() == "MASTER", explain=first.log.read_text)
    until("the other is backup", lambda: other.state() == "BACKUP", explain=other.log.read_text)
    assert (first.stop(), other.stop()) == (0, 0)


def test_a_killed_master_does_not_wait_for_the_table(made: Switch, tmp_path: Path) -> None:
    host = made.host("a", "10.9.0.1/24")
    first = Ours(host, tmp_path, instance())
    until("it is master", lambda: first.state() == "MASTER", explain=first.log.read_text)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again = Ours(host, tmp_path, instance(advert_interval=5.0), without_table=True)
    until("it is master again", lambda: again.state() == "MASTER", explain=again.log.read_text)
    assert "continuing as master" in again.states["VI_1"].reason
    assert again.stop() == 0
