"""The first document's other way: nftables keeps the VIP out of ARP, and the sysctls stay as they are.

Requests for the VIP are not heard, and our own ARP packets that would bear it as sender bear the real
server's own address instead. One table of our own in nftables' arp family, made and replaced in one
transaction.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Mapping, Sequence

from pointsman.model.address import Address
from pointsman.realserver.facts import Facts, SetupError

TABLE = "arp pointsman"


def own_addresses(facts: Facts, vips: Sequence[Address]) -> dict[str, ipaddress.IPv4Address]:
    """The address that each interface that speaks ARP shall ask as: its first one that is no VIP."""
    speaking = {interface.name for interface in facts.interfaces if interface.arp}
    found: dict[str, ipaddress.IPv4Address] = {}
    for held in facts.addresses:
        address = held.address
        if held.interface in speaking and isinstance(address, ipaddress.IPv4Address) and address not in vips:
            found.setdefault(held.interface, address)
    return found


def ruleset(vips: Sequence[Address], own: Mapping[str, ipaddress.IPv4Address]) -> str:
    """What nft is told: our table anew, or gone when there is no IPv4 VIP."""
    listed = ", ".join(str(vip) for vip in vips if vip.version == 4)
    fresh = f"add table {TABLE}\ndelete table {TABLE}\n"  # so that it is no error when there is none
    if not listed:
        return fresh
    rewrites = "".join(
        f'    oifname "{interface}" arp saddr ip {{ {listed} }} arp saddr ip set {address}\n'
        for interface, address in own.items()
    )
    return (
        f"{fresh}table {TABLE} {{\n"
        "  chain input {\n    type filter hook input priority filter; policy accept;\n"
        f"    arp daddr ip {{ {listed} }} drop\n  }}\n"
        "  chain output {\n    type filter hook output priority filter; policy accept;\n"
        f"{rewrites}  }}\n}}\n"
    )


def covers(listed: str, vips: Sequence[Address]) -> bool:
    """Whether a listing names every IPv4 VIP."""
    words = set(listed.replace(",", " ").split())
    return all(str(vip) in words for vip in vips if vip.version == 4)


def apply(text: str) -> None:
    """Put it in force, whole or not at all. Raises SetupError."""
    _run(["nft", "-f", "-"], text)


def listing() -> str:
    """Our table as nft lists it now; empty when it is not there. Raises SetupError without nft."""
    done = _call(["nft", "list", "table", *TABLE.split()], "")
    return done.stdout if done.returncode == 0 else ""


def _run(command: Sequence[str], text: str) -> str:
    done = _call(command, text)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)} refuses: {done.stderr.strip()}")
    return done.stdout


def _call(command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise SetupError(
            "nft is not installed; do: apt-get install nftables, or use --method sysctl"
        ) from None
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"{' '.join(command)} does not end") from error
