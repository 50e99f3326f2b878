"""`pointsman run` on hosts that cannot run it: one message, an exit code, and nothing has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.project import POINTSMAN
from tests.support.until import DEADLINE, until

from pointsman.control import paths

pytestmark = pytest.mark.root

NAME = f"pmt-run-{os.getpid()}"
NETNS = Path("/run/netns") / NAME
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
    "import sys; from pointsman.daemon.privileges import Capability, effective_capabilities, keep_only;"
    "keep_only(effective_capabilities() - {Capability[name] for name in sys.argv[1].split(',')});"
    "sys.argv = ['pointsman', *sys.argv[2:]]; from pointsman.cli.main import main; main()"
)
"""A program that runs pointsman without some capabilities."""


def inside(*words: str) -> list[str]:
    return ["nsenter", f"--net={NETNS}", *words]


def snapshot() -> str:
    """What must not change: addresses and attached programs."""
    shown = subprocess.run(inside("ip", "-d", "addr"), capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in shown.splitlines() if "valid_lft" not in line)


def settled() -> bool:
    """True when both ends are up and have link-local addresses that nobody else has: a snapshot shows all."""
    shown = subprocess.run(inside("ip", "-o", "addr"), capture_output=True, text=True, check=True).stdout
    links = subprocess.run(inside("ip", "-o", "link"), capture_output=True, text=True, check=True).stdout
    return shown.count(" fe80::") == 2 and " tentative" not in shown and links.count(" state UP ") == 2


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        for words in (
            "link set lo up",
            "link add ens224 type veth peer name wire",
            "addr add 192.168.100.10/26 dev ens224",
            "link set ens224 up",
            "link set wire up",
        ):
            subprocess.run(inside("ip", *words.split()), check=True)
        until("the kernel has nothing more to do with the interface", settled)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=True)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "keepalived.conf"
    path.write_text(CONF)
    return path


def refused(*words: str, code: int, program: list[str] = POINTSMAN) -> str:
    """Run it, expect this exit code and an untouched host; what it said."""
    before = snapshot()
    done = subprocess.run(inside(*program, *words), capture_output=True, text=True, timeout=DEADLINE)
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


def test_a_second_director_names_the_first(conf: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(inside(*POINTSMAN, "run", "-f", str(conf)), stderr=log)
    try:
        status = inside(*POINTSMAN, "status")
        until(
            "the first one answers",
            lambda: subprocess.run(status, capture_output=True).returncode == 0,
            explain=(tmp_path / "log").read_text,
        )
        done = subprocess.run(inside(*POINTSMAN, "run", "-f", str(conf)), capture_output=True, text=True)
        assert done.returncode == 3
        assert f"already runs in this network namespace (pid {first.pid})" in done.stderr
    finally:
        first.terminate()
        assert first.wait(DEADLINE) == 0
    assert paths.places_of(NETNS.stat().st_ino) == []


def test_status_and_ipvsadm_without_a_director_say_what_to_do() -> None:
    for verb in (["status"], ["ipvsadm", "-Ln"]):
        done = subprocess.run(inside(*POINTSMAN, *verb), capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode != 0
        assert "pointsman run" in done.stderr and "Traceback" not in done.stderr
