"""Frames of one service, captured at several interfaces at once through packet(7) sockets.

A program in the kernel (classic BPF) passes only TCP (or UDP) from or to the VIP and port, so nothing else
costs more than a few instructions; count and time are bounded. XDP takes frames before packet sockets see
them, so an interface with an XDP program is watched at its link partner, the other end of its cable.
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
"""Frames of one capture; what comes later is left out."""

_ETH_P_ALL = 0x0003
_SO_TIMESTAMPNS = 35
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_ANCILLARY = socket.CMSG_SPACE(16)
_AT_ONCE = 256
_SETTLE_SECONDS = 0.15
"""How long to go on after the connection has ended, for frames that are still on their way."""


class CapturePoint(msgspec.Struct, frozen=True, kw_only=True):
    """An interface to watch: whose it is, and where to tap it."""

    host: str
    interface: str
    role: str
    enter: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """Moves the thread to where the tap is."""
    tap: str = ""
    """The interface to listen on, when it is the link partner of `interface`; what the partner sends, the
    host receives."""
    mac: str = ""
    """MAC address of `interface`, needed for a link partner: it also carries frames for others."""


def service_filter(vip: Address, port: int, protocol: str = TCP) -> bytes:
    """Classic BPF: TCP (or UDP) to VIP:port, in a tunnel too, or from port `port`; no
    later fragments.

    Answers are not held to the VIP: a real server that answers from its own address shall be seen doing so.
    """
    number, program = NUMBERS[protocol], Program()
    if vip.version == 4:
        _over_ipv4(program, number, port, vip)
    else:
        _over_ipv6(program, number, port, vip)
    program.label("take")
    program.take(SNAP_LENGTH)
    # Loads beyond a short frame's end drop it for good.
    program.label("other")
    tunnel_filter.take_requests(program, vip, port, number, SNAP_LENGTH)
    program.take(0)
    return program.assembled()


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
    """Watch all points until `ended()`, or until the sightings are `enough`, or for `seconds`; `ready()` is
    called when all of them are watched.

    Raises OSError when an interface cannot be watched (EPERM without CAP_NET_RAW).
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
            sightings.extend(_drain(key.fileobj, key.data))
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
        )  # only now, so that no frame slips past the filter
    except BaseException:
        tap.close()
        raise
    return tap


def _drain(tap: socket.socket, point: CapturePoint) -> Iterable[Sighting]:
    """What has come in; no more than `_AT_ONCE`, because a flood can be faster than we read."""
    for _ in range(_AT_ONCE):
        try:
            data, ancillary, _, (_, _, kind, _, _) = tap.recvmsg(SNAP_LENGTH, _ANCILLARY)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise
            continue  # told once when an interface is down: there is nothing to see then
        place = _place(point, kind, data)
        if place is None:
            continue
        with contextlib.suppress(WireError):
            yield Sighting(place, _stamp(ancillary), decode(data), data)


def _place(point: CapturePoint, kind: int, data: bytes) -> Place | None:
    """Which way the frame went, seen from the host; None when it was only flooded past it."""
    outgoing = kind == _PACKET_OUTGOING
    if point.tap:
        if outgoing and data[:6].hex(":") != point.mac:
            return None
        return Place(point.host, point.interface, point.role, sends=not outgoing)
    if kind == _PACKET_OTHERHOST:
        return None
    return Place(point.host, point.interface, point.role, sends=outgoing)


def _stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", data)
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()
