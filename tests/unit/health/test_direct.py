"""Frames of DR_CHECK: what goes out, and what counts as an answer."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from pointsman.health import direct
from pointsman.health.direct import Ends, Reply

OURS, THEIRS, OTHER = (bytes.fromhex(f"02000000000{last}") for last in "123")
ENDS = Ends(
    our_mac=OURS,
    their_mac=THEIRS,
    source=IPv4Address("192.0.2.10"),
    source_port=40000,
    virtual=IPv4Address("192.0.2.9"),
    virtual_port=80,
)


def answer(flags: str = "SA", mac: bytes = THEIRS, **changes: object) -> bytes:
    """A frame from the VIP to us, as scapy builds it."""
    fields = {"src": "192.0.2.9", "dst": "192.0.2.10", "sport": 80, "dport": 40000, "ack": 8, **changes}
    ip = IP(src=fields["src"], dst=fields["dst"])
    segment = TCP(sport=fields["sport"], dport=fields["dport"], seq=99, ack=fields["ack"], flags=flags)
    return bytes(Ether(src=mac.hex(":"), dst=OURS.hex(":")) / ip / segment)


@pytest.mark.parametrize(
    ("frame", "flags", "sequence"), [(direct.syn(ENDS, 7), "S", 7), (direct.reset(ENDS, 7), "R", 8)]
)
def test_frames_are_what_scapy_reads_and_their_checksums_are_right(
    frame: bytes, flags: str, sequence: int
) -> None:
    read = Ether(frame)
    assert (read.src, read.dst) == (OURS.hex(":"), THEIRS.hex(":"))
    assert (read[IP].src, read[IP].dst, read[IP].ttl) == ("192.0.2.10", "192.0.2.9", 1)
    assert (read[TCP].sport, read[TCP].dport, read[TCP].flags, read[TCP].seq) == (40000, 80, flags, sequence)
    sums = read[IP].chksum, read[TCP].chksum
    del read[IP].chksum, read[TCP].chksum
    again = Ether(bytes(read))
    assert (again[IP].chksum, again[TCP].chksum) == sums


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (answer(), Reply.ACCEPTED),
        (answer("RA"), Reply.REFUSED),
        (answer("A"), Reply.NONE),
        (answer("R"), Reply.NONE),
        (answer(mac=OTHER), Reply.FOREIGN),
        (answer(ack=7), Reply.NONE),
        (answer(src="192.0.2.20"), Reply.NONE),
        (answer(dst="192.0.2.11"), Reply.NONE),
        (answer(sport=81), Reply.NONE),
        (answer(dport=40001), Reply.NONE),
        (answer()[:53], Reply.NONE),
        (b"", Reply.NONE),
    ],
)
def test_only_the_real_server_s_own_answer_to_this_handshake_counts(frame: bytes, says: Reply) -> None:
    assert direct.reply(ENDS, 7, frame) is says


@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_are_survived(noise: bytes, at: int) -> None:
    frame = answer()
    assert direct.reply(ENDS, 7, noise) is not None
    assert direct.reply(ENDS, 7, frame[:at] + noise + frame[at + len(noise) :]) in Reply


def test_the_filter_lets_exactly_such_segments_through() -> None:
    assert run_filter(answer())
    assert run_filter(answer("RA", mac=OTHER))
    assert not run_filter(answer(src="192.0.2.20"))
    assert not run_filter(answer(dport=40001))
    assert not run_filter(answer().replace(b"\x08\x00\x45", b"\x08\x06\x45"))


def run_filter(frame: bytes) -> bool:
    """The classic BPF machine, as far as this program goes."""
    program = direct.filter_program(ENDS)
    accumulator = index = at = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x06:
            return value > 0
        if code == 0x15:
            at += if_true if accumulator == value else if_false
        elif code == 0x28:
            (accumulator,) = struct.unpack_from("!H", frame, value)
        elif code == 0x30:
            accumulator = frame[value]
        elif code == 0x20:
            (accumulator,) = struct.unpack_from("!I", frame, value)
        elif code == 0xB1:
            index = 4 * (frame[value] & 15)
        elif code == 0x48:
            (accumulator,) = struct.unpack_from("!H", frame, index + value)
        else:
            raise AssertionError(code)
