"""Gratuitous ARP: telling a whole segment, unasked, which MAC address now answers for an IP address.

And the other way round: asking the segment whether somebody else answers for an address that is ours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Mapping
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

_LONGEST_FRAME = 64
_MOST_ANSWERS = 256


class Answer(msgspec.Struct, frozen=True):
    """Somebody has answered for an address."""

    index: int
    address: ipaddress.IPv4Address
    mac: bytes


class Announcer:
    """Sends gratuitous ARP, neighbour advertisements and ARP probes on any interface.

    Needs CAP_NET_RAW; raises OSError when it is opened.
    """

    def __init__(self) -> None:
        # Protocol 0: the socket receives nothing.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def announce(
        self, links: Mapping[str, Link], entries: Iterable[VirtualAddress], repeat: int
    ) -> OSError | None:
        """Send `repeat` announcements for each address by its device. The last failure, or None.

        Devices that are gone or have no Ethernet address (lo, tunnels) are passed over.
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

    def probe(self, links: Mapping[str, Link], entries: Iterable[VirtualAddress]) -> None:
        """Ask once for each IPv4 address; `AnswerSocket` hears the answers. A failure is no matter."""
        for entry in entries:
            link = links.get(entry.device)
            if link is not None and len(link.mac) == 6 and isinstance(entry.address, ipaddress.IPv4Address):
                self._send(arp.arp_probe(link.mac, entry.address.packed), link, ETH_P_ARP)

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


class AnswerSocket:
    """Hears ARP replies that are sent to this host. Needs CAP_NET_RAW; raises OSError when it is opened."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ARP))
        try:
            attach_filter(self._socket, _replies_to_us())
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> list[Answer]:
        """Every answer that is waiting, at most a few hundred. Raises nothing."""
        found: list[Answer] = []
        with contextlib.suppress(OSError):
            for _ in range(_MOST_ANSWERS):
                frame, sender = self._socket.recvfrom(_LONGEST_FRAME)
                with contextlib.suppress(WireError):
                    reply = arp.decode_reply(frame)
                    index = socket.if_nametoindex(sender[0])
                    found.append(Answer(index, ipaddress.IPv4Address(reply.sender), reply.sender_mac))
        return found


def _replies_to_us() -> bytes:
    """Return a filter that drops the segment's other ARP traffic in the kernel, before it costs anything."""
    program = Program()
    program.load_half(PACKET_TYPE)
    program.unless_equal(socket.PACKET_HOST, "drop")
    program.load_half(arp.OPERATION_AT)
    program.unless_equal(arp.REPLY, "drop")
    program.take(_LONGEST_FRAME)
    program.label("drop")
    program.take(0)
    return program.assembled()
