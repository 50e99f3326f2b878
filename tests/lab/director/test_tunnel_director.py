# SPDX-License-Identifier: Apache-2.0
"""A director whose file says lvs_method TUN: what leaves it, what it says; a reload, a method by hand."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.program_run import answer6_of, answer_of, ipv4, ipv6, segment
from tests.support.project import POINTSMAN
from tests.support.tunnel_place import CLIENT, CLIENT6, FAR, FAR6, VIP, VIP6, TunnelNetwork
from tests.support.until import DEADLINE, until

from pointsman.dataplane.xdp.kernel import interfaces
from pointsman.lab import namespace
from pointsman.packets.errors import WireError
from pointsman.trace.frames import Frame, decode

pytestmark = pytest.mark.root

CONF = f"""
virtual_server {VIP} 80 {{
    lvs_sched rr
    lvs_method TUN
    protocol TCP
    real_server {FAR} 80 {{
    }}
}}
virtual_server {VIP6} 80 {{
    lvs_sched rr
    lvs_method TUN
    protocol TCP
    real_server {FAR6} 80 {{
    }}
}}
"""


class Running:
    """A director in generic XDP, and the router behind it."""

    def __init__(self, place: TunnelNetwork, folder: Path) -> None:
        self.place = place
        self.conf = folder / "keepalived.conf"
        self.conf.write_text(CONF)
        self._log = folder / "log"
        command = [*self._inside(), *POINTSMAN, "run", "-f", str(self.conf), "--interface", "d0"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*command, "--xdp-mode", "generic"], stderr=log)

    def _inside(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.place.director}"]

    def says(self, *words: str) -> str:
        done = subprocess.run(
            [*self._inside(), *POINTSMAN, *words], capture_output=True, text=True, timeout=120
        )
        return done.stdout + done.stderr

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, self._log.read_text()
            return condition()

        until(what, holds, explain=self._log.read_text)

    def sent_on(self, tunnel: str) -> Frame:
        """A client begins until the router hears of it in this tunnel."""
        deadline = time.monotonic() + 60
        with namespace.entered(self.place.router):
            heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with heard:
            heard.bind(("g0", 0))
            while True:
                with namespace.entered(self.place.client), socket.socket() as caller:
                    caller.setblocking(False)
                    caller.connect_ex((VIP, 80))
                    while select.select([heard], [], [], 0.5)[0]:
                        try:
                            frame = decode(heard.recv(2048))
                        except WireError:
                            continue
                        if frame.tunnel == tunnel:
                            return frame
                assert time.monotonic() < deadline, self.says("status")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    place = TunnelNetwork()
    try:
        place.up()
        made = Running(place, tmp_path)
        try:
            made.until(
                lambda: all(
                    each in made.says("status") for each in ("through 10.2.0.254", "through fd00:2::fe")
                ),
                "the gateways are resolved",
            )
            yield made
        finally:
            made.stop()
    finally:
        place.down()


def test_the_file_the_reload_and_the_hand(running: Running) -> None:
    frame = running.sent_on(f"ipip 10.2.0.1 > {FAR}")
    assert (frame.destination, frame.destination_port, frame.flags[0], frame.ttl) == (VIP, 80, "S", 63)
    status = " ".join(running.says("status").split())
    assert re.search(rf"-> {re.escape(FAR)}:80 unchecked weight 1 (\d+ active )?in ipip", status)
    assert "not on-link" not in status and "!" not in status
    assert f"{FAR}:80 Tunnel ipip 1" in " ".join(running.says("ipvsadm", "-Ln", "--tun-info").split())
    doctor = " ".join(running.says("doctor").split())
    assert "on-link" not in doctor and f"{FAR} does not answer" not in doctor
    running.conf.write_text(CONF.replace("lvs_method TUN", "lvs_method TUN type gue port 6080"))
    assert "tunnel ipip -> gue 6080" in running.says("reload")
    assert running.sent_on(f"gue 10.2.0.1 > {FAR}").ttl == 63
    running.says("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", f"{FAR}:80", "-i", "--tun-type", "gre")
    assert running.sent_on(f"gre 10.2.0.1 > {FAR}").ttl == 63


@pytest.mark.parametrize("six", [False, True])
def test_a_narrower_path_behind_the_router_reaches_the_client_as_an_mtu(running: Running, six: bool) -> None:
    """The router's answer about the tunnel's packet becomes the director's about the client's."""
    place = running.place
    place.run(place.router, "ip link set g1 mtu 1400")
    place.run(place.far, "ip link set s0 mtu 1400")
    with namespace.entered(place.client):
        own = interfaces.hardware_address("c0")
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with namespace.entered(place.director):
        other = interfaces.hardware_address("d0")
    with wire:
        wire.bind(("c0", 0))
        head = other + own + (b"\x86\xdd" if six else b"\x08\x00")
        first, later = segment("S", 7000, 80), segment("A", 7000, 80) + bytes(1400)
        syn, large = (
            head + (ipv6(CLIENT6, VIP6, 6, body) if six else ipv4(CLIENT, VIP, 6, body))
            for body in (first, later)
        )
        wire.send(syn)
        told: set[int] = set()
        deadline = time.monotonic() + 60
        while not told:
            assert time.monotonic() < deadline, (told, running.says("status"))
            wire.send(large)
            while select.select([wire], [], [], 0.5)[0]:
                frame = wire.recv(2048)
                if not six and frame[12:14] == b"\x08\x00" and frame[23] == 1:
                    told.add(answer_of(frame)[2])
                if six and frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 2:
                    told.add(answer6_of(frame)[2])
    assert told == {1400 - 40 if six else 1400 - 20}
