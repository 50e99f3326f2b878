# SPDX-License-Identifier: Apache-2.0
"""Gratuitous ARP and neighbour advertisements for virtual addresses, and ARP probes for address conflicts.

An announcement tells all hosts of a segment which MAC address an IP address has now. A probe asks whether
another host has an address that is ours.
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

_MAX_FRAME = 64
_MAX_REPLIES = 256


class ArpReply(msgspec.Struct, frozen=True):
    """A reply to an ARP request: the host with this MAC address has this IP address."""

    index: int
    address: ipaddress.IPv4Address
    mac: bytes


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

    def probe(self, links: Mapping[str, Link], entries: Iterable[VirtualAddress]) -> None:
        """Send one ARP probe for each IPv4 address; `ArpReplySocket` gets the replies. Errors are ignored."""
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


class ArpReplySocket:
    """A packet socket that receives the ARP replies that are sent to this host."""

    def __init__(self) -> None:
        """Open the socket. Raises OSError (EPERM without CAP_NET_RAW)."""
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

    def receive(self) -> list[ArpReply]:
        """Return the replies that are queued, at most a few hundred. Raises nothing."""
        found: list[ArpReply] = []
        with contextlib.suppress(OSError):
            for _ in range(_MAX_REPLIES):
                frame, sender = self._socket.recvfrom(_MAX_FRAME)
                with contextlib.suppress(WireError):
                    reply = arp.decode_reply(frame)
                    index = socket.if_nametoindex(sender[0])
                    found.append(ArpReply(index, ipaddress.IPv4Address(reply.sender), reply.sender_mac))
        return found


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
