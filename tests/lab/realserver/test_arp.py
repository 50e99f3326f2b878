# SPDX-License-Identifier: Apache-2.0
"""ARP is half of direct routing: who answers for the VIP, and whom a real server asks as.

The scene of tests/golden/7_arp.json (recorded from a real kernel with IPVS) rebuilt: client .50, gateway .1,
director .40 with the VIP on its nic, real servers .41 and .42, all on one bridge; the real servers' eth1 on
another.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.namespaces import Namespaces

pytestmark = pytest.mark.root

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden/7_arp.json").read_text())
VIP = "192.168.7.33"
HOSTS = {
    "cl": "192.168.7.50",
    "gw": "192.168.7.1",
    "dir": "192.168.7.40",
    "rs1": "192.168.7.41",
    "rs2": "192.168.7.42",
}
REAL_SERVERS = ("rs1", "rs2")
MACS: dict[str, str] = GOLDEN["macs"]
NAMES = {mac: name for name, mac in MACS.items()}
SENDERS = {
    "in subnet 192.168.7.50": (HOSTS["cl"], VIP),
    "off subnet 10.9.9.9": ("10.9.9.9", VIP),
    "probe 0.0.0.0": ("0.0.0.0", VIP),
    "sender = VIP itself (gratuitous)": (VIP, VIP),
    "in subnet, target = RIP 192.168.7.41": (HOSTS["cl"], HOSTS["rs1"]),
    "in subnet, target = the eth1 address 192.168.8.1 of rs1": (HOSTS["cl"], "192.168.8.1"),
}
VIP_ON = {"lo/32": "lo", "eth0/32 (same NIC)": "eth0", "eth1/32 (second NIC, other segment)": "eth1"}
QUIET = 0.15
"""Seconds without a frame after which nobody is going to answer any more."""
ETH_P_ARP = 0x0806


@dataclass(frozen=True)
class Arp:
    """One ARP packet for IPv4 over Ethernet (RFC 826)."""

    operation: int
    sender_mac: str
    sender: str
    target: str

    @classmethod
    def parse(cls, frame: bytes) -> Arp:
        operation, mac, sender, _, target = struct.unpack_from("!6xH6s4s6s4s", frame, 14)
        return cls(operation, mac.hex(":"), socket.inet_ntoa(sender), socket.inet_ntoa(target))

    def request(self) -> bytes:
        mac = bytes.fromhex(self.sender_mac.replace(":", ""))
        addresses = socket.inet_aton(self.sender), b"\0" * 6, socket.inet_aton(self.target)
        header = b"\xff" * 6 + mac + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1)
        return header + mac + b"".join(addresses)


class Scene(Namespaces):
    """The namespaces, and a socket on the nic of each host."""

    def __init__(self) -> None:
        super().__init__("arp", "wire", *HOSTS)

    def build(self) -> None:
        self.sh(
            "wire",
            "for bridge in br_e br_i; do ip link add $bridge type bridge; ip link set $bridge up; done",
        )
        for name, address in HOSTS.items():
            self._plug(name, "eth0", "br_e", MACS[name], f"{address}/24")
            if name != "gw":
                self.sh(name, f"ip route add default via {HOSTS['gw']}")
        for number, name in enumerate(REAL_SERVERS, 1):
            self._plug(name, "eth1", "br_i", MACS[name].replace(":07:", ":08:"), f"192.168.8.{number}/24")
        self.sh("gw", "ip address add 10.9.9.1/24 dev lo")
        self.sh("dir", f"ip address add {VIP}/32 dev eth0")

    def _plug(self, name: str, nic: str, bridge: str, mac: str, address: str) -> None:
        port = f"{name}-{nic}"
        self.sh("wire", f"ip link add {port} type veth peer name {nic} netns {self.names[name]}")
        self.sh("wire", f"ip link set {port} master {bridge} up")
        self.sh(
            name,
            f"ip link set {nic} address {mac} up; ip address add {address} dev {nic};"
            f"for kind in all {nic}; do cd /proc/sys/net/ipv4/conf/$kind; "
            f"for key in rp_filter arp_ignore arp_announce arp_filter; do echo 0 > $key; done; done; "
            # Recorded less than a second, the default, after the entries were learnt: hold that for a minute.
            f"echo 6000 > /proc/sys/net/ipv4/neigh/{nic}/locktime",
        )

    def realserver(self, name: str, *arguments: str) -> str:
        done = self.call(name, sys.executable, "-m", "pointsman.cli.main", "realserver", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def set_arp(self, name: str, key: str, value: int, place: str = "all") -> None:
        self.sh(name, f"echo {value} > /proc/sys/net/ipv4/conf/{place}/{key}")

    @contextmanager
    def listen(self, name: str) -> Iterator[socket.socket]:
        with self.entered(name):
            nic = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
            nic.bind(("eth0", ETH_P_ARP))
        with nic:
            yield nic

    def replies(self, *questions: tuple[str, str]) -> list[Arp]:
        """Return the replies to the client's broadcast requests (sender, target)."""
        with self.listen("cl") as nic:
            for sender, target in questions:
                nic.send(Arp(1, MACS["cl"], sender, target).request())
            return [arp for arp in heard(nic) if arp.operation == 2 and arp.sender_mac != MACS["cl"]]

    def who_answers(self) -> set[str]:
        return {NAMES[arp.sender_mac] for arp in self.replies((HOSTS["cl"], VIP))}

    def neighbour(self, name: str, address: str) -> str:
        fields = self.sh(name, f"ip neighbour show {address} dev eth0").split()
        return fields[fields.index("lladdr") + 1] if "lladdr" in fields else ""


def heard(nic: socket.socket) -> list[Arp]:
    """All ARP packets until it is quiet."""
    found = []
    nic.settimeout(QUIET)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            found.append(Arp.parse(nic.recv(2048)))
        except TimeoutError:
            break
    return found


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as made:
        made.build()
        yield made


def test_only_the_director_answers_when_the_real_servers_are_set_up(scene: Scene) -> None:
    for name in REAL_SERVERS:
        scene.realserver(name, "up", VIP)
    assert scene.who_answers() == {"dir"}
    for name in REAL_SERVERS:
        scene.realserver(name, "down")


def test_without_it_two_machines_have_one_address(scene: Scene) -> None:
    """The second document: "otherwise LVS VIP and Server VIP conflict"."""
    for name in REAL_SERVERS:
        scene.sh(name, f"ip address add {VIP}/32 dev lo")
    assert scene.who_answers() == {"dir", "rs1", "rs2"}
    for name in REAL_SERVERS:
        scene.realserver(name, "up", VIP)
    assert scene.who_answers() == {"dir"}


STOPPED_AFTER_EACH_CHANGE = """
import os, signal
from pointsman.realserver import host
def stopping(real):
    def call(*arguments, **options):
        real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGSTOP)
    return call
for name in ("write_arp", "add_address", "remove_address"):
    setattr(host, name, stopping(getattr(host, name)))
from pointsman.cli.main import main
main()
"""


def test_not_one_request_is_answered_between_the_steps_of_up_and_down(scene: Scene) -> None:
    """The rules come before the address and go after it."""
    for action in (["up", VIP], ["down"]):
        inside = [
            *scene.command("rs1"),
            sys.executable,
            "-c",
            STOPPED_AFTER_EACH_CHANGE,
        ]
        running = subprocess.Popen([*inside, "realserver", *action], stdout=subprocess.DEVNULL)
        answered = []
        while os.WIFSTOPPED(os.waitpid(running.pid, os.WUNTRACED)[1]):
            answered.append(scene.who_answers())
            running.send_signal(signal.SIGCONT)
        assert answered == [{"dir"}] * 7, f"after each change of {action[0]}: six sysctls and the address"


@pytest.mark.parametrize("arp_ignore", [0, 1, 2, 3, 4, 8])
@pytest.mark.parametrize("vip_on", VIP_ON)
def test_arp_ignore_agrees_with_the_recorded_kernel(scene: Scene, vip_on: str, arp_ignore: int) -> None:
    for name in REAL_SERVERS:
        scene.sh(name, f"ip address add {VIP}/32 dev {VIP_ON[vip_on]}")
        scene.set_arp(name, "arp_ignore", arp_ignore)
    found = scene.replies(*SENDERS.values())
    recorded = {
        case["request_sender"]: set(case["replies"])
        for case in GOLDEN["who_answers"]["matrix"]
        if (case["vip_on"], case["arp_ignore (conf/all)"]) == (vip_on, arp_ignore)
    }
    assert set(recorded) == set(SENDERS)
    for question, (sender, target) in SENDERS.items():
        # A reply names the asker as its target: all questions can be asked at once.
        said = {
            f"{NAMES[arp.sender_mac]} says {arp.sender} is-at {arp.sender_mac}"
            for arp in found
            if (arp.target, arp.sender) == (sender, target)
        }
        assert said == recorded[question], question


@pytest.mark.parametrize(
    "case", GOLDEN["which_conf_counts"]["cases"], ids=lambda case: case["set arp_ignore=1 in"]
)
def test_which_conf_counts_agrees_with_the_recorded_kernel(scene: Scene, case: dict[str, Any]) -> None:
    scene.sh("rs1", f"ip address add {VIP}/32 dev lo")
    for place in case["set arp_ignore=1 in"].split():
        scene.set_arp("rs1", "arp_ignore", 1, place)
    assert scene.who_answers() == {reply.split()[0] for reply in case["replies"]}


def recorded_announcements() -> list[dict[str, Any]]:
    return [case for case in GOLDEN["arp_announce"]["cases"] if case["vip_on"] == "lo/32"]


@pytest.mark.parametrize(
    "case", recorded_announcements(), ids=lambda case: f"{case['arp_announce']}-{case['client'].split()[0]}"
)
def test_arp_announce_agrees_with_the_recorded_kernel(scene: Scene, case: dict[str, Any]) -> None:
    """Check a real server's ARP requests before replies from the VIP, and neighbour tables after them."""
    scene.sh("rs1", f"ip address add {VIP}/32 dev lo")
    scene.set_arp("rs1", "arp_ignore", 1)
    scene.set_arp("rs1", "arp_announce", case["arp_announce"])
    listener, client = ("cl", HOSTS["cl"]) if case["client"].startswith("on-link") else ("gw", "10.9.9.9")
    for name in ("cl", "gw"):
        scene.call(name, "ping", "-c", "1", "-W", "1", VIP)
        assert scene.neighbour(name, VIP) == MACS["dir"]
    with scene.listen(listener) as nic:
        answer_from_vip(scene, client)
        asked = {
            f"who-has {arp.target} tell {arp.sender}" for arp in heard(nic) if arp.sender_mac == MACS["rs1"]
        }
    assert asked == set(case["arp_requests_of_rs1"])
    for name, key in (("cl", "client_neigh_VIP_after"), ("gw", "gw_neigh_VIP_after")):
        assert scene.neighbour(name, VIP) == case[key].split()[4]


def answer_from_vip(scene: Scene, client: str) -> None:
    with scene.entered("rs1"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((VIP, 0))
        sender.sendto(b"answer", (client, 9))


@pytest.mark.parametrize("client", [HOSTS["cl"], "10.9.9.9"])
def test_a_real_server_set_up_never_asks_as_the_vip(scene: Scene, client: str) -> None:
    scene.realserver("rs1", "up", VIP)
    with scene.listen("cl" if client == HOSTS["cl"] else "gw") as nic:
        answer_from_vip(scene, client)
        asked = {arp.sender for arp in heard(nic) if arp.sender_mac == MACS["rs1"]}
    assert asked == {HOSTS["rs1"]}
    scene.realserver("rs1", "down")
