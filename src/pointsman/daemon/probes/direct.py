"""DR_CHECK: a TCP handshake with the VIP, sent to one real server's MAC address past our own IP stack.

The answer comes to our own address. On a director that bears the VIP the kernel drops it as a martian after
we have seen it; on one that does not, it answers with a reset, as we do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import random
import socket
import struct
from ipaddress import IPv4Address

from pointsman.daemon.probes.probe import Outcome, ProbeFailedError, ProbeUnableError, Result
from pointsman.health import direct
from pointsman.model.checks import DirectCheck
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.onlink import NotOnLinkError, OnLink, mac_of, way_to

_SO_ATTACH_FILTER = 26
_DISCARD = 9
"""A datagram to this port makes the kernel ask for the MAC address."""
_LOOK = 0.02
"""Seconds between looks at the neighbour table while it asks."""
_AGAIN = 1.0
"""Seconds before the SYN is sent again."""
_LARGEST = 256


async def probe(check: DirectCheck) -> Result:
    """Shake hands with the VIP on this real server. Raises ProbeFailedError and ProbeUnableError."""
    latest = asyncio.get_running_loop().time() + check.connect_timeout
    real, virtual = IPv4Address(str(check.connect_address)), IPv4Address(str(check.virtual_address))
    try:
        with NetlinkSocket() as netlink:
            way = way_to(netlink, real)
            mac = await _mac(netlink, way, real, latest)
        if mac is None:
            raise ProbeFailedError(f"no answer to ARP for {real} within {check.connect_timeout:.1f} s")
        ends = direct.Ends(
            our_mac=way.mac,
            their_mac=mac,
            source=IPv4Address(str(check.bind_address)) if check.bind_address else way.source,
            source_port=check.bind_port or random.randrange(32768, 61000),
            virtual=virtual,
            virtual_port=check.connect_port,
        )
        found = await _handshake(ends, way, latest)
    except NotOnLinkError as error:
        raise ProbeUnableError(f"{error}; direct routing needs it there") from None
    except OSError as error:
        raise ProbeUnableError(f"no handshake with {virtual} at {real}: {error.strerror}") from None
    if found is direct.Reply.ACCEPTED:
        return Result(Outcome.PASSED, direct.success(check, mac))
    if found is direct.Reply.REFUSED:
        raise ProbeFailedError(direct.refused(check, mac))
    raise ProbeFailedError(direct.silence(check, mac, ends.source))


async def _mac(netlink: NetlinkSocket, way: OnLink, address: IPv4Address, latest: float) -> bytes | None:
    """The real server's MAC address; the kernel is made to ask for one that it does not know."""
    loop = asyncio.get_running_loop()
    mac = mac_of(netlink, way, address)
    if mac is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            with contextlib.suppress(OSError):
                asking.sendto(b"", (str(address), _DISCARD))
    while mac is None and loop.time() < latest:
        await asyncio.sleep(_LOOK)
        mac = mac_of(netlink, way, address)
    return mac


async def _handshake(ends: direct.Ends, way: OnLink, latest: float) -> direct.Reply:
    """ACCEPTED, REFUSED, or NONE when nothing has answered in time. Raises OSError."""
    loop = asyncio.get_running_loop()
    sequence = random.randrange(1 << 32)
    with _packet_socket(ends, way) as tap:
        while loop.time() < latest:
            tap.send(direct.syn(ends, sequence))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(latest, loop.time() + _AGAIN)):
                    found = direct.Reply.NONE
                    while found not in (direct.Reply.ACCEPTED, direct.Reply.REFUSED):
                        found = direct.reply(ends, sequence, await loop.sock_recv(tap, _LARGEST))
                    if found is direct.Reply.ACCEPTED:
                        tap.send(direct.reset(ends, sequence))
                    return found
    return direct.Reply.NONE


def _packet_socket(ends: direct.Ends, way: OnLink) -> socket.socket:
    """Sends frames by the interface and hears what the VIP answers; needs CAP_NET_RAW. Raises OSError."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        program = direct.filter_program(ends)
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
        attach = struct.pack("@HP", len(program), ctypes.addressof(code))
        tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attach)
        tap.bind((way.interface, direct.ETH_P_IP))
    except OSError:
        tap.close()
        raise
    return tap
