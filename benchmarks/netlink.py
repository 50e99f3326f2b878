# SPDX-License-Identifier: Apache-2.0
"""Compare `pointsman.net.netlink` with pyroute2: start of a process, memory, and requests.

Each figure is the median of several new processes, each in its own network namespace.
"""

from __future__ import annotations

import ipaddress
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

RUNS = 7
LISTED = 1000
"""Addresses of the dump."""
BATCH = 255
"""Addresses that are added at once: the most that one VRRP advert can contain."""
STACKS = ("ours", "pyroute2")
Address = tuple[str, int]


def main() -> None:
    """Measure both stacks and print the table."""
    rows = {stack: [_in_new_process(stack) for _ in range(RUNS)] for stack in STACKS}
    print(f"{'median of ' + str(RUNS):34}{''.join(f'{stack:>12}' for stack in STACKS)}")
    for name in rows[STACKS[0]][0]:
        figures = (statistics.median(row[name] for row in rows[stack]) for stack in STACKS)
        print(f"{name:34}{''.join(f'{figure:12.2f}' for figure in figures)}")
    print(f"Linux {platform.release()}, Python {platform.python_version()}")


def _in_new_process(stack: str) -> dict[str, float]:
    command = ["unshare", "-n", sys.executable, "-m", "benchmarks.netlink", stack]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _inside(stack: str) -> dict[str, float]:
    """Measure inside the namespace."""
    memory, cpu = _resident(), time.process_time()
    work = {"ours": _ours, "pyroute2": _pyroute2}[stack]()
    started = {
        "import and first socket, CPU ms": (time.process_time() - cpu) * 1e3,
        "import and first socket, MiB": _resident() - memory,
    }
    addresses = [(str(ipaddress.IPv4Address("10.1.0.0") + each), 32) for each in range(LISTED)]
    add, dump = work
    took = {f"add {BATCH} addresses, ms": _took(lambda: add(addresses[:BATCH]))}
    add(addresses[BATCH:])
    assert dump() == LISTED
    took[f"dump {LISTED} addresses, ms"] = min(_took(dump) for _ in range(5))
    return started | took


def _ours() -> tuple[Callable[[Iterable[Address]], None], Callable[[], int]]:
    from pointsman.model.vrrp import VirtualAddress
    from pointsman.net.addresses import addresses, assign
    from pointsman.net.links import links
    from pointsman.net.netlink import NetlinkSocket

    netlink = NetlinkSocket()

    def add(wanted: Iterable[Address]) -> None:
        entries = [
            VirtualAddress(address=ipaddress.ip_address(text), prefix_length=bits, device="lo")
            for text, bits in wanted
        ]
        assert not assign(netlink, links(netlink), entries)

    return add, lambda: len(addresses(netlink))


def _pyroute2() -> tuple[Callable[[Iterable[Address]], None], Callable[[], int]]:
    from pyroute2 import IPRoute

    netlink = IPRoute()

    def add(wanted: Iterable[Address]) -> None:
        (index,) = netlink.link_lookup(ifname="lo")
        for text, bits in wanted:
            netlink.addr("add", index=index, address=text, prefixlen=bits, proto=112)

    def dump() -> int:
        found = [(item.get_attr("IFA_LOCAL"), item.get_attr("IFA_PROTO")) for item in netlink.get_addr()]
        return len([ipaddress.ip_address(text) for text, _ in found])

    return add, dump


def _took(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


if __name__ == "__main__":
    print(json.dumps(_inside(sys.argv[1])))
