"""Gathers what the doctor looks at in the host as a whole: clock, conntrack, offloads, BPF, priorities.

Acts on the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
import time
from pathlib import Path

from pointsman.daemon.privileges import Capability
from pointsman.dataplane.xdp import interfaces
from pointsman.doctor.facts import Offloads, System

DIRECTOR_NEEDS = (Capability.NET_ADMIN, Capability.NET_RAW, Capability.BPF, Capability.PERFMON)

_SYS = Path("/proc/sys")
_TYPES = Path("/sys/kernel/btf/vmlinux")
_STA_UNSYNC = 0x0040
_TIMEX_SIZE = 208
_TIMEX_STATUS = 40
"""Offset of `status` in struct timex on 64-bit machines; modes, offset, freq and two errors come before."""


def system() -> System:
    """The host's present limits and states; what this kernel does not have is left as unknown."""
    return System(
        conntrack=_number("net/netfilter/nf_conntrack_count"),
        conntrack_limit=_number("net/netfilter/nf_conntrack_max"),
        neighbour_overflows=_table_fulls(),
        kernel=_kernel(),
        types=_TYPES.exists(),
        bpf_jit=_number("net/core/bpf_jit_enable"),
        clock_synchronised=_synchronised(),
        forwarding=_number("net/ipv4/ip_forward"),
        mtu_probing=_number("net/ipv4/tcp_mtu_probing"),
    )


def clock_offset() -> float:
    """Seconds between the wall clock and the one that never jumps; changes when the wall clock is set."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def offloads(interface: str) -> Offloads:
    """What the network card does to frames before anybody sees them."""
    return Offloads(
        driver=interfaces.driver(interface),
        receive_checksum=interfaces.checks_received(interface),
        lro=interfaces.merges_received(interface),
    )


def slow_vrrp() -> bool | None:
    """Whether this namespace's VRRP process has no real-time priority; None: there is none."""
    process = _process("pm-vrrp")
    if process is None:
        return None
    try:
        policy = os.sched_getscheduler(int(process.name)) & ~os.SCHED_RESET_ON_FORK
    except OSError:  # it has ended just now
        return None
    return policy not in (os.SCHED_FIFO, os.SCHED_RR)


def director_lacks() -> tuple[str, ...]:
    """The capabilities that this namespace's director works with and has not (capabilities(7))."""
    process = _process("pm-director")
    try:
        lines = process.joinpath("status").read_text().splitlines() if process else []
    except OSError:
        return ()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")]
    return tuple(f"CAP_{item.name}" for item in DIRECTOR_NEEDS if masks and not masks[0] >> item & 1)


def _process(name: str) -> Path | None:
    """The process of this namespace that is called so."""
    here = os.stat("/proc/thread-self/ns/net").st_ino
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = path.joinpath("comm").read_text().strip() == name
            if ours and path.joinpath("ns/net").stat().st_ino == here:
                return path
    return None


def _kernel() -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else None


def _synchronised() -> bool | None:
    """What the kernel's clock discipline says (adjtimex(2)); None: not known on this machine."""
    timex = ctypes.create_string_buffer(_TIMEX_SIZE)
    if struct.calcsize("P") != 8 or ctypes.CDLL(None).adjtimex(timex) < 0:
        return None
    (status,) = struct.unpack_from("=i", timex.raw, _TIMEX_STATUS)
    return not status & _STA_UNSYNC


def _table_fulls() -> int:
    """How often the kernel found its neighbour table full since boot (its log: neighbour table overflow)."""
    try:
        names, *rows = Path("/proc/thread-self/net/stat/arp_cache").read_text().splitlines()
        place = names.split().index("table_fulls")
        return sum(int(row.split()[place], 16) for row in rows)
    except (OSError, ValueError, IndexError):
        return 0


def _number(name: str) -> int | None:
    try:
        return int((_SYS / name).read_text())
    except (OSError, ValueError):
        return None
