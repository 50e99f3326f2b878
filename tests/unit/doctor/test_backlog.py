# SPDX-License-Identifier: Apache-2.0
"""Accept queues, from sockets of this process."""

from __future__ import annotations

import contextlib
import socket

import pytest

from pointsman.doctor.facts import ListenQueue
from pointsman.doctor.gather.backlog import listen_overflows, listen_queues
from pointsman.doctor.gather.kernel import read_full_queues


def queue_of(port: int) -> ListenQueue:
    try:
        (found,) = (each for each in listen_queues() if each.port == port)
    except FileNotFoundError:
        pytest.skip("this kernel has no tcp_diag")
    return found


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_queue_fills_until_the_program_accepts(family: socket.AddressFamily, address: str) -> None:
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket(family))
        listener.bind((address, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        assert queue_of(port) == ListenQueue(address, port, 0, 1)
        for _ in range(2):
            sockets.enter_context(socket.create_connection((address, port)))
        assert queue_of(port) == ListenQueue(address, port, 2, 1)
        assert [each.port for each in read_full_queues() if each.port == port] == [port]
        before = listen_overflows()
        client = sockets.enter_context(socket.socket(family))
        client.setblocking(False)
        client.connect_ex((address, port))
        assert listen_overflows() > before
        for _ in range(2):
            sockets.enter_context(listener.accept()[0])
        assert all(each.port != port for each in read_full_queues())
