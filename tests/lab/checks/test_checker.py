# SPDX-License-Identifier: Apache-2.0
"""The checker process against real listeners on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.lab.checker_process import CheckerProcess, check, virtual_server
from tests.support.until import DEADLINE, until

from pointsman.control import messages

HOST = "127.0.0.1"
UNCONFIGURED = 30.0
"""Seconds that would not be enough for a check whose delay_loop of a minute nobody has changed."""


class Listener:
    """A TCP server that accepts, closes and counts; it can be killed and come back on its port."""

    def __init__(self, host: str = HOST) -> None:
        self._host = host
        self.port = 0
        self.accepted = 0
        self.open()

    def open(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.create_server((self._host, self.port), family=family, backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def close(self) -> None:
        # shutdown wakes the thread in accept(); close alone would leave the port open behind it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.close()
                self.accepted += 1


@pytest.fixture
def listener() -> Iterator[Listener]:
    served = Listener()
    yield served
    served.close()


def test_a_killed_listener_is_down_after_its_retries_and_up_at_the_next_check(listener: Listener) -> None:
    with CheckerProcess([virtual_server(check(HOST, listener.port))]) as checker:
        first = checker.verdict()
        assert (first.up, first.reason) == (True, f"connected to {HOST}:{listener.port}")
        assert first.check == check(HOST, listener.port).identity
        listener.close()
        died = time.monotonic()
        down = checker.verdict()
        took = time.monotonic() - died
        assert (down.up, down.server) == (False, first.server)
        assert down.reason == f"3 of 3 failed: connection refused by {HOST}:{listener.port}"
        assert 0.2 - 0.02 <= took < UNCONFIGURED
        listener.open()
        back = time.monotonic()
        assert checker.verdict().up
        assert time.monotonic() - back < UNCONFIGURED
        code, log = checker.stop()
    assert code == 0
    name = f"[{HOST}]:tcp:{listener.port}"
    assert log.splitlines() == [
        f"Activating healthchecker for service {name} for VS [192.0.2.9]:tcp:80",
        f"TCP connection to {name} success.",
        f"TCP_CHECK on service {name} failed after 2 retries. (connection refused by {HOST}:{listener.port})",
        f"TCP connection to {name} success.",
    ]


def test_a_server_that_is_dead_from_the_start_is_down_at_the_first_check(listener: Listener) -> None:
    listener.close()
    started = time.monotonic()
    with CheckerProcess([virtual_server(check(HOST, listener.port))]) as checker:
        down = checker.verdict()
        assert not down.up
        assert down.reason == f"connection refused by {HOST}:{listener.port}"
        assert 1.0 <= time.monotonic() - started < UNCONFIGURED


def test_a_full_backlog_is_a_timeout() -> None:
    """The accept queue of a server that hangs: the kernel drops further SYNs in silence."""
    full = socket.create_server((HOST, 0), backlog=0)
    port = full.getsockname()[1]
    fillers = [socket.socket() for _ in range(8)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((HOST, port))
        with CheckerProcess([virtual_server(check(HOST, port))]) as checker:
            assert checker.verdict().reason == f"connect timeout after 0.3 s from {HOST} to {HOST}:{port}"
    finally:
        for filler in [*fillers, full]:
            filler.close()


def test_an_ipv6_server_is_checked() -> None:
    try:
        listener = Listener("::1")
    except OSError as error:
        pytest.skip(f"no IPv6 on the loopback of this machine: {error}")
    with CheckerProcess([virtual_server(check("::1", listener.port))]) as checker:
        assert checker.verdict().reason == f"connected to [::1]:{listener.port}"
    listener.close()


def test_equal_checks_of_several_services_are_one_probe(listener: Listener) -> None:
    services = [
        virtual_server(check(HOST, listener.port, delay_loop=30.0), vip=f"192.0.2.{number}")
        for number in range(1, 21)
    ]
    with CheckerProcess(services) as checker:
        verdicts = [checker.verdict() for _ in services]
        assert {verdict.service for verdict in verdicts} == {item.service.key for item in services}
        assert all(verdict.up for verdict in verdicts)
        until("one probe has come", lambda: listener.accepted == 1)


def test_a_full_channel_never_loses_the_latest_verdict(listener: Listener) -> None:
    services = [virtual_server(check(HOST, listener.port), vip=f"192.0.2.{number}") for number in range(200)]
    last = Listener()
    services.append(virtual_server(check(HOST, last.port), vip="192.0.2.200"))
    with CheckerProcess(services, send_buffer=4096) as checker:
        until("both are probed", lambda: listener.accepted >= 2 and last.accepted >= 2)
        # The channel holds a few dozen messages and nobody reads: the others wait, and change meanwhile.
        for server in (listener, last):
            server.close()
            checker.wait_for_log(f"[{HOST}]:tcp:{server.port} failed after 2 retries", 30.0)
        latest: dict[object, bool] = {}
        told = 0
        end = time.monotonic() + 30.0
        while time.monotonic() < end and (len(latest) < len(services) or any(latest.values())):
            verdict = checker.verdict()
            latest[verdict.service] = verdict.up
            told += 1
        assert len(latest) == len(services)
        assert not any(latest.values())
        assert told < 2 * len(services), "nothing had to wait: the channel was never full"
        assert checker.stop()[0] == 0


def test_a_director_that_has_restarted_gets_every_verdict_again(listener: Listener) -> None:
    listener_two = Listener()
    listener_two.close()
    service = virtual_server(check(HOST, listener.port), check(HOST, listener_two.port))
    with CheckerProcess([service]) as checker:
        first = {verdict.server: verdict for verdict in (checker.verdict(), checker.verdict())}
        assert sorted(verdict.up for verdict in first.values()) == [False, True]
        assert checker.verdict_or_none(0.5) is None
        checker.channel.send(messages.encode(messages.Resync()))
        again = {verdict.server: verdict for verdict in (checker.verdict(), checker.verdict())}
        assert again == first


def test_an_order_that_is_none_is_logged_and_survived(listener: Listener) -> None:
    with CheckerProcess([virtual_server(check(HOST, listener.port))]) as checker:
        checker.channel.send(b"\xff garbage")
        assert checker.verdict().up
        code, log = checker.stop()
    assert code == 0
    assert "dropped an invalid message of the director" in log


def test_the_end_of_the_channel_ends_the_process(listener: Listener) -> None:
    with CheckerProcess([virtual_server(check(HOST, listener.port))]) as checker:
        checker.verdict()
        checker.channel.close()
        code, log = checker.ended()
    assert code == 1
    assert "the director has closed the channel" in log


def test_without_anything_to_check_it_waits_for_the_end() -> None:
    with CheckerProcess([]) as checker:
        # SIGTERM is only ours once the process has come up; its complaint about this order shows that.
        checker.channel.send(b"nonsense")
        checker.wait_for_log("dropped an invalid message")
        assert checker.stop()[0] == 0


def test_an_error_of_our_own_is_not_held_against_the_real_server(listener: Listener) -> None:
    """192.0.2.1 (RFC 5737) is no address of this machine, so it cannot be bound."""
    foreign = check(HOST, listener.port, bind_address="192.0.2.1")
    with CheckerProcess([virtual_server(foreign)]) as checker:
        checker.wait_for_log("retrying")
        assert checker.verdict_or_none(0.7) is None
        code, log = checker.stop()
    assert code == 0
    assert log.count("this says nothing about the real server") == 1
    assert "Cannot assign requested address" in log


def test_the_bind_address_is_used() -> None:
    server = socket.create_server((HOST, 0))
    server.settimeout(DEADLINE)
    with CheckerProcess([virtual_server(check(HOST, server.getsockname()[1], "127.0.0.77"))]):
        connection, (source, _port) = server.accept()
        connection.close()
    server.close()
    assert source == "127.0.0.77"


def test_the_bind_port_is_used_by_every_probe() -> None:
    """One that has just been closed, too: its last connection waits at one of the two ends."""
    server = socket.create_server((HOST, 0))
    server.settimeout(DEADLINE)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
    probed = msgspec.structs.replace(check(HOST, server.getsockname()[1]), bind_port=port)
    ports = []
    with CheckerProcess([virtual_server(probed)]) as checker:
        for _ in range(3):
            connection, (_, source) = server.accept()
            connection.close()
            ports.append(source)
        assert checker.verdict().up
        code, log = checker.stop()
    server.close()
    assert (ports, code) == ([port] * 3, 0)
    assert "retrying" not in log


def test_each_probe_that_fails_is_logged_when_asked_for(listener: Listener) -> None:
    """Failed probes are logged, too, and before the verdict."""
    quiet = check(HOST, listener.port)
    for told in (False, True):
        listener.close()
        listener.open()
        probed = msgspec.structs.replace(quiet, log_all_failures=told)
        with CheckerProcess([virtual_server(probed)]) as checker:
            assert checker.verdict().up
            listener.close()
            assert not checker.verdict().up
            log = checker.stop()[1]
        refused = log.count(f"connection refused by {HOST}:{listener.port}")
        assert refused >= 3 if told else refused == 1, log


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have something to give up")
def test_it_needs_no_capability(listener: Listener) -> None:
    with CheckerProcess([virtual_server(check(HOST, listener.port))], nobody=True) as checker:
        assert checker.verdict().up
        status = Path(f"/proc/{checker.process.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert checker.stop()[0] == 0
