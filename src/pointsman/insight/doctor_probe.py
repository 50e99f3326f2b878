"""Asking the wire: who has an address, what a real server says to a SYN for the VIP, how long packets may be,
who sends VRRP adverts. Each probe is a few frames, bounded in time, and changes nobody's tables.

All of them raise OSError (EPERM without CAP_NET_RAW).
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import random
import selectors
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from pointsman.insight.doctor_facts import Answer, Answers, Echo, Response, SeenAdvert
from pointsman.model.address import Address
from pointsman.net.ndisc import advertised, neighbour_solicitation
from pointsman.vrrp import wire

_ETH_P_ARP, _ETH_P_IP, _ETH_P_IPV6 = 0x0806, 0x0800, 0x86DD
_LINK_SCOPE = 0x20
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER = 26
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_BROADCAST = b"\xff" * 6
_ARP_REQUEST, _ARP_REPLY = 1, 2
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_SMALL = 64
REPEAT = 0.25
"""Seconds after which an unanswered question is asked again."""
PATIENCE = 2.0
"""Seconds until silence counts as an answer, where one is expected."""
SHORT = 0.6
"""Seconds to listen where silence is what is hoped for."""


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """A SYN for VIP:port to be sent to a real server's MAC address."""

    service: str
    vip: ipaddress.IPv4Address
    port: int
    server: Address
    mac: str
    interface: str
    own_mac: str
    own_address: ipaddress.IPv4Address
    """Where the answer is to go: an address of this host that is no VIP."""


def who_has(asked: Iterable[tuple[str, Address]], expected: Collection[Address]) -> Answers:
    """Ask by these interfaces who has the addresses; collect whoever answers.

    IPv4: ARP probes (RFC 5227 section 2.1.1). IPv6: neighbour solicitations from the interface's own
    link-local address, where it has one. Waits for a moment, and longer while one of the `expected` has not
    answered.
    """
    questions = list(dict.fromkeys(asked))
    own = _link_locals()
    over_ipv6: list[tuple[str, Address]] = [
        (name, address) for name, address in questions if address.version == 6 and name in own
    ]
    over_ipv4: list[tuple[str, Address]] = [
        (name, address) for name, address in questions if address.version == 4
    ]

    def probe(mac: bytes, address: Address) -> bytes:
        frame = (_BROADCAST, mac, _ETH_P_ARP, 1, _ETH_P_IP, 6, 4, _ARP_REQUEST)
        return _ARP.pack(*frame, mac, bytes(4), bytes(6), address.packed)

    found = _ask_around(over_ipv4, expected, _ETH_P_ARP, b"", lambda _name: probe, _replied)
    found += _ask_around(
        over_ipv6,
        expected,
        _ETH_P_IPV6,
        _OF_ADVERTISEMENTS,
        lambda name: _solicitation(own[name]),
        advertised,
    )
    return Answers(asked=frozenset(over_ipv4 + over_ipv6), answers=tuple(sorted(found, key=str)))


def _ask_around(
    questions: list[tuple[str, Address]],
    expected: Collection[Address],
    protocol: int,
    program: bytes,
    question: Callable[[str], Callable[[bytes, Address], bytes]],
    answer: Callable[[bytes], tuple[Address, str] | None],
) -> list[Answer]:
    """Send the questions (made of the interface's MAC and the address) until there is nothing to wait for."""
    found: set[Answer] = set()
    if not questions:
        return []

    def missing() -> set[tuple[str, Address]]:
        known = {(item.interface, item.address) for item in found}
        return {question for question in questions if question not in known}

    with _taps({name for name, _ in questions}, protocol, program) as taps:

        def ask() -> None:
            for name, address in missing():
                taps[name].send(question(name)(taps[name].getsockname()[4], address))

        def take(name: str, data: bytes) -> None:
            said = answer(data)
            if said is not None and (name, said[0]) in questions:
                found.add(Answer(interface=name, address=said[0], mac=said[1]))

        begun = time.monotonic()
        _converse(
            taps,
            ask,
            take,
            done=lambda: (
                time.monotonic() - begun > SHORT and not any(address in expected for _, address in missing())
            ),
        )
    return list(found)


def _replied(data: bytes) -> tuple[Address, str] | None:
    if len(data) < _ARP.size:
        return None
    *_, operation, mac, sender, _, _ = _ARP.unpack_from(data)
    return (ipaddress.IPv4Address(sender), mac.hex(":")) if operation == _ARP_REPLY else None


def _solicitation(source: ipaddress.IPv6Address) -> Callable[[bytes, Address], bytes]:
    def frame(mac: bytes, address: Address) -> bytes:
        assert isinstance(address, ipaddress.IPv6Address)
        return neighbour_solicitation(mac, source, address)

    return frame


def _link_locals() -> dict[str, ipaddress.IPv6Address]:
    """The link-local address of each interface that has one; proc(5), /proc/net/if_inet6."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if int(scope, 16) == _LINK_SCOPE:
                found[name] = ipaddress.IPv6Address(bytes.fromhex(digits))
    return found


def knock(knocks: Collection[Knock], interfaces: Collection[str]) -> dict[tuple[str, Address], Response]:
    """Send each SYN, and see what comes back by any of the interfaces; what was opened is reset again."""
    if not knocks:
        return {}
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as reserved:
        reserved.bind(("", 0))  # keeps the port ours; never connected
        port = int(reserved.getsockname()[1])
        first = random.getrandbits(31)
        pending = {first + 1000 * number: item for number, item in enumerate(knocks)}
        responses: dict[tuple[str, Address], Response] = {}
        with _taps(interfaces, _ETH_P_IP, _to_port(port)) as taps:

            def ask() -> None:
                for sequence, item in pending.items():
                    taps[item.interface].send(segment(item, port, sequence, _SYN))

            def take(_name: str, data: bytes) -> None:
                header = 14 + (data[14] & 0xF) * 4
                if len(data) < header + 14:
                    return
                acknowledged, _, flags = struct.unpack_from("!IBB", data, header + 8)
                item = pending.get(acknowledged - 1)
                if item is None or data[26:30] != item.vip.packed:
                    return
                del pending[acknowledged - 1]
                refused = bool(flags & _RST)
                responses[item.service, item.server] = Response.REFUSED if refused else Response.ACCEPTED
                if not refused:
                    taps[item.interface].send(segment(item, port, acknowledged, _RST))

            _converse(taps, ask, take, done=lambda: not pending)
    return responses | {(item.service, item.server): Response.SILENT for item in pending.values()}


def segment(item: Knock, port: int, sequence: int, flags: int) -> bytes:
    """A TCP segment without payload from `port`, in IPv4 and Ethernet, addressed as a director would."""
    source, destination = item.own_address.packed, item.vip.packed
    bare = _TCP.pack(port, item.port, sequence, 0, 5 << 4, flags, 64240, 0, 0)
    checksum = wire.internet_checksum(source + destination + struct.pack("!HH", 6, len(bare)) + bare)
    tcp = bare[:16] + struct.pack("!H", checksum) + bare[18:]
    ip = _IPV4.pack(0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0, source, destination)
    ip = ip[:10] + struct.pack("!H", wire.internet_checksum(ip)) + ip[12:]
    macs = bytes.fromhex(item.mac.replace(":", "")), bytes.fromhex(item.own_mac.replace(":", ""))
    return _ETHERNET.pack(*macs, _ETH_P_IP) + ip + tcp


def echo(sizes: dict[Address, int]) -> dict[Address, Echo]:
    """Ping each address with the DF bit: a small packet, and one of `sizes` bytes."""
    targets = {address: size for address, size in sizes.items() if address.version == 4}
    if not targets:
        return {}
    identifier = os.getpid() & 0xFFFF
    back: set[tuple[str, int]] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ping:
        ping.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        ping.setblocking(False)
        wanted = {(str(address), length) for address, size in targets.items() for length in (_SMALL, size)}

        def ask() -> None:
            for address, length in wanted - back:
                with contextlib.suppress(OSError):  # EMSGSIZE and unreachable: counted as no answer
                    ping.sendto(_echo_request(identifier, length), (address, 0))

        def take(_name: str, data: bytes) -> None:
            header = (data[0] & 0xF) * 4
            if len(data) < header + 8:
                return
            kind, _, _, number, length = struct.unpack_from("!BBHHH", data, header)
            if (kind, number) == (_ECHO_REPLY, identifier):
                back.add((str(ipaddress.IPv4Address(data[12:16])), length))

        _converse({"": ping}, ask, take, done=lambda: back >= wanted, size=65535)
    return {
        address: Echo(size=size, small=(str(address), _SMALL) in back, large=(str(address), size) in back)
        for address, size in targets.items()
    }


def _echo_request(identifier: int, length: int) -> bytes:
    """An ICMP echo of `length` bytes with its IP header; the length is its sequence number."""
    body = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, length).ljust(length - 20, b"\0")
    return body[:2] + struct.pack("!H", wire.internet_checksum(body)) + body[4:]


def adverts(
    waits: dict[str, float], enough: Callable[[list[SeenAdvert]], bool] = lambda _seen: False
) -> list[SeenAdvert]:
    """The VRRP adverts (IPv4) that come in by these interfaces within so many seconds, or until `enough`."""
    seen: dict[tuple[str, Address, int], SeenAdvert] = {}

    def take(name: str, data: bytes) -> None:
        with contextlib.suppress(wire.WireError):
            datagram = wire.decode_ipv4(data[14:])
            advert = wire.decode(datagram.payload, datagram.source, datagram.destination)
            seen[name, datagram.source, advert.virtual_router_id] = SeenAdvert(
                interface=name,
                source=datagram.source,
                virtual_router_id=advert.virtual_router_id,
                priority=advert.priority,
                addresses=advert.addresses,
            )

    with _taps(waits, _ETH_P_IP, _of_protocol(wire.PROTOCOL)) as taps:
        _converse(
            taps,
            lambda: None,
            take,
            done=lambda: enough(list(seen.values())),
            seconds=max(waits.values(), default=0.0),
        )
    return list(seen.values())


def _converse(
    taps: dict[str, socket.socket],
    ask: Callable[[], None],
    take: Callable[[str, bytes], None],
    done: Callable[[], bool],
    *,
    seconds: float = PATIENCE,
    size: int = 2048,
) -> None:
    """Ask, again and again, and take what comes in, until `done` or the time is over."""
    deadline = time.monotonic() + seconds
    following = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for name, tap in taps.items():
            selector.register(tap, selectors.EVENT_READ, name)
        while taps and (now := time.monotonic()) < deadline and not done():
            if now >= following:
                ask()
                following = now + REPEAT
            for key, _ in selector.select(min(following, deadline) - now if following > now else 0):
                assert isinstance(key.fileobj, socket.socket)
                for data in _drain(key.fileobj, size):
                    take(key.data, data)


def _drain(tap: socket.socket, size: int) -> Iterator[bytes]:
    """What has come in, without what this host sent itself."""
    for _ in range(256):
        try:
            data, origin = tap.recvfrom(size)
        except OSError:  # nothing more, or the interface has gone down
            return
        if len(data) >= 20 and not (len(origin) > 2 and origin[2] == _PACKET_OUTGOING):
            yield data


@contextlib.contextmanager
def _taps(interfaces: Iterable[str], protocol: int, program: bytes) -> Iterator[dict[str, socket.socket]]:
    """Packet sockets, one an interface, that pass only what the classic BPF program accepts."""
    with contextlib.ExitStack() as stack:
        taps = {}
        for name in sorted(set(interfaces)):
            tap = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            if program:
                code = ctypes.create_string_buffer(program, len(program))
                attach = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
                tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attach)
            tap.setblocking(False)
            tap.bind((name, protocol))
            taps[name] = tap
        yield taps


def _of_protocol(number: int) -> bytes:
    """Classic BPF: IPv4 packets of this protocol."""
    return _program([(0x30, 0, 0, 23), (0x15, 0, 1, number), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)])


def _to_port(port: int) -> bytes:
    """Classic BPF: unfragmented IPv4 TCP to this port."""
    return _program(
        [
            (0x30, 0, 0, 23),  # A = protocol
            (0x15, 0, 6, 6),
            (0x28, 0, 0, 20),  # A = flags and fragment offset
            (0x45, 4, 0, 0x1FFF),
            (0xB1, 0, 0, 14),  # X = length of the IPv4 header
            (0x48, 0, 0, 16),  # A = destination port
            (0x15, 0, 1, port),
            (0x06, 0, 0, 0xFFFF),
            (0x06, 0, 0, 0),
        ]
    )


def _program(instructions: Iterable[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


_OF_ADVERTISEMENTS = _program(
    [
        (0x30, 0, 0, 20),  # A = next header
        (0x15, 0, 3, 58),
        (0x30, 0, 0, 54),  # A = ICMPv6 type
        (0x15, 0, 1, 136),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]
)
"""Classic BPF: neighbour advertisements."""
