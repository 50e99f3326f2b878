# SPDX-License-Identifier: Apache-2.0
"""Frames on the wire with each way to set up a real server: IPv6, and redirect.

Two hosts on one cable: a client (192.168.7.2, fd00:100::1) and a real server (.99, fd00:100::11) with
/32 and /128 VIPs. The client sends what is for a VIP to the real server's MAC address, as a director does.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.namespaces import Namespaces
from tests.support.until import DEADLINE

from pointsman.doctor.facts import Response
from pointsman.doctor.gather.probe import who_has
from pointsman.doctor.gather.syn_probe import SynProbe, probe_all
from pointsman.lab import waiting

pytestmark = pytest.mark.root

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden/7_nd_ipv6.json").read_text())
VIP, VIP6 = "192.168.7.33", "fd00:100::9"
SERVER_MAC, CLIENT_MAC = "02:00:00:00:00:0b", "02:00:00:00:00:0c"
BUILD = {
    "client": f"ip link set cable address {CLIENT_MAC} up; ip address add 192.168.7.2/24 dev cable; "
    "ip -6 address add fd00:100::1/64 dev cable nodad; "
    f"ip neigh replace {VIP} lladdr {SERVER_MAC} dev cable nud permanent; "
    f"ip -6 neigh replace {VIP6} lladdr {SERVER_MAC} dev cable nud permanent",
    "server": f"ip link set eth0 address {SERVER_MAC}; ip link set eth0 up; ip link set lo up; "
    "ip address add 192.168.7.99/24 dev eth0; ip -6 address add fd00:100::11/64 dev eth0 nodad; "
    "for key in rp_filter arp_ignore arp_announce; do for place in all eth0; do "
    "echo 0 > /proc/sys/net/ipv4/conf/$place/$key; done; done",
}


class Pair(Namespaces):
    def __init__(self) -> None:
        super().__init__("wire", *BUILD)

    def build(self) -> None:
        self.sh("client", f"ip link add cable type veth peer name eth0 netns {self.names['server']}")
        for name in ("server", "client"):
            self.sh(name, BUILD[name])
        for name, nic in (("client", "cable"), ("server", "eth0")):
            waiting.until(partial(self.has_link_local, name, nic), DEADLINE, "link-local addresses")

    def has_link_local(self, name: str, nic: str) -> bool:
        said = self.sh(name, f"ip -o -6 address show dev {nic} scope link")
        return "fe80" in said and "tentative" not in said

    def realserver(self, *words: str) -> str:
        return self.sh("server", f"{sys.executable} -m pointsman.cli.main realserver {' '.join(words)}")

    def who_has(self, *texts: str) -> set[str]:
        """Which of these addresses the server answers for."""
        addresses = [ipaddress.ip_address(text) for text in texts]
        with self.entered("client"):
            answers = who_has([("cable", address) for address in addresses], set())
        assert {answer.mac for answer in answers.answers} <= {SERVER_MAC}
        return {str(answer.address) for answer in answers.answers}

    def listener(self) -> list[str]:
        """Return a command that prints the frames at the client's end of the cable, for a limited time."""
        return self.command("client", "timeout", f"{DEADLINE:.0f}", "tcpdump", "-lni", "cable")

    def arp_senders(self, target: str) -> list[str]:
        """The senders of the server's own questions when it answers a client at `target` from the VIP."""
        heard = subprocess.Popen(
            [*self.listener(), "-c", "1", "icmp6 and ip6[40] == 135 and ether src", SERVER_MAC],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        send = (
            "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
            f"s.bind(('{VIP6}', 0)); s.sendto(b'x', ('{target}', 9))"
        )
        while heard.poll() is None:
            self.sh("server", f'ip -6 neigh flush dev eth0; {sys.executable} -c "{send}"')
            time.sleep(0.1)
        assert heard.stdout is not None
        return [line.split()[2] for line in heard.stdout.read().splitlines() if "who has" in line]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair() as made:
        made.build()
        yield made


def recorded(place: str) -> bool:
    """Return True if a real server replied for the VIP on this interface in the recording."""
    (case,) = [
        case
        for case in GOLDEN["who_answers"]
        if (case["vip6_on"], case["solicitation_source"]) == (place, "fe80::1")
    ]
    return any(line.startswith("rs") for line in case["answers"])


@pytest.mark.parametrize("place", ["lo", "eth0"])
def test_neighbour_discovery_agrees_with_the_recorded_kernel(pair: Pair, place: str) -> None:
    pair.sh("server", f"ip -6 address add {VIP6}/128 dev {place} nodad")
    try:
        assert pair.who_has(VIP6, "fd00:100::11") == {"fd00:100::11"} | ({VIP6} if recorded(place) else set())
        asked = {case["vip6_on"]: case for case in GOLDEN["what_the_real_server_asks_with"]}[place]
        as_vip = VIP6 in asked["solicitations_of_rs1"][0].split("who-has")[0]
        (sender,) = pair.arp_senders("fd00:100::77")
        assert (sender == VIP6) is as_vip
    finally:
        pair.sh("server", f"ip -6 address del {VIP6}/128 dev {place}")


def test_on_a_network_card_nft_keeps_the_vip_out_of_neighbour_discovery(pair: Pair) -> None:
    pair.realserver("up", VIP, VIP6, "--method", "nft", "--dev", "eth0")
    try:
        assert pair.who_has(VIP, VIP6, "192.168.7.99", "fd00:100::11") == {"192.168.7.99", "fd00:100::11"}
        assert pair.arp_senders("fd00:100::78") == ["fd00:100::11"]
        found = pair.sh("server", f"{sys.executable} -m pointsman doctor --json || true")
        (diagnosis,) = json.loads(found)["diagnoses"]
        on_lo = [item["verdict"] for item in diagnosis["findings"] if item["check"] == "vip-on-lo"]
        assert on_lo == ["right", "right"]
        assert pair.sh("client", f"ping -c 1 -W 5 {VIP6}; ping -c 1 -W 5 {VIP}").count("1 received") == 2
    finally:
        pair.realserver("down")


def test_before_the_network_nft_bears_no_address_and_its_own_later(pair: Pair) -> None:
    """Run it as the unit does at boot, before the interfaces have their addresses."""
    answer = f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('{VIP}', 0)); "
    answer += "s.sendto(b'x', ('192.168.7.2', 9))"

    def senders() -> set[str]:
        """Return the senders of the server's ARP requests for a client that it answers from the VIP."""
        heard = subprocess.Popen(
            [*pair.listener(), "-xc", "1", "arp[6:2] = 1 and ether src", SERVER_MAC],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        while heard.poll() is None:
            pair.sh("server", f'ip neigh flush dev eth0; {sys.executable} -c "{answer}"')
            time.sleep(0.1)
        assert heard.stdout is not None
        dump = "".join("".join(line.split()[1:]) for line in heard.stdout if "0x00" in line)
        return {str(ipaddress.IPv4Address(bytes.fromhex(dump)[14:18]))}

    def knows_the_client() -> bool:
        return CLIENT_MAC in pair.sh("server", "ip neigh show 192.168.7.2 dev eth0")

    pair.sh("server", "ip address del 192.168.7.99/24 dev eth0")
    try:
        pair.realserver("up", VIP, "--method", "nft")
        pair.sh("server", "ip address add 192.168.7.99/24 dev eth0")
        assert senders() == {"0.0.0.0"}
        waiting.until(knows_the_client, DEADLINE, "the client answered all the same")
        pair.realserver("status")
        pair.realserver("up", VIP)
        assert senders() == {"192.168.7.99"}
        waiting.until(knows_the_client, DEADLINE, "the client answered")
        pair.sh("server", "ip address del 192.168.7.99/24 dev eth0; ip address add 192.168.7.98/24 dev eth0")
        said = pair.realserver("status", "|| true")
        assert "contains 192.168.7.99, which this host does not have any more" in said
        pair.realserver("up", VIP)
        assert senders() == {"192.168.7.98"}
    finally:
        pair.realserver("down")
        pair.sh("server", "ip address flush dev eth0 scope global; ip address add 192.168.7.99/24 dev eth0; "
                "ip -6 address add fd00:100::11/64 dev eth0 nodad")  # fmt: skip


def syn_replies(pair: Pair, port: int) -> dict[str, Response]:
    """Return the replies to the doctor's SYN probes of both VIPs, sent as by a director."""
    own = {VIP: "192.168.7.2", VIP6: "fd00:100::1"}
    asked = [
        SynProbe(
            service=vip,
            vip=ipaddress.ip_address(vip),
            port=port,
            server=ipaddress.ip_address(vip),
            mac=SERVER_MAC,
            interface="cable",
            own_mac=CLIENT_MAC,
            own_address=ipaddress.ip_address(address),
        )
        for vip, address in own.items()
    ]
    with pair.entered("client"):
        return {name: response for (name, _), response in probe_all(asked, ["cable"]).items()}


def test_the_doctor_hears_who_takes_a_syn_for_the_vip_over_both_families(pair: Pair) -> None:
    assert syn_replies(pair, 8001) == {VIP: Response.SILENT, VIP6: Response.SILENT}
    pair.realserver("up", VIP, VIP6)
    try:
        assert syn_replies(pair, 8001) == {VIP: Response.REFUSED, VIP6: Response.REFUSED}
    finally:
        pair.realserver("down")


def test_redirect_serves_the_vip_on_a_host_that_has_it_not(pair: Pair) -> None:
    web = f"{sys.executable} -m http.server --bind :: --directory /sys/class/net 8000 >/dev/null 2>&1"
    pair.realserver("up", VIP, VIP6, "--method", "redirect")
    listens = "for try in $(seq 300); do ss -Hltn 'sport = 8000' | grep -q . && exit; sleep 0.1; done; exit 1"
    server = subprocess.Popen(pair.command("server", "sh", "-c", f"exec {web}"))
    try:
        pair.sh("server", listens)
        assert syn_replies(pair, 8000) == {VIP: Response.ACCEPTED, VIP6: Response.ACCEPTED}
        assert pair.who_has(VIP, VIP6) == set()
        assert f"{VIP}/" not in pair.sh("server", "ip -o address")
        for name, where in (
            ("client", VIP),
            ("client", f"[{VIP6}]"),
            ("server", VIP),
            ("server", f"[{VIP6}]"),
        ):
            line = f"curl -sf --retry 20 --retry-connrefused --retry-delay 1 -m 20 http://{where}:8000/"
            assert "eth0" in pair.sh(name, line), (name, where)
    finally:
        server.kill()
        server.wait()
        pair.realserver("down")
    assert pair.sh("server", "nft list ruleset") == ""
