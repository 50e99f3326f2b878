# SPDX-License-Identifier: Apache-2.0
"""MISC_CHECK and notify programs: the process that runs them, with real programs as users of their own."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.lab.checker_process import CheckerProcess, numbered_service
from tests.support.until import until

from pointsman.control import messages
from pointsman.daemon.runtime.config_history import send_config
from pointsman.model.checks import MiscCheck
from pointsman.model.config import Config
from pointsman.model.service import ServerKey, ServiceKey, Transport
from pointsman.model.tracking import Command, NotifyFifo, VrrpSurroundings

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run programs as other users"),
]
QUICK = {"delay_loop": 0.2, "delay_before_retry": 0.1, "retry": 0, "warmup": 0.0, "timeout": 5.0}

Script = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a program that everybody may run."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)

    def write(body: str) -> Path:
        path = tmp_path / f"script{len(list(tmp_path.iterdir()))}"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}/out\n{body}\n")
        path.chmod(0o755)
        return path

    return write


def misc(path: Path, user: str = "nobody", **changes: Any) -> MiscCheck:
    return MiscCheck(command=Command((str(path), "an argument"), user), **{**QUICK, **changes})


def first(*checks: MiscCheck) -> list[messages.CheckResult]:
    """Return the first result of each check."""
    with CheckerProcess([numbered_service(*checks)], programs=True) as process:
        found = {verdict.server.port: verdict for verdict in (process.verdict() for _ in checks)}
        assert process.stop()[0] == 0
    return [found[number] for number in range(1, len(checks) + 1)]


def test_exit_codes_signals_time_and_weights(script: Script) -> None:
    quits = {code: script(f"exit {code}") for code in (0, 1, 2, 10)}
    killed, slow = script("kill -9 $$"), script("sleep 60")
    results = first(
        misc(quits[0]),
        misc(quits[1]),
        misc(quits[10]),
        misc(quits[10], dynamic=True),
        misc(quits[2], dynamic=True),
        misc(quits[0], dynamic=True),
        misc(quits[1], dynamic=True),
        misc(killed),
        misc(slow, timeout=0.3),
    )
    assert [(result.up, result.reason, result.weight) for result in results] == [
        (True, f"{quits[0]} exited with status 0", None),
        (False, f"{quits[1]} exited with status 1", None),
        (False, f"{quits[10]} exited with status 10", None),
        (True, f"{quits[10]} asks for weight 8", 8),
        (True, f"{quits[2]} asks for weight 0", 0),
        (True, f"{quits[0]} exited with status 0", None),
        (False, f"{quits[1]} exited with status 1", None),
        (False, f"{killed} ended by signal 9", None),
        (False, f"{slow} timed out after 0.3 s", None),
    ]


def test_a_program_that_hangs_is_ended_with_all_that_it_has_started(script: Script, tmp_path: Path) -> None:
    hangs = script(
        "trap '' TERM\n(echo $$ > pids; exec sleep 61) &\necho $! >> pids\nwhile :; do sleep 62; done"
    )
    with CheckerProcess(
        [numbered_service(misc(hangs, timeout=0.3, delay_loop=30.0))], programs=True
    ) as process:
        assert process.verdict().reason.endswith("timed out after 0.3 s")
        places = [Path("/proc") / pid for pid in (tmp_path / "out" / "pids").read_text().split()]
        until("all of it is gone", lambda: not any(place.exists() for place in places))


def test_it_runs_as_its_user_with_its_arguments(script: Script, tmp_path: Path) -> None:
    tells = script('{ id -un; echo "$1"; grep CapEff /proc/self/status; } > whole && mv whole who')
    (result,) = first(misc(tells))
    assert result.up
    who = (tmp_path / "out" / "who").read_text().split("\n")
    assert who[:2] == ["nobody", "an argument"]
    assert int(who[2].split()[1], 16) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"command": Command(("/nowhere/at/all",), "nobody")}, "cannot run /nowhere/at/all: No such file"),
        ({"command": Command(("/bin/true",), "nobody-like-this")}, "no such user or group"),
    ],
)
def test_what_cannot_be_run_has_failed(script: Script, change: dict[str, Any], reason: str) -> None:
    broken = msgspec.structs.replace(misc(script("exit 0")), **change)
    (result,) = first(broken)
    assert not result.up
    assert reason in result.reason


def test_what_others_can_change_is_not_run_as_root(script: Script, tmp_path: Path) -> None:
    path = script("touch ran")
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    with CheckerProcess([numbered_service(misc(path, user="root", secure=True))], programs=True) as process:
        process.wait_for_log("enable_script_security")
    assert not (tmp_path / "out" / "ran").exists()
    assert first(misc(path, user="root"))[0].up


def test_a_reload_brings_script_security_to_the_readers_of_fifos(script: Script, tmp_path: Path) -> None:
    reader = script("touch ran")
    os.chown(reader, pwd.getpwnam("nobody").pw_uid, -1)
    fifo = NotifyFifo(
        word="lvs_notify_fifo", path=str(tmp_path / "fifo"), reader=Command((str(reader),), "root")
    )
    before = numbered_service(misc(script("exit 0")))
    after = Config(
        router_id="lb-01",
        virtual_servers=(before,),
        server_fifos=(fifo,),
        vrrp=VrrpSurroundings(script_security=True),
    )
    with CheckerProcess([before], programs=True) as process:
        assert process.verdict().up
        send_config(process.channel, after)
        process.wait_for_log("lvs_notify_fifo_script is disabled")
        process.wait_for_log("enable_script_security")
        assert process.stop()[0] == 0
    assert not (tmp_path / "out" / "ran").exists()


def test_a_weight_that_changes_is_told_although_the_server_stays_up(script: Script, tmp_path: Path) -> None:
    follows = script("exit $(cat weight)")
    (tmp_path / "out" / "weight").write_text("5")
    with CheckerProcess([numbered_service(misc(follows, dynamic=True))], programs=True) as process:
        assert process.verdict().weight == 3
        assert process.verdict_or_none(0.7) is None
        (tmp_path / "out" / "weight").write_text("9")
        second = process.verdict()
        assert (second.up, second.weight) == (True, 7)


def test_notify_programs_of_a_server_run_in_turn_and_are_ended_at_the_stop(
    script: Script, tmp_path: Path
) -> None:
    service = ServiceKey.of(Transport.TCP, ip_address("10.9.0.1"), 80)
    server = ServerKey(ip_address("10.9.0.7"), 80)
    one, two, never = script("sleep 0.3; echo one >> order"), script("echo two >> order"), script("sleep 63")
    with CheckerProcess([], programs=True) as process:
        for path in (one, two, never):
            order = messages.RunProgram(Command((str(path),), "nobody"), service, server)
            process.channel.send(messages.encode(order))
        order_of = tmp_path / "out" / "order"
        until("both have told", lambda: order_of.exists() and "two" in order_of.read_text())
        assert order_of.read_text() == "one\ntwo\n"
        began = time.monotonic()
        assert process.stop()[0] == 0
        assert time.monotonic() - began < 45.0, "before the last one had slept its 63 s"
