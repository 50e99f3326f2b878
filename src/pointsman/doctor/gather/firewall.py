"""Reads the host's firewall for the doctor: nftables, and the older tables of iptables-legacy beside it.

Acts on the network namespace of the calling thread, and changes nothing: a table of iptables-legacy that is
not there yet is not made by looking.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pointsman.doctor.facts import FirewallRule
from pointsman.doctor.rules import firewall as firewall_rules
from pointsman.doctor.rules import iptables as iptables_rules
from pointsman.model.address import Address, Network

_SECONDS = 10
_LEGACY = (
    ("ip", "iptables-legacy-save", "ip_tables_names"),
    ("ip6", "ip6tables-legacy-save", "ip6_tables_names"),
)
_NAMES = Path("/proc/thread-self/net")


class Firewall(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what could not be looked at."""

    rules: tuple[FirewallRule, ...] = ()
    redirected: tuple[Network, ...] = ()
    """Destinations that `realserver up --method redirect` hands to this host."""
    undiscovered: tuple[Address, ...] = ()
    """IPv6 addresses that `realserver up --method nft` keeps out of neighbour discovery."""
    problem: str = ""


class _UnreadableError(Exception):
    """Its text says why."""


def read() -> Firewall:
    """The firewall of this namespace."""
    found, problems = Firewall(), []
    try:
        text = _output(["nft", "-j", "list", "ruleset"])
        found = Firewall(
            rules=firewall_rules.parse(text),
            redirected=firewall_rules.redirected(text),
            undiscovered=firewall_rules.undiscovered(text),
        )
    except _UnreadableError as error:
        problems.append(str(error))
    except (ValueError, KeyError, TypeError) as error:
        problems.append(f"nft's rules could not be read: {error}")
    rules = list(found.rules)
    for family, program, names in _LEGACY:
        present = tables(names)
        try:
            rules += iptables_rules.parse(_output([program]), family) if present else ()
        except _UnreadableError as error:
            problems.append(f"{error} (its tables: {', '.join(present)})")
        except (ValueError, IndexError) as error:
            problems.append(f"{program}: its rules could not be read: {error}")
    return msgspec.structs.replace(found, rules=tuple(rules), problem="; ".join(problems))


def tables(name: str) -> list[str]:
    """The tables of iptables-legacy that this namespace has; none where the kernel knows no such thing."""
    try:
        return _NAMES.joinpath(name).read_text().split()
    except OSError:
        return []


def _output(line: Sequence[str]) -> str:
    """What a program prints. Raises _UnreadableError."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise _UnreadableError(f"{line[0]} is not installed: its rules could not be looked at") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _UnreadableError(f"{line[0]} does not answer: {error}") from error
    if done.returncode != 0:
        raise _UnreadableError(f"{line[0]} does not list its rules: {done.stderr.strip()}")
    return done.stdout
