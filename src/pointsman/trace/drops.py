# SPDX-License-Identifier: Apache-2.0
"""Watch where and why the kernel drops packets of one service, by a BPF program on skb:kfree_skb.

The tracepoint covers all network namespaces of the machine. It costs nothing when no trace runs.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pointsman.dataplane.xdp.kernel import layout, libbpf
from pointsman.dataplane.xdp.kernel.btf import TypeInformation
from pointsman.dataplane.xdp.kernel.loader import load
from pointsman.model.address import Address
from pointsman.trace.frames import NUMBERS, TCP

OBJECT = layout.OBJECT.with_name("drops.bpf.o")
_PROGRAM = "note_drop"
_RECORD = struct.Struct("=QIII16s16s2s2s")
_PREFIX = "SKB_DROP_REASON_"


class KernelDrop(msgspec.Struct, frozen=True, kw_only=True):
    """A packet that the kernel dropped."""

    reason: str
    """Name in the kernel without its prefix: IP_RPFILTER, NETFILTER_DROP ..."""
    function: str
    """Function of the kernel. Empty if kernel addresses are hidden (kptr_restrict)."""
    namespace: int
    """Inode number of the network namespace. 0: unknown."""
    interface: int
    """Index of the interface on which the packet arrived. 0: this host sent it."""
    source: str
    source_port: int
    destination: str
    destination_port: int


class DropWatcher:
    """Reader of the drops between `watch_drops` and `collect`."""

    def __init__(self, queue: int, version: int) -> None:
        self._queue = queue
        self._version = version

    def collect(self) -> list[KernelDrop]:
        """Return the drops so far in order (at most 256)."""
        found = []
        while (data := libbpf.queue_pop(self._queue, _RECORD.size)) is not None:
            found.append(_decode(data, self._version))
        return found


@contextlib.contextmanager
def watch_drops(vip: Address, port: int, protocol: str = TCP) -> Iterator[DropWatcher]:
    """Watch packets to or from VIP:port. Raises OSError: the kernel has no BTF, or CAP_PERFMON is missing."""
    constants = vip.packed.ljust(16, b"\0") + struct.pack("!HBB", port, NUMBERS[protocol], vip.version)
    loaded = load(OBJECT, {}, constants, {}, frozenset({_PROGRAM}))
    descriptors = [*loaded.programs.values(), *loaded.maps.values()]
    try:
        descriptors.append(libbpf.attach_tracepoint(loaded.programs[_PROGRAM]))
        yield DropWatcher(loaded.maps["pm_drops"], vip.version)
    finally:
        for descriptor in reversed(descriptors):
            os.close(descriptor)


def _decode(data: bytes, version: int) -> KernelDrop:
    size = 4 if version == 4 else 16
    location, reason, namespace, interface, source, destination, *ports = _RECORD.unpack(data)
    return KernelDrop(
        reason=_reasons().get(reason, f"reason {reason}"),
        function=_function(location),
        namespace=namespace,
        interface=interface,
        source=str(ipaddress.ip_address(source[:size])),
        source_port=int.from_bytes(ports[0], "big"),
        destination=str(ipaddress.ip_address(destination[:size])),
        destination_port=int.from_bytes(ports[1], "big"),
    )


@functools.cache
def _reasons() -> dict[int, str]:
    """Return the names of enum skb_drop_reason by value. They differ between kernels."""
    try:
        kernel = TypeInformation(Path("/sys/kernel/btf/vmlinux"))
        names = kernel.enumeration("skb_drop_reason")
    except (OSError, ValueError):
        return {}
    return {value: name.removeprefix(_PREFIX) for name, value in names.items()}


@functools.cache
def _symbols() -> tuple[list[int], list[str]]:
    """Return sorted addresses of the kernel's functions and their names. Empty if hidden (kptr_restrict)."""
    pairs = []
    with contextlib.suppress(OSError), Path("/proc/kallsyms").open() as lines:
        for line in lines:
            address, kind, name, *_ = line.split()
            if kind in "tT" and (value := int(address, 16)):
                pairs.append((value, name))
    pairs.sort()
    return [value for value, _ in pairs], [name for _, name in pairs]


def _function(location: int) -> str:
    addresses, names = _symbols()
    place = bisect_right(addresses, location)
    return names[place - 1].partition(".")[0] if place else ""  # without the compiler's suffix .constprop.0


def explain_error(error: OSError) -> str:
    """Return the reason why drops cannot be watched, as text for the user."""
    hint = "run as root" if error.errno in (errno.EPERM, errno.EACCES) else "the kernel does not support it"
    return f"drop reasons are not shown ({error.strerror or error}): {hint}"
