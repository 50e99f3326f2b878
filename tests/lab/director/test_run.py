# SPDX-License-Identifier: Apache-2.0
"""`pointsman run` on hosts that cannot run it: one message, an exit code, and nothing has changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.control import socket_of, status_at
from tests.support.namespaces import Namespace
from tests.support.project import POINTSMAN
from tests.support.until import DEADLINE, until

from pointsman.control import paths
from pointsman.lab import namespace

pytestmark = pytest.mark.root

HOST = Namespace("run")
CONF = """
global_defs {
    router_id lb-01
}
vrrp_instance VI_1 {
    interface ens224
    virtual_router_id 51
    virtual_ipaddress {
        192.168.100.9/26 dev ens224
    }
}
virtual_server 192.168.100.9 80 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 192.168.100.20 80 {
        TCP_CHECK {
        }
    }
}
"""
WITHOUT = (
    "import sys;"
    "from pointsman.daemon.runtime.privileges import Capability, effective_capabilities, keep_only;"
    "keep_only(effective_capabilities() - {Capability[name] for name in sys.argv[1].split(',')});"
    "sys.argv = ['pointsman', *sys.argv[2:]]; from pointsman.cli.main import main; main()"
)
"""A program that runs pointsman without some capabilities."""


def snapshot() -> str:
    """Return the state that must not change: addresses and attached programs."""
    return "\n".join(line for line in HOST.run("ip -d addr").splitlines() if "valid_lft" not in line)


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    with HOST:
        for words in (
            "link add ens224 type veth peer name wire",
            "addr add 192.168.100.10/26 dev ens224",
            "link set ens224 up",
            "link set wire up",
        ):
            HOST.run(f"ip {words}")
        HOST.settle()
        yield


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "keepalived.conf"
    path.write_text(CONF)
    return path


def refused(*words: str, code: int, program: list[str] = POINTSMAN) -> str:
    """Run it, expect this exit code and an untouched host; what it said."""
    before = snapshot()
    done = HOST.call(*program, *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot() == before
    return done.stderr


def test_a_configuration_with_an_error_is_refused_with_its_place(conf: Path) -> None:
    conf.write_text(CONF.replace("virtual_router_id 51", "virtual_routr_id 51"))
    said = refused("run", "-f", str(conf), code=2)
    assert f"{conf}:7:5: error" in said and "virtual_router_id" in said and "nothing was changed" in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.conf") in refused("run", "-f", str(tmp_path / "none.conf"), code=2)


def test_a_missing_interface_is_named_with_its_place_and_those_there_are(conf: Path) -> None:
    conf.write_text(CONF.replace("ens224", "ens192"))
    said = refused("run", "-f", str(conf), code=3)
    assert "no such interface: ens192" in said and f"{conf}:" in said and "ens224" in said


def test_a_missing_capability_is_named(conf: Path) -> None:
    program = [sys.executable, "-c", WITHOUT, "NET_ADMIN,NET_RAW"]
    said = refused("run", "-f", str(conf), code=3, program=program)
    assert "missing CAP_NET_ADMIN, CAP_NET_RAW" in said and "root" in said


def test_no_right_to_bpf_is_said_once(conf: Path) -> None:
    program = [sys.executable, "-c", WITHOUT, "BPF,SYS_ADMIN"]
    said = refused("run", "-f", str(conf), code=3, program=program)
    assert "CAP_BPF" in said and said.count("pointsman run:") == 1


def few_files(number: int) -> list[str]:
    """A program that runs pointsman with so few open files, and without the right to have more."""
    more = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({number}, {number})); "
    return [sys.executable, "-c", more + WITHOUT, "SYS_RESOURCE"]


@pytest.mark.parametrize("number", [20, 40])
def test_too_few_open_files_are_said_and_no_reason_to_give_up_for_good(conf: Path, number: int) -> None:
    said = refused("run", "-f", str(conf), code=1, program=few_files(number))
    assert "open files" in said


def with_a_folder_of(user: int, folder: Path) -> list[str]:
    """A program that runs pointsman with pins of its own, among which a user has made this folder."""
    script = f'mount -t bpf bpf /sys/fs/bpf && mkdir -p {folder} && chown {user} {folder} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *POINTSMAN]


def test_a_folder_of_another_user_among_the_pins_is_told_as_what_it_is(conf: Path) -> None:
    folder = paths.pin_directory().parent
    said = refused("run", "-f", str(conf), code=3, program=with_a_folder_of(12345, folder))
    assert f"{folder} was made by user 12345" in said


def test_a_second_director_names_the_first(conf: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(HOST.command(*POINTSMAN, "run", "-f", str(conf)), stderr=log)
    try:
        until(
            "the first one answers",
            lambda: status_at(socket_of(HOST.name)),
            explain=(tmp_path / "log").read_text,
        )
        done = HOST.call(*POINTSMAN, "run", "-f", str(conf))
        assert done.returncode == 3
        assert f"already runs in this network namespace (pid {first.pid})" in done.stderr
    finally:
        first.terminate()
        assert first.wait(DEADLINE) == 0
    assert paths.namespace_directories(namespace.inode(HOST.name)) == []


def test_status_and_ipvsadm_without_a_director_say_what_to_do() -> None:
    for verb in (["status"], ["ipvsadm", "-Ln"]):
        done = HOST.call(*POINTSMAN, *verb)
        assert done.returncode != 0
        assert "pointsman run" in done.stderr and "Traceback" not in done.stderr
