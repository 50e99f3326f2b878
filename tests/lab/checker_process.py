# SPDX-License-Identifier: Apache-2.0
"""A real checker process at the end of a real channel, for tests."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Any

import msgspec
from tests.support.until import DEADLINE

from pointsman.control import messages
from pointsman.model.checks import NetworkCheck, TcpCheck
from pointsman.model.health import AnyCheck, PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

BODY = """
import logging, pickle, socket, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from pointsman.daemon.checker import process as checker
from pointsman.daemon.checker.privileges import drop_privileges
from pointsman.daemon.runtime import config_history
from pointsman.daemon.runtime import privileges
from pointsman.daemon.scripts import process
from pointsman.model.config import Config
virtual_servers = pickle.load(sys.stdin.buffer)
if sys.argv[2] == "nobody":
    drop_privileges(virtual_servers)
director = socket.socket(fileno=int(sys.argv[1]))
if sys.argv[3] != "programs":
    sys.exit(checker.run(virtual_servers, director))
vrrp, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
config = Config(router_id="lb", virtual_servers=virtual_servers)
sys.exit(process.run(config_history.for_scripts(config), vrrp, director))
"""

QUICK = {"delay_loop": 0.2, "delay_before_retry": 0.1, "retry": 2, "connect_timeout": 0.3, "warmup": 0.0}
"""Timing of a check that a test can wait for; the first probe still comes after keepalived's second."""


def check(address: str, port: int, bind_address: str | None = None, **changes: float) -> TcpCheck:
    """A quick TCP check."""
    return TcpCheck(
        connect_address=ip_address(address),
        connect_port=port,
        bind_address=ip_address(bind_address) if bind_address else None,
        **{**QUICK, **changes},  # type: ignore[arg-type]
    )


def virtual_server(*checks: AnyCheck, vip: str = "192.0.2.9") -> VirtualServer:
    """A service with one real server a check, of the check's address and port."""
    members = []
    for item in checks:
        assert isinstance(item, NetworkCheck)
        key = ServerKey(item.connect_address, item.connect_port)
        members.append(PoolMember(server=RealServer(key=key), checks=(item,)))
    service = VirtualService(key=ServiceKey.of(Transport.TCP, ip_address(vip), 80))
    return VirtualServer(service=service, members=tuple(members))


class CheckerProcess:
    """Runs `daemon.checker.run` in a process of its own; leaving the context kills it."""

    def __init__(
        self,
        virtual_servers: Sequence[VirtualServer],
        *,
        namespace: str | None = None,
        nobody: bool = False,
        send_buffer: int | None = None,
        programs: bool = False,
    ) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if send_buffer is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        user = "nobody" if nobody else "root"
        self.process = subprocess.Popen(
            [*enter, sys.executable, "-c", BODY, str(theirs.fileno()), user, "programs" if programs else ""],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._log = b""
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps(tuple(virtual_servers)))
        self.process.stdin.close()

    def __enter__(self) -> CheckerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.channel.close()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def verdict(self, within: float = 30.0) -> messages.CheckResult:
        """The next verdict; fails when none comes."""
        found = self.verdict_or_none(within)
        assert found is not None, f"no verdict within {within} s"
        return found

    def verdict_or_none(self, within: float) -> messages.CheckResult | None:
        """The next verdict, or None after so many seconds."""
        end = time.monotonic() + within
        while select.select([self.channel], [], [], max(0.0, end - time.monotonic()))[0]:
            report = messages.scripts_report_decoder.decode(self.channel.recv(65536))
            if isinstance(report, messages.CheckResult):
                return report
            assert isinstance(report, messages.ProgramProblems)
        return None

    def wait_for_log(self, text: str, within: float = 30.0) -> None:
        """Wait until the log holds a text; fails when it does not come."""
        assert self.process.stderr is not None
        end = time.monotonic() + within
        while text not in self._log.decode():
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in the log within {within} s: {self._log.decode()}"
            if select.select([self.process.stderr], [], [], left)[0]:
                self._log += os.read(self.process.stderr.fileno(), 65536)

    def stop(self) -> tuple[int, str]:
        """SIGTERM; exit code and log."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; exit code and log."""
        code = self.process.wait(DEADLINE)
        assert self.process.stderr is not None
        return code, (self._log + self.process.stderr.read()).decode()


def steady(kind: type[NetworkCheck], port: int, address: str = "127.0.0.1", **changes: Any) -> Any:
    fields = {**QUICK, "retry": 1, "connect_timeout": 1.0, **changes}
    return kind(connect_address=ip_address(address), connect_port=port, **fields)


def verdicts(*checks: AnyCheck, namespace: str | None = None) -> list[tuple[bool, str]]:
    """Return the first result of each check, in the order of the arguments."""
    service = virtual_server(*checks)
    members = tuple(
        msgspec.structs.replace(
            member,
            server=msgspec.structs.replace(
                member.server, key=msgspec.structs.replace(member.server.key, port=number)
            ),
        )
        for number, member in enumerate(service.members)
    )
    numbered = [msgspec.structs.replace(service, members=members)]
    with CheckerProcess(numbered, nobody=True, namespace=namespace) as checker:
        found = {verdict.server.port: verdict for verdict in (checker.verdict() for _ in checks)}
        assert checker.stop()[0] == 0
    return [(found[number].up, found[number].reason) for number in range(len(checks))]


def numbered_service(*checks: AnyCheck) -> VirtualServer:
    """A service with one real server a check."""
    members = tuple(
        PoolMember(server=RealServer(key=ServerKey(ip_address("192.0.2.20"), number)), checks=(check,))
        for number, check in enumerate(checks, 1)
    )
    key = ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)
    return VirtualServer(service=VirtualService(key=key), members=members)
