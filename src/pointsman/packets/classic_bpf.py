# SPDX-License-Identifier: Apache-2.0
"""Classic BPF (Documentation/networking/filter.rst): a small assembler with labels.

    program = Program()
    program.load_half(12)
    program.unless_equal(0x0800, "drop")
    program.accept(0xFFFF)
    program.label("drop")
    program.accept(0)
    code = program.assemble()

Jumps go forward only, by at most 255 instructions.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MOST_INSTRUCTIONS = 4096
"""BPF_MAXINSNS."""
EVERYTHING = 0xFFFF
"""Bytes to take of a frame that is taken whole."""
PACKET_TYPE = 0xFFFFF004
"""Offset (SKF_AD_OFF + SKF_AD_PKTTYPE) at which the kernel tells whom a frame is for; 0: this host."""
LINK_LAYER = 0xFFE00000
"""Offset (SKF_LL_OFF) of the Ethernet header on a socket that begins with the IP header."""

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_INDEXED, _LOAD_IPV4_SIZE = 0x48, 0xB1
_JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_FARTHEST = 255
_INSTRUCTION = struct.Struct("=HBBI")
"""struct sock_filter (linux/filter.h)."""
_NEXT = ""


class _Instruction(NamedTuple):
    code: int
    operand: int
    if_true: str = _NEXT
    if_false: str = _NEXT
    """Labels; empty: the next instruction."""


class Program:
    """A program that is being written. A is the accumulator, X the index register."""

    def __init__(self) -> None:
        self._instructions: list[_Instruction] = []
        self._labels: dict[str, int] = {}

    def load_word(self, at: int) -> None:
        """A = 4 bytes at this offset of the frame. A load past the end drops the frame."""
        self._add(_LOAD_WORD, at)

    def load_half(self, at: int) -> None:
        """A = 2 bytes at this offset of the frame."""
        self._add(_LOAD_HALF, at)

    def load_byte(self, at: int) -> None:
        """A = the byte at this offset of the frame."""
        self._add(_LOAD_BYTE, at)

    def load_ipv4_size(self, at: int) -> None:
        """X = the length of the IPv4 header that begins at this offset."""
        self._add(_LOAD_IPV4_SIZE, at)

    def load_half_indexed(self, at: int) -> None:
        """A = 2 bytes at this offset plus X."""
        self._add(_LOAD_HALF_INDEXED, at)

    def if_equal(self, value: int, label: str) -> None:
        """Jump if A is this value."""
        self._add(_JUMP_EQUAL, value, if_true=label)

    def unless_equal(self, value: int, label: str) -> None:
        """Jump if A is not this value."""
        self._add(_JUMP_EQUAL, value, if_false=label)

    def if_any_bit(self, mask: int, label: str) -> None:
        """Jump if A has one of these bits."""
        self._add(_JUMP_ANY_BIT, mask, if_true=label)

    def accept(self, size: int) -> None:
        """End: take so many bytes of the frame; 0 drops it."""
        self._add(_RETURN, size)

    def label(self, name: str) -> None:
        """Name the next instruction. Raises ValueError for a name that is used already."""
        if name in self._labels:
            raise ValueError(f"label {name} stands twice")
        self._labels[name] = len(self._instructions)

    def unless_words(self, at: int, value: bytes, label: str) -> None:
        """Jump if the bytes at this offset are not these, a multiple of 4."""
        for place in range(0, len(value), 4):
            self.load_word(at + place)
            self.unless_equal(int.from_bytes(value[place : place + 4], "big"), label)

    def assemble(self) -> bytes:
        """Return the code as SO_ATTACH_FILTER takes it.

        Raises ValueError: a label is missing, stands before its jump or too far behind it, or the program is
        empty, too long, or does not end with `accept`.
        """
        if not 1 <= len(self._instructions) <= MOST_INSTRUCTIONS or self._instructions[-1].code != _RETURN:
            raise ValueError(f"a program of 1 to {MOST_INSTRUCTIONS} instructions ends with accept")
        code = b""
        for place, each in enumerate(self._instructions):
            jumps = self._distance(place, each.if_true), self._distance(place, each.if_false)
            code += _INSTRUCTION.pack(each.code, *jumps, each.operand)
        return code

    def _add(self, code: int, operand: int, if_true: str = _NEXT, if_false: str = _NEXT) -> None:
        self._instructions.append(_Instruction(code, operand, if_true, if_false))

    def _distance(self, place: int, label: str) -> int:
        """Return how many instructions a jump to this label skips. Raises ValueError."""
        if label == _NEXT:
            return 0
        if label not in self._labels:
            raise ValueError(f"there is no label {label}")
        distance = self._labels[label] - place - 1
        if not 0 <= distance <= _FARTHEST or self._labels[label] >= len(self._instructions):
            raise ValueError(f"label {label} is out of reach")
        return distance
