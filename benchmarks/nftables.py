# SPDX-License-Identifier: Apache-2.0
"""Compare three ways to write no_accept's table: own netlink messages, libnftables, and the program nft.

Both the whole table and a single address are written, on a host without rules and on one with a large
ruleset. It runs in a separate network namespace. The results are the time that the caller waits, the median
and the longest of several.
"""

from __future__ import annotations

import ctypes
import ipaddress
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pointsman.net.nftables import TABLE, FilteredAddress, FilterTable

RUNS = 15
ELEMENTS, RULES = 40_000, 5_000
ADDRESSES = [FilteredAddress(ipaddress.IPv4Address("10.1.0.0") + number, 1) for number in range(255)]
LAST = ADDRESSES[-1].address
ONE_MORE = f"add element inet {TABLE} vips {{ {LAST} }}\ndelete element inet {TABLE} vips {{ {LAST} }}\n"


class Library:
    """libnftables in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnftables.so.1")
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))

    def run(self, text: str) -> None:
        """Execute commands. Raises RuntimeError."""
        if self._library.nft_run_cmd_from_buffer(self._context, text.encode()):
            raise RuntimeError(text[:80])


def main() -> None:
    """Measure inside a namespace."""
    subprocess.run(["unshare", "-n", sys.executable, "-m", "benchmarks.nftables"], check=True)


def _inside() -> None:
    own = FilterTable()
    own.replace(ADDRESSES[:-1])
    library = Library()
    listing = subprocess.check_output(["nft", "list", "table", "inet", TABLE], text=True)
    whole = f"add table inet {TABLE}\ndelete table inet {TABLE}\n{listing}"
    _print("no other rules", own, library, whole)
    library.run(f"delete table inet {TABLE}")
    for text in _administrator():
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    own.replace(ADDRESSES[:-1])
    before = _resident()
    _print(f"beside a set of {ELEMENTS} and {RULES} rules", own, library, whole)
    print(f"libnftables takes {_resident() - before:.1f} MiB more")


def _print(title: str, own: FilterTable, library: Library, whole: str) -> None:
    def replace() -> None:
        own.replace(ADDRESSES[:-1])

    def change() -> None:
        own.update([], ADDRESSES[-1:])
        own.update(ADDRESSES[-1:], [])

    def program(text: str) -> Callable[[], object]:
        return lambda: subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

    print(f"{title}: ms, median and longest")
    for task, methods in (
        (
            "the whole table",
            (replace, lambda: library.run(whole), program(whole)),
        ),
        ("one address in and out", (change, lambda: library.run(ONE_MORE), program(ONE_MORE))),
    ):
        for name, method in zip(("own messages", "libnftables", "nft -f -"), methods, strict=True):
            took = [_took(method) for _ in range(RUNS)]
            print(f"    {task:24}{name:14}{statistics.median(took):9.2f}{max(took):9.2f}")


def _administrator() -> Iterable[str]:
    yield "add table inet admin; add set inet admin blocked { type ipv4_addr; flags interval; }\n"
    yield "add chain inet admin c\n"
    first = ipaddress.IPv4Address("11.0.0.0")
    for start in range(0, ELEMENTS, 2000):
        listed = ", ".join(str(first + 2 * number) for number in range(start, start + 2000))
        yield f"add element inet admin blocked {{ {listed} }}\n"
    yield "".join(f"add rule inet admin c ip saddr {first + number} drop\n" for number in range(RULES))


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


if __name__ == "__main__":
    _inside()
