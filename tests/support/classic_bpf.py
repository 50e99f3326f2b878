# SPDX-License-Identifier: Apache-2.0
"""An interpreter of classic BPF, for the instructions that packets/classic_bpf.py has."""

from __future__ import annotations

import struct


def run(program: bytes, frame: bytes, packet_type: int = 0) -> int:
    """Return how many bytes of the frame the program accepts; 0 if it loads past the end of the frame."""
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = index = counter = 0
    while True:
        operation, yes, no, constant = code[counter]
        counter += 1
        if operation == 0x06:
            return int(constant)
        if operation in (0x15, 0x45):
            taken = accumulator == constant if operation == 0x15 else bool(accumulator & constant)
            counter += yes if taken else no
            continue
        if constant == 0xFFFFF004:
            accumulator = packet_type
            continue
        offset = constant + (index if operation == 0x48 else 0)
        size = {0x28: 2, 0x48: 2, 0x30: 1, 0x20: 4, 0xB1: 1}[operation]
        if offset + size > len(frame):
            return 0
        value = int.from_bytes(frame[offset : offset + size], "big")
        if operation == 0xB1:
            index = 4 * (value & 0xF)
        else:
            accumulator = value
