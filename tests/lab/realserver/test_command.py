# SPDX-License-Identifier: Apache-2.0
"""`pointsman realserver` as typed, on a real network stack: what it changes, says and restores.

Killed half way: test_realserver_methods.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.namespaces import Namespace
from tests.support.project import POINTSMAN
from tests.support.until import DEADLINE

from pointsman.control import paths

pytestmark = pytest.mark.root

VIP = "192.168.7.33"
VIP6 = "fd00::33"
SNAPSHOT = """
ip -o address | sed 's/ *valid_lft.*//' | grep -v fe80 | sort
ip -o link | grep -v link-netns
grep -H . /proc/sys/net/ipv4/conf/*/arp_ignore /proc/sys/net/ipv4/conf/*/arp_announce
"""


class Host(Namespace):
    """A namespace with eth14 (192.168.7.99/24) and eth12 (192.168.88.20/24), as in the second document."""

    def __init__(self) -> None:
        super().__init__("realserver")

    def build(self) -> None:
        self.run_directory = self._run_directory()
        self.sh(
            "for nic in eth14 eth12; do ip link add $nic type veth peer name $nic-wire; "
            "ip link set $nic up; ip link set $nic-wire up; done; "
            "ip address add 192.168.7.99/24 dev eth14; ip address add 192.168.88.20/24 dev eth12; "
            "for file in /proc/sys/net/ipv4/conf/*/arp_ignore /proc/sys/net/ipv4/conf/*/arp_announce; do "
            "echo 0 > $file; done"
        )
        self.settle()

    def _run_directory(self) -> Path:
        with self.entered():
            return paths.run_directory()

    def realserver(self, *arguments: str, exit_code: int = 0) -> str:
        done = self.call(*POINTSMAN, "realserver", *arguments)
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def snapshot(self) -> str:
        return self.sh(SNAPSHOT)

    def arp(self, interface: str, name: str) -> int:
        return int(self.sh(f"cat /proc/sys/net/ipv4/conf/{interface}/arp_{name}"))


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as made:
        made.build()
        try:
            yield made
        finally:
            shutil.rmtree(made.run_directory, ignore_errors=True)


def test_up_sets_what_the_documents_ask_for_and_down_restores(host: Host) -> None:
    before = host.snapshot()
    text = host.realserver("up", VIP, VIP6)
    assert "interface eth14: 192.168.7.33 is reached on-link there" in text
    for place in ("all", "lo", "eth14"):
        assert (host.arp(place, "ignore"), host.arp(place, "announce")) == (1, 2)
    assert (host.arp("eth12", "ignore"), host.arp("eth12", "announce")) == (0, 0), "not asked for"
    on_lo = host.sh("ip -o address show dev lo")
    assert f"{VIP}/32" in on_lo
    assert f"{VIP6}/128" in on_lo
    host.realserver("status")
    host.realserver("down")
    assert host.snapshot() == before
    assert not host.run_directory.exists()


def test_a_second_up_changes_nothing_and_says_so(host: Host) -> None:
    host.realserver("up", VIP)
    after = host.snapshot()
    assert "changed" not in host.realserver("up", VIP)
    assert host.snapshot() == after


@pytest.mark.parametrize(
    "there_before",
    [
        "true",
        f"ip address add {VIP}/32 dev lo",
        "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore; echo 1 > /proc/sys/net/ipv4/conf/all/arp_announce",
        "echo 2 > /proc/sys/net/ipv4/conf/eth14/arp_ignore; echo 8 > /proc/sys/net/ipv4/conf/lo/arp_ignore",
        "ip link set lo down; ip address flush dev lo",
    ],
)
def test_whatever_was_there_before_is_there_again(host: Host, there_before: str) -> None:
    host.sh(there_before)
    before = host.snapshot()
    host.realserver("up", VIP, VIP6, "--interface", "eth14", "--interface", "eth12")
    host.realserver("status")
    host.realserver("down", VIP, VIP6)
    assert host.snapshot() == before


def test_lo_stays_up_if_down_would_remove_an_address_that_was_there(host: Host) -> None:
    host.sh(f"ip link set lo down; ip address flush dev lo; ip address add {VIP6}/128 dev lo nodad")
    host.realserver("up", VIP, VIP6)
    assert f"left alone  down would remove its address {VIP6}" in host.realserver("down")
    assert f"{VIP6}/128" in host.sh("ip -o address show dev lo")


def test_up_warns_of_a_strict_rp_filter(host: Host) -> None:
    assert "rp_filter" not in host.realserver("up", VIP)
    host.sh("echo 1 > /proc/sys/net/ipv4/conf/eth14/rp_filter")
    assert "sysctl -w net.ipv4.conf.eth14.rp_filter=2" in host.realserver("up", VIP)
    assert "rp_filter" not in host.realserver("up", VIP6)


def test_the_arp_rules_stay_until_the_last_ipv4_vip_goes(host: Host) -> None:
    before = host.snapshot()
    host.realserver("up", VIP)
    host.realserver("up", "192.168.7.34", VIP6)
    host.realserver("down", VIP)
    assert host.arp("all", "ignore") == 1
    host.realserver("down", "192.168.7.34")
    assert host.arp("all", "ignore") == 0
    assert VIP6 in host.sh("ip -o address show dev lo")
    host.realserver("down", VIP6)
    assert host.snapshot() == before


def test_what_someone_else_set_since_is_left_alone(host: Host) -> None:
    host.realserver("up", VIP)
    host.sh("echo 8 > /proc/sys/net/ipv4/conf/eth14/arp_ignore")
    text = host.realserver("status", exit_code=1)
    assert "pointsman, changed since  DRIFT" in text
    assert "it was set to 8 since" in host.realserver("down")
    assert host.arp("eth14", "ignore") == 8
    assert host.arp("all", "ignore") == 0


def test_up_mends_drift_and_down_still_knows_the_first_value(host: Host) -> None:
    before = host.snapshot()
    host.realserver("up", VIP)
    host.sh(f"echo 0 > /proc/sys/net/ipv4/conf/all/arp_announce; ip address del {VIP}/32 dev lo")
    host.realserver("status", exit_code=1)
    host.realserver("up", VIP)
    host.realserver("status")
    host.realserver("down")
    assert host.snapshot() == before


def test_status_sees_the_effective_value_and_the_interface_nobody_named(host: Host) -> None:
    host.realserver("up", VIP)
    host.sh("echo 0 > /proc/sys/net/ipv4/conf/eth14/arp_ignore")
    report = json.loads(host.realserver("status", "--json"))
    rows = {row["setting"]: row for row in report["settings"]}
    assert rows["net.ipv4.conf.eth14.arp_ignore"]["effective"] == "1", "the maximum of all and the interface"
    host.sh("echo 3 > /proc/sys/net/ipv4/conf/eth12/arp_ignore")
    report = json.loads(host.realserver("status", "--json", exit_code=1))
    assert [row["setting"] for row in report["settings"] if not row["ok"]] == [
        "net.ipv4.conf.eth12.arp_ignore"
    ]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["up", "192.168.7.99"], 1, "192.168.7.99 is on eth14: this host is the director"),
        (["up", VIP, "--interface", "eth9"], 1, "there is no interface eth9 here"),
        (["up", "nonsense"], 2, "'nonsense' is not an IPv4 or IPv6 address"),
        (["up"], 2, "name at least one VIP, or a keepalived.conf with --from"),
        (["status"], 1, "name the VIP to look at"),
    ],
)
def test_refused_with_a_reason_and_nothing_changed(
    host: Host, arguments: list[str], exit_code: int, said: str
) -> None:
    before = host.snapshot()
    assert said in host.realserver(*arguments, exit_code=exit_code)
    assert host.snapshot() == before
    assert not host.run_directory.exists()


def test_without_root_nothing_changes(host: Host) -> None:
    before = host.snapshot()
    script = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"import sys; sys.argv = ['pointsman', 'realserver', 'up', '{VIP}']\n"
        "main()"
    )
    done = host.call(
        sys.executable,
        "-c",
        f"from pointsman.cli.main import main\nimport pointsman.cli.realserver.command\n{script}",
    )
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert host.snapshot() == before


def test_a_read_only_proc_sys_changes_nothing(host: Host) -> None:
    before = host.snapshot()
    done = host.call(
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"',
        "sh",
        *POINTSMAN,
        "realserver",
        "up",
        VIP,
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert host.snapshot() == before


CONFIGURATION = """
virtual_server 192.168.7.33 80 {
    lvs_method DR
    protocol TCP
    real_server 192.168.88.20 80 {
    }
}
virtual_server 192.168.7.34 80 {
    lvs_method DR
    protocol TCP
    real_server 192.168.88.21 80 {
    }
}
"""


@pytest.mark.parametrize("method", ["DR", "TUN"])
def test_the_vips_of_a_directors_configuration_that_this_host_serves(
    host: Host, tmp_path: Path, method: str
) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(CONFIGURATION.replace("lvs_method DR", f"lvs_method {method}"))
    host.realserver("up", "--from", str(file))
    on_lo = host.sh("ip -o address show dev lo")
    assert "192.168.7.33/32" in on_lo
    assert "192.168.7.34" not in on_lo, "another real server's"
    host.realserver("down")
    file.write_text(CONFIGURATION.replace("192.168.88.20", "192.168.88.22"))
    before = host.snapshot()
    assert "sends nothing to an address of this host" in host.realserver(
        "up", "--from", str(file), exit_code=1
    )
    assert "a keepalived.conf with --from" in host.realserver("up", exit_code=2)
    assert host.snapshot() == before


def test_watch_puts_back_what_has_drifted_and_tells_it(host: Host, tmp_path: Path) -> None:
    before = host.snapshot()
    log = tmp_path / "log"

    def said(text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in log.read_text():
            assert time.monotonic() < deadline, f"{text!r} not in: {log.read_text()}"
            time.sleep(0.05)

    command = [*POINTSMAN, "realserver", "watch", VIP, "--every", "0.2"]
    with log.open("w") as output:
        watcher = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{host.name}", *command], stdout=output, stderr=output
        )
    try:
        said(f"watching {VIP}")
        host.sh("for place in all eth14; do echo 0 > /proc/sys/net/ipv4/conf/$place/arp_ignore; done")
        said("drifted: net.ipv4.conf.eth14.arp_ignore was 0, wanted 1; corrected")
        assert host.arp("eth14", "ignore") == 1
        host.sh(f"ip address del {VIP}/32 dev lo")
        said(f"drifted: {VIP} on lo was absent, wanted /32; corrected")
        host.sh(f"ip address del {VIP}/32 dev lo; ip address add {VIP}/24 dev eth14")
        said(f"cannot be corrected: {VIP} is on eth14")
        assert log.read_text().count("cannot be corrected") == 1
        host.sh(f"ip address del {VIP}/24 dev eth14")
        host.realserver("up", VIP)
    finally:
        watcher.terminate()
    assert watcher.wait(DEADLINE) == 0
    host.realserver("down")
    assert host.snapshot() == before


WHO_HAS = """
import ipaddress, sys
from pointsman.doctor.gather.probe import who_has
asked = [("eth14-wire", ipaddress.ip_address(text)) for text in sys.argv[1:]]
answers = who_has(asked, {asked[-1][1]})
print(*(text for text in sys.argv[1:] if answers.macs(ipaddress.ip_address(text))))
"""


def test_nft_keeps_the_vip_out_of_arp_without_touching_the_kernels_settings(host: Host) -> None:
    before = host.snapshot()
    host.realserver("up", VIP, VIP6, "--method", "nft")
    assert (host.arp("all", "ignore"), host.arp("eth14", "announce")) == (0, 0)
    assert host.sh(f"{sys.executable} -c '{WHO_HAS}' {VIP} 192.168.7.99").split() == ["192.168.7.99"]
    asked = host.sh(
        f"ping -c 5 -W 1 -I {VIP} 192.168.7.2 >/dev/null & timeout 20 tcpdump -c 1 -lni eth14-wire arp; "
        "wait || true"
    )
    assert "who-has 192.168.7.2 tell 192.168.7.99" in asked, "our own requests bear our own address"
    assert "changed" not in host.realserver("up", VIP)
    host.realserver("status")
    found = json.loads(host.call(*POINTSMAN, "doctor", "--json").stdout)["diagnoses"][0]["findings"]
    assert [item["verdict"] for item in found if item["check"].startswith("arp")] == ["right"]
    host.realserver("down")
    assert host.snapshot() == before
    assert host.sh("nft list ruleset") == ""
    assert not host.run_directory.exists()


def test_nft_rules_that_drift_are_noticed_and_made_anew(host: Host) -> None:
    host.realserver("up", VIP, "--method", "nft")
    made = host.sh("nft list ruleset")
    for harm, value in (
        ("flush chain arp pointsman input", "changed"),
        ("delete table arp pointsman", "absent"),
    ):
        host.sh(f"nft {harm}")
        assert value in host.realserver("status", exit_code=1)
        assert "created" in host.realserver("up", VIP)
        assert host.sh("nft list ruleset") == made
    host.realserver("up", "192.168.7.34")
    assert "{ 192.168.7.33, 192.168.7.34 } drop" in host.sh("nft list ruleset")
    host.realserver("down", "192.168.7.34")
    assert host.sh("nft list ruleset") == made
    assert "was set up with --method nft" in host.realserver("up", VIP, "--method", "sysctl", exit_code=1)


def test_without_nft_nothing_is_changed(host: Host, tmp_path: Path) -> None:
    before = host.snapshot()
    line = f"PATH={tmp_path} {' '.join(POINTSMAN)} realserver up {VIP} --method nft"
    done = host.call("sh", "-c", line)
    assert done.returncode == 1
    assert "nft is not installed" in done.stderr
    assert host.snapshot() == before
    assert not host.run_directory.exists()
