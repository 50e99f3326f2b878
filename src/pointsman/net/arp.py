"""Gratuitous ARP: telling a whole segment, unasked, which MAC address now answers for an IP address."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping

from pointsman.model.vrrp import VirtualAddress
from pointsman.net.links import Link

BROADCAST = b"\xff" * 6
_ETH_P_ARP = 0x0806
_REQUEST = 1
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> bytes:
    """The frame as keepalived sends it: a broadcast request, sender and target both `address` (RFC 5227)."""
    return _FRAME.pack(
        *(BROADCAST, mac, _ETH_P_ARP),
        *(1, 0x0800, 6, 4, _REQUEST),
        *(mac, address.packed, BROADCAST, address.packed),
    )


class Announcer:
    """Sends gratuitous ARP on any interface. Needs CAP_NET_RAW; raises OSError when it is opened."""

    def __init__(self) -> None:
        # Protocol 0: the socket receives nothing.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def announce(
        self, links: Mapping[str, Link], entries: Iterable[VirtualAddress], repeat: int
    ) -> OSError | None:
        """Send `repeat` requests for each IPv4 address by its device. The last failure, or None.

        Devices that are gone or have no Ethernet address (lo, tunnels) are passed over.
        """
        failure: OSError | None = None
        for entry in entries:
            link = links.get(entry.device)
            if link is None or len(link.mac) != 6 or not isinstance(entry.address, ipaddress.IPv4Address):
                continue
            frame = gratuitous_arp(link.mac, entry.address)
            for _ in range(repeat):
                try:
                    self._socket.sendto(frame, (link.name, _ETH_P_ARP))
                except OSError as error:
                    failure = error
        return failure
