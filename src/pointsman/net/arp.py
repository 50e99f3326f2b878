"""Gratuitous ARP: telling a whole segment, unasked, which MAC address now answers for an IP address.

And the other way round: asking the segment whether somebody else answers for an address that is ours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.links import Link
from pointsman.net.ndisc import neighbour_advertisement
from pointsman.net.socket_filter import assembled, attach_filter

BROADCAST = b"\xff" * 6
_ETH_P_ARP = 0x0806
_ETH_P_IPV6 = 0x86DD
_REQUEST, _REPLY = 1, 2
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")

_REPLIES_TO_US = (
    (0x28, 0, 0, 0xFFFFF004),  # ldh the packet's type (SKF_AD_PKTTYPE)
    (0x15, 0, 3, 0),  # to this host
    (0x28, 0, 0, 20),  # ldh the ARP operation
    (0x15, 0, 1, _REPLY),
    (0x06, 0, 0, 64),  # take 64 bytes
    (0x06, 0, 0, 0),  # drop
)
"""A classic BPF program: the kernel drops the segment's other ARP traffic before it costs us anything."""
_MOST_ANSWERS = 256


class Answer(msgspec.Struct, frozen=True):
    """Somebody has answered for an address."""

    index: int
    address: ipaddress.IPv4Address
    mac: bytes


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """The frame as keepalived sends it: a broadcast request, sender and target both `address` (RFC 5227)."""
    return _request(mac, address.packed, BROADCAST, address)


def arp_probe(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """A question for `address` that fills nobody's table: the sender's address is 0.0.0.0 (RFC 5227)."""
    return _request(mac, bytes(4), bytes(6), address)


def _request(mac: bytes, sender: bytes, target_mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    return _FRAME.pack(
        *(BROADCAST, mac, _ETH_P_ARP),
        *(1, 0x0800, 6, 4, _REQUEST),
        *(mac, sender, target_mac, address.packed),
    )


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
                self._send(arp_probe(link.mac, entry.address), link, _ETH_P_ARP)

    def _send(self, frame: bytes, link: Link, protocol: int) -> OSError | None:
        try:
            self._socket.sendto(frame, (link.name, protocol))
        except OSError as error:
            return error
        return None


def _announcement(mac: bytes, address: Address, router: bool) -> tuple[bytes, int]:
    if isinstance(address, ipaddress.IPv4Address):
        return gratuitous_arp(mac, address), _ETH_P_ARP
    return neighbour_advertisement(mac, address, router), _ETH_P_IPV6


def _forwards_ipv6() -> bool:
    try:
        return _FORWARDING.read_text().strip() not in ("", "0")
    except OSError:
        return False


class AnswerSocket:
    """Hears ARP replies that are sent to this host. Needs CAP_NET_RAW; raises OSError when it is opened."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ARP))
        try:
            attach_filter(self._socket, assembled(_REPLIES_TO_US))
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
                frame, sender = self._socket.recvfrom(64)
                if len(frame) < _FRAME.size:
                    continue
                _, _, protocol, _, _, _, _, operation, mac, address, _, _ = _FRAME.unpack_from(frame)
                if (protocol, operation) == (_ETH_P_ARP, _REPLY):
                    index = socket.if_nametoindex(sender[0])
                    found.append(Answer(index, ipaddress.IPv4Address(address), mac))
        return found
