"""A director whose file says lvs_method TUN: what leaves it, what it says; a reload, a method by hand."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.guest.tunnel_place import FAR, VIP, Place

from pointsman.insight.frames import Frame, FrameError, decode
from pointsman.lab import namespace

pytestmark = pytest.mark.root

POINTSMAN = [sys.executable, "-m", "pointsman.cli.main"]
CONF = f"""
virtual_server {VIP} 80 {{
    lvs_sched rr
    lvs_method TUN
    protocol TCP
    real_server {FAR} 80 {{
    }}
}}
"""


class Running:
    """A director in generic XDP, and the router behind it."""

    def __init__(self, place: Place, folder: Path) -> None:
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
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"{what}: {self._log.read_text()}"
            time.sleep(0.1)

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
                        except FrameError:
                            continue
                        if frame.tunnel == tunnel:
                            return frame
                assert time.monotonic() < deadline, self.says("status")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    place = Place()
    try:
        place.up()
        made = Running(place, tmp_path)
        try:
            made.until(lambda: "through 10.2.0.254" in made.says("status"), "the gateway is resolved")
            yield made
        finally:
            made.stop()
    finally:
        place.down()


def test_the_file_the_reload_and_the_hand(running: Running) -> None:
    frame = running.sent_on(f"ipip 10.2.0.1 > {FAR}")
    assert (frame.destination, frame.destination_port, frame.flags[0], frame.ttl) == (VIP, 80, "S", 63)
    status = " ".join(running.says("status").split())
    assert f"-> {FAR}:80 unchecked weight 1 in ipip" in status
    assert "not on-link" not in status and "!" not in status
    assert f"{FAR}:80 Tunnel ipip 1" in " ".join(running.says("ipvsadm", "-Ln", "--tun-info").split())
    doctor = " ".join(running.says("doctor").split())
    assert "on-link" not in doctor and f"{FAR} does not answer" not in doctor
    running.conf.write_text(CONF.replace("lvs_method TUN", "lvs_method TUN type gue port 6080"))
    assert "tunnel ipip -> gue 6080" in running.says("reload")
    assert running.sent_on(f"gue 10.2.0.1 > {FAR}").ttl == 63
    running.says("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", f"{FAR}:80", "-i", "--tun-type", "gre")
    assert running.sent_on(f"gre 10.2.0.1 > {FAR}").ttl == 63
