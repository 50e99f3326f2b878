# SPDX-License-Identifier: Apache-2.0
"""Flags and positions of bits in the structs of bpf/abi.h and bpf/record.h. layout.py compares them."""

from __future__ import annotations

from enum import IntEnum


class ServiceFlag(IntEnum):
    """service.flags."""

    USED = 1
    DELETED = 2
    ONE_PACKET = 4
    HASH_PORT = 8
    HASH_FALLBACK = 16
    IPV6 = 32
    KEPT = 64


class FrontKey(IntEnum):
    """Flags in front.key and front6.key."""

    HIDDEN = 1 << 57
    HIDDEN6 = 1 << 25


class DestFlag(IntEnum):
    """Flags in dest.egress."""

    TUNNEL = 1 << 58
    WATCHED = 1 << 59
    RESETS = 1 << 60
    LOCAL = 1 << 61
    RESOLVED = 1 << 62
    AVAILABLE = 1 << 63


class TunnelFlag(IntEnum):
    """remote.tunnel: a kind, and flags."""

    IPIP = 1
    GUE = 2
    GRE = 3
    KIND = 0x0F
    CHECKSUM = 0x10
    REMOTE_CHECKSUM = 0x20


class ConnectionWord(IntEnum):
    """connection.word: the bits at which its parts begin."""

    FLAGS = 22
    STATE = 26
    DEST = 30
    FRONT = 48


class TemplateWord(IntEnum):
    """template.word: the bits at which its parts begin, and a flag."""

    CONTROLS = 22
    ASSURED = 1 << 45
    DEST = 46


class ConnectionFlag(IntEnum):
    """Flags in connection.word."""

    CONTROLLED = 1 << 22
    FOREIGN = 1 << 23
    ANNOUNCED = 1 << 24


class TemplateKey(IntEnum):
    """Flags in template.key."""

    PARKED = 1 << 49
    FOREIGN = 1 << 50


class FrontNameFlag(IntEnum):
    """front_name.flags."""

    IPV6 = 1
    MARK = 2


class TakeFlag(IntEnum):
    """exchange.flags of take_records_1."""

    OURS = 1
    LIVE = 2


class GiveFlag(IntEnum):
    """exchange.flags of give_records_1."""

    CARRIED = 1
