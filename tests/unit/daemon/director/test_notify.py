# SPDX-License-Identifier: Apache-2.0
"""Orders to pm-scripts while it takes none."""

from __future__ import annotations

import socket

import pytest

from pointsman.control.messages import RunProgram, TellServers, checker_order_decoder
from pointsman.daemon.director import notify
from pointsman.daemon.director.notify import send_orders


def test_orders_wait_for_a_full_channel_and_the_oldest_of_too_many_are_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "MAX_WAITING", 5)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        orders: list[RunProgram | TellServers] = [TellServers(str(number)) for number in range(5000)]
        for _ in range(2):
            send_orders(orders, ours)
            assert [order.line for order in orders if isinstance(order, TellServers)] == [
                str(number) for number in range(4995, 5000)
            ]
        theirs.setblocking(False)
        taken = 0
        while orders or taken < 6:
            order = checker_order_decoder.decode(theirs.recv(65536))
            assert isinstance(order, TellServers)
            taken += 1
            send_orders(orders, ours)
    assert len([each for each in caplog.messages if "the oldest are dropped" in each]) == 1
