# SPDX-License-Identifier: Apache-2.0
"""The supervisor with real processes: restart, hopeless exits, order of stopping, death with the parent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

from pointsman.daemon.runtime.signals import STRAY

PRELUDE = """
import os, signal, socket, sys, time
from pathlib import Path
from pointsman.control.messages import Ready, encode
from pointsman.daemon.child import Child
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.supervisor import Supervisor
here = Path(sys.argv[1])
heard, beat = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

def log(text):
    with open(here / "log", "a") as file:
        file.write(text + "\\n")

def director():
    tell_of_stop("director")
    log(f"director {os.getpid()}")
    beat.send(encode(Ready()))
    sleep()

def tell_of_stop(name, code=0):
    signal.signal(signal.SIGTERM, lambda *_: (log(f"{name} stopped"), os._exit(code)))

def sleep():
    while True:
        time.sleep(60)

def helper():
    tell_of_stop("helper")
    log(f"helper {os.getpid()}")
    sleep()

boss = Child('director', director, keeps=(beat,))
"""


STARTED: list[subprocess.Popen[bytes]] = []


def start(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    script = tmp_path / "script.py"
    script.write_text(PRELUDE + textwrap.dedent(body))
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=errors)
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Kill the supervisor of a test that has failed. Its children end with it."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def lines(tmp_path: Path, wanted: int, seconds: float = DEADLINE) -> list[str]:
    """The log, once it has this many lines."""
    deadline = time.monotonic() + seconds
    while True:
        path = tmp_path / "log"
        found = path.read_text().splitlines() if path.exists() else []
        if len(found) >= wanted:
            return found
        assert time.monotonic() < deadline, f"only {found}"
        time.sleep(0.02)


@pytest.fixture
def pair(tmp_path: Path) -> subprocess.Popen[bytes]:
    return start(
        tmp_path,
        "sys.exit(Supervisor(boss, [Child('helper', helper)], heard).run())",
    )


def gone(pid: int) -> bool:
    """True if a process ends soon."""
    for _ in range(3000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_helper_starts_after_the_director_is_ready_and_stops_before_it(
    pair: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert [line.split()[0] for line in lines(tmp_path, 2)] == ["director", "helper"]
    pair.terminate()
    assert pair.wait(DEADLINE) == 0
    assert lines(tmp_path, 4)[2:] == ["helper stopped", "director stopped"]


def test_a_killed_helper_is_started_again(pair: subprocess.Popen[bytes], tmp_path: Path) -> None:
    first = lines(tmp_path, 2)[1]
    os.kill(int(first.split()[1]), signal.SIGKILL)
    again = lines(tmp_path, 3)[2]
    assert again.startswith("helper ") and again != first
    pair.terminate()
    assert pair.wait(DEADLINE) == 0


def test_children_do_not_outlive_a_killed_supervisor(pair: subprocess.Popen[bytes], tmp_path: Path) -> None:
    children = [int(line.split()[1]) for line in lines(tmp_path, 2)]
    pair.kill()
    pair.wait(DEADLINE)
    assert all(gone(pid) for pid in children)


def test_an_exit_that_no_restart_mends_ends_everything_with_its_code(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        "sys.exit(Supervisor(boss, [Child('helper', lambda: 3)], heard).run())",
    )
    assert process.wait(DEADLINE) == 3
    assert lines(tmp_path, 2)[1] == "director stopped"


def test_systemd_is_told_over_its_socket(tmp_path: Path) -> None:
    from pointsman.daemon.runtime.systemd import notify

    path = str(tmp_path / "notify")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as server:
        server.bind(path)
        assert notify("READY=1", {"NOTIFY_SOCKET": path})
        assert server.recv(64) == b"READY=1"
    assert not notify("READY=1", {})


def test_a_director_that_never_got_ready_ends_the_supervisor(tmp_path: Path) -> None:
    process = start(tmp_path, "sys.exit(Supervisor(Child('director', lambda: 1), [], heard).run())")
    assert process.wait(DEADLINE) == 1


def test_a_director_that_crashes_later_is_started_again(
    pair: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    os.kill(int(lines(tmp_path, 2)[0].split()[1]), signal.SIGKILL)
    assert lines(tmp_path, 3)[2].startswith("director ")
    pair.terminate()
    assert pair.wait(DEADLINE) == 0


CRASHING = """
page = Heartbeat()

def director():
    beat.send(encode(Ready()))
    while page.crashes.in_a_row < 2:
        time.sleep(0.01)
    log("seen")
    sleep()

boss = Child('director', director, keeps=(beat,), looks_at=(page,))
sys.exit(Supervisor(boss, [Child('checker', lambda: 1, heartbeat=page)], heard).run())
"""


def test_the_director_sees_how_often_another_process_has_crashed(tmp_path: Path) -> None:
    process = start(tmp_path, CRASHING)
    assert lines(tmp_path, 1) == ["seen"]
    process.terminate()
    process.wait(DEADLINE)


RELOADING = """
from pointsman.conf.load import load_text
from pointsman.daemon.runtime.config_history import ConfigHistory, send_config
first, second = (load_text(f"global_defs {{\\nrouter_id {name}\\n}}").config for name in ("one", "two"))
config_history = ConfigHistory(first)

def director():
    log("director")
    beat.send(encode(Ready()))
    signal.signal(signal.SIGUSR1, lambda *_: send_config(beat, second))
    signal.signal(signal.SIGUSR2, lambda *_: send_config(beat, second, rollback=True))
    tell_of_stop("director")
    sleep()

def helper():
    log(f"helper {config_history.current.router_id}")
    tell_of_stop("helper")
    sleep()

def late():
    log(f"late {config_history.current.router_id}")
    tell_of_stop("late")
    sleep()

def reload():
    log(f"reload {config_history.current.router_id}")
    os.kill(boss.pid, signal.SIGUSR1)
    return 0

boss = Child('director', director, keeps=(beat,))
helpers = [
    Child('helper', helper, fixed=lambda: config_history.current.router_id),
    Child('late', late, wanted=lambda: config_history.current.router_id == 'two'),
]
supervisor = Supervisor(boss, helpers, heard, config_history, Child('reload', reload))
sys.exit(supervisor.run())
"""


def test_sighup_runs_the_reload_and_children_start_with_what_the_director_took(tmp_path: Path) -> None:
    process = start(tmp_path, RELOADING)
    assert lines(tmp_path, 2) == ["director", "helper one"]
    process.send_signal(signal.SIGHUP)
    found = lines(tmp_path, 6)
    assert found[2] == "reload one"
    assert sorted(found[3:]) == ["helper stopped", "helper two", "late two"]
    process.send_signal(signal.SIGHUP)
    assert lines(tmp_path, 7)[6] == "reload two"
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_a_reload_that_hangs_is_killed_and_the_next_one_runs(tmp_path: Path) -> None:
    body = """
from pointsman.daemon import supervisor as module
module.LONGEST_RUN = 0.2

def reload():
    log("reload")
    sleep()

sys.exit(Supervisor(boss, [Child('helper', helper)], heard, reload=Child('reload', reload)).run())
"""
    process = start(tmp_path, body)
    lines(tmp_path, 2)
    process.send_signal(signal.SIGHUP)
    lines(tmp_path, 3)
    process.send_signal(signal.SIGHUP)
    assert lines(tmp_path, 4)[2:] == ["reload", "reload"]
    assert "the reload has not ended within" in (tmp_path / "errors").read_text()
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_sighup_without_a_file_changes_nothing(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        "sys.exit(Supervisor(boss, [Child('helper', helper)], heard).run())",
    )
    lines(tmp_path, 2)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert len(lines(tmp_path, 4)) == 4


def test_a_helper_has_only_its_own_files_open(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        mine, yours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        secret = open(here / "secret", "w")

        def helper():
            found = sorted(int(name) for name in os.listdir("/proc/self/fd"))
            alive = [number for number in found if os.path.exists(f"/proc/self/fd/{number}")]
            log(f"helper {alive == [0, 1, 2, mine.fileno()]}")
            tell_of_stop("helper")
            sleep()

        sys.exit(Supervisor(boss, [Child('helper', helper, keeps=(mine,))], heard).run())
        """,
    )
    assert lines(tmp_path, 2)[1] == "helper True"
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_a_helper_that_once_ran_may_lack_something_and_is_tried_again(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        def helper():
            log("helper")
            return 1 if len((here / "log").read_text().split("helper")) == 2 else 3

        sys.exit(Supervisor(boss, [Child('helper', helper)], heard).run())
        """,
    )
    assert lines(tmp_path, 4)[1:] == ["helper", "helper", "helper"]
    assert process.poll() is None
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_a_director_that_hangs_at_its_start_is_killed(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        import pointsman.daemon.supervisor as module
        module.START_LIMIT = 0.3
        body = lambda: (log("director"), time.sleep(60))[0]
        boss = Child('director', body, heartbeat=Heartbeat())
        sys.exit(Supervisor(boss, [], heard).run())
        """,
    )
    assert process.wait(DEADLINE) == 1


WATCHED = """
def beating_helper():
    # A main loop that beats as often as real ones do.
    tell_of_stop("helper")
    other.beat()
    log(f"helper {os.getpid()}")
    while True:
        other.beat()
        time.sleep(0.05)

def start_director():
    tell_of_stop("director")
    pulse.beat()
    log(f"director {os.getpid()}")
    beat.send(encode(Ready()))
    while True:
        pulse.beat()
        time.sleep(0.05)

pulse, other = Heartbeat(), Heartbeat()
boss = Child("director", start_director, keeps=(beat,), heartbeat=pulse)
helper = Child("helper", beating_helper, heartbeat=other, limit=lambda: 2.0)
sys.exit(Supervisor(boss, [helper], heard).run())
"""


def pid_of(line: str) -> int:
    return int(line.split()[1])


def test_a_frozen_child_is_killed_and_started_again_with_a_reason(tmp_path: Path) -> None:
    process = start(tmp_path, WATCHED)
    frozen = pid_of(lines(tmp_path, 2)[1])
    os.kill(frozen, signal.SIGSTOP)
    again = lines(tmp_path, 3)[2]
    assert again.startswith("helper ") and pid_of(again) != frozen
    errors = (tmp_path / "errors").read_text()
    assert "helper shows no sign of life" in errors and "T (stopped)" in errors
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_a_stop_does_not_wait_for_a_frozen_child_longer_than_its_limit(tmp_path: Path) -> None:
    process = start(tmp_path, WATCHED)
    os.kill(pid_of(lines(tmp_path, 2)[1]), signal.SIGSTOP)
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert lines(tmp_path, 3)[2:] == ["director stopped"]
    assert "did not stop within" not in (tmp_path / "errors").read_text()


def test_all_were_stopped_and_the_supervisor_kills_none_of_them(tmp_path: Path) -> None:
    """As with a virtual machine that was paused. The supervisor wakes up first: the others look frozen."""
    process = start(tmp_path, WATCHED)
    pids = [pid_of(line) for line in lines(tmp_path, 2)]
    for pid in (*pids, process.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3.0)  # longer than the limit
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.3)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    time.sleep(2.2)  # longer than the limit
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert sorted(lines(tmp_path, 4)[2:]) == ["director stopped", "helper stopped"]


def test_a_child_that_crashed_is_started_once_more_to_stop_in_order(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        def director():
            log("director")
            if (here / "log").read_text().count("director") < 3:
                beat.send(encode(Ready()))
                os._exit(1)
            signal.signal(signal.SIGTERM, lambda *_: (log("cleaned up"), os._exit(0)))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            sleep()

        boss = Child("director", director, keeps=(beat,), leaves="the table stays")
        class Slow(Supervisor):
            def _ended(self, child, code):
                super()._ended(child, code)
                child.crashes = 50
        sys.exit(Slow(boss, [], heard).run())
        """,
    )
    lines(tmp_path, 2)
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert lines(tmp_path, 4) == ["director", "director", "director", "cleaned up"]


def test_a_child_that_cannot_clean_up_leaves_what_is_said(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        def helper():
            log("helper")
            return 1

        helper = Child("helper", helper, leaves="addresses stay")
        sys.exit(Supervisor(boss, [helper], heard).run())
        """,
    )
    lines(tmp_path, 2)
    process.terminate()
    assert process.wait(DEADLINE) == 1
    assert "helper cannot clean up: addresses stay" in (tmp_path / "errors").read_text()


def test_a_child_that_starts_at_once_does_not_wait_for_the_director(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        def director():
            while "helper" not in (here / "log").read_text():
                time.sleep(0.02)
            log("director")
            tell_of_stop("director")
            beat.send(encode(Ready()))
            sleep()

        (here / "log").write_text("")
        boss = Child("director", director, keeps=(beat,))
        sys.exit(Supervisor(boss, [Child("helper", helper, at_once=True)], heard).run())
        """,
    )
    assert [line.split()[0] for line in lines(tmp_path, 2)] == ["helper", "director"]
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_signals_that_do_not_mean_a_stop_end_nobody_and_two_of_them_dump(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        dump = Child("dump", lambda: (log("dump"), 0)[1])
        sys.exit(Supervisor(boss, [Child('helper', helper)], heard, dump=dump).run())
        """,
    )
    pids = [process.pid, *(pid_of(line) for line in lines(tmp_path, 2))]
    for number in STRAY:
        for pid in pids:
            os.kill(pid, number)
    for _ in range(20):
        process.send_signal(signal.SIGUSR2)
    assert lines(tmp_path, 3)[2] == "dump"
    assert [Path(f"/proc/{pid}").exists() for pid in pids] == [True, True, True]
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert lines(tmp_path, 5)[-2:] == ["helper stopped", "director stopped"]
    assert lines(tmp_path, 5).count("dump") <= 2
