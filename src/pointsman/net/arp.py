# SPDX-License-Identifier: Apache-2.0
"""Gratuitous ARP and neighbour advertisements for virtual addresses, and ARP probes for address conflicts.

An announcement tells all hosts of a segment which MAC address an IP address has now. A probe asks whether
another host has an address that is ours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.links import Link
from pointsman.net.socket_filter import attach_filter
from pointsman.packets import arp, ndisc
from pointsman.packets.classic_bpf import PACKET_TYPE, Program
from pointsman.packets.errors import WireError
from pointsman.packets.ethernet import ETH_P_ARP, ETH_P_IPV6

_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")

_MAX_FRAME = 64
_MAX_ANSWERS = 256
_ICMP6_FILTER = 1
_HOP_LIMIT = 255
"""Neighbour discovery of this segment. A router would have made it smaller."""
_PKTINFO = struct.Struct("=16si")
_MAX_MESSAGE = 256


class AddressAnswer(msgspec.Struct, frozen=True):
    """An answer to an ARP request or a neighbour solicitation: a host has this IP address."""

    index: int
    address: Address
    mac: bytes


class AnswerSocket:
    """A non-blocking socket that receives answers of other hosts."""

    def __init__(self, opened: socket.socket, read: Callable[[socket.socket], AddressAnswer]) -> None:
        """`read` receives one answer. Raises OSError (no answer waits), WireError (it is none)."""
        self._socket = opened
        self._read = read

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[AddressAnswer]:
        """Return the answers that are queued, at most a few hundred. Raises nothing."""
        found: list[AddressAnswer] = []
        with contextlib.suppress(OSError):
            for _ in range(_MAX_ANSWERS):
                with contextlib.suppress(WireError):
                    found.append(self._read(self._socket))
        return found


def open_answer_sockets() -> list[AnswerSocket]:
    """Return a socket for ARP, and one for neighbour discovery if the host has IPv6. Raises OSError."""
    found = [AnswerSocket(_open_arp(), _read_arp)]
    with contextlib.suppress(OSError):
        found.append(AnswerSocket(_open_ndisc(), _read_ndisc))
    return found


class Announcer:
    """A packet socket that sends gratuitous ARP, neighbour advertisements and ARP probes on any interface."""

    def __init__(self) -> None:
        """Open the socket. Raises OSError (EPERM without CAP_NET_RAW)."""
        # Protocol 0: the socket receives nothing.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def announce(
        self, links: Mapping[str, Link], entries: Iterable[VirtualAddress], repeat: int
    ) -> OSError | None:
        """Send `repeat` announcements for each address on its device. Return the last failure, or None.

        Devices that are gone or have no Ethernet address (lo, tunnels) are skipped.
        """
        failure: OSError | None = None
        router = _forwards_ipv6()
        for entry in entries:
            link = links.get(entry.device)
            if link is None or len(link.mac) != 6:
                continue
            frame, protocol = _announcement(link.mac, entry.address, router)
            for _ in range(repeat):
                failure = self._send(frame, link, protocol) or failure
        return failure

    def probe(
        self,
        links: Mapping[str, Link],
        entries: Iterable[VirtualAddress],
        bases: Mapping[str, str],
        sources: Mapping[int, Address],
    ) -> None:
        """Ask once for each address who else has it. `AnswerSocket`s receive the answers. Errors are ignored.

        `bases`: interfaces below virtual ones. `sources`: link-local addresses by interface. An answer over
        IPv6 is sent to such an address. Sent to all hosts, it would lead their traffic to the other host.
        """
        for entry in entries:
            over_ipv6 = entry.address.version == 6
            link = links.get(bases.get(entry.device, entry.device) if over_ipv6 else entry.device)
            if link is None or len(link.mac) != 6:
                continue
            if not over_ipv6:
                self._send(arp.arp_probe(link.mac, entry.address.packed), link, ETH_P_ARP)
            elif (source := sources.get(link.index)) is not None:
                frame = ndisc.neighbour_solicitation(link.mac, source.packed, entry.address.packed)
                self._send(frame, link, ETH_P_IPV6)

    def _send(self, frame: bytes, link: Link, protocol: int) -> OSError | None:
        try:
            self._socket.sendto(frame, (link.name, protocol))
        except OSError as error:
            return error
        return None


def _announcement(mac: bytes, address: Address, router: bool) -> tuple[bytes, int]:
    if isinstance(address, ipaddress.IPv4Address):
        return arp.gratuitous_arp(mac, address.packed), ETH_P_ARP
    return ndisc.neighbour_advertisement(mac, address.packed, router), ETH_P_IPV6


def _forwards_ipv6() -> bool:
    try:
        return _FORWARDING.read_text().strip() not in ("", "0")
    except OSError:
        return False


def _open_arp() -> socket.socket:
    """Return a packet socket that receives the ARP replies to this host. Raises OSError (no CAP_NET_RAW)."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ARP))
    try:
        attach_filter(opened, _replies_to_us())
    except OSError:
        opened.close()
        raise
    return opened


def _read_arp(opened: socket.socket) -> AddressAnswer:
    """Receive an ARP reply. Raises OSError and WireError."""
    frame, sender = opened.recvfrom(_MAX_FRAME)
    reply = arp.decode_reply(frame)
    index = socket.if_nametoindex(sender[0])
    return AddressAnswer(index, ipaddress.IPv4Address(reply.sender), reply.sender_mac)


def _replies_to_us() -> bytes:
    """Return a filter that accepts ARP replies to this host and drops other ARP frames in the kernel."""
    program = Program()
    program.load_half(PACKET_TYPE)
    program.unless_equal(socket.PACKET_HOST, "drop")
    program.load_half(arp.OPERATION_AT)
    program.unless_equal(arp.REPLY, "drop")
    program.accept(_MAX_FRAME)
    program.label("drop")
    program.accept(0)
    return program.assemble()


def _open_ndisc() -> socket.socket:
    """Return a raw socket that receives neighbour advertisements. Raises OSError (without IPv6)."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
    blocked = bytearray(b"\xff" * 32)
    word, bit = divmod(ndisc.ADVERTISEMENT, 32)
    struct.pack_into("=I", blocked, word * 4, 0xFFFFFFFF & ~(1 << bit))
    try:
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(blocked))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    except OSError:
        opened.close()
        raise
    return opened


def _read_ndisc(opened: socket.socket) -> AddressAnswer:
    """Receive a solicited neighbour advertisement. Raises OSError and WireError."""
    message, control, _, _ = opened.recvmsg(_MAX_MESSAGE, 128)
    parts = {kind: data for level, kind, data in control if level == socket.IPPROTO_IPV6}
    try:
        (limit,) = struct.unpack_from("=i", parts[socket.IPV6_HOPLIMIT])
        _, index = _PKTINFO.unpack_from(parts[socket.IPV6_PKTINFO])
    except (KeyError, struct.error):
        raise WireError("the kernel gave no interface or hop limit") from None
    if limit != _HOP_LIMIT:
        raise WireError(f"hop limit {limit}")
    answer = ndisc.decode_answer(message)
    return AddressAnswer(index, ipaddress.IPv6Address(answer.target), answer.mac)
