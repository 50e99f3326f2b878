# SPDX-License-Identifier: Apache-2.0
"""Find other load balancers on this host: a keepalived that still runs, and services in the kernel's IPVS.

Acts on the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path

import msgspec

from pointsman.model.address import format_endpoint

SAVED = "/var/lib/ipvs.saved"
"""Copy of the IPVS table for ipvsadm -R. Every host has /var/lib, only root writes there, and nothing loads
the file when the host starts.
"""
_MOST_NAMED = 3
"""Most services and processes that are named in a text."""


class OtherBalancer(msgspec.Struct, frozen=True, kw_only=True):
    """A load balancer beside pointsman."""

    found: str
    why: str
    remedy: tuple[str, ...]
    """Commands that end it, in order."""


def other_balancers() -> list[OtherBalancer]:
    """Return the other load balancers of this namespace."""
    found = []
    if pids := processes_named("keepalived"):
        numbers = ", ".join(map(str, pids[:_MOST_NAMED]))
        found.append(
            OtherBalancer(
                found=f"keepalived runs on this host (pid {numbers})",
                why="both take the same VIPs, and keepalived removes their addresses when it ends",
                remedy=("systemctl disable --now keepalived",),
            )
        )
    if services := ipvs_services():
        more = f" and {len(services) - _MOST_NAMED} more" if len(services) > _MOST_NAMED else ""
        found.append(
            OtherBalancer(
                found=f"the kernel's IPVS has services on this host: "
                f"{', '.join(services[:_MOST_NAMED])}{more}",
                why="IPVS forwards packets that pointsman leaves to the kernel, and nothing checks its "
                "real servers",
                remedy=(f"ipvsadm -Sn > {SAVED} && ipvsadm -C",),
            )
        )
    return found


def processes_named(name: str) -> list[int]:
    """Return the processes with this name in this network namespace that can be seen from here."""
    here = os.stat("/proc/thread-self/ns/net").st_ino
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = path.joinpath("comm").read_text().strip() == name
            if named and path.joinpath("ns/net").stat().st_ino == here:
                found.append(int(path.name))
    return sorted(found)


def ipvs_services() -> list[str]:
    """Return the services in the kernel's IPVS table. Empty: none, or the kernel has no IPVS."""
    try:
        return parse_ipvs(Path("/proc/thread-self/net/ip_vs").read_text())
    except OSError:
        return []


def parse_ipvs(text: str) -> list[str]:
    """Return the services in the text of /proc/net/ip_vs, as ipvsadm -n names them."""
    found = []
    for line in text.splitlines():
        protocol, _, rest = line.partition(" ")
        where = rest.split()[:1]
        if protocol in ("TCP", "UDP", "SCTP") and where:
            with contextlib.suppress(ValueError):
                found.append(f"{protocol} {_endpoint(where[0])}")
        elif protocol == "FWM" and where:
            with contextlib.suppress(ValueError):
                found.append(f"firewall mark {int(where[0], 16)}")
    return found


def _endpoint(text: str) -> str:
    """Return `C0A80721:1F40` or `[fd00::9]:1F40` in the usual form. Raises ValueError."""
    address, _, port = text.rpartition(":")
    if address.startswith("["):
        return format_endpoint(ipaddress.ip_address(address.strip("[]")), int(port, 16))
    return format_endpoint(ipaddress.IPv4Address(int(address, 16)), int(port, 16))
