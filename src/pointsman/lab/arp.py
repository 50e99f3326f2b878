# SPDX-License-Identifier: Apache-2.0
"""ARP probes on an Ethernet."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time

from pointsman.lab.node import Node
from pointsman.packets import arp
from pointsman.packets.errors import WireError
from pointsman.packets.ethernet import ETH_P_ARP


def who_has(node: Node, interface: str, address: str, seconds: float = 0.3) -> set[str]:
    """Return the MAC addresses that answer an ARP probe from this interface within `seconds`.

    The probe has no sender address (RFC 5227 section 2.1.1), so no neighbour table changes. Raises
    OSError.
    """
    wanted = ipaddress.IPv4Address(address).packed
    with node.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as tap:
        tap.bind((interface, ETH_P_ARP))
        own: bytes = tap.getsockname()[4]
        tap.send(arp.arp_probe(own, wanted))
        answers = set()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            tap.settimeout(left)
            try:
                data = tap.recv(128)
            except TimeoutError:
                break
            with contextlib.suppress(WireError):
                reply = arp.decode_reply(data)
                if reply.sender == wanted:
                    answers.add(reply.sender_mac.hex(":"))
        return answers
