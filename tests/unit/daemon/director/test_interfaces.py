# SPDX-License-Identifier: Apache-2.0
"""The interfaces of the data plane are looked at after a notification of the kernel, and now and then."""

from __future__ import annotations

from typing import cast

import pytest

from pointsman.daemon.director import interfaces
from pointsman.daemon.director.interfaces import LOOK_INTERVAL, Interfaces
from pointsman.dataplane.interface import Capabilities, DataPlane
from pointsman.net.netlink import NetlinkOverrunError


class Plane:
    looks = 0

    def follow_interfaces(self) -> list[str]:
        self.looks += 1
        return []

    def capabilities(self) -> Capabilities:
        return Capabilities(name="fake", schedulers=frozenset(), forwarding=frozenset())


class Monitor:
    """Stands for NetlinkMonitor."""

    LINK = 1
    answers: list[list[object] | NetlinkOverrunError]

    def __init__(self, _groups: int) -> None:
        Monitor.answers = []

    def read(self) -> list[object]:
        answer = Monitor.answers.pop(0) if Monitor.answers else []
        if isinstance(answer, NetlinkOverrunError):
            raise answer
        return answer


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def followed(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Interfaces:
    monkeypatch.setattr(interfaces, "NetlinkMonitor", Monitor)
    return Interfaces(cast(DataPlane, plane))


def test_without_a_notification_it_looks_once_in_a_while(followed: Interfaces, plane: Plane) -> None:
    for second in range(10):
        followed.follow_changes(100.0 + second * LOOK_INTERVAL / 5)
    assert plane.looks == 2


@pytest.mark.parametrize("answer", [[object()], NetlinkOverrunError()])
def test_a_notification_or_a_lost_one_makes_it_look_at_once(
    followed: Interfaces, plane: Plane, answer: list[object] | NetlinkOverrunError
) -> None:
    followed.follow_changes(100.0)
    Monitor.answers = [answer]
    followed.follow_changes(100.5)
    assert plane.looks == 2
    followed.follow_changes(101.0)
    assert plane.looks == 2
