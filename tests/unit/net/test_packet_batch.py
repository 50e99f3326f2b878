# SPDX-License-Identifier: Apache-2.0
"""Many packets by one call: all of them, in order, each with its time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from tests.support.until import until

from pointsman.net.packet_batch import MAX_PACKETS, MAX_SIZE, PacketBatch

_SO_TIMESTAMPNS = 35


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """(sender, receiver) over the loopback interface; the receiver is told times."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sender.connect(receiver.getsockname())
        until("the kernel stamps packets when they come", lambda: is_stamped(sender, receiver))
        yield sender, receiver


def is_stamped(sender: socket.socket, receiver: socket.socket) -> bool:
    """True if a packet has its arrival's time. The kernel turns time stamps on by deferred work."""
    sender.send(b"probe")
    arrived = time.time()
    ((_, at),) = PacketBatch().receive(receiver.fileno())
    return at <= arrived


def test_every_packet_comes_once_in_its_order_however_many_wait(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = pair
    sent = [bytes([number]) * (number + 1) for number in range(MAX_PACKETS + 30)]
    for packet in sent:
        sender.send(packet)
    batch = PacketBatch()
    first, second, third = (batch.receive(receiver.fileno()) for _ in range(3))
    assert [len(first), len(second), third] == [MAX_PACKETS, 30, []]
    assert [packet for packet, _ in first + second] == sent


def test_each_has_the_time_at_which_it_came_and_not_at_which_it_was_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = pair
    sender.send(b"")
    between = time.time()
    time.sleep(0.01)
    after = time.time()
    sender.send(b"second")
    (empty, early), (_, late) = PacketBatch().receive(receiver.fileno())
    assert empty == b""
    assert early <= between < after <= late <= time.time()


def test_without_a_time_it_has_come_now(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    batch = PacketBatch()
    sender.send(b"with")
    batch.receive(receiver.fileno())
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 0)
    sender.send(b"without")
    time.sleep(0.01)
    before = time.time()
    ((_, at),) = batch.receive(receiver.fileno())
    assert before <= at <= time.time()


def test_what_is_too_long_is_cut_off_and_hurts_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = pair
    sender.send(b"x" * (MAX_SIZE + 1000))
    sender.send(b"y" * 10)
    assert [packet for packet, _ in PacketBatch().receive(receiver.fileno())] == [b"x" * MAX_SIZE, b"y" * 10]


def test_a_socket_that_is_gone_has_nothing() -> None:
    assert PacketBatch().receive(-1) == []
