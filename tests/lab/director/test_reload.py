# SPDX-License-Identifier: Apache-2.0
"""Reload in the first document's cluster: what it changes, what it must not, and what refuses it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.control import status_at
from tests.support.until import DEADLINE

from pointsman.lab import namespace, waiting
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import ha_pair
from pointsman.lab.traffic import fetch

pytestmark = [pytest.mark.root, pytest.mark.slow]

RELOADS = 50
VRRP = 112
SO_TIMESTAMPNS = 35
LONGEST_PAUSE = 1.5
"""Seconds between two adverts with advert_int 1; after three the other director would take over."""
SECOND_SERVICE = """
virtual_server 192.168.100.8 8080 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 192.168.100.20 8080 {
    }
}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=f"pmt-reload-{os.getpid()}") as made:
        waiting.until(
            lambda: all(server["up"] for server in servers(made)), DEADLINE, "all checks have passed"
        )
        yield made


@pytest.fixture
def conf(lab: Lab) -> Iterator[Path]:
    """The master's configuration file; what a test changes is put back."""
    path = lab.directory / "lb-01.conf"
    before = path.read_text()
    yield path
    path.write_text(before)
    pointsman(lab, "reload")


def pointsman(lab: Lab, *words: str, code: int = 0) -> str:
    """Run the command on the master; what it wrote."""
    done = lab.node("lb-01").run(["pointsman", *words], check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def status(lab: Lab) -> dict[str, Any]:
    return status_at(lab.node("lb-01").run_directory / "control.sock")


def servers(lab: Lab) -> list[dict[str, Any]]:
    return [server for service in status(lab)["services"] for server in service["servers"]]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class Load(threading.Thread):
    """Requests through the VIP one after the other, from every address of the client in turn."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self._client = lab.node("client")
        self._ending = threading.Event()
        self.answered = 0
        self.failed: list[str] = []

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join(10)

    def run(self) -> None:
        while not self._ending.is_set():
            source = ha_pair.CLIENT_ADDRESSES[self.answered % len(ha_pair.CLIENT_ADDRESSES)]
            try:
                fetch(self._client, ha_pair.VIP, source=source, timeout=5)
                self.answered += 1
            except OSError as error:
                self.failed.append(repr(error))


class Wrk:
    """wrk at the VIP until the end of a `with` block: eight clients, 20 ms between answer and request."""

    def __init__(self, lab: Lab, folder: Path, name: str, *options: str) -> None:
        script = folder / "pause.lua"
        script.write_text("function delay() return 20 end\n")
        command = ["wrk", "-t", "1", "-c", "8", "-d", "10m", "--timeout", "30s", "-s", str(script), *options]
        node = lab.node("client")
        self._log = node.log(f"wrk-{name}")
        self._process = node.popen([*command, f"http://{ha_pair.VIP}/"], log=f"wrk-{name}")

    def __enter__(self) -> Wrk:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(DEADLINE)

    @property
    def answered(self) -> int:
        """Requests that were answered; known at the end."""
        found = re.search(r"^ *(\d+) requests in", self._log.read_text(), re.MULTILINE)
        assert found, self._log.read_text()
        return int(found[1])

    @property
    def failed(self) -> list[str]:
        """Return wrk's numbers of failures: connections, reads, writes, time-outs, status codes."""
        return re.findall(r".*(?:Socket errors|Non-2xx|unable).*", self._log.read_text())


class Adverts:
    """Return the arrival times of the master's adverts at the other director, by the kernel's clock."""

    def __init__(self, lab: Lab) -> None:
        with namespace.entered(lab.node("lb-02").namespace):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        self._times: list[float] = []

    def times(self) -> list[float]:
        """Seconds, of all that came."""
        with contextlib.suppress(BlockingIOError):
            while True:
                _, ancillary, _, _ = self._socket.recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self._times.append(seconds + nanoseconds / 1e9)
        return self._times

    def close(self) -> None:
        self._socket.close()


def test_a_file_with_errors_changes_nothing_and_everybody_is_told(lab: Lab, conf: Path) -> None:
    before = status(lab)["configuration"]["generation"]
    change(conf, "priority 200", "prioriti 200")
    change(conf, "lb_algo rr", "lb_algo r")
    said = pointsman(lab, "reload", code=2)
    assert "did you mean priority?" in said and "lb_algo r" in said and "nothing was changed" in said
    now = status(lab)
    assert now["configuration"]["generation"] == before
    assert any("the last reload was refused" in problem for problem in now["problems"])


def test_a_dry_run_shows_the_plan_and_does_nothing(lab: Lab, conf: Path) -> None:
    change(conf, "weight 1", "weight 7")
    said = pointsman(lab, "reload", "--dry-run")
    assert f"server {ha_pair.WEB_SERVERS['web-01']}:80 of TCP " in said
    assert {server["weight"] for server in servers(lab)} == {1}


def test_weights_a_service_and_a_virtual_address_change_in_place_and_back(lab: Lab, conf: Path) -> None:
    earlier = status(lab)["instances"][0]["for"]
    asked = time.monotonic()
    change(conf, "weight 1", "weight 7")
    change(
        conf,
        "192.168.100.9/26 dev ens224",
        "192.168.100.9/26 dev ens224\n        192.168.100.8/26 dev ens224",
    )
    conf.write_text(conf.read_text() + SECOND_SERVICE)
    with Load(lab) as load:
        said = pointsman(lab, "reload")
        assert "change instance VI_1_IPv4 in place: addresses + 192.168.100.8" in said
        assert "add service TCP 192.168.100.8:8080 rr" in said
        waiting.until(
            lambda: "192.168.100.8/26" in lab.node("lb-01").addresses("ens224"),
            DEADLINE,
            "the second VIP is there",
        )
        assert {server["weight"] for server in servers(lab)} == {7, 1}
        said = pointsman(lab, "rollback")
        assert "delete service TCP 192.168.100.8:8080" in said
        waiting.until(
            lambda: "192.168.100.8/26" not in lab.node("lb-01").addresses("ens224"),
            DEADLINE,
            "it is gone again",
        )
        assert {server["weight"] for server in servers(lab)} == {1}
    assert load.failed == [] and load.answered > 10
    passed = time.monotonic() - asked
    instance = status(lab)["instances"][0]
    assert instance["state"] == "MASTER" and instance["for"] > earlier + passed - 0.1
    assert lab.masters() == ["lb-01"]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_fifty_reloads_under_wrk_lose_nothing(lab: Lab, conf: Path, tmp_path: Path) -> None:
    """SIGHUP, as the service manager does it; each changes weights and the interval of the checks."""
    supervisor = lab.director_pid("lb-01")
    original = conf.read_text()
    first = status(lab)["configuration"]["generation"]
    adverts = Adverts(lab)
    lasting = Wrk(lab, tmp_path, "lasting")
    with lasting, Wrk(lab, tmp_path, "brief", "-H", "Connection: close") as brief:
        for number in range(1, RELOADS + 1):
            changed = original.replace("weight 1", f"weight {number + 1}").replace(
                "delay_loop 6", f"delay_loop {6 + number % 2}"
            )
            conf.write_text(changed)
            os.kill(supervisor, signal.SIGHUP)
            waiting.until(
                lambda wanted=first + number: status(lab)["configuration"]["generation"] == wanted,  # type: ignore[misc]
                60,
                f"reload {number}",
            )
            assert {server["weight"] for server in servers(lab)} == {number + 1}
        waiting.until(lambda: len(adverts.times()) > 3, DEADLINE, "adverts have come, however fast that was")
    assert lasting.failed == brief.failed == []
    assert min(lasting.answered, brief.answered) > RELOADS
    times = adverts.times()
    adverts.close()
    largest = max(later - earlier for earlier, later in itertools.pairwise(times))
    print(f"{len(times)} adverts during {RELOADS} reloads, largest gap {largest:.3f} s")
    print(f"{lasting.answered} requests in lasting connections, {brief.answered} with one each: 0 failed")
    assert largest < LONGEST_PAUSE
    assert lab.masters() == ["lb-01"]


def test_a_child_that_dies_after_a_reload_starts_with_the_new_configuration(lab: Lab, conf: Path) -> None:
    change(conf, "weight 1", "weight 5")
    pointsman(lab, "reload")
    director = next(
        pid
        for pid in lab.node("lb-01").processes()
        if Path(f"/proc/{pid}/comm").read_text().strip() == "pm-director"
    )
    os.kill(director, signal.SIGKILL)
    waiting.until(
        lambda: (
            lab.node("lb-01").run(["pointsman", "status", "--json"], check=False).returncode == 0
            and director not in lab.node("lb-01").processes()
        ),
        20,
        "the director is back",
    )
    assert {server["weight"] for server in servers(lab)} == {5}
    assert "weight 5 -> 1" in pointsman(lab, "rollback")


def test_an_interface_that_is_not_there_is_refused(lab: Lab, conf: Path) -> None:
    change(conf, "interface ens224", "interface ens999")
    said = pointsman(lab, "reload", code=1)
    assert "no such interface: ens999" in said and "Nothing was changed" in said
