# SPDX-License-Identifier: Apache-2.0
"""Active probes of the network: who has an address, how long packets may be, who sends VRRP adverts.

Also contains the sockets that gather/syn_probe uses. Each probe sends a few frames, has a time limit, and
does not change the tables of other hosts. All probes raise OSError (EPERM without CAP_NET_RAW).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from pointsman.doctor.facts import Answer, Answers, Echo, SeenAdvert
from pointsman.model.address import Address
from pointsman.net.socket_filter import attach_filter
from pointsman.packets import arp, ethernet, icmp, ip, ndisc
from pointsman.packets.classic_bpf import EVERYTHING, Program
from pointsman.packets.errors import WireError
from pointsman.packets.ethernet import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6
from pointsman.vrrp import wire
from pointsman.vrrp.ah import AH_PROTOCOL
from pointsman.vrrp.ah import HEADER_SIZE as AH_HEADER_SIZE

_LINK_SCOPE = 0x20
_PACKET_OUTGOING = 4
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_PROMISC = 263, 1, 1
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE, _IPV6_DONTFRAG = 10, 23, 3, 62
_SMALL = 64
REPEAT = 0.25
"""Seconds until an unanswered question is sent again."""
PATIENCE = 2.0
"""Seconds to wait for an answer that is expected."""
SHORT = 0.6
"""Seconds to listen for answers that should not come."""


def who_has(
    asked: Iterable[tuple[str, Address]], expected: Collection[Address], *, disguise: bytes = b""
) -> Answers:
    """Ask on these interfaces who has the addresses, and collect all answers.

    IPv4: ARP probes (RFC 5227 section 2.1.1). IPv6: neighbour solicitations from the interface's
    link-local address, if it has one. The wait is short, and longer while an address in `expected` has not
    answered.

    `disguise` is a sender MAC address that no host has. With it, the kernel of this host does not see the
    ARP answers; otherwise it would keep the last of several. Use it only where no switch objects to a
    second MAC address.
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
        return arp.arp_probe(disguise or mac, address.packed)

    found = _ask_all(
        over_ipv4, expected, ETH_P_ARP, b"", lambda _name: probe, _parse_arp_reply, everything=bool(disguise)
    )
    found += _ask_all(
        over_ipv6,
        expected,
        ETH_P_IPV6,
        _of_advertisements(),
        lambda name: _solicitation(own[name]),
        _advertised,
    )
    return Answers(asked=frozenset(over_ipv4 + over_ipv6), answers=tuple(sorted(found, key=str)))


def _ask_all(
    questions: list[tuple[str, Address]],
    expected: Collection[Address],
    protocol: int,
    accepted: bytes,
    question: Callable[[str], Callable[[bytes, Address], bytes]],
    answer: Callable[[bytes], tuple[Address, str] | None],
    *,
    everything: bool = False,
) -> list[Answer]:
    """Send the questions until there is nothing to wait for.

    `question` builds a frame from the interface's MAC address and the asked address. With `everything`,
    answers to other MAC addresses than the interface's are accepted too.
    """
    found: set[Answer] = set()
    if not questions:
        return []

    def missing() -> set[tuple[str, Address]]:
        known = {(item.interface, item.address) for item in found}
        return {question for question in questions if question not in known}

    with open_taps({name for name, _ in questions}, protocol, accepted) as opened:
        for name, tap in opened.items():
            if everything:
                wanted = struct.pack("iHH8x", socket.if_nametoindex(name), _PACKET_MR_PROMISC, 0)
                tap.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, wanted)

        def ask() -> None:
            for name, address in missing():
                opened[name].send(question(name)(opened[name].getsockname()[4], address))

        def on_frame(name: str, data: bytes) -> None:
            said = answer(data)
            if said is not None and (name, said[0]) in questions:
                found.add(Answer(interface=name, address=said[0], mac=said[1]))

        begun = time.monotonic()
        ask_until(
            opened,
            ask,
            on_frame,
            done=lambda: (
                time.monotonic() - begun > SHORT and not any(address in expected for _, address in missing())
            ),
        )
    return list(found)


def _parse_arp_reply(data: bytes) -> tuple[Address, str] | None:
    try:
        reply = arp.decode_reply(data)
    except WireError:
        return None
    return ipaddress.IPv4Address(reply.sender), reply.sender_mac.hex(":")


def _advertised(data: bytes) -> tuple[Address, str] | None:
    try:
        found = ndisc.decode_advertisement(data)
    except WireError:
        return None
    return ipaddress.IPv6Address(found.target), found.mac.hex(":")


def _solicitation(source: ipaddress.IPv6Address) -> Callable[[bytes, Address], bytes]:
    return lambda mac, address: ndisc.neighbour_solicitation(mac, source.packed, address.packed)


def _link_locals() -> dict[str, ipaddress.IPv6Address]:
    """Return the link-local address of each interface that has one (proc(5), /proc/net/if_inet6)."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if int(scope, 16) == _LINK_SCOPE:
                found[name] = ipaddress.IPv6Address(bytes.fromhex(digits))
    return found


def ping(targets: dict[Address, tuple[str, int]]) -> dict[Address, Echo]:
    """Ping each address on its interface unfragmented: one small packet, and one of the given size."""
    identifier = os.getpid() & 0xFFFF
    wanted = {(address, length) for address, (_, size) in targets.items() for length in (_SMALL, size)}
    back: set[tuple[Address, int]] = set()
    with contextlib.ExitStack() as stack:
        pings = {
            version: stack.enter_context(_open_ping_socket(version))
            for version in {a.version for a in targets}
        }

        def ask() -> None:
            for address, length in wanted - back:
                with contextlib.suppress(OSError):  # EMSGSIZE and unreachable: counted as no answer
                    ping, place = pings[address.version], _destination(address, targets[address][0])
                    ping.sendto(_echo_request(identifier, address, length), place)

        def on_frame(version: str, data: bytes) -> None:
            with contextlib.suppress(WireError):
                # The kernel removes an IPv6 header.
                packet = ip.payload(ip.decode_ipv4(data), data) if version == "4" else data
                reply = icmp.decode_reply(int(version), packet)
                asked = reply.data[: 4 if version == "4" else 16]
                if reply.identifier == identifier and len(reply.data) >= 16:
                    back.add((ipaddress.ip_address(asked), reply.sequence))

        opened = {str(version): ping for version, ping in pings.items()}
        ask_until(opened, ask, on_frame, done=lambda: back >= wanted, size=65535)
    return {
        address: Echo(size=size, small=(address, _SMALL) in back, large=(address, size) in back)
        for address, (_, size) in targets.items()
    }


def _open_ping_socket(version: int) -> socket.socket:
    """Open a raw ICMP socket that does not fragment and ignores the learnt path MTU."""
    if version == 4:
        ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        ping.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        ping = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        ping.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        ping.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    ping.setblocking(False)
    return ping


def _destination(address: Address, interface: str) -> tuple[str, int] | tuple[str, int, int, int]:
    scope = socket.if_nametoindex(interface) if address.is_link_local else 0
    return (str(address), 0) if address.version == 4 else (str(address), 0, 0, scope)


def _echo_request(identifier: int, address: Address, length: int) -> bytes:
    """Return an ICMP echo request, `length` bytes long with its IP header.

    The sequence number is the length and the data starts with the target address, so that a reply tells
    both. The kernel fills in the checksum of ICMPv6.
    """
    header = ip.IPV4_SIZE if address.version == 4 else ip.IPV6_SIZE
    data = address.packed.ljust(length - header - icmp.HEADER_SIZE, b"\0")
    return icmp.encode_request(address.version, identifier, length, data)


def listen_for_adverts(
    waits: dict[str, float], enough: Callable[[list[SeenAdvert]], bool] = lambda _seen: False
) -> list[SeenAdvert]:
    """Return the VRRP adverts that arrive on these interfaces within the given seconds, or until `enough`."""
    seen: dict[tuple[str, Address, int], SeenAdvert] = {}

    def on_frame(key: str, data: bytes) -> None:
        name = key.partition(" ")[0]
        with contextlib.suppress(WireError):
            source, destination, payload = _parse_ip(data)
            advert = wire.decode(payload, source, destination)
            seen[name, source, advert.virtual_router_id] = SeenAdvert(
                interface=name,
                source=source,
                virtual_router_id=advert.virtual_router_id,
                priority=advert.priority,
                addresses=advert.addresses,
            )

    with (
        open_taps(waits, ETH_P_IP, _of_protocol(ETH_P_IP)) as over_ipv4,
        open_taps(waits, ETH_P_IPV6, _of_protocol(ETH_P_IPV6)) as over_ipv6,
    ):
        ask_until(
            over_ipv4 | {f"{name} over IPv6": tap for name, tap in over_ipv6.items()},
            lambda: None,
            on_frame,
            done=lambda: enough(list(seen.values())),
            seconds=max(waits.values(), default=0.0),
        )
    return list(seen.values())


def _parse_ip(data: bytes) -> tuple[Address, Address, bytes]:
    """Return source, destination and advert of an IP frame. Its authentication (AH) is not verified.

    Raises WireError.
    """
    packet = ip.decode(ethernet.decode(data).ether_type, data, ethernet.HEADER_SIZE)
    payload = ip.payload(packet, data, ethernet.HEADER_SIZE)
    if packet.protocol == AH_PROTOCOL and payload[:1] == bytes([wire.PROTOCOL]):
        payload = payload[AH_HEADER_SIZE:]
    elif packet.protocol != wire.PROTOCOL:
        raise WireError("not VRRP")
    if packet.fragment & ip.IS_FRAGMENT:
        raise WireError("a fragment")
    source, destination = ipaddress.ip_address(packet.source), ipaddress.ip_address(packet.destination)
    return source, destination, payload


def ask_until(
    opened: dict[str, socket.socket],
    ask: Callable[[], None],
    on_frame: Callable[[str, bytes], None],
    done: Callable[[], bool],
    *,
    seconds: float = PATIENCE,
    size: int = 2048,
) -> None:
    """Ask repeatedly and handle the frames that arrive, until `done` or the time is over."""
    deadline = time.monotonic() + seconds
    following = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for name, tap in opened.items():
            selector.register(tap, selectors.EVENT_READ, name)
        while opened and (now := time.monotonic()) < deadline and not done():
            if now >= following:
                ask()
                following = now + REPEAT
            for key, _ in selector.select(min(following, deadline) - now if following > now else 0):
                assert isinstance(key.fileobj, socket.socket)
                for data in _receive(key.fileobj, size):
                    on_frame(key.data, data)


def _receive(tap: socket.socket, size: int) -> Iterator[bytes]:
    """Yield the received frames, except those that this host sent."""
    for _ in range(256):
        try:
            data, origin = tap.recvfrom(size)
        except OSError:  # no more frames, or the interface is down
            return
        if len(data) >= 20 and not (len(origin) > 2 and origin[2] == _PACKET_OUTGOING):
            yield data


@contextlib.contextmanager
def open_taps(
    interfaces: Iterable[str], protocol: int, accepted: bytes
) -> Iterator[dict[str, socket.socket]]:
    """Open one packet socket per interface. `accepted`: a classic BPF filter; empty: all frames."""
    with contextlib.ExitStack() as stack:
        opened = {}
        for name in sorted(set(interfaces)):
            tap = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            if accepted:
                attach_filter(tap, accepted)
            tap.setblocking(False)
            tap.bind((name, protocol))
            opened[name] = tap
        yield opened


def _of_protocol(ether_type: int) -> bytes:
    """Return a classic BPF filter for VRRP, also with AH, on a socket of this EtherType."""
    program = Program()
    program.load_byte(ethernet.HEADER_SIZE + ip.protocol_at(ether_type))
    program.unless_equal(wire.PROTOCOL, "ah")
    program.accept(EVERYTHING)
    program.label("ah")
    program.unless_equal(AH_PROTOCOL, "drop")
    program.accept(EVERYTHING)
    program.label("drop")
    program.accept(0)
    return program.assemble()


def _of_advertisements() -> bytes:
    """Return a classic BPF filter for neighbour advertisements on a socket of IPv6."""
    program = Program()
    program.load_byte(ethernet.HEADER_SIZE + ip.protocol_at(ETH_P_IPV6))
    program.unless_equal(ip.ICMPV6, "drop")
    program.load_byte(ndisc.ICMP_AT)
    program.unless_equal(ndisc.ADVERTISEMENT, "drop")
    program.accept(EVERYTHING)
    program.label("drop")
    program.accept(0)
    return program.assemble()
