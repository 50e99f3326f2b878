# SPDX-License-Identifier: Apache-2.0
"""Frames of DR_CHECK: what goes out, and what counts as an answer."""

from __future__ import annotations

import random
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from tests.support.classic_bpf import run

from pointsman.health import segments
from pointsman.health.segments import Ends, Segment
from pointsman.health.tcp_client import Phase, TcpClient
from pointsman.packets import tcp

OURS, THEIRS, OTHER = (bytes.fromhex(f"02000000000{last}") for last in "123")
ENDS = Ends(
    our_mac=OURS,
    their_mac=THEIRS,
    source=ip_address("192.0.2.10"),
    source_port=40000,
    virtual=ip_address("192.0.2.9"),
    virtual_port=80,
)
ENDS_6 = msgspec.structs.replace(
    ENDS, source=ip_address("2001:db8::10"), virtual=ip_address("2001:db8:0:1:2:3:4:9")
)
BOTH = pytest.mark.parametrize("ends", [ENDS, ENDS_6], ids=["IPv4", "IPv6"])
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def answer(
    flags: str = "SA", mac: bytes = THEIRS, data: bytes = b"", ends: Ends = ENDS, **changes: object
) -> bytes:
    """A frame from the VIP to us, as scapy builds it."""
    fields = {
        "src": str(ends.virtual),
        "dst": str(ends.source),
        "sport": 80,
        "dport": 40000,
        "seq": 99,
        "ack": 8,
        **changes,
    }
    ip = (IP if ends is ENDS else IPv6)(src=fields["src"], dst=fields["dst"])
    sport, dport = fields["sport"], fields["dport"]
    segment = TCP(sport=sport, dport=dport, seq=fields["seq"], ack=fields["ack"], flags=flags)
    return bytes(Ether(src=mac.hex(":"), dst=OURS.hex(":")) / ip / segment / data)


def opened(request: bytes = REQUEST, ends: Ends = ENDS) -> TcpClient:
    exchange = TcpClient(ends, 7, request)
    exchange.on_frame(answer(ends=ends))
    assert exchange.phase is Phase.OPEN
    return exchange


def told(frame: bytes) -> tuple[str, int, int, bytes]:
    """Flags, numbers and data of a frame of ours."""
    read = Ether(frame)
    return str(read[TCP].flags), read[TCP].seq, read[TCP].ack, bytes(read[TCP].payload)


def test_frames_are_what_scapy_reads_and_their_checksums_are_right() -> None:
    for frame in (TcpClient(ENDS, 7).syn(), segments.build_frame(ENDS, tcp.ACK, 8, 100, b"odd")):
        read = Ether(frame)
        assert (read.src, read.dst) == (OURS.hex(":"), THEIRS.hex(":"))
        assert (read[IP].src, read[IP].dst, read[IP].ttl) == ("192.0.2.10", "192.0.2.9", 1)
        assert (read[TCP].sport, read[TCP].dport) == (40000, 80)
        sums = read[IP].chksum, read[TCP].chksum
        del read[IP].chksum, read[TCP].chksum
        again = Ether(bytes(read))
        assert (again[IP].chksum, again[TCP].chksum) == sums
    syn = Ether(TcpClient(ENDS, 7).syn())
    assert (syn[TCP].flags, syn[TCP].seq, syn[TCP].options) == ("S", 7, [("MSS", 1200)])


def test_frames_of_ipv6_are_what_scapy_reads_and_their_checksum_is_right() -> None:
    for frame in (TcpClient(ENDS_6, 7).syn(), segments.build_frame(ENDS_6, tcp.ACK, 8, 100, b"odd")):
        read = Ether(frame)
        assert (read.src, read.dst, read.type) == (OURS.hex(":"), THEIRS.hex(":"), 0x86DD)
        assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == (
            "2001:db8::10",
            "2001:db8:0:1:2:3:4:9",
            1,
        )
        assert (read[TCP].sport, read[TCP].dport) == (40000, 80)
        assert len(frame) == 14 + 40 + read[IPv6].plen
        found = read[TCP].chksum
        del read[TCP].chksum
        assert Ether(bytes(read))[TCP].chksum == found


@pytest.mark.parametrize(
    ("frame", "phase"),
    [
        (answer(ends=ENDS_6), Phase.OPEN),
        (answer("RA", ends=ENDS_6), Phase.REFUSED),
        (answer("A", ends=ENDS_6), Phase.OPENING),
        (answer(mac=OTHER, ends=ENDS_6), Phase.OPENING),
        (answer(ends=ENDS_6, ack=7), Phase.OPENING),
        (answer(ends=ENDS_6, src="2001:db8:0:1:2:3:4:8"), Phase.OPENING),
        (answer(ends=ENDS_6, dst="2001:db8::11"), Phase.OPENING),
        (answer(ends=ENDS_6, dport=40001), Phase.OPENING),
        (answer(ends=ENDS_6)[:20] + b"\x11" + answer(ends=ENDS_6)[21:], Phase.OPENING),
        (answer(ends=ENDS_6)[:73], Phase.OPENING),
        (answer(), Phase.OPENING),
    ],
)
def test_only_the_answer_to_this_handshake_counts_over_ipv6(frame: bytes, phase: Phase) -> None:
    exchange = TcpClient(ENDS_6, 7)
    exchange.on_frame(frame)
    assert exchange.phase is phase


@pytest.mark.parametrize(
    ("frame", "phase"),
    [
        (answer(), Phase.OPEN),
        (answer("RA"), Phase.REFUSED),
        (answer("A"), Phase.OPENING),
        (answer("R"), Phase.OPENING),
        (answer(mac=OTHER), Phase.OPENING),
        (answer(ack=7), Phase.OPENING),
        (answer(src="192.0.2.20"), Phase.OPENING),
        (answer(dst="192.0.2.11"), Phase.OPENING),
        (answer(sport=81), Phase.OPENING),
        (answer(dport=40001), Phase.OPENING),
        (answer()[:53], Phase.OPENING),
        (b"", Phase.OPENING),
    ],
)
def test_only_the_real_server_s_own_answer_to_this_handshake_counts(frame: bytes, phase: Phase) -> None:
    exchange = TcpClient(ENDS, 7)
    exchange.on_frame(frame)
    assert exchange.phase is phase


def test_a_handshake_alone_ends_with_a_reset_at_the_number_the_other_end_expects() -> None:
    exchange = TcpClient(ENDS, 7)
    assert exchange.on_frame(answer()) == []
    assert [told(frame)[:2] for frame in exchange.close()] == [("R", 8)]
    refused = TcpClient(ENDS, 7)
    refused.on_frame(answer("RA"))
    assert refused.close() == []


def test_the_request_goes_out_with_the_third_segment_in_pieces_that_anybody_takes() -> None:
    exchange = TcpClient(ENDS, 7, bytes(700))
    assert [told(frame) for frame in exchange.on_frame(answer())] == [
        ("PA", 8, 100, bytes(536)),
        ("PA", 544, 100, bytes(164)),
    ]
    assert [told(frame)[:2] for frame in exchange.close()] == [("R", 8), ("R", 708)]
    exchange.on_frame(answer("A", seq=100, ack=544))
    assert [told(frame)[1] for frame in exchange.retransmit()] == [544]
    exchange.on_frame(answer("A", seq=100, ack=708))
    assert exchange.retransmit() == []
    assert [told(frame)[:2] for frame in exchange.close()] == [("R", 708)]


def test_bytes_are_taken_in_order_and_once() -> None:
    exchange = opened()
    for sequence, data in ((103, b"def"), (100, b"abc"), (100, b"abc"), (102, b"cdef"), (90, b"old")):
        (acknowledgement,) = exchange.on_frame(answer("A", seq=sequence, ack=26, data=data))
        assert told(acknowledgement)[0] == "A"
    assert told(acknowledgement)[2] == 106
    assert exchange.received() == b"abcdef"
    exchange.on_frame(answer("FA", seq=106, ack=26, data=b"!"))
    assert (exchange.phase, exchange.received()) == (Phase.ENDED, b"!")


def test_a_reset_counts_only_within_the_window() -> None:
    exchange = opened()
    phases = []
    for sequence in (99, 100 + 65536, 100):
        exchange.on_frame(answer("R", seq=sequence))
        phases.append(exchange.phase)
    assert phases == [Phase.OPEN, Phase.OPEN, Phase.RESET]
    assert exchange.close() == []


class Peer:
    """A server that answers a whole request, for a network that loses, doubles and turns around frames."""

    def __init__(self, body: bytes, first: int, request: int) -> None:
        self._body, self._first, self._request = body, first, request
        self._next: int | None = None
        self._have = 0
        self._confirmed = 0

    def take(self, frame: bytes) -> list[bytes]:
        flags, sequence, acknowledged, data = told(frame)
        if flags == "S":
            self._next = sequence + 1 & 0xFFFFFFFF
            return [answer("SA", seq=self._first, ack=self._next)]
        if flags not in ("A", "PA") or self._next is None:
            return []
        if sequence == self._next and data:
            self._next = self._next + len(data) & 0xFFFFFFFF
            self._have += len(data)
        self._confirmed = max(self._confirmed, (acknowledged - self._first - 1) & 0xFFFFFFFF)
        return self.again()

    def again(self) -> list[bytes]:
        if self._next is None:
            return []
        if self._have < self._request:
            return [answer("A", seq=self._first + 1 & 0xFFFFFFFF, ack=self._next)]
        pieces = range(min(self._confirmed, len(self._body)), len(self._body) + 1, 50)
        return [
            answer(
                "FA" if at + 50 > len(self._body) else "A",
                seq=self._first + 1 + at & 0xFFFFFFFF,
                ack=self._next,
                data=self._body[at : at + 50],
            )
            for at in pieces[:4]
        ]


@settings(deadline=None, max_examples=30)
@given(
    st.binary(max_size=400),
    st.integers(0, 900),
    st.sampled_from([0, 7, 0xFFFFFFFF, 0xFFFFFF00]),
    st.sampled_from([0, 99, 0xFFFFFFFF, 0xFFFFFF80]),
    st.integers(0, 1 << 32),
)
def test_the_answer_arrives_whole_whatever_the_network_does(
    body: bytes, length: int, ours: int, theirs: int, seed: int
) -> None:
    """Sequence numbers wrap around on the way, too."""
    chance = random.Random(seed)
    exchange, peer = TcpClient(ENDS, ours, bytes(length + 1)), Peer(body, theirs, length + 1)
    found, wire = b"", [exchange.syn()]
    for _ in range(400):
        if exchange.phase is Phase.ENDED:
            break
        chance.shuffle(wire)
        frames, wire = wire or [*exchange.retransmit(), *peer.again()], []
        for frame in frames:
            for _ in range(chance.choice((0, 1, 1, 1, 2))):
                ours_ = Ether(frame).src == OURS.hex(":")
                wire += peer.take(frame) if ours_ else exchange.on_frame(frame)
                found += exchange.received()
        wire = wire[:20]
    assert (exchange.phase, found) == (Phase.ENDED, body)


@given(st.binary(max_size=80), st.integers(0, 74), st.booleans(), st.sampled_from([ENDS, ENDS_6]))
def test_any_bytes_are_survived(noise: bytes, at: int, is_open: bool, ends: Ends) -> None:
    exchange = opened(ends=ends) if is_open else TcpClient(ends, 7, REQUEST)
    frame = answer(ends=ends)
    for each in (noise, frame[:at] + noise + frame[at + len(noise) :]):
        assert len(exchange.on_frame(each)) <= 1
    assert segments.parse_frame(ends, frame) == Segment(THEIRS, 18, 99, 8, b"")


@BOTH
def test_the_filter_lets_exactly_such_segments_through(ends: Ends) -> None:
    stranger = "192.0.2.20" if ends is ENDS else "2001:db8:0:1:2:3:5:9"
    frame = answer(ends=ends)
    assert run_filter(ends, frame)
    assert run_filter(ends, answer("RA", mac=OTHER, ends=ends))
    assert not run_filter(ends, answer(ends=ends, src=stranger))
    assert not run_filter(ends, answer(ends=ends, dport=40001))
    assert not run_filter(ends, frame[:12] + b"\x08\x06" + frame[14:])
    protocol = 23 if ends is ENDS else 20
    assert not run_filter(ends, frame[:protocol] + b"\x11" + frame[protocol + 1 :])


def run_filter(ends: Ends, frame: bytes) -> bool:
    return bool(run(segments.filter_program(ends), frame))
