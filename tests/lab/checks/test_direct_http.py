# SPDX-License-Identifier: Apache-2.0
"""HTTP over DR_CHECK: what it sees of a server behind the VIP, and that it leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from tests.lab.cable import BOTH, IPV4, IPV6, Cable, Way
from tests.lab.checker_process import QUICK, CheckerProcess
from tests.support.until import until

from pointsman.control import messages
from pointsman.model.checks import DirectCheck, Pattern, Url
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]
SERVER = """
import itertools, socket, struct, threading, time

def serve(peer):
    request = b""
    while b"\\r\\n\\r\\n" not in request:
        request += peer.recv(65536)
    path = request.split()[1].decode()
    host = [line for line in request.split(b"\\r\\n") if line.startswith(b"Host: ")][0]
    good = b"HTTP/1.0 200 OK\\r\\n\\r\\n"
    try:
        if path == "/large":
            peer.sendall(good + b"x" * 300_000)
        elif path == "/host":
            peer.sendall(good + host)
        elif path == "/down":
            peer.sendall(b"HTTP/1.0 503 no\\r\\nContent-Length: 0\\r\\n\\r\\n")
        elif path == "/hang":
            time.sleep(3600)
        elif path == "/drip":
            for _ in itertools.count():
                peer.sendall(good[:1])
                good = good[1:] or b"."
                time.sleep(0.1)
        elif path == "/endless":
            peer.sendall(good)
            while True:
                peer.sendall(bytes(65536))
        elif path == "/garbage":
            peer.sendall(b"SSH-2.0-no\\r\\n")
        elif path == "/cut":
            peer.sendall(good.replace(b"OK\\r\\n", b"OK\\r\\nContent-Length: 100\\r\\n") + b"short")
        elif path == "/reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    peer.close()

listener = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
print("on", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
LARGE = hashlib.md5(b"x" * 300_000, usedforsecurity=False).hexdigest()


def expected(way: Way) -> tuple[tuple[Url, str], ...]:
    """URLs, and a piece of the reason; empty: it passes."""
    vip, at = way.at(way.vip, 80), f"{way.at(way.vip, 80)} at {way.real} ("
    host = Pattern(text=f"^Host: {re.escape(vip)}$")
    return (
        (Url(path="/large", digest=LARGE), ""),
        (Url(path="/large", digest="0" * 32), f"MD5 digest {LARGE} instead of {'0' * 32} from http://{vip}"),
        (Url(path="/host", pattern=host), ""),
        (
            Url(path="/host", virtualhost="www.example.org", pattern=Pattern(text="^Host: www.example.org$")),
            "",
        ),
        (Url(path="/host", pattern=Pattern(text="no such")), "regex 'no such' does not match"),
        (Url(path="/down"), f"status 503 instead of 200-299 from http://{at}"),
        (Url(path="/down", status=((503, 503),)), ""),
        (Url(path="/hang"), f"read timeout after 1.0 s from {at}"),
        (Url(path="/drip"), f"answer not complete after 4.0 s from {vip}"),
        (Url(path="/garbage"), "answers with no HTTP: 'SSH-2.0-no"),
        (Url(path="/cut"), "the answer was cut off after 5 bytes"),
        (Url(path="/reset"), f"connection reset by {at}"),
    )


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable(SERVER)
    for way in (IPV4, IPV6):
        made.bear(made.real, way, "lo")
    yield made
    made.close()


def service(way: Way, *urls: tuple[Url, ...], **times: float) -> VirtualServer:
    """One real server with a check for each of these."""
    fields = {**QUICK, "retry": 0, "connect_timeout": 1.0, **times}
    checks = tuple(
        DirectCheck(
            virtual_address=ip_address(way.vip),
            connect_address=ip_address(way.real),
            connect_port=80,
            urls=each,
            **fields,  # type: ignore[arg-type]
        )
        for each in urls
    )
    key = ServiceKey.of(Transport.TCP, ip_address(way.vip), 80)
    member = PoolMember(server=RealServer(key=ServerKey(ip_address(way.real), 80)), checks=checks)
    return VirtualServer(service=VirtualService(key=key), members=(member,))


def resets_sent(namespace: str) -> int:
    """Return the number of resets that the namespace's own stack has sent."""
    text = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", "cat", "/proc/net/snmp"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("OutRsts")])


def connections(namespace: str) -> str:
    """Return the connections of a namespace's stack, in any state."""
    command = ["nsenter", f"--net=/run/netns/{namespace}", "ss", "-Htan", "exclude", "listening"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@BOTH
@pytest.mark.parametrize("bears_the_vip", [True, False], ids=["master", "backup"])
def test_it_sees_what_a_client_would_get_and_leaves_nothing_behind(
    cable: Cable, way: Way, bears_the_vip: bool
) -> None:
    wanted = expected(way)
    if bears_the_vip:
        cable.bear(cable.director, way, "eth0")
    once = service(way, *((url,) for url, _ in wanted), delay_loop=60.0)
    found: dict[str, messages.CheckResult] = {}
    with CheckerProcess([once], namespace=cable.director, nobody=True) as checker:
        while len(found) < len(wanted):
            verdict = checker.verdict(30.0)
            found[verdict.check] = verdict
        until("no connection is left", lambda: not connections(cable.real))
        assert checker.stop()[0] == 0
    for check, (url, reason) in zip(once.members[0].checks, wanted, strict=True):
        verdict = found[check.identity]
        assert verdict.up is (not reason), (url, verdict.reason)
        assert (reason or "status ") in verdict.reason
    assert (resets_sent(cable.director), connections(cable.director)) == (0, "")


def test_an_endless_body_ends_at_a_bound(cable: Cable) -> None:
    """The limit of time or of size applies, whichever this machine reaches first."""
    with CheckerProcess(
        [service(IPV4, (Url(path="/endless"),))], namespace=cable.director, nobody=True
    ) as checker:
        verdict = checker.verdict(60.0)
        until("no connection is left", lambda: not connections(cable.real))
    assert not verdict.up
    assert "a body of more than 64 MiB" in verdict.reason or "answer not complete" in verdict.reason


def test_all_urls_have_to_pass(cable: Cable) -> None:
    """Results are as with HTTP_GET; a check that is stopped halfway resets its connection, too."""
    both = (Url(path="/host"), Url(path="/down"))
    with CheckerProcess([service(IPV4, both)], namespace=cable.director, nobody=True) as checker:
        verdict = checker.verdict(30.0)
        assert (verdict.up, "status 503" in verdict.reason) == (False, True)
    with CheckerProcess(
        [service(IPV4, (Url(path="/hang"),), connect_timeout=60.0)], namespace=cable.director, nobody=True
    ) as checker:
        until("a connection is there", lambda: "ESTAB" in connections(cable.real))
        assert checker.stop()[0] == 0
    until("no connection is left", lambda: not connections(cable.real))
