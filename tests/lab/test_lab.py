# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what is built works, what fails leaves nothing, and down takes everything away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.support.until import DEADLINE

from pointsman.control import paths
from pointsman.lab import namespace, processes, waiting
from pointsman.lab.arp import who_has
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab, running_labs
from pointsman.lab.topologies import dual_homed, ha_pair

pytestmark = pytest.mark.root

PREFIX = f"pmt-lab-{os.getpid()}"


def bare(topology: str) -> Lab:
    return Lab(topology, prefix=PREFIX, programs=False)


def test_no_process_namespace_or_file_is_left_after_down() -> None:
    lab = bare("dual-homed")
    with lab:
        node = lab.node("server")
        inode = node.inode
        stubborn = node.popen(
            [sys.executable, "-c", "import signal,time; signal.signal(15, 1); time.sleep(99)"]
        )
        foreign = subprocess.Popen(["nsenter", f"--net={namespace.path(node.namespace)}", "sleep", "99"])
        waiting.until(lambda: len(node.processes()) == 2, DEADLINE, "both processes run in the node")
        node.run_directory.mkdir(parents=True)
    assert processes.find_processes([inode]) == {}
    assert stubborn.wait(1) == foreign.wait(1) == -signal.SIGKILL
    assert not [name for name in namespace.names() if name.startswith(PREFIX)]
    assert not lab.directory.exists()
    assert paths.namespace_directories(inode) == []


def test_a_failure_while_building_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError("the cable is too short")

    monkeypatch.setattr("pointsman.lab.network.configure", fail)
    lab = bare("ha-pair")
    with pytest.raises(LabError, match="ha-pair cannot be built: the cable is too short"):
        lab.up()
    assert not [name for name in namespace.names() if name.startswith(PREFIX)]
    assert not lab.directory.exists()


def test_a_program_that_cannot_start_takes_the_lab_down_and_shows_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pointsman.lab.services._NGINX", "nonsense;")
    with pytest.raises(
        LabError, match=r'nginx on web-01 ended with exit code 1(.|\n)*unknown directive "nonsense"'
    ):
        Lab("ha-pair", prefix=PREFIX, directors=False).up()
    assert not [name for name in namespace.names() if name.startswith(PREFIX)]


def test_a_second_lab_of_the_same_prefix_is_refused_and_the_first_stays() -> None:
    with bare("dual-homed") as lab:
        with pytest.raises(
            LabError, match=f"a lab is already up .* remove it first: pointsman lab --prefix {PREFIX} down"
        ):
            bare("ha-pair").up()
        assert namespace.exists(lab.node("lvs").namespace)
        assert [found.topology.name for found in running_labs(PREFIX)] == ["dual-homed"]
    assert list(running_labs(PREFIX)) == []


def test_down_takes_away_what_a_killed_lab_has_left() -> None:
    code = f"""
import os
from pointsman.lab.lab import Lab
Lab("ha-pair", prefix="{PREFIX}", programs=False).up()
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    lab = bare("ha-pair")
    assert namespace.exists(lab.node("lb-01").namespace)
    lab.down()
    assert not [name for name in namespace.names() if name.startswith(PREFIX)]
    assert list(running_labs(PREFIX)) == []


def test_ctrl_c_while_building_leaves_nothing() -> None:
    code = f"""
from pointsman.lab import services
from pointsman.lab.lab import Lab
import time
def slow(*_):
    print("building", flush=True)
    time.sleep(60)
services.start_nginx = slow
Lab("ha-pair", prefix="{PREFIX}", directors=False).up()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"building\n"
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=DEADLINE)
    assert b"KeyboardInterrupt" in said
    assert not [name for name in namespace.names() if name.startswith(PREFIX)]


def test_each_web_server_answers_clients_through_its_own_gateway() -> None:
    with Lab("ha-pair", prefix=PREFIX, directors=False) as lab:
        client = lab.node("client")
        for name, address in ha_pair.WEB_SERVERS.items():
            for url in (f"http://{address}/", f"https://{address}/"):
                assert client.run(["curl", "-sk", "--max-time", "5", url]).stdout == f"{name}\n"
        for gateway in ("gw-01", "gw-02"):
            forwarded = lab.node(gateway).run(["cat", "/proc/net/snmp"]).stdout.splitlines()[1].split()[6]
            assert int(forwarded) > 0, f"{gateway} forwarded nothing"


def test_the_second_documents_hosts_meet_on_both_bridges() -> None:
    with Lab("dual-homed", prefix=PREFIX, directors=False) as lab:
        lab.node("lvs").run(["ping", "-c1", "-W2", "-I", "eth8", dual_homed.REAL_SERVER])
        assert (
            lab.node("client").run(["curl", "-s", "--max-time", "5", "http://192.168.7.99:8000/"]).stdout
            == "server\n"
        )
        neighbours = lab.node("client").run(["ip", "neigh", "show", "192.168.7.99"]).stdout
        assert "dev br_e lladdr 52:54:00:c1:a7:5e" in neighbours


def test_who_has_hears_everybody_who_claims_an_address() -> None:
    """The conflict of the second document: the VIP on the real server too, and nothing keeps it silent."""
    with bare("dual-homed") as lab:
        client, server = lab.node("client"), lab.node("server")
        assert who_has(client, "br_e", dual_homed.VIP) == {"de:ad:be:ef:24:46"}
        server.run(["ip", "address", "add", f"{dual_homed.VIP}/32", "dev", "lo"])
        assert who_has(client, "br_e", dual_homed.VIP) == {"de:ad:be:ef:24:46", "52:54:00:c1:a7:5e"}
        server.sysctl("net.ipv4.conf.all.arp_ignore", "1")
        assert who_has(client, "br_e", dual_homed.VIP) == {"de:ad:be:ef:24:46"}
        assert who_has(client, "br_e", "192.168.7.200", seconds=0.1) == set()


def test_a_node_that_dies_comes_back_with_its_own_addresses_only() -> None:
    with bare("ha-pair") as lab:
        director, peer = lab.node("lb-01"), lab.node("lb-02")
        director.run(["ip", "address", "add", "192.168.100.9/26", "dev", "ens224"])
        assert lab.masters() == ["lb-01"]
        director.popen(["sleep", "99"])
        director.run_directory.mkdir(parents=True)
        director.power_off()
        assert director.processes() == {}
        assert peer.run(["ping", "-c1", "-W1", "192.168.100.10"], check=False).returncode == 1
        director.power_on()
        assert director.addresses("ens224") == ["192.168.100.10/26"]
        assert not director.run_directory.exists()
        peer.run(["ping", "-c1", "-W2", "192.168.100.10"])
        director.run(["ping", "-c1", "-W2", "203.0.113.10"])


def test_a_socket_belongs_to_its_node() -> None:
    with bare("dual-homed") as lab:
        with lab.node("lvs").socket() as listener, lab.node("server").socket() as caller:
            listener.bind((dual_homed.VIP, 5000))
            listener.listen()
            caller.settimeout(DEADLINE)
            caller.connect((dual_homed.VIP, 5000))
            assert caller.getpeername() == (dual_homed.VIP, 5000)
        with socket.socket() as own, pytest.raises(OSError, match="Cannot assign"):
            own.bind((dual_homed.VIP, 5000))


def test_commands_that_fail_or_hang_are_reported_with_what_they_said() -> None:
    with bare("dual-homed") as lab:
        node = lab.node("lvs")
        with pytest.raises(LabError, match=r"lvs: ip link show nope: exit code 1: .*does not exist"):
            node.run(["ip", "link", "show", "nope"])
        with pytest.raises(LabError, match="timed out"):
            node.run(["sleep", "9"], timeout=0.1)
        with pytest.raises(LabError, match="no-such-program"):
            node.popen(["no-such-program"])
        with pytest.raises(LabError, match="no node 'lb-03' in dual-homed; choose from: client, lvs, server"):
            lab.node("lb-03")


def test_exec_and_status_of_the_command_line() -> None:
    pointsman = [sys.executable, "-m", "pointsman.cli.main", "lab", "--prefix", PREFIX]
    down = subprocess.run([*pointsman, "status"], capture_output=True, text=True, check=False)
    assert (down.returncode, "no lab is up" in down.stdout) == (1, True)
    with bare("dual-homed"):
        inside = subprocess.run(
            [*pointsman, "exec", "lvs", "--", "ip", "-br", "address", "show", "eth7"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "192.168.7.33/24" in inside.stdout
        for words, code in ((["sh", "-c", "exit 7"], 7), (["no-such-program"], 127), (["/etc/passwd"], 126)):
            failing = subprocess.run([*pointsman, "exec", "lvs", "--", *words], check=False)
            assert failing.returncode == code
        status = subprocess.run([*pointsman, "status"], capture_output=True, text=True, check=True)
        assert "dual-homed" in status.stdout
        assert "br_e" in status.stdout
