# SPDX-License-Identifier: Apache-2.0
"""Traces of running hosts: several at once, merged from files, one after the other, UDP and IPv6."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import waiting
from pointsman.lab.lab import Lab
from pointsman.lab.node import Node, environment
from pointsman.lab.topologies import dual_homed
from pointsman.lab.tracing import trace
from pointsman.trace.connection import Trace

pytestmark = pytest.mark.root

PREFIX = f"pmt-hosts-{os.getpid()}"
SERVICE = f"{dual_homed.VIP}:{dual_homed.PORT}"
POINTSMAN = [sys.executable, "-m", "pointsman"]
ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
echo = socket.socket(family, socket.SOCK_DGRAM)
echo.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, client = echo.recvfrom(2048)
    echo.sendto(b"heard " + data, client)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("dual-homed", prefix=PREFIX) as made:
        yield made


def on_both(lab: Lab) -> list[str]:
    reach = f"{' '.join(POINTSMAN)} lab --prefix {lab.prefix} exec"
    return [word for name in ("lvs", "server") for word in ("--host", f"{name}={reach} {name} --")]


class Waiting:
    """`pointsman trace` that waits; `connect` makes a connection as soon as it is ready."""

    def __init__(self, lab: Lab, log: Path, arguments: list[str], node: Node | None = None) -> None:
        self.client = lab.node("client")
        self.log, self.output = log.with_suffix(".err"), log
        line = [*POINTSMAN, "trace", *arguments]
        if node is not None:
            line = ["nsenter", f"--net=/run/netns/{node.namespace}", *line]
        with self.log.open("w") as errors, self.output.open("w") as output:
            self.child = subprocess.Popen(
                line, stdout=output, stderr=errors, stdin=subprocess.PIPE, env=environment()
            )

    def connect(self, times: int = 1) -> None:
        waiting.until(
            lambda: (
                self.log.read_text().count("waiting for a connection") == times
                or self.child.poll() is not None
            ),
            60.0,
            f"it waits: {self.log.read_text()}",
        )
        self.client.run(["curl", "-s", "-m", "2", f"http://{SERVICE}/"], check=False)

    def end(self) -> tuple[int, str]:
        code = self.child.wait(DEADLINE)
        return code, self.output.read_text() + self.log.read_text()


SIX_LINES = [
    ("client:br_e sends", "00:1a:a0:21:21:65", "de:ad:be:ef:24:46", "192.168.7.2", "192.168.7.33", "S"),
    ("lvs:eth7 receives", "00:1a:a0:21:21:65", "de:ad:be:ef:24:46", "192.168.7.2", "192.168.7.33", "S"),
    ("lvs:eth8 sends", "00:16:3e:5d:a6:b3", "52:54:00:ba:3d:b9", "192.168.7.2", "192.168.7.33", "S"),
    ("server:eth12 receives", "00:16:3e:5d:a6:b3", "52:54:00:ba:3d:b9", "192.168.7.2", "192.168.7.33", "S"),
    ("server:eth14 sends", "52:54:00:c1:a7:5e", "00:1a:a0:21:21:65", "192.168.7.33", "192.168.7.2", "S."),
    ("client:br_e receives", "52:54:00:c1:a7:5e", "00:1a:a0:21:21:65", "192.168.7.33", "192.168.7.2", "S."),
]
"""The second document's tcpdump analysis: where, source and destination MAC, addresses, flags."""


def test_the_six_lines_of_the_second_document(lab: Lab) -> None:
    traced = trace(lab, dual_homed.VIP, dual_homed.PORT).trace
    hops = [*traced.request, *traced.answer]
    lines = [
        (
            str(hop.place),
            hop.frame.source_mac,
            hop.frame.destination_mac,
            hop.frame.source,
            hop.frame.destination,
            hop.frame.flags,
        )
        for hop in hops
    ]
    assert lines == SIX_LINES
    changed = [[change.field for change in hop.changes] for hop in hops]
    assert changed == [[], [], ["source_mac", "destination_mac", "ttl"], [], [], []]
    assert traced.answer[0].frame.acknowledgement == traced.request[0].frame.sequence + 1
    assert traced.ok


def test_several_hosts_tell_one_story(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    waits = Waiting(lab, tmp_path / "out", [*on_both(lab), "--pcap", str(file), SERVICE])
    waits.connect()
    code, text = waits.end()
    assert code == 0, text
    for line in (
        "data plane of lvs: 192.168.88.20:8000, now ",
        "chosen: rr, and it is the only real server",
        "✓ lvs: the request left on eth8 to 52:54:00:ba:3d:b9 (server)",
        "✓ server: the request arrived on eth12 from 00:16:3e:5d:a6:b3 (lvs)",
        "✓ lvs changed only the MACs and the TTL of the request",
    ):
        assert line in text
    assert b"hop 2: lvs:eth8 sends; changed: source MAC" in file.read_bytes()


def test_several_hosts_find_where_it_ends(lab: Lab, tmp_path: Path) -> None:
    server = lab.node("server")
    server.sysctl("net.ipv4.conf.eth12.rp_filter", "1")
    try:
        waits = Waiting(lab, tmp_path / "out", [*on_both(lab), SERVICE])
        waits.connect()
        code, text = waits.end()
    finally:
        server.sysctl("net.ipv4.conf.eth12.rp_filter", "0")
    assert code == 1, text
    assert "✗ server: no answer left this host" in text
    assert "✗ the kernel of server dropped the request on eth12" in text
    assert "IP_RPFILTER" in text


def test_files_of_several_hosts_are_merged(lab: Lab, tmp_path: Path) -> None:
    gathering = [
        Waiting(
            lab, tmp_path / name, ["--here", "--json", "--client", "192.168.7.2", SERVICE], lab.node(name)
        )
        for name in ("server", "lvs")
    ]
    waiting.until(lambda: "waiting" in gathering[0].log.read_text(), DEADLINE, "the first one waits")
    gathering[1].connect()
    assert [each.end()[0] for each in gathering] == [0, 0]
    files = [word for name in ("lvs", "server") for word in ("--merge", f"{name}={tmp_path / name}")]
    done = subprocess.run([*POINTSMAN, "trace", *files, "--json", SERVICE], capture_output=True, check=False)
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (0, True)
    assert [hop["place"]["host"] for hop in said["trace"]["request"]] == ["lvs", "lvs", "server"]
    assert [hop["place"]["host"] for hop in said["trace"]["answer"]] == ["server"]
    twice = [*POINTSMAN, "trace", "--merge", str(tmp_path / "lvs"), "--merge", str(tmp_path / "lvs"), SERVICE]
    refused = subprocess.run(twice, capture_output=True, text=True, check=False)
    assert (refused.returncode, "name them: NAME=FILE" in refused.stderr) == (1, True)


def test_follow_tells_one_connection_after_the_other(lab: Lab, tmp_path: Path) -> None:
    arguments = ["--here", "--follow", "--client", "192.168.7.2", SERVICE]
    waits = Waiting(lab, tmp_path / "out", arguments, lab.node("server"))
    for number in (1, 2):
        waits.connect(number)
    waiting.until(lambda: waits.log.read_text().count("waiting") == 3, DEADLINE, "it waits for the third")
    waits.child.send_signal(signal.SIGINT)
    code, text = waits.end()
    assert code == 0, text
    assert text.count("✓ the request arrived on eth12") == 2


def places(followed: Trace) -> list[str]:
    return [f"{hop.place.host}:{hop.place.interface}" for hop in (*followed.request, *followed.answer)]


def echo_at(node: Node, address: str, port: int) -> None:
    node.popen([sys.executable, "-c", ECHO, address, str(port)], log="echo")
    listens = f"sport = :{port}"
    waiting.until(lambda: "UNCONN" in node.run(["ss", "-Hlun", listens]).stdout, DEADLINE, "it listens")


def test_a_datagram_is_followed_like_a_connection(lab: Lab) -> None:
    lvs = lab.node("lvs")
    lvs.run(["pointsman", "ipvsadm", "-A", "-u", "192.168.7.33:5353", "-s", "rr"])
    lvs.run(["pointsman", "ipvsadm", "-a", "-u", "192.168.7.33:5353", "-r", "192.168.88.20:5353", "-g"])
    echo_at(lab.node("server"), "192.168.7.33", 5353)
    traced = trace(lab, dual_homed.VIP, 5353, protocol="UDP")
    assert traced.outcome == "heard pointsman trace\n"
    assert places(traced.trace) == [
        "client:br_e", "lvs:eth7", "lvs:eth8", "server:eth12", "server:eth14", "client:br_e",
    ]  # fmt: skip
    assert traced.trace.ok
    assert traced.trace.decisions[0].state == "UDP"


def test_a_datagram_for_nobody_is_dropped_and_said(lab: Lab) -> None:
    lab.node("server").run(["sh", "-c", "ip -6 address add fd00:7::99/64 dev eth14 nodad"])
    lab.node("client").run(["sh", "-c", "ip -6 address add fd00:7::2/64 dev br_e nodad"])
    traced = trace(lab, "fd00:7::99", 5354, protocol="UDP")
    assert places(traced.trace)[:2] == ["client:br_e", "server:eth14"]
    assert [(drop.host, drop.reason) for drop in traced.trace.drops] == [("server", "NO_SOCKET")]
    echo_at(lab.node("server"), "fd00:7::99", 5355)
    answered = trace(lab, "fd00:7::99", 5355, protocol="UDP")
    assert answered.outcome == "heard pointsman trace\n"
    assert places(answered.trace) == ["client:br_e", "server:eth14", "server:eth14", "client:br_e"]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark (Debian: tshark) is not installed")
def test_tshark_shows_the_hops_and_the_verdict(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    line = [*POINTSMAN, "trace", "--prefix", lab.prefix, "--pcap", str(file), SERVICE]
    subprocess.run(line, check=True, capture_output=True)
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown[0] == "client:br_e\thop 1: client:br_e sends"
    assert shown[2].startswith("lvs:eth8\thop 3: lvs:eth8 sends; changed: source MAC 00:1a:a0:21:21:65 -> ")
    assert shown[5] == "client:br_e\thop 6: client:br_e receives"
