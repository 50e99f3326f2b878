# SPDX-License-Identifier: Apache-2.0
"""DR_CHECK: a TCP connection to the VIP, sent to the MAC address of one real server by a packet socket.

The answer comes to an address of this host. A listener holds the port, so that the kernel sends no reset; it
accepts nothing. (On a director that has the VIP, IPv4 drops the answer earlier, as a martian.)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

from pointsman.daemon.checker.probes.http import WHOLE, judge, read_answer
from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, ProbeUnableError, Result
from pointsman.daemon.checker.probes.sockets import receive
from pointsman.health import direct, http, segments
from pointsman.health.segments import Ends
from pointsman.health.tcp_client import Phase, TcpClient
from pointsman.model.address import Address
from pointsman.model.checks import DirectCheck
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.onlink import NotOnLinkError, OnLinkPath, mac_of, path_to
from pointsman.net.socket_filter import attach_filter

_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73
_DISCARD = 9
"""Discard port: a datagram to it makes the kernel resolve the MAC address."""
_NEIGHBOUR_PERIOD = 0.02
"""Seconds between reads of the neighbour table while the kernel resolves."""
_RETRANSMIT = 1.0
"""Seconds before a segment without an answer is sent again."""


async def probe(check: DirectCheck, step: int) -> Result:
    """Connect to the VIP on this real server, and fetch the URL of index `step` if the check has URLs.

    Raises ProbeFailedError and ProbeUnableError.
    """
    latest = asyncio.get_running_loop().time() + check.connect_timeout
    real, virtual = check.connect_address, check.virtual_address
    try:
        with NetlinkSocket() as netlink:
            way = path_to(netlink, real, virtual)
            mac = await _mac(netlink, way, real, latest)
        if mac is None:
            raise ProbeFailedError(direct.unresolved(check))
        return await _talk(check, step, way, mac, latest)
    except NotOnLinkError as error:
        raise ProbeUnableError(f"{error}; direct routing needs it there") from None
    except OSError as error:
        raise ProbeUnableError(f"no handshake with {virtual} at {real}: {error.strerror}") from None


async def _mac(netlink: NetlinkSocket, way: OnLinkPath, address: Address, latest: float) -> bytes | None:
    """Return the MAC address of the real server; None: not resolved by `latest`. Raises OSError."""
    loop = asyncio.get_running_loop()
    mac = mac_of(netlink, way, address)
    if mac is None:
        with socket.socket(_family(address), socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            with contextlib.suppress(OSError):
                asking.sendto(b"", (str(address), _DISCARD))
    while mac is None and loop.time() < latest:
        await asyncio.sleep(_NEIGHBOUR_PERIOD)
        mac = mac_of(netlink, way, address)
    return mac


async def _talk(check: DirectCheck, step: int, way: OnLinkPath, mac: bytes, latest: float) -> Result:
    """Make the connection. Raises ProbeFailedError, ProbeUnableError, and OSError for errors of this host."""
    source = check.bind_address or way.source
    url = check.urls[step] if check.urls else None
    request = http.build_request(url, direct.host_header(check, url), check.version) if url else b""
    with _held_port(source, check.bind_port) as held:
        ends = Ends(
            our_mac=way.mac,
            their_mac=mac,
            source=source,
            source_port=held.getsockname()[1],
            virtual=check.virtual_address,
            virtual_port=check.connect_port,
        )
        with _packet_socket(ends, way) as tap:
            connection = _Connection(tap, TcpClient(ends, random.randrange(1 << 32), request))
            try:
                found = await connection.shake_hands(latest)
                if found is Phase.REFUSED:
                    raise ProbeFailedError(direct.refused(check, mac))
                if found is Phase.OPENING:
                    raise ProbeFailedError(direct.silence(check, mac, source))
                if url is None:
                    return Result(Outcome.PASSED, direct.success(check, mac))
                whole = asyncio.get_running_loop().time() + WHOLE * check.connect_timeout
                where = direct.describe_target(check, mac)
                answer = await read_answer(connection, url, check.connect_timeout, whole, where)
                return await judge(url, answer, f"http://{where}{url.path}")
            except ConnectionResetError:
                raise ProbeFailedError(f"connection reset by {direct.describe_target(check, mac)}") from None
            finally:
                connection.close()


class _Connection:
    """A TcpClient on a packet socket."""

    def __init__(self, tap: socket.socket, client: TcpClient) -> None:
        self._tap = tap
        self._client = client

    async def shake_hands(self, latest: float) -> Phase:
        """Return the phase after the handshake; OPENING: no answer by `latest`. Raises OSError."""
        self._tap.send(self._client.syn())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(latest):
                while self._client.phase is Phase.OPENING:
                    await self._step()
        return self._client.phase

    async def read(self, _most: int) -> bytes:
        """Return the next bytes, or none at the end. Raises ConnectionResetError and OSError."""
        while True:
            if data := self._client.received():
                return data
            if self._client.phase is Phase.RESET:
                raise ConnectionResetError
            if self._client.phase is Phase.ENDED:
                return b""
            await self._step()

    async def _step(self) -> None:
        """Handle the next frame, or retransmit. Raises OSError."""
        try:
            async with asyncio.timeout(_RETRANSMIT):
                frame = await receive(self._tap, segments.LARGEST)
        except TimeoutError:
            answers = self._client.retransmit()
        else:
            answers = self._client.on_frame(frame)
        for answer in answers:
            self._tap.send(answer)

    def close(self) -> None:
        """Close the connection at the real server."""
        with contextlib.suppress(OSError):
            for frame in self._client.close():
                self._tap.send(frame)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _held_port(source: Address, port: int) -> socket.socket:
    """Return a listener, so that the kernel does not answer the VIP with a reset. Raises OSError.

    It silently drops packets with a TTL below 255 (RFC 5082).
    """
    held = socket.socket(_family(source), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source.version == 4:
            held.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, 255)
        else:
            held.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, 255)
        held.bind((str(source), port))
        held.listen(1)
    except OSError:
        held.close()
        raise
    return held


def _packet_socket(ends: Ends, way: OnLinkPath) -> socket.socket:
    """Return a socket that sends frames and receives the answers of the VIP. Raises OSError.

    Needs CAP_NET_RAW.
    """
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        attach_filter(tap, segments.filter_program(ends))
        tap.bind((way.interface, ends.ether_type))
    except OSError:
        tap.close()
        raise
    return tap
