# SPDX-License-Identifier: Apache-2.0
"""The structs of bpf/record.h and of names in records. layout.py compares them with the object."""

from __future__ import annotations

import ctypes

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

LANES, LANE_RECORDS, TAKE_RESULTS = 4, 1024, 16


class FrontName(ctypes.Structure):
    _fields_ = (("address", u64 * 2), ("mark", u32), ("port", u16), ("protocol", u8), ("flags", u8))
    address: ctypes.Array[ctypes.c_uint64]
    mark: int
    port: int
    protocol: int
    flags: int


class DestName(ctypes.Structure):
    _fields_ = (("address", u64 * 2), ("service", u32), ("port", u16), ("family", u16))


class OutboxHead(ctypes.Structure):
    _fields_ = (("written", u64), ("spare", u64 * 7))
    written: int


class Exchange(ctypes.Structure):
    """The context of the programs that give and take records."""

    _fields_ = (("cursor", u64), ("lane", u32), ("count", u32), ("flags", u32), ("spare", u32))
    cursor: int
    lane: int
    count: int
    flags: int
