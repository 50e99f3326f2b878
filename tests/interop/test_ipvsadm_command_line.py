# SPDX-License-Identifier: Apache-2.0
"""The real ipvsadm and ours read the same generated command lines: same errors, exit codes and requests.

ipvsadm runs with a small library in front of the kernel (ipvsadm_shim.c), so that no IPVS is needed. Through
that library only IPv4 reaches the "kernel"; IPv6 lines are compared as far as ipvsadm itself reads them.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.until import DEADLINE

from pointsman.cli.ipvsadm import SystemNames
from pointsman.lvs.ipvsadm.arguments import parse
from pointsman.lvs.ipvsadm.commands import Apply, Show
from pointsman.lvs.ipvsadm.errors import CommandError
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
    SetTimeouts,
    ZeroCounters,
)
from pointsman.model.service import Forwarding, RealServer, ServerKey, ServiceKey, VirtualService

SHIM = Path(__file__).with_name("ipvsadm_shim.c")
ONLY_IPV4 = "Operation not supported with specified address family\n"
"""The message of ipvsadm for a correct line, if the old interface does not support IPv6."""

SCATTERED = "is not contiguous"
"""The one difference that these lines can show: netmasks of scattered bits, which only ours refuses."""

SET = {
    AddService: 2,
    EditService: 3,
    DeleteService: 4,
    Flush: 5,
    AddServer: 7,
    DeleteServer: 8,
    EditServer: 9,
}
SET_TIMEOUTS, SET_ZERO = 10, 15
METHODS = {Forwarding.MASQ: 0, Forwarding.LOCAL: 1, Forwarding.TUNNEL: 2, Forwarding.ROUTE: 3}
FLAG_BITS = {
    "sh-fallback": 8,
    "mh-fallback": 8,
    "flag-1": 8,
    "sh-port": 16,
    "mh-port": 16,
    "flag-2": 16,
    "flag-3": 32,
}


class Answer(NamedTuple):
    stderr: str
    exit_code: int
    requests: list[str]


Ipvsadm = Callable[[list[str]], Answer]


@pytest.fixture(scope="module")
def ipvsadm(tmp_path_factory: pytest.TempPathFactory) -> Ipvsadm:
    """The real one, with the library in front of the kernel."""
    program, compiler = shutil.which("ipvsadm"), shutil.which("clang") or shutil.which("clang-14")
    if program is None or compiler is None:
        pytest.skip("needs Debian's ipvsadm and clang")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    build = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl"], capture_output=True, text=True
    )
    if build.returncode:
        pytest.skip(f"the library cannot be built here: {build.stderr.splitlines()[0]}")
    environment = {**os.environ, "LD_PRELOAD": str(library), "LC_ALL": "C"}

    def run(words: list[str]) -> Answer:
        done = subprocess.run(
            [program, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        requests = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
        return Answer(done.stderr, done.returncode, requests)

    if run(["-C"]) != Answer("", 0, ["5 "]):
        pytest.skip(f"this ipvsadm does not take the library: {run(['-C'])}")
    return run


def service_bytes(key: ServiceKey, service: VirtualService | None) -> bytes:
    """struct ip_vs_service_user; a service of which only the key is asked for is otherwise empty."""
    scheduler, flags, timeout, mask = b"", 0, 0, 2**32 - 1
    if service is not None:
        scheduler = service.scheduler.encode()
        flags = sum(FLAG_BITS[flag] for flag in service.flags)
        flags |= 4 if service.one_packet else 0
        if service.persistence is not None:
            flags, timeout = flags | 1, service.persistence
        if service.persistence_prefix is not None:
            mask = 2**32 - 2 ** (32 - service.persistence_prefix)
    address = key.address.packed if key.address is not None else bytes(4)
    return struct.pack(
        "=H2x4s2s2xI16sII4s",
        key.transport or (6 if key.fwmark else 0),
        address,
        struct.pack("!H", key.port),
        key.fwmark,
        scheduler,
        flags,
        timeout,
        struct.pack("!I", mask),
    )


def server_bytes(server: RealServer | ServerKey) -> bytes:
    """struct ip_vs_dest_user."""
    key = server if isinstance(server, ServerKey) else server.key
    full = server if isinstance(server, RealServer) else RealServer(key=key)
    return struct.pack(
        "=4s2s2xIiII",
        key.address.packed,
        struct.pack("!H", key.port),
        METHODS[full.forwarding],
        full.weight,
        full.upper_threshold,
        full.lower_threshold,
    )


def request_of(operation: Operation) -> str:
    """Return the request that ipvsadm would send to the kernel."""
    match operation:
        case AddService(service) | EditService(service):
            number, data = SET[type(operation)], service_bytes(service.key, service)
        case DeleteService(key):
            number, data = SET[DeleteService], service_bytes(key, None)
        case AddServer(key, server) | EditServer(key, server):
            number, data = SET[type(operation)], service_bytes(key, None) + server_bytes(server)
        case DeleteServer(key, server_key):
            number, data = SET[DeleteServer], service_bytes(key, None) + server_bytes(server_key)
        case Flush():
            number, data = SET[Flush], b""
        case SetTimeouts(tcp, tcp_fin, udp):
            number, data = SET_TIMEOUTS, struct.pack("=iii", tcp, tcp_fin, udp)
        case ZeroCounters(key):
            number, data = SET_ZERO, service_bytes(key or ServiceKey(), None)
    return f"{number} {data.hex()}"


# ---- lines

COMMANDS = [
    "-A",
    "-E",
    "-D",
    "-C",
    "-a",
    "-e",
    "-d",
    "-L",
    "-Ln",
    "-l",
    "-S",
    "-Sn",
    "-Z",
    "--add-service",
    "--list",
]
ADDRESSES = ["192.0.2.9", "192.0.2.9:80", "192.0.2.9:0", "192.0.2.9:http", "10.1:443", "localhost:80"]
ODD_ADDRESSES = [
    "", ":80", "192.0.2.9:", "10.0.0.9:65536", "192.0.2.9:-1", "192.0.2.9:+8", "10.0.0.9: 80", "192.0.2.9:8x",
    "256.0.0.1:80", "[fd00::9]:80", "[fd00::9]", "fd00::9", "[fd00::9", "[192.0.2.9]:80", "[192.0.2.9:81]:80",
    "[fd00::9]:http", "[fd00::9]x:80", "0x0a.0.0.1:080", "[]:80", "fd00::9:80:",
]  # fmt: skip
NUMBERS = [
    "0",
    "1",
    "60",
    "65535",
    "2147483647",
    "2147483648",
    "-1",
    "+5",
    " 7",
    "7 ",
    "",
    "abc",
    "0x10",
    "1.5",
]


def with_value(names: list[str], values: list[str]) -> st.SearchStrategy[list[str]]:
    """An option and its value, in any of the ways to write it."""

    def spell(name: str, value: str, attached: int) -> list[str]:
        if attached == 0:
            return [name, value]
        return [f"{name}={value}"] if attached == 1 or name.startswith("--") else [f"{name}{value}"]

    return st.builds(spell, st.sampled_from(names), st.sampled_from(values), st.sampled_from([0, 0, 0, 1, 2]))


def flags(*names: str) -> st.SearchStrategy[list[str]]:
    return st.sampled_from(names).map(lambda name: [name])


SERVICE = with_value(["-t", "-u", "--tcp-service", "--udp-service", "--sctp-service"], ADDRESSES)
SERVER = with_value(["-r", "--real-server"], ADDRESSES)
OPTION = st.one_of(
    SERVICE,
    SERVER,
    with_value(["-t", "-u", "-r"], ODD_ADDRESSES),
    with_value(["-f", "--fwmark-service"], [*NUMBERS, "4294967295", "4294967296"]),
    with_value(["-s", "--scheduler"], ["rr", "sh", "mh", "wlc", "", "nosuch"]),
    flags("-p", "--persistent"),
    with_value(["-p", "--persistent"], [*NUMBERS, "2678400", "2678401"]),
    with_value(["-M", "--netmask"], ["255.255.255.0", "255.255.255.255", "0.0.0.0", "64", "128", "129", "x"]),
    with_value(["-b"], ["sh-port", "mh-fallback", "flag-1,flag-3", "sh-port,sh-fallback", "", "flag-2,x"]),
    flags("-g", "-i", "-m", "--gatewaying", "--ipip", "--masquerading", "-o", "--ops", "-6", "--ipv6"),
    with_value(["-w", "-x", "-y", "--weight", "--u-threshold", "--l-threshold"], NUMBERS),
    with_value(["--tun-type"], ["ipip", "gue", "gre", "x"]),
    with_value(["--tun-port"], NUMBERS),
    flags("--tun-nocsum", "--tun-csum", "--tun-remcsum"),
    flags("-n", "--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info", "--nosort", "--sort"),
    flags("-c", "--timeout", "--daemon", "--exact", "-nc", "-ng", "-og"),
    flags("--", "-", "extra", "-X", "--nonsense", "--numeric=1", "-D", "-S", "-h", "--set"),
    with_value(["--syncid", "--sync-maxlen", "--mcast-port", "--mcast-ttl"], NUMBERS),
)  # fmt: skip
PLAUSIBLE = st.one_of(
    st.tuples(st.sampled_from([["-A"], ["-E"]]), SERVICE, with_value(["-s"], ["rr", "sh"]), OPTION),
    st.tuples(st.sampled_from([["-a"], ["-e"], ["-d"]]), SERVICE, SERVER, OPTION),
    st.tuples(st.sampled_from([["-a"], ["-e"]]), SERVICE, SERVER, flags("-g", "-i", "-m"), OPTION, OPTION),
    st.tuples(st.just(["--set"]), *[st.sampled_from(NUMBERS).map(lambda text: [text])] * 3),
    st.tuples(st.just(["-L"]), OPTION, OPTION),
)
ANYTHING = st.tuples(st.sampled_from(COMMANDS).map(lambda name: [name]), st.lists(OPTION, max_size=5)).map(
    lambda parts: (parts[0], *parts[1])
)
LINES = st.one_of(PLAUSIBLE, ANYTHING).map(lambda parts: [word for part in parts for word in part])


def without_unused_mask(request: str) -> str:
    """A netmask means nothing without persistence; ipvsadm sends it all the same, ours forgets it."""
    number, _, data = request.partition(" ")
    if number not in ("2", "3") or int(data[64:66], 16) & 1:
        return request
    return f"{number} {data[:80]}ffffffff"


def is_ipv6(operation: Operation) -> bool:
    match operation:
        case AddService(service) | EditService(service):
            return service.key.ipv6
        case AddServer(key, server) | EditServer(key, server):
            return key.ipv6 or server.key.address.version == 6
        case DeleteServer(key, server_key):
            return key.ipv6 or server_key.address.version == 6
        case DeleteService(key) | ZeroCounters(key):
            return key is not None and key.ipv6
        case _:
            return False


@settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(words=LINES)
def test_ours_reads_every_line_as_the_real_ipvsadm_does(ipvsadm: Ipvsadm, words: list[str]) -> None:
    real = ipvsadm(words)
    try:
        command = parse(words, SystemNames())
    except CommandError as error:
        if SCATTERED in str(error):
            return
        assert (f"{error}\n", error.exit_code, []) == real
        return
    if isinstance(command, Show):
        assert real.exit_code == 0
    elif not isinstance(command, Apply):
        assert (
            "option" not in real.stderr and "argument" not in real.stderr and real.exit_code not in (2, 255)
        )
    elif is_ipv6(command.operation):
        assert (real.stderr, real.requests) == (ONLY_IPV4, [])
    else:
        assert real.stderr == ""
        assert [request_of(command.operation)] == [without_unused_mask(request) for request in real.requests]
