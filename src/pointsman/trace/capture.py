# SPDX-License-Identifier: Apache-2.0
"""Capture the frames of one service on several interfaces at once through packet(7) sockets.

A classic BPF filter in the kernel passes only TCP (or UDP) from or to the VIP and port, so other traffic
costs only a few instructions. Count and time are bounded. XDP takes frames before packet sockets see them,
so an interface with an XDP program is captured at its link partner, the other end of its cable.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from pointsman.model.address import Address
from pointsman.net.socket_filter import attach_filter
from pointsman.packets import ethernet, ip, tcp
from pointsman.packets.classic_bpf import Program
from pointsman.packets.errors import WireError
from pointsman.trace import tunnel as tunnel_filter
from pointsman.trace.connection import Place, Sighting
from pointsman.trace.frames import NUMBERS, SNAP_LENGTH, TCP, decode

MAX_FRAMES = 2000
"""Most frames of one capture. Later ones are not captured."""

_ETH_P_ALL = 0x0003
_SO_TIMESTAMPNS = 35
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_ANCILLARY = socket.CMSG_SPACE(16)
_AT_ONCE = 256
_SETTLE_SECONDS = 0.15
"""Seconds to continue after the connection has ended, for frames that are still in transit."""


class CapturePoint(msgspec.Struct, frozen=True, kw_only=True):
    """An interface to capture: its host, and the interface to listen on."""

    host: str
    interface: str
    role: str
    enter: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """Context manager that moves the thread to the namespace of the tap."""
    tap: str = ""
    """Interface to listen on, if it is the link partner of `interface`. The host receives what the partner
    sends."""
    mac: str = ""
    """MAC address of `interface`. Needed for a link partner, which also carries frames for other hosts."""


def service_filter(vip: Address, port: int, protocol: str = TCP) -> bytes:
    """Return a classic BPF filter (an array of `struct sock_filter`) for the frames of a service.

    It accepts TCP (or UDP) to VIP:port, also in a tunnel, and from source port `port`, but no later
    fragments. Answers need not have the VIP as source, so that an answer from a real server's own address
    is visible.
    """
    number, program = NUMBERS[protocol], Program()
    if vip.version == 4:
        _over_ipv4(program, number, port, vip)
    else:
        _over_ipv6(program, number, port, vip)
    program.label("take")
    program.accept(SNAP_LENGTH)
    # Loads beyond a short frame's end drop it for good.
    program.label("other")
    tunnel_filter.take_requests(program, vip, port, number, SNAP_LENGTH)
    program.accept(0)
    return program.assemble()


def _over_ipv4(program: Program, number: int, port: int, vip: Address) -> None:
    start = ethernet.HEADER_SIZE
    program.load_half(ethernet.TYPE_AT)
    program.unless_equal(ethernet.ETH_P_IP, "other")
    program.load_byte(start + ip.protocol_at(ethernet.ETH_P_IP))
    program.unless_equal(number, "other")
    program.load_half(start + ip.IPV4_FRAGMENT_AT)
    program.if_any_bit(ip.FRAGMENT_OFFSET, "other")
    program.load_ipv4_size(start)
    program.load_half_indexed(start + tcp.SOURCE_PORT_AT)
    program.if_equal(port, "take")
    program.load_half_indexed(start + tcp.DESTINATION_PORT_AT)
    program.unless_equal(port, "other")
    program.unless_words(start + ip.destination_at(ethernet.ETH_P_IP), vip.packed, "other")


def _over_ipv6(program: Program, number: int, port: int, vip: Address) -> None:
    start = ethernet.HEADER_SIZE
    program.load_half(ethernet.TYPE_AT)
    program.unless_equal(ethernet.ETH_P_IPV6, "other")
    program.load_byte(start + ip.protocol_at(ethernet.ETH_P_IPV6))
    program.unless_equal(number, "other")
    program.load_half(start + ip.IPV6_SIZE + tcp.SOURCE_PORT_AT)
    program.if_equal(port, "take")
    program.load_half(start + ip.IPV6_SIZE + tcp.DESTINATION_PORT_AT)
    program.unless_equal(port, "other")
    program.unless_words(start + ip.destination_at(ethernet.ETH_P_IPV6), vip.packed, "other")


def capture(
    points: Sequence[CapturePoint],
    vip: Address,
    port: int,
    ready: Callable[[], None],
    ended: Callable[[], bool],
    seconds: float,
    enough: Callable[[list[Sighting]], bool] = lambda _sightings: False,
    protocol: str = TCP,
) -> list[Sighting]:
    """Capture on all points until `ended()`, or until the sightings are `enough`, or for `seconds`.

    `ready()` is called when all points are open. Raises OSError if an interface cannot be captured (EPERM
    without CAP_NET_RAW).
    """
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for point in points:
            tap = stack.enter_context(_open(point, service_filter(vip, port, protocol)))
            selector.register(tap, selectors.EVENT_READ, point)
        ready()
        return _gather(selector, ended, seconds, enough)


def _gather(
    selector: selectors.BaseSelector,
    ended: Callable[[], bool],
    seconds: float,
    enough: Callable[[list[Sighting]], bool],
) -> list[Sighting]:
    sightings: list[Sighting] = []
    deadline = time.monotonic() + seconds
    settling = False
    while (now := time.monotonic()) < deadline and len(sightings) < MAX_FRAMES:
        if not settling and (enough(sightings) or ended()):
            settling, deadline = True, min(deadline, now + _SETTLE_SECONDS)
        for key, _ in selector.select(timeout=0.02):
            assert isinstance(key.fileobj, socket.socket)
            sightings.extend(_receive(key.fileobj, key.data))
    return sightings[:MAX_FRAMES]


def _open(point: CapturePoint, program: bytes) -> socket.socket:
    with point.enter():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        attach_filter(tap, program)
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        tap.setblocking(False)
        tap.bind(
            (point.tap or point.interface, _ETH_P_ALL)
        )  # after the filter, so that all frames are filtered
    except BaseException:
        tap.close()
        raise
    return tap


def _receive(tap: socket.socket, point: CapturePoint) -> Iterable[Sighting]:
    """Yield the received frames, at most `_AT_ONCE`: a flood can arrive faster than this process reads."""
    for _ in range(_AT_ONCE):
        try:
            data, ancillary, _, (_, _, kind, _, _) = tap.recvmsg(SNAP_LENGTH, _ANCILLARY)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            continue  # reported once when an interface is down
        place = _find_place(point, kind, data)
        if place is None:
            continue
        with contextlib.suppress(WireError):
            yield Sighting(place, _timestamp(ancillary), decode(data), data)


def _find_place(point: CapturePoint, kind: int, data: bytes) -> Place | None:
    """Return host, interface and direction of the frame. None: it was only flooded to this interface."""
    outgoing = kind == _PACKET_OUTGOING
    if point.tap:
        if outgoing and data[:6].hex(":") != point.mac:
            return None
        return Place(point.host, point.interface, point.role, sends=not outgoing)
    if kind == _PACKET_OTHERHOST:
        return None
    return Place(point.host, point.interface, point.role, sends=outgoing)


def _timestamp(ancillary: Iterable[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", data)
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()
