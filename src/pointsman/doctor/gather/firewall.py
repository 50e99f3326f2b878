# SPDX-License-Identifier: Apache-2.0
"""Read the firewall rules of this host: nftables, and iptables-legacy beside it.

Acts on the network namespace of the calling thread. Changes nothing: reading does not create a table of
iptables-legacy that does not exist.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pointsman.doctor.firewall import iptables, nftables
from pointsman.doctor.firewall.chain import Ruleset
from pointsman.model.address import Address, Network

_SECONDS = 10
_LEGACY = (("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names"))
_BY_NFT = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}
_NAMES = Path("/proc/thread-self/net")


class Firewall(msgspec.Struct, frozen=True, kw_only=True):
    """The chains found, and the reason why some could not be read."""

    ruleset: Ruleset = ()
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
    opaque: list[tuple[str, str]] = []
    try:
        text = _run(["nft", "-j", "list", "ruleset"])
        opaque = nftables.opaque_tables(text)
        found = Firewall(
            ruleset=nftables.parse(text),
            redirected=nftables.parse_redirected(text),
            undiscovered=nftables.parse_undiscovered(text),
        )
    except _UnreadableError as error:
        problems.append(str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(f"the output of nft cannot be parsed: {error}")
    ruleset = _translated(found.ruleset, opaque)
    for tool, names in _LEGACY:
        present = legacy_tables(names)
        try:
            ruleset += _read_iptables(tool) if present else ()
        except _UnreadableError as error:
            problems.append(f"{error} (its tables: {', '.join(present)})")
        except (ValueError, IndexError) as error:
            problems.append(f"the output of {tool}-save cannot be parsed: {error}")
    return msgspec.structs.replace(found, ruleset=ruleset, problem="; ".join(problems))


def _translated(ruleset: Ruleset, opaque: Sequence[tuple[str, str]]) -> Ruleset:
    """Return the chains, with those that nft does not print completely as iptables-nft-save prints them.

    Without that program they stay as they are: their rules are then unknown to the doctor.
    """
    for family, tool in _BY_NFT.items():
        wanted = {table for of, table in opaque if of == family}
        if not wanted:
            continue
        with contextlib.suppress(_UnreadableError, ValueError, IndexError):
            better = [chain for chain in _read_iptables(tool) if chain.table in wanted]
            known = {chain.table for chain in better}
            kept = [chain for chain in ruleset if chain.family != family or chain.table not in known]
            ruleset = (*kept, *better)
    return ruleset


def _read_iptables(tool: str) -> Ruleset:
    """Return the chains of a command of iptables. Raises _UnreadableError and ValueError."""
    return iptables.parse(_run([f"{tool}-save"]), tool)


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
