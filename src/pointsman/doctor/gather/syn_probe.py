# SPDX-License-Identifier: Apache-2.0
"""Send a SYN for the VIP to a real server's MAC address, as a director would, and read the response.

The source is an address of this host that is not a VIP. Accepted connections are reset.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Collection

import msgspec

from pointsman.doctor.facts import Response
from pointsman.doctor.gather.probe import ask_until, open_taps
from pointsman.model.address import Address
from pointsman.packets import ethernet, ip, tcp
from pointsman.packets.classic_bpf import EVERYTHING, Program
from pointsman.packets.errors import WireError

_TTL, _WINDOW = 64, 64240
"""As Linux sends them."""


class SynProbe(msgspec.Struct, frozen=True, kw_only=True):
    """A SYN for VIP:port to send to a real server's MAC address."""

    service: str
    vip: Address
    port: int
    server: Address
    mac: str
    interface: str
    own_mac: str
    own_address: Address
    """Source address of the SYN: an address of this host that is not a VIP."""


def probe_all(
    probes: Collection[SynProbe], interfaces: Collection[str]
) -> dict[tuple[str, Address], Response]:
    """Send each SYN and return the responses that arrive on any of the interfaces. Raises OSError."""
    responses: dict[tuple[str, Address], Response] = {}
    for version in (4, 6):
        of_version = [item for item in probes if item.vip.version == version]
        if of_version:
            responses |= _probe_version(of_version, interfaces, version)
    return responses


def _probe_version(
    probes: Collection[SynProbe], interfaces: Collection[str], version: int
) -> dict[tuple[str, Address], Response]:
    family, ether_type = (
        (socket.AF_INET, ethernet.ETH_P_IP) if version == 4 else (socket.AF_INET6, ethernet.ETH_P_IPV6)
    )
    responses: dict[tuple[str, Address], Response] = {}
    with socket.socket(family, socket.SOCK_STREAM) as reserved:
        reserved.bind(("", 0))  # reserves the port, is never connected
        port = int(reserved.getsockname()[1])
        first = random.getrandbits(31)
        pending = {first + 1000 * number: item for number, item in enumerate(probes)}
        with open_taps(interfaces, ether_type, _to_port(port, ether_type)) as opened:

            def ask() -> None:
                for sequence, item in pending.items():
                    opened[item.interface].send(segment(item, port, sequence, tcp.SYN))

            def on_frame(_name: str, data: bytes) -> None:
                with contextlib.suppress(WireError):
                    packet = ip.decode(ether_type, data, ethernet.HEADER_SIZE)
                    said = tcp.decode(data, ethernet.HEADER_SIZE + packet.size)
                    item = pending.get(said.acknowledged - 1)
                    if item is None or packet.source != item.vip.packed:
                        return
                    del pending[said.acknowledged - 1]
                    refused = bool(said.flags & tcp.RST)
                    responses[item.service, item.server] = Response.REFUSED if refused else Response.ACCEPTED
                    if not refused:
                        opened[item.interface].send(segment(item, port, said.acknowledged, tcp.RST))

            ask_until(opened, ask, on_frame, done=lambda: not pending)
    return responses | {(item.service, item.server): Response.SILENT for item in pending.values()}


def segment(item: SynProbe, port: int, sequence: int, flags: int) -> bytes:
    """Return an Ethernet frame with an empty TCP segment from `port`, addressed as a director would."""
    macs = bytes.fromhex(item.own_mac.replace(":", "")), bytes.fromhex(item.mac.replace(":", ""))
    return tcp.encode_frame(
        tcp.Ends(*macs, item.own_address.packed, item.vip.packed),
        tcp.Segment(port, item.port, sequence, 0, flags),
        ttl=_TTL,
        window=_WINDOW,
    )


def _to_port(port: int, ether_type: int) -> bytes:
    """Classic BPF for a socket of this EtherType: unfragmented TCP to this port, behind the IP header."""
    start, program = ethernet.HEADER_SIZE, Program()
    program.load_byte(start + ip.protocol_at(ether_type))
    program.unless_equal(ip.TCP, "drop")
    if ether_type == ethernet.ETH_P_IP:
        program.load_half(start + ip.IPV4_FRAGMENT_AT)
        program.if_any_bit(ip.FRAGMENT_OFFSET, "drop")
        program.load_ipv4_size(start)
        program.load_half_indexed(start + tcp.DESTINATION_PORT_AT)
    else:
        program.load_half(start + ip.IPV6_SIZE + tcp.DESTINATION_PORT_AT)
    program.unless_equal(port, "drop")
    program.accept(EVERYTHING)
    program.label("drop")
    program.accept(0)
    return program.assemble()
