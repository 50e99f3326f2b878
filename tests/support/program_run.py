# SPDX-License-Identifier: Apache-2.0
"""A director without interfaces: frames by BPF_PROG_TEST_RUN, commands in ipvsadm's syntax."""

from __future__ import annotations

import gzip
import io
import ipaddress
import json
import random
import shlex
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from tests.support.blank import cleared_plane

from pointsman.cli.ipvsadm import Session, SystemNames
from pointsman.control.client_messages import (
    ApplyReply,
    ApplyRequest,
    ErrorReply,
    Reply,
    Request,
    TableReply,
    TableRequest,
)
from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.tables import Sizes
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import EditService
from pointsman.model.service import Front, ServiceKey, Transport

VIP, VIP6 = "192.168.100.9", "fd00:100::9"
DIRECTOR_MAC = bytes.fromhex("020000000002")
ROUTER_MAC = bytes.fromhex("020000000001")
SERVERS = {f"192.168.100.{10 + n}": bytes.fromhex(f"0200000000{10 + n:02x}") for n in range(1, 6)}
SERVERS6 = {f"fd00:100::{10 + n}": bytes.fromhex(f"0200000000{10 + n:02x}") for n in range(1, 6)}
NAMES = {f"rs{n}": f"192.168.100.{10 + n}" for n in range(1, 6)}
LOOPBACK = 1
"""The ingress interface of frames in BPF_PROG_TEST_RUN."""
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4
TC_VERDICTS = {0xFFFFFFFF: XDP_PASS, 2: XDP_DROP, 7: XDP_TX}
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}
SMALL = Sizes(connections=4096, connections6=4096, templates=256, services=64, dests=512, members=4096)
GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> dict[str, Any]:
    """Return a file of recordings of the real kernel."""
    with gzip.open(GOLDEN / f"{name}.json.gz") as file:
        recorded: dict[str, Any] = json.load(file)
    return recorded


def checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    source: str, target: str, protocol: int, payload: bytes, ttl: int = 64, fragment: int = 0x4000
) -> bytes:
    """Return an IPv4 packet with a correct header checksum."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        1,
        fragment,
        ttl,
        protocol,
        0,
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address(target).packed,
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    """Return an IPv6 packet; extension headers are part of the payload."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + addresses + payload


def framed(source: str, target: str | None, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    """Return a frame from the router to the director; `target` None is the VIP of the source's family."""
    if ":" in source:
        return DIRECTOR_MAC + ROUTER_MAC + b"\x86\xdd" + ipv6(source, target or VIP6, protocol, payload, ttl)
    return DIRECTOR_MAC + ROUTER_MAC + b"\x08\x00" + ipv4(source, target or VIP, protocol, payload, ttl)


def segment(flags: str, source_port: int, port: int) -> bytes:
    """Return a TCP header; `flags` are given by their first letters."""
    bits = sum(FLAGS[letter] for letter in flags if letter in FLAGS)
    return struct.pack("!HHIIBBHHH", source_port, port, 1000, 0, 0x50, bits, 65535, 0, 0)


def tcp(
    flags: str, source: str, source_port: int, port: int, target: str | None = None, ttl: int = 64
) -> bytes:
    """Return a frame with a TCP segment."""
    return framed(source, target, 6, segment(flags, source_port, port), ttl)


def damaged(generator: random.Random, frame: bytes) -> bytes:
    """Return the frame with some bytes changed, cut or lengthened, or unchanged."""
    data = bytearray(frame)
    for _ in range(generator.choice([0, 0, 1, 1, 2, 8])):
        data[generator.randrange(len(data))] = generator.randrange(256)
    if generator.random() < 0.2:
        del data[generator.randrange(15, len(data)) :]
    elif generator.random() < 0.2:
        data += generator.randbytes(generator.randrange(1, 200))
    return bytes(data)


def udp(source: str, source_port: int, port: int, target: str | None = None) -> bytes:
    datagram = struct.pack("!HHHH", source_port, port, 8, 0)
    return framed(source, target, 17, datagram)


def answer_of(frame: bytes) -> tuple[int, int, int, bytes]:
    """Return type, code, MTU and quoted packet of an ICMP message; check everything else in it."""
    header, message = frame[14:34], frame[34:]
    assert frame[12:14] == b"\x08\x00" and header[0] == 0x45 and header[9] == 1
    assert checksum(header) == 0
    assert int.from_bytes(header[2:4]) == len(frame) - 14 <= 576
    assert checksum(message + b"\0" * (len(message) % 2)) == 0
    assert message[4:6] == b"\0\0"
    return message[0], message[1], int.from_bytes(message[6:8]), message[8:]


def checksum6(packet: bytes) -> int:
    """Return the checksum of an IPv6 packet's payload (RFC 8200, 8.1); 0: the checksum in it is right."""
    message = packet[40:] + b"\0" * (len(packet) % 2)
    return checksum(packet[8:40] + packet[4:6] + bytes((0, packet[6])) + message)


def answer6_of(frame: bytes) -> tuple[int, int, int, bytes]:
    """Return the same as answer_of(), for ICMPv6."""
    packet = frame[14:]
    assert frame[12:14] == b"\x86\xdd" and packet[0] == 0x60 and packet[6:8] == bytes((58, 64))
    assert int.from_bytes(packet[4:6]) == len(packet) - 40 <= 1240
    assert checksum6(packet) == 0
    return packet[40], packet[41], int.from_bytes(packet[44:48]), packet[48:]


class Director:
    """The program under test with its own tables."""

    def __init__(self, sizes: Sizes = SMALL) -> None:
        self.plane = cleared_plane(sizes)
        self.resolve(SERVERS | SERVERS6)

    def __enter__(self) -> Director:
        return self

    def __exit__(self, *_: object) -> None:
        self.plane.close(keep_forwarding=False)

    def resolve(self, servers: dict[str, bytes], index: int = LOOPBACK) -> None:
        self.plane.set_next_hops(
            NextHop(ipaddress.ip_address(address), index, DIRECTOR_MAC, mac)
            for address, mac in servers.items()
        )

    def _answer(self, message: Request) -> Reply:
        plane = self.plane
        match message:
            case TableRequest(connections=wanted):
                connections = tuple(plane.connections()) if wanted else ()
                return TableReply(
                    plane.read(), plane.counters(), plane.timeouts(), 4096, connections, plane.counters()
                )
            case ApplyRequest(operations):
                return ApplyReply(tuple(plane.apply(operations)))
            case _:
                return ErrorReply("not here")

    def ipvsadm(self, command: str) -> str:
        """Run an ipvsadm command and return its output. An error of the command fails the test."""
        out, err = io.StringIO(), io.StringIO()
        words = shlex.split(command.removeprefix("ipvsadm "))
        code = Session(self._answer, SystemNames(), [], out, err).run(words)
        assert code == 0, f"{command}: {err.getvalue()}"
        return out.getvalue()

    def setup(self, commands: Iterable[str]) -> None:
        for command in commands:
            self.ipvsadm(command)

    def mark(self, fwmark: int, fronts: Iterable[tuple[str, int]]) -> None:
        """Let TCP packets to these addresses and ports (0: every port) have the mark."""
        key = ServiceKey.mark(fwmark)
        entry = self.plane.read().get(key)
        assert entry is not None
        found = frozenset(
            Front(Transport.TCP, ipaddress.ip_address(address), port) for address, port in fronts
        )
        assert not self.plane.apply([EditService(msgspec.structs.replace(entry.service, fronts=found))])

    def send(self, frame: bytes, mark: int = 0) -> tuple[int, bytes]:
        """Return verdict and frame after the program; a packet with a mark goes to tc (struct __sk_buff)."""
        if mark:
            context = struct.pack("=8xI180x", mark)
            result = libbpf.run_program(self.plane.programs["direct_tc"], frame, context=context)
            return TC_VERDICTS[result.verdict], result.data
        result = libbpf.run_program(self.plane.programs["direct_xdp"], frame)
        return result.verdict, result.data

    def server_of(self, frame: bytes, mark: int = 0) -> str | None:
        """Return the real server, 'refused', 'pass' for the local stack, or None for a dropped packet."""
        verdict, sent = self.send(frame, mark)
        if verdict == XDP_TX and sent[:6] == frame[6:12]:
            refusals = {b"\x08\x00": (3, 3), b"\x86\xdd": (1, 4)}
            answer = answer_of(sent) if sent[12:14] == b"\x08\x00" else answer6_of(sent)
            assert answer[:2] == refusals[sent[12:14]]
            return "refused"
        if verdict in (XDP_TX, XDP_REDIRECT):
            servers = SERVERS6 if frame[12:14] == b"\x86\xdd" else SERVERS
            return next(address for address, mac in servers.items() if mac == sent[:6])
        assert sent == frame
        return "pass" if verdict == XDP_PASS else None

    def wait(self, seconds: int) -> None:
        """Let time pass, second by second as the sweep sees it."""
        for _ in range(seconds):
            self.plane.tables.control.now += 1
            self.sweep()

    def sweep(self) -> None:
        libbpf.run_program(self.plane.programs["sweep_now"])

    def exits(self) -> dict[str, int]:
        return self.plane.counters().exits

    def held(self, key: ServiceKey) -> dict[str, tuple[int, int]]:
        """Return ActiveConn and InActConn by the server's address."""
        return {
            str(item.key.address): (item.active, item.inactive)
            for item in self.plane.counters().of(key).servers
        }
