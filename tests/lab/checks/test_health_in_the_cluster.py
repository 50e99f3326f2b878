# SPDX-License-Identifier: Apache-2.0
"""The first document's cluster with page checks, programs, and the administrator's hand, end to end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.control import status_at
from tests.support.until import DEADLINE

from pointsman.lab import waiting
from pointsman.lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

SERVER = """
    real_server 192.168.100.{last} 80 {{
        weight 3
        notify_up "/bin/sh -c 'echo up {last} >> {log}'"
        notify_down "/bin/sh -c 'echo down {last} >> {log}'"
        HTTP_GET {{
            delay_before_retry 0.2
            url {{
                path /
                status_code 200
            }}
        }}
        DR_CHECK {{
        }}
        PING_CHECK {{
        }}
        MISC_CHECK {{
            misc_path "/bin/sh -c 'exit $(cat {weight})'"
            misc_dynamic
            misc_timeout 10
            user nobody
        }}
    }}
"""
SERVICE = """
virtual_server 192.168.100.9 80 {{
    delay_loop 0.5
    warmup 0
    connect_timeout 2
    protocol TCP
    lb_algo wrr
    lb_kind DR
    quorum_up "/bin/sh -c 'echo gained >> {log}'"
    quorum_down "/bin/sh -c 'echo lost >> {log}'"
    omega
    {servers}
}}
"""


FILES = """
track_file load {{
    file {directory}/load
}}
virtual_server 192.168.100.9 8081 {{
    protocol TCP
    lb_algo wrr
    lb_kind DR
    weight 100
    slow_start 6
    sorry_server 192.168.100.21
    sorry_server_inhibit
    real_server 192.168.100.30 8081 {{
        FILE_CHECK {{
            track_file load
            weight 0
        }}
    }}
}}
virtual_server_group many {{
    192.168.100.9 8090
    192.168.100.9 8091
    192.168.100.40-41 8090
}}
virtual_server group many {{
    protocol TCP
    lb_kind DR
    real_server 192.168.100.30 {{
        FILE_CHECK {{
            track_file load
            weight 0
        }}
    }}
}}
virtual_server 192.168.100.8 8082 {{
    protocol TCP
    lb_kind DR
    delay_loop 0.3
    warmup 0
    fall 2
    ha_suspend
    real_server 192.168.100.30 8082 {{
        TCP_CHECK {{
            connect_ip 192.168.100.20
            delay_before_retry 0.1
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=f"pmt-health-{os.getpid()}") as made:
        directory = made.directory
        for folder in (directory, *directory.parents):
            if not folder.stat().st_mode & 1:
                folder.chmod(folder.stat().st_mode | 0o011)
        for last in (20, 21):
            (directory / f"weight{last}").write_text("0")
        servers = "".join(
            SERVER.format(last=last, log=directory / "notified", weight=directory / f"weight{last}")
            for last in (20, 21)
        )
        file = directory / "lb-01.conf"
        before = file.read_text()
        reader = f"lvs_notify_fifo_script \"/bin/sh -c 'exec cat $0 >> {directory}/told'\""
        fifo = f"global_defs {{\nlvs_notify_fifo {directory}/fifo\n{reader}\n"
        file.write_text(
            before[: before.index("virtual_server")].replace("global_defs {", fifo, 1)
            + SERVICE.format(servers=servers, log=directory / "notified")
            + FILES.format(directory=directory)
        )
        pointsman(made, "reload")
        waiting.until(
            lambda: all(server["up"] for server in found(made).values()), DEADLINE, "all checks have passed"
        )
        yield made


def pointsman(lab: Lab, *words: str, code: int = 0) -> str:
    done = lab.node("lb-01").run(["pointsman", *words], check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return str(done.stdout + done.stderr)


def found(lab: Lab, port: int = 80) -> dict[str, dict[str, Any]]:
    """The real servers of a service, by the last number of their address."""
    services = status_at(lab.node("lb-01").run_directory / "control.sock")["services"]
    (service,) = (each for each in services if each["service"].endswith(f":{port}"))
    return {server["server"].partition(":")[0].rpartition(".")[2]: server for server in service["servers"]}


def weights(lab: Lab, port: int = 80) -> dict[str, int | None]:
    return {last: server["weight"] for last, server in found(lab, port).items()}


def notified(lab: Lab) -> list[str]:
    """Return the output of the programs so far; empty before the first one has run."""
    log = lab.directory / "notified"
    return log.read_text().splitlines() if log.exists() else []


def until_weights(lab: Lab, expected: dict[str, int | None]) -> None:
    waiting.until(lambda: weights(lab) == expected, DEADLINE, f"the weights are {expected}")


def test_a_program_s_exit_code_is_the_weight_in_the_table(lab: Lab) -> None:
    until_weights(lab, {"20": 3, "21": 3})
    (lab.directory / "weight20").write_text("9")
    until_weights(lab, {"20": 7, "21": 3})
    assert "192.168.100.20:80            Route   7" in pointsman(lab, "ipvsadm", "-Ln")
    (lab.directory / "weight20").write_text("0")
    until_weights(lab, {"20": 3, "21": 3})


def test_programs_are_told_in_the_order_of_what_happens(lab: Lab) -> None:
    until_weights(lab, {"20": 3, "21": 3})
    for last in (20, 21):
        (lab.directory / f"weight{last}").write_text("1")
        until_weights(lab, {"20": None, "21": 3 if last == 20 else None})
    reason = found(lab)["21"]["reason"]
    assert reason.endswith("/bin/sh exited with status 1")
    for last in (20, 21):
        (lab.directory / f"weight{last}").write_text("0")
    until_weights(lab, {"20": 3, "21": 3})

    def told_in_order() -> bool:
        """The order is kept for each real server and for the quorum. Programs of several run in parallel."""
        told = notified(lab)[-6:]
        pairs = (("down 20", "up 20"), ("down 21", "up 21"), ("lost", "gained"))
        return all([word for word in told if word in pair] == list(pair) for pair in pairs)

    waiting.until(told_in_order, DEADLINE, "all programs have run, in order")
    lines = [line for line in (lab.directory / "told").read_text().splitlines() if ":80" in line]
    names = {last: f"RS [192.168.100.{last}]:tcp:80 [192.168.100.9]:tcp:80" for last in (20, 21)}
    quorum = "VS [192.168.100.9]:tcp:80"
    assert lines[-6:-3] == [f"{names[20]} DOWN", f"{names[21]} DOWN", f"{quorum} DOWN"]
    assert sorted(lines[-3:]) == sorted([f"{names[20]} UP", f"{names[21]} UP", f"{quorum} UP"])


def test_the_administrator_s_hand(lab: Lab) -> None:
    until_weights(lab, {"20": 3, "21": 3})
    said = pointsman(lab, "drain", "192.168.100.20")
    assert said == "[192.168.100.20]:tcp:80 of [192.168.100.9]:tcp:80: weight 0\n"
    assert weights(lab) == {"20": 0, "21": 3}
    # Exit code 1: nobody has the address 192.168.100.30 of the other services.
    assert "by hand: weight 0" in pointsman(lab, "status", code=1)
    pointsman(lab, "down", "192.168.100.20")
    assert weights(lab) == {"20": None, "21": 3}
    pointsman(lab, "release", "192.168.100.20")
    assert weights(lab) == {"20": 3, "21": 3}
    pointsman(lab, "weight", "192.168.100.21:80", "9", "--service", "192.168.100.9:80", "--for", "2s")
    assert weights(lab) == {"20": 3, "21": 9}
    until_weights(lab, {"20": 3, "21": 3})
    said = pointsman(lab, "drain", "192.168.100.99", code=1)
    assert said == (
        "pointsman drain: no real server 192.168.100.99 in the configuration; "
        "to change one that was added by hand: pointsman ipvsadm -e\n"
    )


def test_a_real_server_that_loses_its_vip_is_out_although_its_pages_are_served(lab: Lab) -> None:
    until_weights(lab, {"20": 3, "21": 3})
    web = lab.node("web-01")
    web.run(["ip", "address", "del", "192.168.100.9/32", "dev", "lo"])
    until_weights(lab, {"20": None, "21": 3})
    assert "check that the VIP is on its lo" in found(lab)["20"]["reason"]
    web.run(["ip", "address", "add", "192.168.100.9/32", "dev", "lo"])
    until_weights(lab, {"20": 3, "21": 3})


def test_genhash_gives_the_digest_that_the_check_compares(lab: Lab) -> None:
    digest = pointsman(lab, "genhash", "-s", "192.168.100.20", "-p", "80", "-u", "/").strip()
    assert len(digest) == 32
    file = lab.directory / "lb-01.conf"
    text = file.read_text()
    wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    file.write_text(text.replace("status_code 200", f"digest {wrong}", 1))
    pointsman(lab, "reload")
    until_weights(lab, {"20": None, "21": 3})
    assert f"MD5 digest {digest} instead of {wrong}" in found(lab)["20"]["reason"]
    file.write_text(text.replace("status_code 200", f"digest {digest}", 1))
    pointsman(lab, "reload")
    until_weights(lab, {"20": 3, "21": 3})
    assert "connection refused" in pointsman(lab, "genhash", "-s", "127.0.0.1", "-p", "9", "-u", "/", code=1)


def test_a_file_takes_a_server_out_and_its_weight_comes_back_slowly(lab: Lab) -> None:
    assert weights(lab, 8081) == {"30": 100, "21": 0}
    (lab.directory / "load").write_text("1")
    waiting.until(lambda: weights(lab, 8081) == {"30": None, "21": 1}, DEADLINE, "the sorry server serves")
    assert found(lab, 8081)["30"]["reason"].endswith("/load contains 1")
    (lab.directory / "load").write_text("0")
    waiting.until(lambda: weights(lab, 8081)["30"] is not None, DEADLINE, "the real server is back")
    seen = set()

    def whole() -> bool:
        seen.add(weights(lab, 8081)["30"])
        return 100 in seen

    waiting.until(whole, DEADLINE, "it has its whole weight")
    assert len(seen) >= 3 and min(filter(None, seen)) < 60
    assert weights(lab, 8081)["21"] == 0


def test_a_group_s_services_share_their_checks_and_speak_with_one_voice(lab: Lab) -> None:
    addresses = ("192.168.100.9:8090", "192.168.100.9:8091", "192.168.100.40:8090", "192.168.100.41:8090")

    def serving() -> int:
        text = pointsman(lab, "ipvsadm", "-Ln", "--sort")
        assert all(f"TCP  {address} wlc" in text for address in addresses)
        return sum(f"192.168.100.30:{port}" in line for line in text.splitlines() for port in (8090, 8091))

    log = lab.node("lb-01").log("director")
    before = len(log.read_text())
    assert serving() == 4
    (lab.directory / "load").write_text("1")
    waiting.until(lambda: serving() == 0, DEADLINE, "it has left all services")
    (lab.directory / "load").write_text("0")
    waiting.until(lambda: serving() == 4, DEADLINE, "it is back in all services")
    told = log.read_text()[before:]
    assert told.count("Removing service [192.168.100.30]:tcp:8090 from VS [many]:0") == 1
    assert "Removing service [192.168.100.30]:tcp:8091" not in told


def test_with_nftables_ipvs_a_group_is_one_service_with_a_mark(lab: Lab) -> None:
    file = lab.directory / "lb-01.conf"
    text = file.read_text()
    file.write_text(text.replace("global_defs {", "global_defs {\nnftables_ipvs", 1))
    pointsman(lab, "reload")
    listing = pointsman(lab, "ipvsadm", "-Ln")
    assert "FWM  1000 wlc\n  -> 192.168.100.30:0" in listing and ":8090 wlc" not in listing
    file.write_text(text)
    pointsman(lab, "reload")
    listing = pointsman(lab, "ipvsadm", "-Ln")
    assert "FWM" not in listing and "TCP  192.168.100.41:8090 wlc" in listing


def test_ha_suspend_waits_for_the_address(lab: Lab) -> None:
    """Nothing listens there: that is found out as soon as the address is on this host, not before."""
    lb = lab.node("lb-01")
    assert found(lab, 8082)["30"]["up"] is None
    lb.run(["ip", "address", "add", "192.168.100.8/32", "dev", "lo"])
    waiting.until(lambda: weights(lab, 8082)["30"] is None, DEADLINE, "the check runs, and fails")
    assert found(lab, 8082)["30"]["reason"].startswith("connection refused")
    log = lab.node("lb-01").log("director")
    suspended = "Suspending healthchecker for service [192.168.100.30]:tcp:8082"
    before = log.read_text().count(suspended)
    lb.run(["ip", "address", "del", "192.168.100.8/32", "dev", "lo"])
    waiting.until(lambda: log.read_text().count(suspended) > before, DEADLINE, "it is suspended again")


def test_a_checker_that_is_killed_comes_back_and_no_server_changes_state(lab: Lab) -> None:
    until_weights(lab, {"20": 3, "21": 3})
    lb = lab.node("lb-01")
    log = lb.log("director")
    before = len(log.read_text())

    def checkers() -> set[int]:
        return {pid for pid in lb.processes() if _comm(pid) in ("pm-checker", "pm-scripts")}

    # A program that is just being started has the name of the process that starts it.
    waiting.until(lambda: len(checkers()) == 2, DEADLINE, "nothing is being started")
    killed = checkers()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    waiting.until(lambda: len(checkers() - killed) == 2, DEADLINE, "both have been started again")
    passed = "Remote Web server [192.168.100.20]:tcp:80 succeed on service."
    waiting.until(lambda: passed in log.read_text()[before:], DEADLINE, "the new one has checked")
    assert weights(lab) == {"20": 3, "21": 3}
    told = log.read_text()[before:]
    assert not [word for word in ("Removing service", "Disabling service", "Lost quorum") if word in told]


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def test_omega_runs_the_programs_at_the_stop(lab: Lab) -> None:
    """Last, because it stops the director."""
    until_weights(lab, {"20": 3, "21": 3})
    before = len(notified(lab))
    lab.stop_director("lb-01")
    assert sorted(notified(lab)[before:]) == ["down 20", "down 21", "lost"]
