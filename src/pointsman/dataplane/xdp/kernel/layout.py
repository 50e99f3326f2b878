# SPDX-License-Identifier: Apache-2.0
"""The structs and numbers of bpf/abi.h in Python, and the check that both sides agree."""

from __future__ import annotations

import ctypes
import hashlib
from enum import IntEnum
from pathlib import Path
from typing import Any

from pointsman.dataplane.xdp.kernel import btf
from pointsman.dataplane.xdp.kernel.flags import (
    ConnectionFlag,
    ConnectionWord,
    DestFlag,
    FrontKey,
    FrontNameFlag,
    GiveFlag,
    ServiceFlag,
    TakeFlag,
    TemplateKey,
    TemplateWord,
    TunnelFlag,
)
from pointsman.dataplane.xdp.kernel.record_layout import (
    LANE_RECORDS,
    LANES,
    TAKE_RESULTS,
    DestName,
    Exchange,
    FrontName,
    OutboxHead,
    u8,
    u16,
    u32,
    u64,
)
from pointsman.packets.record import RecordFlag

OBJECT = Path(__file__).parents[1] / "director.bpf.o"

WAYS, FRONT_PROBES, LIST_HEAD, LOCAL_MACS = 4, 4, 2, 1024
NO_PREFIX = 255
GRACE_ALWAYS = 0x7FFFFFFF
DEADLINE_BITS = 22
DEADLINE_MASK = (1 << DEADLINE_BITS) - 1
LONGEST_TIMEOUT = (1 << DEADLINE_BITS - 1) - 1
FRONT_DELETED = WORD_DYING = (1 << 64) - 1
FRONT_HASH = 0x9E3779B97F4A7C15
LARGEST_PACKET = 65535
STATES = 16


NUMBERS = {
    "WAYS": WAYS,
    "FRONT_PROBES": FRONT_PROBES,
    "LIST_HEAD": LIST_HEAD,
    "NO_PREFIX": NO_PREFIX,
    "GRACE_ALWAYS": GRACE_ALWAYS,
    "DEADLINE_BITS": DEADLINE_BITS,
    "LOCAL_MACS": LOCAL_MACS,
    "LANES": LANES,
    "LANE_RECORDS": LANE_RECORDS,
    "TAKE_RESULTS": TAKE_RESULTS,
}
"""enum layout_number."""

ENUMS: dict[str, tuple[str, type[IntEnum]]] = {
    "service_flag": ("SERVICE_", ServiceFlag),
    "front_bit": ("FRONT_", FrontKey),
    "dest_bit": ("DEST_", DestFlag),
    "tunnel_flag": ("TUNNEL_", TunnelFlag),
    "connection_word": ("WORD_", ConnectionWord),
    "template_word": ("TEMPLATE_", TemplateWord),
    "template_key": ("TEMPLATE_", TemplateKey),
    "connection_flag": ("WORD_", ConnectionFlag),
    "front_name_flag": ("FRONT_NAME_", FrontNameFlag),
    "record_flag": ("RECORD_", RecordFlag),
    "take_flag": ("TAKE_", TakeFlag),
    "give_flag": ("GIVE_", GiveFlag),
}
"""Enums by their names in bpf/abi.h, with the prefix of their members there; NAME_BIT means 1 << bit."""


class Front(ctypes.Structure):
    _fields_ = (("key", u64), ("service", u32), ("number", u16), ("flags", u16))
    key: int
    service: int
    number: int
    flags: int


class Front6(ctypes.Structure):
    _fields_ = (("address", u64 * 2), ("key", u64), ("service", u32), ("number", u16), ("flags", u16))
    address: ctypes.Array[ctypes.c_uint64]
    key: int
    service: int
    number: int
    flags: int


class Mark(ctypes.Structure):
    _fields_ = (("service", u32), ("front", u32))


class Service(ctypes.Structure):
    _fields_ = (
        ("list", u64),
        ("cursor", u64),
        ("flags", u32),
        ("persistence", u32),
        ("mask", u32),
        ("previous_mask", u32),
        ("mark", u32),
        ("port", u16),
        ("protocol", u8),
        ("prefix", u8),
        ("sequence", u64),
        ("deleted_at", u32),
        ("options", u32),
        ("group", u32),
        ("grace_until", u32),
    )
    list: int
    cursor: int
    flags: int
    persistence: int
    mask: int
    previous_mask: int
    port: int
    protocol: int
    prefix: int
    sequence: int
    deleted_at: int
    options: int
    mark: int
    group: int
    grace_until: int


class Dest(ctypes.Structure):
    _fields_ = (
        ("frame", u64),
        ("egress", u64),
        ("upper", u32),
        ("lower", u32),
        ("service", u32),
        ("port", u16),
        ("front", u16),
        ("weight", u32),
        ("deleted_at", u32),
        ("sequence", u64),
        ("spare", u32),
        ("last_weight", u32),
        ("block", u32),
        ("mtu", u16),
        ("route_mtu", u16),
    )
    frame: int
    egress: int
    upper: int
    lower: int
    service: int
    port: int
    front: int
    weight: int
    sequence: int
    deleted_at: int
    last_weight: int
    block: int
    mtu: int
    route_mtu: int


class Remote(ctypes.Structure):
    _fields_ = (
        ("address", u8 * 16),
        ("source", u8 * 16),
        ("family", u8),
        ("tunnel", u8),
        ("tunnel_port", u16),
        ("spare", u32 * 7),
    )
    address: ctypes.Array[ctypes.c_uint8]
    source: ctypes.Array[ctypes.c_uint8]
    family: int
    tunnel: int
    tunnel_port: int


class Member(ctypes.Structure):
    _fields_ = (("dest", u32), ("weight", u32))


class Load(ctypes.Structure):
    _fields_ = (("held", u64), ("persistent", u32), ("overloaded", u32))
    held: int
    persistent: int
    overloaded: int

    @property
    def active(self) -> int:
        return self.held & 0xFFFFFFFF

    @property
    def inactive(self) -> int:
        return self.held >> 32


class Unanswered(ctypes.Structure):
    _fields_ = (("expired", u32), ("repeating", u32), ("counted", u32), ("last", u32))
    expired: int
    repeating: int
    last: int


class Block(ctypes.Structure):
    _fields_ = (("changes", u32), ("spare", u32), ("best", u64))
    changes: int
    best: int


class ConnectionEntry(ctypes.Structure):
    _fields_ = (("key", u64), ("word", u64))


class ConnectionEntry6(ctypes.Structure):
    _fields_ = (("client", u64 * 2), ("entry", ConnectionEntry))


class Template(ctypes.Structure):
    _fields_ = (("client", u64 * 2), ("key", u64), ("word", u64))


class TrafficEntry(ctypes.Structure):
    _fields_ = (
        ("connections", u64),
        ("packets", u64),
        ("octets", u64),
        ("repeated", u32),
        ("aborted", u32),
    )
    connections: int
    packets: int
    octets: int


class Control(ctypes.Structure):
    _fields_ = (
        ("now", u32),
        ("overflow_until", u32),
        ("seed", u64),
        ("any_port", u32),
        ("connection_sweep", u32),
        ("template_sweep", u32),
        ("spare", u32),
        ("timeout", u32 * STATES),
        ("conn_reuse_mode", u32),
        ("expire_nodest_conn", u32),
        ("expire_quiescent_template", u32),
        ("sloppy_tcp", u32),
        ("secure_tcp", u32),
        ("connection6_sweep", u32),
        ("ftp", u32),
        ("drop_entry", u32),
        ("drop_packet", u32),
        ("am_droprate", u32),
        ("pressure", u32),
        ("occupied", u32),
        ("schedule_icmp", u32),
        ("sloppy_sctp", u32),
        ("sync", u32),
        ("connection_round", u32),
        ("connection6_round", u32),
        ("template_round", u32),
        ("keep_until", u32),
    )
    now: int
    overflow_until: int
    seed: int
    any_port: int
    ftp: int
    pressure: int
    keep_until: int
    timeout: ctypes.Array[ctypes.c_uint32]
    sync: int


class Limits(ctypes.Structure):
    _fields_ = (
        ("front_mask", u32),
        ("connection_buckets", u32),
        ("template_buckets", u32),
        ("front6_mask", u32),
        ("connection6_buckets", u32),
        ("outbox_mask", u32),
    )


STRUCTS: dict[str, type[ctypes.Structure]] = {
    "front": Front,
    "front6": Front6,
    "mark": Mark,
    "service": Service,
    "dest": Dest,
    "remote": Remote,
    "member": Member,
    "load": Load,
    "unanswered": Unanswered,
    "block": Block,
    "connection": ConnectionEntry,
    "connection6": ConnectionEntry6,
    "template": Template,
    "traffic": TrafficEntry,
    "control": Control,
    "limits": Limits,
    "front_name": FrontName,
    "dest_name": DestName,
    "outbox_head": OutboxHead,
    "exchange": Exchange,
}


class Vocabulary:
    """The names of exits, schedulers and states, read from the BPF object."""

    def __init__(self, types: btf.TypeInformation) -> None:
        exits = types.enumeration("exit_reason")
        self.exits = [name.removeprefix("EXIT_").lower() for name in exits if name.startswith("EXIT_")]
        self.schedulers = _lower(types.enumeration("scheduler"), "SCHEDULER_")
        self.states = {
            value: name for name, value in _strip(types.enumeration("connection_state"), "STATE_").items()
        }
        self.scheduler_names = {value: name for name, value in self.schedulers.items()}
        results = _strip(types.enumeration("take_result"), "TAKE_RESULT_")
        self.take_results = [name.lower() for name in results]


def _strip(names: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): value for name, value in names.items()}


def _lower(names: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.lower(): value for name, value in _strip(names, prefix).items() if value}


def check(types: btf.TypeInformation) -> str:
    """Compare every struct, flag and number with the object's BTF. Return the ABI's hash.

    Raises ValueError where both sides differ.
    """
    facts: list[Any] = [
        types.enumeration(name)
        for name in ("abi", "exit_reason", "scheduler", "connection_state", "take_result")
    ]
    facts += sorted((name, sorted(shape.items())) for name, shape in types.maps().items())
    facts += [_checked_enumeration(types, name, *ours) for name, ours in ENUMS.items()]
    facts.append(_checked_numbers(types))
    facts += [_checked_struct(types, name, structure) for name, structure in STRUCTS.items()]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _checked_enumeration(
    types: btf.TypeInformation, name: str, prefix: str, ours: type[IntEnum]
) -> tuple[str, dict[str, int]]:
    theirs = dict(map(_flag, _strip(types.enumeration(name), prefix).items()))
    if theirs != {member.name: member.value for member in ours}:
        raise ValueError(f"enum {name} has other values in the BPF object: {theirs}")
    return name, theirs


def _flag(named: tuple[str, int]) -> tuple[str, int]:
    name, value = named
    return (name.removesuffix("_BIT"), 1 << value) if name.endswith("_BIT") else named


def _checked_numbers(types: btf.TypeInformation) -> dict[str, int]:
    theirs = types.enumeration("layout_number")
    if theirs != {name: NUMBERS.get(name) for name in theirs}:
        raise ValueError(f"the BPF object has other numbers: {theirs}")
    return theirs


def _checked_struct(
    types: btf.TypeInformation, name: str, structure: type[ctypes.Structure]
) -> tuple[str, list[Any]]:
    if types.struct_size(name) != ctypes.sizeof(structure):
        raise ValueError(f"struct {name} has another size in the BPF object")
    ours = {
        field[0]: (getattr(structure, field[0]).offset, getattr(structure, field[0]).size)
        for field in structure._fields_
    }
    theirs = {field: tuple(place) for field, place in types.fields(name).items()}
    if ours != theirs:
        raise ValueError(f"struct {name} is laid out otherwise in the BPF object: {theirs}, not {ours}")
    return name, sorted(ours.items())
