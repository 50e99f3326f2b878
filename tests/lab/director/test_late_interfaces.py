# SPDX-License-Identifier: Apache-2.0
"""dynamic_interfaces: an interface that comes after the start, for VRRP and for the data plane."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.control import socket_of, status_at
from tests.support.namespaces import Namespace
from tests.support.project import POINTSMAN
from tests.support.until import until
from tests.support.vrrp.keepalived import own_files

pytestmark = pytest.mark.root

HOST = Namespace("late")
SECONDS = 60.0
CONF = """
global_defs {
    router_id lb-01
    dynamic_interfaces
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        10.9.0.100/24
    }
}
vrrp_instance VI_2 {
    interface eth1
    virtual_router_id 52
    virtual_ipaddress {
        10.8.0.100/24
    }
}
"""


def ip(words: str) -> str:
    return HOST.run(f"ip {words}")


def cable(name: str, address: str) -> None:
    ip(f"link add {name} type veth peer name far-{name}")
    ip(f"addr add {address} dev {name}")
    ip(f"link set far-{name} up")
    ip(f"link set {name} up")


def status() -> dict[str, Any]:
    return status_at(socket_of(HOST.name))


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with HOST:
        cable("eth0", "10.9.0.1/24")
        yield


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "keepalived.conf"
    path.write_text(CONF)
    return path


def run(words: list[str], log: Path, story: Callable[[], None]) -> None:
    with log.open("w") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
    try:
        story()
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(SECONDS)


def test_an_instance_waits_for_its_interface_and_so_does_the_data_plane(conf: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def states() -> list[str]:
        return [each["state"] for each in status().get("instances", [])]

    def attached() -> list[str]:
        plane = status()["data_plane"]
        return [each["interface"] for each in plane["attachments"]]

    def story() -> None:
        until(
            "one is master and the other waits",
            lambda: states() == ["MASTER", "FAULT"],
            explain=log.read_text,
        )
        assert attached() == ["eth0"]
        cable("eth1", "10.8.0.1/24")
        until("both are masters", lambda: states() == ["MASTER", "MASTER"], explain=log.read_text)
        assert "10.8.0.100/24" in ip("addr show dev eth1")
        until("both interfaces are attached", lambda: attached() == ["eth0", "eth1"], explain=log.read_text)

    run(HOST.command(*POINTSMAN, "run", "-f", str(conf)), log, story)


def test_keepalived_does_the_same_with_this_file(conf: Path, tmp_path: Path) -> None:
    if shutil.which("keepalived") is None:
        pytest.skip("Debian's keepalived is not installed")
    log = tmp_path / "log"

    def story() -> None:
        until(
            "VI_1 is master", lambda: "(VI_1) Entering MASTER STATE" in log.read_text(), explain=log.read_text
        )
        assert "(VI_2) Entering MASTER STATE" not in log.read_text()
        cable("eth1", "10.8.0.1/24")
        until(
            "VI_2 is master", lambda: "(VI_2) Entering MASTER STATE" in log.read_text(), explain=log.read_text
        )

    run(
        HOST.command("keepalived", "-n", "-l", "-G", "-D", "-P", "-f", str(conf), *own_files(conf)),
        log,
        story,
    )


def test_a_reload_may_name_an_interface_that_is_to_come(conf: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    conf.write_text(CONF.partition("vrrp_instance VI_2")[0])

    def states() -> list[str]:
        return [each["state"] for each in status().get("instances", [])]

    def story() -> None:
        until("VI_1 is master", lambda: states() == ["MASTER"], explain=log.read_text)
        conf.write_text(CONF)
        subprocess.run(HOST.command(*POINTSMAN, "reload"), check=True, capture_output=True)
        until("the other waits", lambda: states() == ["MASTER", "FAULT"], explain=log.read_text)
        cable("eth1", "10.8.0.1/24")
        until("both are masters", lambda: states() == ["MASTER", "MASTER"], explain=log.read_text)

    run(HOST.command(*POINTSMAN, "run", "-f", str(conf)), log, story)
