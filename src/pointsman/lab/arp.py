"""Asking an Ethernet who has an address."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time

from pointsman.lab.node import Node

_ETH_P_ARP = 0x0806
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2


def who_has(node: Node, interface: str, address: str, seconds: float = 0.3) -> set[str]:
    """The MAC addresses that answer an ARP probe (RFC 5227 section 2.1.1: no sender address, so that nobody's
    neighbour table changes) sent from this interface, within `seconds`. Raises OSError."""
    wanted = ipaddress.IPv4Address(address).packed
    with node.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as tap:
        tap.bind((interface, _ETH_P_ARP))
        own: bytes = tap.getsockname()[4]
        ethernet = (b"\xff" * 6, own, _ETH_P_ARP, 1, 0x0800, 6, 4)
        tap.send(_FRAME.pack(*ethernet, _REQUEST, own, bytes(4), bytes(6), wanted))
        answers = set()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            tap.settimeout(left)
            try:
                data = tap.recv(128)
            except TimeoutError:
                break
            if len(data) < _FRAME.size:
                continue
            *_, operation, mac, sender, _, _ = _FRAME.unpack_from(data)
            if (operation, sender) == (_REPLY, wanted):
                answers.add(mac.hex(":"))
        return answers
