# SPDX-License-Identifier: Apache-2.0
"""`passive_check` and `reset_on_removal`: clients who wait in vain, and those of a server that is gone."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType

import pytest
from tests.support.control import status_at
from tests.support.until import DEADLINE

from pointsman.lab import traffic, waiting
from pointsman.lab.faults import check_timing
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import ha_pair

pytestmark = [pytest.mark.root, pytest.mark.slow]

DELAY_LOOP = 600
"""Seconds between two checks: what is found earlier was suspected."""
PATIENCE = 60.0
ROUNDS = itertools.count(1)
SERVICE = """
virtual_server {vip} 80 {{
    delay_loop {delay_loop}
    warmup 0
    connect_timeout 3
    retry 1
    delay_before_retry 0.2
    protocol TCP
    lvs_sched rr
    lvs_method DR
    passive_check
    reset_on_removal
    real_server {broken} 80 {{
        DR_CHECK {{
        }}
    }}
    real_server {sound} 80 {{
        DR_CHECK {{
        }}
    }}
}}
"""
BROKEN, SOUND = (ha_pair.WEB_SERVERS[name] for name in ("web-01", "web-02"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=f"pmt-passive-{os.getpid()}") as made:
        yield made


@pytest.fixture
def healthy(lab: Lab) -> Lab:
    """Start the checks anew, independent of earlier tests."""
    text, rounds = ha_pair.configuration("lb-01"), next(ROUNDS)
    service = SERVICE.format(broken=BROKEN, sound=SOUND, vip=ha_pair.VIP, delay_loop=DELAY_LOOP + rounds)
    (lab.directory / "lb-01.conf").write_text(text[: text.index("virtual_server")] + service)
    lab.node("lb-01").run(["pointsman", "reload"])
    log = lab.node("lb-01").log("director")
    probed = f"DR_CHECK on service [{SOUND}]:tcp:80 success."
    waiting.until(
        lambda: log.read_text().count(probed) == rounds and states(lab) == {BROKEN: True, SOUND: True},
        PATIENCE,
        "all checks have passed",
    )
    return lab


def states(lab: Lab) -> dict[str, bool | None]:
    (service,) = status_at(lab.node("lb-01").run_directory / "control.sock")["services"]
    return {server["server"].partition(":")[0]: server["up"] for server in service["servers"]}


def suspicions(lab: Lab) -> int:
    text = lab.node("lb-01").log("director").read_text()
    return text.count(" is suspected: ")


def repeated_syns(lab: Lab) -> int:
    """Return the counts of the clients' own stack."""
    text = lab.node("client").run(["cat", "/proc/net/netstat"]).stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("TcpExt:"))
    return int(values[names.index("TCPSynRetrans")])


class Clients:
    """Fetch the page again and again, four at a time, and wait for up to three seconds each."""

    def __init__(self, lab: Lab) -> None:
        self._node = lab.node("client")
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]
        self.served = 0

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(0.02):
            with contextlib.suppress(OSError):
                traffic.fetch(self._node, ha_pair.VIP, timeout=3.0)
                self.served += 1


def removed_within(lab: Lab) -> float:
    """Seconds until the broken server is out, while clients come."""
    began = time.monotonic()
    with Clients(lab):
        waiting.until(lambda: states(lab)[BROKEN] is False, PATIENCE, "the broken server is out")
    return time.monotonic() - began


def test_a_full_backlog_is_found_long_before_the_next_check(healthy: Lab) -> None:
    before = suspicions(healthy)
    check_timing.crowd(healthy)
    try:
        assert removed_within(healthy) < DELAY_LOOP / 8
    finally:
        check_timing.uncrowd(healthy)
    assert suspicions(healthy) > before
    assert states(healthy)[SOUND]


def test_a_firewall_is_found_and_the_server_comes_back(healthy: Lab) -> None:
    web = healthy.node("web-01")
    web.run(["nft", "add table ip block; add chain ip block in { type filter hook input priority 0; }"])
    web.run(["nft", f"add rule ip block in ip daddr {ha_pair.VIP} tcp dport 80 drop"])
    try:
        assert removed_within(healthy) < DELAY_LOOP / 8
    finally:
        web.run(["nft", "delete table ip block"])


def test_clients_of_a_sound_server_raise_no_suspicion(healthy: Lab) -> None:
    """But when this machine is so busy that their SYNs are repeated all the same."""
    before, repeated = suspicions(healthy), repeated_syns(healthy)
    with Clients(healthy) as clients:
        waiting.until(lambda: clients.served >= 300, PATIENCE, "three hundred clients are served")
    assert suspicions(healthy) - before <= repeated_syns(healthy) - repeated
    assert states(healthy) == {BROKEN: True, SOUND: True}


def test_lost_packets_are_suspicions_but_remove_nobody(healthy: Lab) -> None:
    """A tenth of the SYNs are lost, so some of each client's first packets are repeated."""
    web, before, began = healthy.node("web-01"), suspicions(healthy), time.monotonic()
    web.run(["nft", "add table ip lossy; add chain ip lossy in { type filter hook input priority 0; }"])
    web.run(
        [
            "nft",
            "add rule ip lossy in ip saddr 203.0.113.0/24 tcp flags syn numgen random mod 10 0 drop",
        ]
    )
    try:
        with Clients(healthy) as clients:
            waiting.until(lambda: suspicions(healthy) >= before + 2, PATIENCE, "lost packets are suspicious")
            waiting.until(lambda: clients.served >= 200, PATIENCE, "clients are served")
            assert states(healthy) == {BROKEN: True, SOUND: True}
            raised, took = suspicions(healthy) - before, time.monotonic() - began
    finally:
        web.run(["nft", "delete table ip lossy"])
    print(f"{raised} suspicions in {took:.0f} s, with {clients.served} clients served; nobody was removed")
    assert raised <= 2 * (took / 5 + 1), "each of the two at most once in five seconds"


def test_clients_of_a_removed_server_are_reset_at_their_next_packet(healthy: Lab) -> None:
    client, director = healthy.node("client"), healthy.node("lb-01")
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(4):
            connection = stack.enter_context(client.socket())
            connection.settimeout(DEADLINE)
            connection.connect((ha_pair.VIP, 80))
            connections.append((connection, page(connection)))
        assert {text for _, text in connections} == {"web-01", "web-02"}
        director.run(["pointsman", "down", BROKEN])
        try:
            for connection, text in connections:
                if text == "web-02":
                    assert page(connection) == text
                    continue
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                began = time.monotonic()
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
                assert time.monotonic() - began < 10.0
            status = json.loads(director.run(["pointsman", "status", "--json"]).stdout)
            assert status["exits"]["connection_reset"] >= 2
        finally:
            director.run(["pointsman", "release", BROKEN])


def page(connection: socket.socket) -> str:
    """One page over a connection that stays open."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\n") or b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
        more = connection.recv(4096)
        assert more
        answer += more
    return answer.rpartition(b"\r\n")[2].decode().strip()
