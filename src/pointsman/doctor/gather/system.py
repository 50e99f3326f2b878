# SPDX-License-Identifier: Apache-2.0
"""Read facts about the whole host: clock, conntrack, offloads, BPF, priorities.

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

from pointsman.daemon.runtime.privileges import Capability
from pointsman.dataplane.xdp.kernel import interfaces
from pointsman.doctor.facts import Offloads, Pins, System
from pointsman.net.neighbour_table import kernel_entries, kernel_overflows
from pointsman.net.other_balancers import processes_named

DIRECTOR_NEEDS = (Capability.NET_ADMIN, Capability.NET_RAW, Capability.BPF, Capability.PERFMON)

_SYS = Path("/proc/sys")
_TYPES = Path("/sys/kernel/btf/vmlinux")
_STA_UNSYNC = 0x0040
_TIMEX_SIZE = 208
_TIMEX_STATUS = 40
"""Offset of `status` in struct timex on 64-bit machines (after modes, offset, freq and two errors)."""


def read_system() -> System:
    """Read the host's limits and states. Values that this kernel does not have are None."""
    return System(
        conntrack=_read_number("net/netfilter/nf_conntrack_count"),
        conntrack_limit=_read_number("net/netfilter/nf_conntrack_max"),
        neighbour_entries=kernel_entries(),
        neighbour_overflows=kernel_overflows(),
        kernel=_kernel_version(),
        types=_TYPES.exists(),
        bpf_jit=_read_number("net/core/bpf_jit_enable"),
        clock_synchronised=_is_synchronised(),
        forwarding=_read_number("net/ipv4/ip_forward"),
        mtu_probing=_read_number("net/ipv4/tcp_mtu_probing"),
    )


def wall_clock_offset() -> float:
    """Return the wall clock minus CLOCK_BOOTTIME in seconds. It changes only if the wall clock is set."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def read_offloads(interface: str) -> Offloads:
    """Read the offloads of an interface by ethtool's ioctls."""
    return Offloads(
        driver=interfaces.driver(interface),
        receive_checksum=interfaces.checks_received(interface),
        lro=interfaces.merges_received(interface),
    )


def is_vrrp_slow() -> bool | None:
    """True if this namespace's VRRP process has no real-time priority. None: there is no such process."""
    process = _find_process("pm-vrrp")
    if process is None:
        return None
    try:
        policy = os.sched_getscheduler(int(process.name)) & ~os.SCHED_RESET_ON_FORK
    except OSError:  # the process has just ended
        return None
    return policy not in (os.SCHED_FIFO, os.SCHED_RR)


def missing_capabilities() -> tuple[str, ...]:
    """Return the capabilities that this namespace's director needs and does not have (capabilities(7))."""
    process = _find_process("pm-director")
    try:
        lines = process.joinpath("status").read_text().splitlines() if process else []
    except OSError:
        return ()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")]
    return tuple(f"CAP_{item.name}" for item in DIRECTOR_NEEDS if masks and not masks[0] >> item & 1)


def read_pins(directory: Path) -> Pins:
    """Return how long the pins in `directory` last, if this namespace's director is killed."""
    process = _find_process("pm-director")
    if process is None:
        return Pins.UNKNOWN
    try:
        mounts = parse_bpf_mounts(process.joinpath("mountinfo").read_text())
        device = next((mounts[str(place)] for place in directory.parents if str(place) in mounts), None)
        own = process.joinpath("ns/mnt").stat().st_ino
        first = parse_bpf_mounts(Path("/proc/1/mountinfo").read_text())
    except OSError:
        return Pins.UNKNOWN
    if device is None:
        return Pins.UNKNOWN
    if device in first.values():
        return Pins.HOST
    return Pins.KEPT if _has_other_processes(own) else Pins.FLEETING


def parse_bpf_mounts(text: str) -> dict[str, str]:
    """Return mount point and device of each bpf file system in the text of /proc/PID/mountinfo."""
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        if after.split(" ")[0] == "bpf" and len(words) > 4:
            found[words[4]] = words[2]
    return found


def _has_other_processes(mount_namespace: int) -> bool:
    """True if a process that is neither the director's nor the caller keeps a mount namespace."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if path.joinpath("ns/mnt").stat().st_ino == mount_namespace:
                words = path.joinpath("cmdline").read_bytes().split(b"\0")
                if not any(Path(os.fsdecode(word)).name == "pointsman" for word in words[:3]):
                    return True
    return False


def _find_process(name: str) -> Path | None:
    """Return the /proc directory of the process of this namespace with this name."""
    found = processes_named(name)
    return Path("/proc", str(found[0])) if found else None


def _kernel_version() -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else None


def _is_synchronised() -> bool | None:
    """True if the kernel's clock is synchronised (adjtimex(2)). None: unknown on this machine."""
    timex = ctypes.create_string_buffer(_TIMEX_SIZE)
    if struct.calcsize("P") != 8 or ctypes.CDLL(None).adjtimex(timex) < 0:
        return None
    (status,) = struct.unpack_from("=i", timex.raw, _TIMEX_STATUS)
    return not status & _STA_UNSYNC


def _read_number(name: str) -> int | None:
    try:
        return int((_SYS / name).read_text())
    except (OSError, ValueError):
        return None
