# SPDX-License-Identifier: Apache-2.0
"""BFD sessions with Debian's bfdd (FRR) and keepalived, and between two of ours, over real interfaces."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.director_process import Director, configuration
from tests.support.project import ROOT
from tests.support.until import DEADLINE, until
from tests.support.vrrp.keepalived import Keepalived
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.bfd.wire import Packet, State, encode
from pointsman.control.messages import Resync, SessionChanged, session_decoder
from pointsman.control.messages import encode as encode_message
from pointsman.daemon.runtime.config_history import send_config
from pointsman.lab import namespace
from pointsman.model.bfd import BfdSession
from pointsman.model.config import Config

BFDD = Path("/usr/lib/frr/bfdd")

pytestmark = pytest.mark.root
needs_frr = pytest.mark.skipif(not BFDD.exists(), reason="needs bfdd of the Debian package frr")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")


def session(neighbour: str = "10.9.0.2", **changes: object) -> BfdSession:
    settings: dict[str, object] = {"name": "far", "min_rx": 0.05, "min_tx": 0.05, "multiplier": 3}
    return BfdSession(neighbour=ipaddress.ip_address(neighbour), **{**settings, **changes})  # type: ignore[arg-type]


class Ours:
    """The BFD process of this project on a host; the three who are told are the test."""

    def __init__(self, host: Host, directory: Path, *sessions: BfdSession) -> None:
        self.log = directory / f"bfd-{host.name}.log"
        self.run_directory = directory / f"run-{host.name}"
        self.run_directory.mkdir(exist_ok=True)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        self.director, self.vrrp, self.checker = (near for near, _ in pairs)
        for near, _ in pairs:
            near.setblocking(False)
        far = [end.fileno() for _, end in pairs]
        self.process = host.start(
            *(sys.executable, "-m", "tests.interop.run_bfd", *map(str, far), str(self.run_directory)),
            log=self.log,
            stdin=subprocess.PIPE,
            pass_fds=far,
            cwd=ROOT,
        )
        for _, end in pairs:
            end.close()
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps(sessions))
        self.process.stdin.close()
        self.heard: list[tuple[str, bool, str]] = []

    def up(self, name: str = "far") -> bool | None:
        """Return the last state that was reported to the director. None: there was no report."""
        for report in reports(self.director):
            self.heard.append((report.session, report.up, report.reason))
        return next((up for told, up, _ in reversed(self.heard) if told == name), None)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)


def reports(channel: socket.socket) -> list[SessionChanged]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while data := channel.recv(65536):
            report = session_decoder.decode(data)
            assert isinstance(report, SessionChanged)
            found.append(report)
    return found


class Frr:
    """bfdd with what it needs: zebra, and vtysh to ask it."""

    def __init__(self, host: Host, directory: Path, *lines: str) -> None:
        self.host, self._sockets = host, directory / f"frr-{host.name}"
        self._sockets.mkdir()
        shutil.chown(self._sockets, "frr", "frr")
        for parent in (self._sockets, *self._sockets.parents):
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
                parent.chmod(parent.stat().st_mode | 0o011)
        api = self._sockets / "zserv.api"
        configuration = self._sockets / "bfdd.conf"
        configuration.write_text("\n".join(["bfd", *lines, ""]))
        (self._sockets / "zebra.conf").write_text("")
        for name, more in (("zebra", ()), ("bfdd", ("--bfdctl", str(self._sockets / "bfdd.sock")))):
            host.start(
                *(str(BFDD.with_name(name)), "-f", str(self._sockets / f"{name}.conf")),
                *("-i", str(self._sockets / f"{name}.pid"), "-z", str(api)),
                *("--vty_socket", str(self._sockets), "-A", "127.0.0.1", "-P", "0", *more),
                log=directory / f"{name}.log",
            )
            until(f"{name} listens", (self._sockets / f"{name}.vty").exists)

    def ask(self, command: str) -> str:
        with namespace.entered(self.host.namespace):
            return subprocess.run(
                ["vtysh", "--vty_socket", str(self._sockets), "-d", "bfdd", "-c", command],
                capture_output=True,
                text=True,
                check=True,
            ).stdout

    def order(self, *lines: str) -> None:
        with namespace.entered(self.host.namespace):
            words = [word for line in ("configure", "bfd", *lines) for word in ("-c", line)]
            subprocess.run(["vtysh", "--vty_socket", str(self._sockets), "-d", "bfdd", *words], check=True)

    def peer(self) -> dict[str, object]:
        with contextlib.suppress(ValueError, IndexError):
            found: dict[str, object] = json.loads(self.ask("show bfd peers json"))[0]
            return found
        return {}


def _is_final(frame: bytes) -> bool:
    """True if this is a BFD packet over IPv4 that answers a poll (RFC 5880 section 4.1)."""
    return frame[23:24] == b"\x11" and frame[36:38] == (3784).to_bytes(2, "big") and bool(frame[43] & 0x10)


@needs_frr
def test_bfdd_agrees_on_intervals_notices_and_is_noticed(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    lines = " receive-interval 50", " transmit-interval 60", " detect-multiplier 4"
    frr = Frr(b, made.directory, " peer 10.9.0.1", *lines)
    ours = Ours(a, made.directory, session())
    until("the session is up", lambda: ours.up() is True)
    until("bfdd knows our intervals", lambda: frr.peer().get("remote-transmit-interval") == 50)
    peer = frr.peer()
    assert (peer["status"], peer["remote-detect-multiplier"]) == ("up", 3)
    answers = Capture(made, a)
    frr.order("peer 10.9.0.1", "transmit-interval 150")  # it polls, and waits for our answer
    until("bfdd has its way", lambda: any(_is_final(frame) for frame in answers.frames()))
    answers.close()
    b.plug(False)
    until("the silence is noticed", lambda: ours.up() is False)
    assert ours.heard[-1][2] == "no packet for 600 ms"
    b.plug(True)
    until("the session is up again", lambda: ours.up() is True)
    assert ours.stop() == 0
    until("bfdd is told", lambda: frr.peer()["remote-diagnostic"] == "administratively down")
    assert frr.peer()["status"] == "down"


def test_keepalived_s_sessions_come_up_and_go_down(pair: tuple[Switch, Host, Host]) -> None:
    """It has no other half for them but another keepalived, by its own manual; and this."""
    made, a, b = pair
    theirs = Keepalived(
        b,
        made.directory,
        """bfd_instance near {
            neighbor_ip 10.9.0.1
            source_ip 10.9.0.2
            min_rx 50
            min_tx 50
            multiplier 3
        }
        vrrp_instance VI_1 {
            interface eth0
            virtual_router_id 51
            track_bfd {
                near
            }
        }
        """,
    )
    ours = Ours(a, made.directory, session(source=a.address))
    until("the session is up", lambda: ours.up() is True)
    until("keepalived sees it", lambda: "instance near is in state Up" in theirs.log.read_text())
    os.kill(ours.process.pid, signal.SIGKILL)
    until("keepalived misses us", lambda: theirs.state() == "FAULT")


def test_forged_and_broken_packets_are_counted_and_change_nothing(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    ours = Ours(a, made.directory, session())
    theirs = Ours(b, made.directory, session("10.9.0.1", name="near"))
    until("the session is up", lambda: ours.up() is True and theirs.up("near") is True)
    down = Packet(state=State.DOWN, multiplier=3, own=1, yours=0, min_tx=50_000, min_rx=50_000)
    with namespace.entered(b.namespace):
        near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with near, far:
        near.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        far.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 254)
        stranger = Packet(state=State.DOWN, multiplier=3, own=1, yours=99, min_tx=50_000, min_rx=50_000)
        for _ in range(200):
            far.sendto(encode(down), ("10.9.0.1", 3784))
            near.sendto(encode(stranger), ("10.9.0.1", 3784))
            near.sendto(encode(down)[:20], ("10.9.0.1", 3784))
    time.sleep(0.5)  # time in which nothing may happen
    assert [up for _, up, _ in ours.heard] in ([False, True], [True])
    assert ours.stop() == 0
    text = ours.log.read_text()
    for reason in ("TTL 254, and max_hops is 0", "there is no such session", "20 bytes are too few"):
        assert text.count(f"10.9.0.2 is dropped: {reason}") == 1
    assert text.count("200") == 3, "each kind was counted"


def test_three_hear_of_it_and_a_killed_process_that_comes_back_has_changed_nothing(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, b = pair
    first = Ours(a, made.directory, session(), session("10.9.0.3", name="for checks", for_vrrp=False))
    Ours(b, made.directory, session("10.9.0.1", name="near"))
    until("the session is up", lambda: first.up() is True)
    assert b'"value":1' in first.vrrp.recv(4096) + first.vrrp.recv(4096)
    first.checker.send(encode_message(Resync()))
    until(
        "the checker is told all",
        lambda: {each.session for each in reports(first.checker)} == {"far", "for checks"},
    )
    first.process.kill()
    first.process.wait()
    second = Ours(a, made.directory, session())
    until("it is up again", lambda: second.up() is True)
    assert [up for _, up, _ in second.heard] == [True], "nobody was told that it had been down"
    assert second.stop() == 0
    assert list(second.run_directory.iterdir()) == []


def test_reloads_keep_a_session_up_and_change_its_timers(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    first, far = Ours(a, made.directory, session()), Ours(b, made.directory, session("10.9.0.1"))
    until("both are up", lambda: first.up() is True and far.up() is True)
    descriptors = Path(f"/proc/{first.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for number in range(10):
        send_config(first.director, Config(router_id="r", bfd=(session(min_rx=0.05 + number / 1000),)))
    another = session("10.9.0.3", name="another")
    send_config(first.director, Config(router_id="r", bfd=(session(), another)))
    until("the last one is in force", lambda: first.up("another") is False)
    assert first.up() is True and far.up() is True
    assert [up for name, up, _ in first.heard if name == "far"] == [False, True]
    send_config(first.director, Config(router_id="r", bfd=(session(),)))
    until("nothing has stayed open", lambda: len(list(descriptors.iterdir())) == before)
    assert [up for _, up, _ in far.heard] == [False, True]


def test_vrrp_follows_a_session_within_its_detection_time(pair: tuple[Switch, Host, Host]) -> None:
    made, a, b = pair
    gateway = """bfd_instance gateway {
        neighbor_ip 10.9.0.2
        min_rx 50
        min_tx 50
        multiplier 4
    }
    """
    director = Director(a, made.directory, configuration(150, "track_bfd {\n gateway\n }", gateway))
    until("without its session it cannot work", lambda: director.state() == "FAULT")
    far = Ours(b, made.directory, session("10.9.0.1", name="near"))
    until("it is master", lambda: director.state() == "MASTER")
    assert "BFD gateway  up  10.9.0.2" in director.ask("status").stdout
    far.process.kill()
    until("the address is gone", lambda: a.addresses() == ["10.9.0.1/24"])
    assert "gateway) Down: no packet for 150 ms" in director.log.read_text()
    assert "bfd gateway is down" in str(director.instance()["reason"])
    assert director.stop() == 0


@needs_frr
def test_bfd_check_follows_bfdd_and_takes_its_real_server_out_and_in(
    pair: tuple[Switch, Host, Host],
) -> None:
    made, a, b = pair
    far = """bfd_instance far {
        neighbor_ip 10.9.0.2
        min_rx 50
        min_tx 50
        multiplier 4
        checker
    }
    virtual_server 10.9.0.100 80 {
        protocol TCP
        lb_algo rr
        lb_kind DR
        real_server 10.9.0.2 80 {
            BFD_CHECK {
                name far
                alpha
            }
        }
    }
    """
    director = Director(a, made.directory, configuration(150, outside=far))

    def weights() -> list[int]:
        done = director.ask("ipvsadm", "-Ln")
        lines = [line.split() for line in done.stdout.splitlines() if "10.9.0.2:80" in line]
        return [int(words[3]) for words in lines] if done.returncode == 0 else [-1]

    until("it starts without its real server (alpha)", lambda: weights() == [])
    frr = Frr(b, made.directory, " peer 10.9.0.1", " receive-interval 50", " transmit-interval 50")
    until("bfdd's session brings the real server in", lambda: weights() == [1])
    for _ in range(5):  # a machine that stands still may lose the session before bfdd can say so
        frr.order("peer 10.9.0.1", "shutdown")
        until("it is down", lambda: weights() == [])
        frr.order("peer 10.9.0.1", "no shutdown")
        until("it is back", lambda: weights() == [1])
        if "RS(s) is DOWN. (the neighbour is administratively down)" in director.log.read_text():
            break
    b.plug(False)
    until("its silence takes it out", lambda: weights() == [])
    said = director.log.read_text()
    assert "RS(s) is DOWN. (the neighbour is administratively down)" in said
    assert "RS(s) is DOWN. (no packet for 150 ms)" in said  # its multiplier counts, not ours
    assert director.stop() == 0
