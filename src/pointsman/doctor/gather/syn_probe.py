"""What a real server says to a SYN for the VIP that is sent to its MAC address, as a director would send it.

The answer goes to an address of this host that is no VIP, and what was opened is reset again.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Collection

import msgspec

from pointsman.doctor.facts import Response
from pointsman.doctor.gather.probe import converse, program, taps
from pointsman.model.address import Address
from pointsman.model.checksum import internet_checksum

_ETH_P = {4: 0x0800, 6: 0x86DD}
_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_TCP_NUMBER = 6
_SYN, _RST = 0x02, 0x04


class SynProbe(msgspec.Struct, frozen=True, kw_only=True):
    """A SYN for VIP:port to be sent to a real server's MAC address."""

    service: str
    vip: Address
    port: int
    server: Address
    mac: str
    interface: str
    own_mac: str
    own_address: Address
    """Where the answer is to go: an address of this host that is no VIP."""


def probe_all(
    knocks: Collection[SynProbe], interfaces: Collection[str]
) -> dict[tuple[str, Address], Response]:
    """Send each SYN, and see what comes back by any of the interfaces. Raises OSError."""
    responses: dict[tuple[str, Address], Response] = {}
    for version in (4, 6):
        of_version = [item for item in knocks if item.vip.version == version]
        if of_version:
            responses |= _knock(of_version, interfaces, version)
    return responses


def _knock(
    knocks: Collection[SynProbe], interfaces: Collection[str], version: int
) -> dict[tuple[str, Address], Response]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    responses: dict[tuple[str, Address], Response] = {}
    with socket.socket(family, socket.SOCK_STREAM) as reserved:
        reserved.bind(("", 0))  # keeps the port ours; never connected
        port = int(reserved.getsockname()[1])
        first = random.getrandbits(31)
        pending = {first + 1000 * number: item for number, item in enumerate(knocks)}
        with taps(interfaces, _ETH_P[version], _to_port(port, version)) as opened:

            def ask() -> None:
                for sequence, item in pending.items():
                    opened[item.interface].send(segment(item, port, sequence, _SYN))

            def take(_name: str, data: bytes) -> None:
                header = 14 + ((data[14] & 0xF) * 4 if version == 4 else 40)
                if len(data) < header + 14:
                    return
                acknowledged, _, flags = struct.unpack_from("!IBB", data, header + 8)
                item = pending.get(acknowledged - 1)
                source = data[26:30] if version == 4 else data[22:38]
                if item is None or source != item.vip.packed:
                    return
                del pending[acknowledged - 1]
                refused = bool(flags & _RST)
                responses[item.service, item.server] = Response.REFUSED if refused else Response.ACCEPTED
                if not refused:
                    opened[item.interface].send(segment(item, port, acknowledged, _RST))

            converse(opened, ask, take, done=lambda: not pending)
    return responses | {(item.service, item.server): Response.SILENT for item in pending.values()}


def segment(item: SynProbe, port: int, sequence: int, flags: int) -> bytes:
    """A TCP segment without payload from `port`, in IP and Ethernet, addressed as a director would."""
    source, destination = item.own_address.packed, item.vip.packed
    bare = _TCP.pack(port, item.port, sequence, 0, 5 << 4, flags, 64240, 0, 0)
    if item.vip.version == 4:
        numbers = struct.pack("!HH", _TCP_NUMBER, len(bare))
    else:
        numbers = struct.pack("!II", len(bare), _TCP_NUMBER)
    checksum = internet_checksum(source + destination + numbers + bare)
    tcp = bare[:16] + struct.pack("!H", checksum) + bare[18:]
    if item.vip.version == 4:
        ip = _IPV4.pack(0x45, 0, 20 + len(tcp), 0, 0x4000, 64, _TCP_NUMBER, 0, source, destination)
        ip = ip[:10] + struct.pack("!H", internet_checksum(ip)) + ip[12:]
    else:
        ip = _IPV6.pack(6 << 28, len(tcp), _TCP_NUMBER, 64, source, destination)
    macs = bytes.fromhex(item.mac.replace(":", "")), bytes.fromhex(item.own_mac.replace(":", ""))
    return _ETHERNET.pack(*macs, _ETH_P[item.vip.version]) + ip + tcp


def _to_port(port: int, version: int) -> bytes:
    """Classic BPF: unfragmented TCP to this port, directly behind the IP header."""
    accept, refuse = (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)
    if version == 6:
        return program(
            [
                (0x30, 0, 0, 20),
                (0x15, 0, 3, _TCP_NUMBER),
                (0x28, 0, 0, 56),
                (0x15, 0, 1, port),
                accept,
                refuse,
            ]
        )
    return program(
        [
            (0x30, 0, 0, 23),  # A = protocol
            (0x15, 0, 6, _TCP_NUMBER),
            (0x28, 0, 0, 20),  # A = flags and fragment offset
            (0x45, 4, 0, 0x1FFF),
            (0xB1, 0, 0, 14),  # X = length of the IPv4 header
            (0x48, 0, 0, 16),  # A = destination port
            (0x15, 0, 1, port),
            accept,
            refuse,
        ]
    )
