# SPDX-License-Identifier: Apache-2.0
"""The assembler of classic BPF: jumps arrive where their labels stand, and what cannot be is refused."""

from __future__ import annotations

import re
import struct

import pytest
from tests.support.classic_bpf import run

from pointsman.packets.classic_bpf import PACKET_TYPE, Program


def test_code_is_as_the_kernels_documentation_has_it() -> None:
    program = Program()
    program.load_half(12)
    program.unless_equal(0x0806, "drop")
    program.accept(0xFFFF)
    program.label("drop")
    program.accept(0)
    # "ldh [12]; jne #0x806, drop; ret #-1; drop: ret #0" of Documentation/networking/filter.rst
    expected = [(0x28, 0, 0, 12), (0x15, 0, 1, 0x806), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]
    assert list(struct.iter_unpack("=HBBI", program.assemble())) == expected


def test_jumps_go_to_their_labels() -> None:
    program = Program()
    program.load_byte(0)
    program.if_equal(1, "one")
    program.if_any_bit(0x80, "high")
    program.unless_equal(2, "other")
    program.accept(2)
    program.label("one")
    program.accept(1)
    program.label("high")
    program.accept(3)
    program.label("other")
    program.accept(0)
    code = program.assemble()
    assert [run(code, bytes([first])) for first in (1, 0x81, 2, 3)] == [1, 3, 2, 0]


def test_words_are_compared_to_the_last_one() -> None:
    program = Program()
    program.unless_words(1, b"abcdefgh", "drop")
    program.accept(9)
    program.label("drop")
    program.accept(0)
    code = program.assemble()
    frames = (b".abcdefgh", b".abcdefgH", b".Abcdefgh", b".abcdefg")
    assert [run(code, frame) for frame in frames] == [9, 0, 0, 0]


def test_a_port_behind_options_is_found_by_the_headers_length() -> None:
    program = Program()
    program.load_ipv4_size(0)
    program.load_half_indexed(2)
    program.unless_equal(80, "drop")
    program.accept(1)
    program.label("drop")
    program.accept(0)
    code = program.assemble()
    assert run(code, b"\x45" + bytes(19) + b"\0\0\0\x50") == 1
    assert run(code, b"\x46" + bytes(23) + b"\0\0\0\x50") == 1
    assert run(code, b"\x46" + bytes(19) + b"\0\0\0\x50" + bytes(4)) == 0


def test_the_packets_type_is_loaded_from_where_the_kernel_has_it() -> None:
    program = Program()
    program.load_half(PACKET_TYPE)
    program.unless_equal(0, "drop")
    program.accept(1)
    program.label("drop")
    program.accept(0)
    assert [run(program.assemble(), b"", packet_type=kind) for kind in (0, 1, 4)] == [1, 0, 0]


def jump_over(instructions: int) -> Program:
    program = Program()
    program.if_equal(0, "far")
    for _ in range(instructions):
        program.load_byte(0)
    program.label("far")
    program.accept(0)
    return program


def test_a_jump_reaches_255_instructions_far() -> None:
    assert len(jump_over(255).assemble()) == 8 * 257
    with pytest.raises(ValueError, match="far is out of reach"):
        jump_over(256).assemble()


def backwards() -> Program:
    program = Program()
    program.label("start")
    program.if_equal(0, "start")
    program.accept(0)
    return program


def without_label() -> Program:
    program = Program()
    program.if_equal(0, "nowhere")
    program.accept(0)
    return program


def behind_the_end() -> Program:
    program = Program()
    program.accept(0)
    program.if_equal(0, "end")
    program.accept(0)
    program.label("end")
    return program


def without_end() -> Program:
    program = Program()
    program.load_byte(0)
    return program


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        (backwards(), "label start is out of reach"),
        (without_label(), "there is no label nowhere"),
        (behind_the_end(), "label end is out of reach"),
        (without_end(), "ends with accept"),
        (Program(), "a program of 1 to 4096 instructions"),
        (jump_over(4096), "a program of 1 to 4096 instructions"),
    ],
)
def test_what_the_kernel_would_refuse_is_refused(program: Program, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        program.assemble()


def test_a_label_stands_once() -> None:
    program = Program()
    program.label("twice")
    with pytest.raises(ValueError, match="twice stands twice"):
        program.label("twice")
