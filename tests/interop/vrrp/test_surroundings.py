# SPDX-License-Identifier: Apache-2.0
"""Whole directors (`pointsman run`) on one switch: what VRRP tracks, whom it tells, how it hands over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.director_process import VIP, Director, configuration, script
from tests.support.until import DEADLINE, until
from tests.support.vrrp.switch import Switch, switch

from pointsman.lab import namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def test_programs_and_the_fifo_are_told_with_keepalived_s_words_and_readings_decide(
    made: Switch, tmp_path: Path
) -> None:
    a = made.host("a", "10.9.0.1/24")
    fit, told, load = tmp_path / "fit", tmp_path / "told", tmp_path / "load"
    fit.touch()
    load.write_text("0")
    check = script(tmp_path / "check", f"test -e {fit}")
    every = script(tmp_path / "every", f'echo "every $*" >> {told}')
    master = script(tmp_path / "master", f'echo "master $*" >> {told}')
    fifo = tmp_path / "fifo"
    director = Director(
        a,
        tmp_path,
        configuration(
            100,
            f"""
            track_script {{
                fit
            }}
            track_file {{
                load
            }}
            notify {every}
            notify_master "{master} with 'two words'"
            """,
            f"""
            global_defs {{
                vrrp_notify_fifo {fifo}
            }}
            vrrp_script fit {{
                script {check}
                interval 0.2
            }}
            track_file load {{
                file {load}
                weight 2
            }}
            """,
        ),
    )
    until("the FIFO is there", fifo.exists)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    until("it is master", lambda: director.state() == "MASTER")
    load.write_text("-7")
    until("the file counts", lambda: director.instance().get("priority") == 86)
    fit.unlink()
    until("it is in FAULT", lambda: director.state() == "FAULT")
    assert director.instance()["reason"] == "script fit is down"
    assert f"{VIP}/24" not in a.addresses()
    fit.touch()
    until("it is master again", lambda: director.state() == "MASTER")
    assert director.stop() == 0
    lines = os.read(reader, 65536).decode().splitlines()
    os.close(reader)
    states = ["BACKUP 100", "MASTER 100", "FAULT 86", "BACKUP 86", "MASTER 86", "STOP 86"]
    assert lines == [f'INSTANCE "VI_1" {state}' for state in states]
    assert told.read_text().splitlines() == [
        "every INSTANCE VI_1 BACKUP 100",
        "master with two words",
        "every INSTANCE VI_1 MASTER 100",
        "every INSTANCE VI_1 FAULT 86",
        "every INSTANCE VI_1 BACKUP 86",
        "master with two words",
        "every INSTANCE VI_1 MASTER 86",
        "every INSTANCE VI_1 STOP 86",
    ]
    assert not fifo.exists()


def test_a_sync_group_fails_and_comes_back_as_one(made: Switch, tmp_path: Path) -> None:
    a = made.host("a", "10.9.0.1/24")
    a.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
    a.ip("addr", "add", "10.8.0.1/24", "dev", "eth1")
    a.ip("link", "set", "far1", "up")
    a.ip("link", "set", "eth1", "up")
    told = tmp_path / "told"
    every = script(tmp_path / "every", f'echo "$*" >> {told}')
    second = f"""
    vrrp_instance VI_2 {{
        interface eth1
        virtual_router_id 52
        version 3
        advert_int 0.2
        virtual_ipaddress {{
            10.8.0.100/24
        }}
    }}
    vrrp_sync_group G {{
        group {{
            VI_1
            VI_2
        }}
        notify {every}
    }}
    """
    director = Director(a, tmp_path, configuration(100, outside=second))
    both = ["VI_1", "VI_2"]
    until("both are master", lambda: [director.state(name) for name in both] == ["MASTER"] * 2)
    a.ip("link", "set", "far1", "down")
    until("both are in FAULT", lambda: [director.state(name) for name in both] == ["FAULT"] * 2)
    assert director.instance("VI_1")["reason"] == "VI_2 of sync group G: interface down"
    assert f"{VIP}/24" not in a.addresses()
    a.ip("link", "set", "far1", "up")
    until("both are master again", lambda: [director.state(name) for name in both] == ["MASTER"] * 2)
    assert director.stop() == 0
    assert told.read_text().splitlines() == [
        f"GROUP G {state} 0" for state in ("BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP")
    ]


def test_adverts_and_addresses_of_ipv6(made: Switch, tmp_path: Path) -> None:
    a, b, client = (made.host(name, f"10.9.0.{n}/24") for n, name in enumerate("abc", 1))
    for number, host in enumerate((a, b, client), 1):
        host.ip("addr", "add", f"fd00::{number}/64", "dev", "eth0", "nodad")
    six = configuration(200).replace(f"{VIP}/24", "fd00::100/64")
    first = Director(a, tmp_path, six)
    until("a is master", lambda: first.state() == "MASTER")
    second = Director(b, tmp_path, six.replace("priority 200", "priority 100"))
    until("b is backup", lambda: second.state() == "BACKUP")
    time.sleep(1.5)  # longer than the master-down interval: time in which nothing may happen
    assert (first.state(), second.state()) == ("MASTER", "BACKUP")
    with namespace.entered(client.namespace):
        subprocess.run(["ping", "-6", "-c", "1", "-W", "3", "fd00::100"], check=True, capture_output=True)
    assert client.neighbour("fd00::100") == a.mac()
    assert first.stop() == 0
    until("b is master", lambda: second.state() == "MASTER")
    until("the client has heard of it", lambda: client.neighbour("fd00::100") == b.mac())


def test_switchover_loses_nothing_and_stays(made: Switch, tmp_path: Path) -> None:
    a, b, client = (made.host(name, f"10.9.0.{n}/24") for n, name in enumerate("abc", 1))
    first = Director(a, tmp_path, configuration(200))
    until("a is master", lambda: first.state() == "MASTER")
    second = Director(b, tmp_path, configuration(100))
    until("b is backup", lambda: second.state() == "BACKUP")
    ping = client.start("ping", "-i", "0.01", "-c", "400", VIP, log=tmp_path / "ping.log")
    until("the client is answered", lambda: "icmp_seq=20" in (tmp_path / "ping.log").read_text())
    done = first.ask("switchover")
    assert (done.returncode, done.stdout) == (
        0,
        "VI_1: handed over; this director (priority 200) is backup until the other is gone\n",
    )
    assert second.state() == "MASTER"
    assert ping.wait(DEADLINE) == 0
    assert " 400 received, 0% packet loss" in (tmp_path / "ping.log").read_text()
    assert (first.state(), second.state()) == ("BACKUP", "MASTER")
    refused = first.ask("switchover", "VI_1")
    assert (refused.returncode, refused.stderr) == (
        1,
        "pointsman switchover: VI_1 is BACKUP here; only a master can hand over\n",
    )
    assert second.stop() == 0
    until("a is needed", lambda: first.state() == "MASTER")


def test_a_reload_brings_and_takes_trackers_and_a_killed_vrrp_process_asks_again(
    made: Switch, tmp_path: Path
) -> None:
    a = made.host("a", "10.9.0.1/24")
    fit = tmp_path / "fit"
    check = script(tmp_path / "check", f"test -e {fit}")
    plain = configuration(100)
    tracking = configuration(
        100,
        "track_script {\n fit weight 50\n fast\n }",
        f"""
        vrrp_script fit {{
            script {check}
            interval 0.2
        }}
        vrrp_script fast {{
            script /bin/true
            interval 0.2
        }}
        """,
    )
    director = Director(a, tmp_path, plain)
    until("it is master", lambda: director.state() == "MASTER")
    director.conf.write_text(tracking)
    assert director.ask("reload", "-f", str(director.conf)).returncode == 0
    fit.touch()
    until("the script counts", lambda: director.instance().get("priority") == 150)
    fit.unlink()
    until("it counts against it", lambda: director.instance().get("priority") == 100)
    killed = vrrp_pid(director)
    os.kill(killed, signal.SIGKILL)
    until("a new process works", lambda: vrrp_pid(director) not in (0, killed))
    until("it is master with the readings", lambda: director.instance().get("priority") == 100)
    assert director.state() == "MASTER"
    director.conf.write_text(plain)
    assert director.ask("reload", "-f", str(director.conf)).returncode == 0
    fit.touch()
    time.sleep(1.0)  # longer than the script's interval: time in which nothing may happen
    assert (director.state(), director.instance()["priority"]) == ("MASTER", 100)
    assert director.stop() == 0


def vrrp_pid(director: Director) -> int:
    """The VRRP process of a director; 0: there is none at the moment."""
    parent = director.process.pid
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "pm-vrrp\n":
                return int(pid)
    return 0
