# SPDX-License-Identifier: Apache-2.0
"""A capture is bounded in frames and in time, whatever comes, and sees nothing but the service."""

from __future__ import annotations

import ipaddress
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.support.namespaces import Namespace

from pointsman.doctor.gather.syn_probe import SynProbe, segment
from pointsman.trace.capture import MAX_FRAMES, CapturePoint, _receive, capture
from pointsman.trace.frames import UDP

pytestmark = pytest.mark.root

VIP = ipaddress.ip_address("192.168.7.33")
PACKET_HOST = 0
BUILD = f"""
ip link add eth0 type veth peer name wire
ip link set wire address 02:00:00:00:00:09
ip link set eth0 up; ip link set wire up
ip address add 192.168.7.1/24 dev eth0
ip neigh add {VIP} lladdr 02:00:00:00:00:09 dev eth0
"""
FLOOD = f"""
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other = out.dup()
print("ready", flush=True)
while True:
    out.sendto(b"x" * 64, ("{VIP}", 5000))
    other.sendto(b"x" * 64, ("{VIP}", 5001))
"""


@pytest.fixture(autouse=True)
def _in_a_namespace() -> Iterator[None]:
    with Namespace("capture") as made, made.entered():
        made.sh(BUILD)
        yield


@pytest.fixture
def flood() -> Iterator[None]:
    """Two processes, each of which sends faster than one can read."""
    made = [
        subprocess.Popen([sys.executable, "-c", FLOOD], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for process in made:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield
    finally:
        for process in made:
            process.kill()
            process.wait()


def watched(seconds: float, ended: bool) -> tuple[list[int], float]:
    """The ports of what was captured, and how long that took."""
    points = [CapturePoint(host="server", interface="wire", role="real server")]
    begun = time.monotonic()
    found = capture(points, VIP, 5000, lambda: None, lambda: ended, seconds, protocol=UDP)
    return [item.frame.destination_port for item in found], time.monotonic() - begun


@pytest.mark.usefixtures("flood")
def test_a_flood_fills_it_and_that_is_its_end() -> None:
    ports, took = watched(600.0, ended=False)
    assert ports == [5000] * MAX_FRAMES
    assert took < 60.0


@pytest.mark.usefixtures("flood")
def test_a_flood_cannot_hold_it_longer_than_it_is_wanted() -> None:
    ports, took = watched(600.0, ended=True)
    assert set(ports) == {5000}
    assert took < 60.0


def test_silence_ends_with_the_time() -> None:
    assert watched(0.3, ended=False)[0] == []


class Endless:
    """A tap that more frames come in by than anybody can read."""

    def recvmsg(self, _size: int, _ancillary: int) -> tuple[bytes, list[Any], int, tuple[Any, ...]]:
        return knock(), [], 0, ("wire", 0x0800, PACKET_HOST, 1, b"")


def knock() -> bytes:
    """A SYN for the VIP."""
    source = ipaddress.ip_address("192.168.7.1")
    return segment(
        SynProbe(
            service="", vip=VIP, port=5000, server=VIP, mac="02:00:00:00:00:09", interface="eth0",
            own_mac="02:00:00:00:00:01", own_address=source,
        ),
        1024, 1, 2,
    )  # fmt: skip


def test_one_look_at_a_tap_ends_though_the_flood_does_not() -> None:
    point = CapturePoint(host="server", interface="wire", role="real server")
    seen = list(itertools.islice(_receive(cast("socket.socket", Endless()), point), 10 * MAX_FRAMES))
    assert 0 < len(seen) < MAX_FRAMES
