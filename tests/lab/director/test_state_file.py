# SPDX-License-Identifier: Apache-2.0
"""A director whose process is killed, or whose table is changed behind its back, in a namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.control import socket_of, status_at
from tests.support.namespaces import Namespace
from tests.support.project import POINTSMAN
from tests.support.until import DEADLINE, until

pytestmark = pytest.mark.root

HOST = Namespace("memory")
CONF = """
global_defs {
    router_id lb-01
}
virtual_server 192.168.100.9 80 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 192.168.100.20 80 {
    }
    real_server 192.168.100.21 80 {
    }
}
"""


def pointsman(*words: str, code: int = 0) -> str:
    done = HOST.call(*POINTSMAN, *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def child(parent: int, name: str) -> int:
    """The process id of a child of the supervisor; 0: there is none."""
    found = subprocess.run(["pgrep", "-P", str(parent), name], capture_output=True, text=True).stdout
    return int(found.split()[0]) if found else 0


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with HOST:
        for words in (
            "link add ens224 type veth peer name wire",
            "addr add 192.168.100.10/26 dev ens224",
            "link set ens224 up",
            "link set wire up",
        ):
            HOST.run(f"ip {words}")
        yield


class Running:
    """A director, its log and its run directory."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "keepalived.conf"
        self.conf.write_text(CONF)
        self._log = folder / "log"
        self.start()

    def start(self) -> None:
        command = HOST.command(*POINTSMAN, "run", "-f", str(self.conf))
        with self._log.open("a") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.ready()

    def ready(self) -> None:
        until(
            "it answers",
            lambda: status_at(socket_of(HOST.name)),
            explain=self.log,
        )

    def log(self) -> str:
        return self._log.read_text()

    def kill_director(self) -> None:
        before = child(self.process.pid, "pm-director")
        os.kill(before, 9)
        until("a new director starts", lambda: child(self.process.pid, "pm-director") not in (0, before))
        self.ready()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(DEADLINE) == 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def test_a_drain_outlives_a_crash_of_the_director_and_of_everything_and_a_stop(running: Running) -> None:
    pointsman("drain", "192.168.100.20")
    running.kill_director()
    assert "by hand: weight 0" in pointsman("status", code=1)
    assert "override restored: [192.168.100.20]:tcp:80" in running.log()
    running.process.kill()
    running.process.wait(DEADLINE)
    running.start()
    assert "by hand: weight 0" in pointsman("status", code=1)
    running.stop()
    running.start()
    assert "by hand: weight 0" in pointsman("status", code=1)


@pytest.mark.usefixtures("running")
def test_a_service_taken_away_by_hand_is_told_and_a_reload_brings_it_back() -> None:
    pointsman("ipvsadm", "-C")
    missing = "service TCP 192.168.100.9:80 is missing; fix: pointsman reload"
    assert missing in " ".join(pointsman("status", code=1).split())
    said = pointsman("doctor", code=1)
    assert "service TCP 192.168.100.9:80 is missing" in " ".join(said.split())
    assert "    do   pointsman reload\n" in said
    assert "add service TCP 192.168.100.9:80 rr" in pointsman("reload")
    assert "differs" not in pointsman("status", code=1)


def test_an_empty_file_takes_nothing_away_unless_it_is_meant(running: Running) -> None:
    other = running.conf.with_name("other.conf")
    other.write_text("global_defs {\n    router_id lb-01\n}\n")
    assert "no virtual_server and no vrrp_instance" in pointsman("check", "-f", str(other))
    assert "--force" in pointsman("reload", "-f", str(other), code=1)
    status = pointsman("status", code=1)
    assert "TCP 192.168.100.9:80" in status and "the last reload was refused" in status
    pointsman("reload", "--force", "-f", str(other))
    status = pointsman("status")
    assert "TCP 192.168.100.9:80" not in status and str(other) in status


def test_what_is_left_in_the_kernel_is_told_and_can_be_taken_out(running: Running) -> None:
    pointsman("ipvsadm", "-A", "-t", "192.168.100.9:8000", "-s", "rr", "-p", "60")
    status = pointsman("status", code=1)
    assert "TCP 192.168.100.9:8000 rr persistent 60 s  by hand" in status
    assert "a director runs here" in pointsman("detach", code=1)
    running.stop()
    assert "services added by hand stay in force: TCP 192.168.100.9:8000" in running.log()
    said = pointsman("status", code=3)
    assert "left: TCP 192.168.100.9:8000; from " in said and "pointsman detach" in said
    assert "no longer forwards" in pointsman("detach")
    assert "still forwards" not in pointsman("status", code=3)
    assert "nothing to remove" in pointsman("detach")


@pytest.mark.usefixtures("running")
def test_an_interface_that_is_down_is_shown_as_down() -> None:
    assert "  down\n" not in pointsman("status", code=1)
    HOST.run("ip link set ens224 down")
    assert "  down\n" in pointsman("status", code=1)


def test_a_service_of_a_mark_that_packets_bear(running: Running) -> None:
    running.conf.write_text(CONF.replace("192.168.100.9 80", "fwmark 7"))
    assert "FWM 7 would get no packet" in pointsman("check", str(running.conf), code=2)
    assert "only marks of tc filters are visible" in pointsman("check", "--xdp-mode", "tc", str(running.conf))
    pointsman("reload")
    lines = [line.split() for line in pointsman("ipvsadm", "-Ln").splitlines()]
    assert [line[:3] for line in lines[3:4]] == [["FWM", "7", "rr"]]
    assert sorted(line[1] for line in lines[4:]) == ["192.168.100.20:0", "192.168.100.21:0"]
