# SPDX-License-Identifier: Apache-2.0
"""Read the firewall rules of this host: nftables, and iptables-legacy beside it.

Acts on the network namespace of the calling thread. Changes nothing: reading does not create a table of
iptables-legacy that does not exist.
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
    """The rules found, and the reason why some could not be read."""

    rules: tuple[FirewallRule, ...] = ()
    redirected: tuple[Network, ...] = ()
    """Destinations that `realserver up --method redirect` redirects to this host."""
    undiscovered: tuple[Address, ...] = ()
    """IPv6 addresses for which `realserver up --method nft` drops neighbour discovery."""
    problem: str = ""


class _UnreadableError(Exception):
    """The rules cannot be read. The text says why."""


def read() -> Firewall:
    """Read the firewall of this namespace."""
    found, problems = Firewall(), []
    try:
        text = _run(["nft", "-j", "list", "ruleset"])
        found = Firewall(
            rules=firewall_rules.parse(text),
            redirected=firewall_rules.parse_redirected(text),
            undiscovered=firewall_rules.parse_undiscovered(text),
        )
    except _UnreadableError as error:
        problems.append(str(error))
    except (ValueError, KeyError, TypeError) as error:
        problems.append(f"the output of nft cannot be parsed: {error}")
    rules = list(found.rules)
    for family, program, names in _LEGACY:
        present = legacy_tables(names)
        try:
            rules += iptables_rules.parse(_run([program]), family) if present else ()
        except _UnreadableError as error:
            problems.append(f"{error} (its tables: {', '.join(present)})")
        except (ValueError, IndexError) as error:
            problems.append(f"the output of {program} cannot be parsed: {error}")
    return msgspec.structs.replace(found, rules=tuple(rules), problem="; ".join(problems))


def legacy_tables(name: str) -> list[str]:
    """Return the names of the iptables-legacy tables of this namespace. Empty if the kernel has no such
    tables.
    """
    try:
        return _NAMES.joinpath(name).read_text().split()
    except OSError:
        return []


def _run(line: Sequence[str]) -> str:
    """Return the output of a program. Raises _UnreadableError."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError as error:
        raise _UnreadableError(f"{line[0]} is not installed, so its rules are unknown") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _UnreadableError(f"{line[0]} does not answer: {error}") from error
    if done.returncode != 0:
        raise _UnreadableError(f"{line[0]} does not list its rules: {done.stderr.strip()}")
    return done.stdout
