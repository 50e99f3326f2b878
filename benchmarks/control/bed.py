# SPDX-License-Identifier: Apache-2.0
"""The test bed of `control`: a director here, clients and real servers in a namespace behind eth0.

The kernel's timestamps of frames at the peer's interface tell when an advert was sent, when a check found a
dead real server, and which packet was the last one that was forwarded to it.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import pairwise

from pointsman.lab import namespace
from pointsman.packets.checksum import internet_checksum

PEER = "bench-peer"
VIP = IPv4Address("10.10.0.100")
"""Virtual address of the VRRP instance and of the service whose real server dies."""
PROBED_PORT = 999
_PROBED_BYTES = PROBED_PORT.to_bytes(2, "big")
ADVERT_INTERVAL = 0.1
SERVERS = 4
_ATTEMPTS = 2
"""Probes until a check of the probed real server has failed."""
FIRST_PORT = 1000
_REAL_SERVERS = 200
"""Addresses of real servers, fewer than a neighbour table holds. Ports make the checks differ."""
_FIRST_SERVER = IPv4Address("10.10.1.1")
_PROBED_SERVER = IPv4Address("10.10.1.250")
_ETH_P_IP, _ETH_P_ALL = 0x0800, 0x0003
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_VRRP, _TCP, _SYN, _RST = 112, 6, 0x02, 0x04

LISTENER = f"""
import selectors, socket, sys
ready, probed = selectors.DefaultSelector(), None
def listen(port):
    made = socket.create_server(("0.0.0.0", port), backlog=128)
    made.setblocking(False)
    ready.register(made, selectors.EVENT_READ)
    return made
for port in range({FIRST_PORT}, {FIRST_PORT} + int(sys.argv[1])): listen(port)
ready.register(sys.stdin, selectors.EVENT_READ)
print("on", flush=True)
while True:
    for key, _ in ready.select():
        if key.fileobj is not sys.stdin:
            try: key.fileobj.accept()[0].close()
            except OSError: pass
            continue
        order = sys.stdin.readline()
        if not order: sys.exit()
        if order == "open\\n":
            probed = listen({PROBED_PORT})
        else:
            ready.unregister(probed)
            probed.close()
        print(order, end="", flush=True)
"""


def configuration(services: int, changed: range = range(0)) -> str:
    """Return a file. `changed`: the services whose first real server has another weight."""
    blocks = [
        f"""global_defs {{
    router_id bench
    checker_log_all_failures no
}}
vrrp_instance VI_1 {{
    state MASTER
    interface eth0
    virtual_router_id 51
    version 3
    priority 255
    advert_int {ADVERT_INTERVAL}
    virtual_ipaddress {{
        {VIP}/16 dev eth0
    }}
}}
virtual_server {VIP} {PROBED_PORT} {{
    delay_loop 1
    retry 1
    delay_before_retry 0.2
    warmup 0
    lvs_sched rr
    lvs_method DR
    protocol TCP
    real_server {_PROBED_SERVER} {PROBED_PORT} {{
        TCP_CHECK {{
            connect_timeout 1
        }}
    }}
}}
"""
    ]
    for number in range(services):
        port = FIRST_PORT + number
        servers = "".join(
            f"    real_server {_FIRST_SERVER + (number * SERVERS + index) % _REAL_SERVERS} {port} {{\n"
            f"        weight {2 if number in changed and not index else 1}\n"
            "        TCP_CHECK {\n            connect_timeout 3\n        }\n    }\n"
            for index in range(SERVERS)
        )
        blocks.append(
            f"virtual_server {VIP} {port} {{\n    delay_loop 600\n    retry 1\n"
            f"    lvs_sched wrr\n    lvs_method DR\n    protocol TCP\n{servers}}}\n"
        )
    return "".join(blocks)


def service(number: int) -> str:
    """Return address and port of a service, as ipvsadm -t takes them."""
    return f"{VIP}:{FIRST_PORT + number}"


class Bed:
    """The peer, its listeners, and a capture of its interface."""

    def __init__(self, services: int) -> None:
        _ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", PEER)
        _ip("address", "add", "10.10.0.1/16", "dev", "eth0")
        _ip("link", "set", "eth0", "up")
        with namespace.entered(PEER):
            _ip("link", "set", "lo", "up")
            _ip("address", "add", "10.10.0.2/16", "dev", "eth0")
            _ip("link", "set", "eth0", "up")
            _ip("route", "add", "local", "10.10.1.0/24", "dev", "lo")
            self._macs = [_mac("eth0")]
            needed, most = services + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, most)))
            self._listener = subprocess.Popen(
                [sys.executable, "-c", LISTENER, str(services)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._macs.insert(0, _mac("eth0"))
        assert self._listener.stdout is not None
        self._listener.stdout.readline()
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 25)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind(("eth0", _ETH_P_ALL))
        self._adverts: list[float] = []
        self._forwarded: list[float] = []
        self._refused: list[float] = []
        threading.Thread(target=self._capture, daemon=True).start()

    def probed(self, order: str) -> None:
        """Open or close the listener of the probed real server: "open" or "close"."""
        assert self._listener.stdin is not None and self._listener.stdout is not None
        self._listener.stdin.write(f"{order}\n")
        self._listener.stdin.flush()
        self._listener.stdout.readline()

    def forwards(self) -> bool:
        """Send a SYN to the probed service. Return True if any has been forwarded in the last 50 ms."""
        self._socket.send(self._syn())
        return any(seen > time.time() - 0.05 for seen in self._forwarded[-1:])

    def verdict(self) -> float:
        """Kill the probed real server. Return the seconds from its RST to the last packet to it."""
        latest = time.monotonic() + 60
        while not self.forwards():
            if time.monotonic() > latest:
                raise RuntimeError("the probed real server is not in the table")
            time.sleep(0.005)
        self._refused.clear()
        self.probed("close")
        while len(self._refused) < _ATTEMPTS or self.forwards():
            if time.monotonic() > latest:
                raise RuntimeError("the probed real server is still in the table")
            time.sleep(0.001)
        self.probed("open")
        return max(0.0, self._forwarded[-1] - self._refused[_ATTEMPTS - 1])

    def lateness(self, began: float, end: float) -> list[float]:
        """Return the seconds by which each advert in a span of time was late after the one before."""
        ticks = [seen for seen in self._adverts if began <= seen <= end]
        return [later - earlier - ADVERT_INTERVAL for earlier, later in pairwise(ticks)]

    def _syn(self) -> bytes:
        source, at = IPv4Address("10.10.0.2").packed, int(time.monotonic() * 1000)
        tcp = struct.pack(
            "!HHIIBBHHH", 1024 + at % 60000, PROBED_PORT, at & 0xFFFFFFFF, 0, 0x50, _SYN, 1024, 0, 0
        )
        pseudo = source + VIP.packed + struct.pack("!BBH", 0, _TCP, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", internet_checksum(pseudo + tcp)) + tcp[18:]
        ip = (
            struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), at & 0xFFFF, 0, 64, _TCP, 0)
            + source
            + VIP.packed
        )
        ip = ip[:10] + struct.pack("!H", internet_checksum(ip)) + ip[12:]
        return self._macs[0] + self._macs[1] + struct.pack("!H", _ETH_P_IP) + ip + tcp

    def _capture(self) -> None:
        while True:
            try:
                frame, extra, _, sender = self._socket.recvmsg(128, 64)
            except OSError:
                return
            if sender[1] != _ETH_P_IP or not extra:
                continue
            seconds, nanoseconds = struct.unpack("@ll", extra[0][2])
            seen, protocol, outgoing = (
                seconds + nanoseconds / 1e9,
                frame[23],
                sender[2] == socket.PACKET_OUTGOING,
            )
            if protocol == _VRRP and not outgoing:
                self._adverts.append(seen)
            elif (
                protocol == _TCP
                and not outgoing
                and frame[30:34] == VIP.packed
                and frame[36:38] == _PROBED_BYTES
            ):
                self._forwarded.append(seen)
            elif protocol == _TCP and frame[34:36] == _PROBED_BYTES and frame[47] & _RST:
                self._refused.append(seen)

    def close(self) -> None:
        """Remove everything."""
        self._socket.close()
        self._listener.kill()
        self._listener.wait()
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", "eth0")
        namespace.delete(PEER)


@contextlib.contextmanager
def bed(services: int) -> Iterator[Bed]:
    """Make the bed, and remove it in any case."""
    namespace.create(PEER)
    made: Bed | None = None
    try:
        made = Bed(services)
        made.probed("open")
        yield made
    finally:
        if made is None:
            namespace.delete(PEER)
        else:
            made.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _mac(name: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as found:
        found.bind((name, 0))
        return bytes(found.getsockname()[4])
