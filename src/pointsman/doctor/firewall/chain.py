# SPDX-License-Identifier: Apache-2.0
"""Chains and rules of a firewall, in one form for nftables and iptables. Pure."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.address import Network

Interval = tuple[int, int]
"""First and last number, or mask and value for the fields `flags` and `mark`."""
Value = str | Interval | Network


class Action(enum.Enum):
    """Step of a rule whose matches hold."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    REDIRECT = "redirect"
    NOTRACK = "notrack"
    MARK = "mark"
    """Set the mark of the packet. An empty target: to a value that is not known."""
    OTHER = "other"
    """A target that the doctor does not understand. It may accept, drop or change the packet."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A condition of a rule. It holds if one of the alternatives does, or none of them if `negated`."""

    fields: tuple[str, ...] = ()
    """Fields of the packet (doctor/firewall/packet.py). Several: a concatenation."""
    alternatives: tuple[tuple[Value, ...], ...] = ()
    """One value for each field."""
    negated: bool = False
    version: int = 0
    """Version of IP to which the match is limited, also if negated. 0: any."""
    protocols: tuple[int, ...] = ()
    """Transport protocols to which the match is limited, also if negated. Empty: any."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule: its steps are carried out if all matches hold."""

    matches: tuple[Match, ...] = ()
    steps: tuple[tuple[Action, str], ...] = ()
    """Actions with their targets: the chain of a jump, the number of a mark, the name of another target."""
    name: str = ""
    """The rule in the words of its tool: `handle 4`, or its line in iptables-save."""
    removal: str = ""
    """Command that deletes the rule."""


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain. One with a hook is a base chain: the kernel calls it."""

    tool: str = "nft"
    """Command that changes the chain: nft, iptables-nft, ip6tables-legacy ..."""
    family: str
    table: str
    name: str
    hook: str = ""
    priority: int = 0
    nat: bool = False
    """Only the first packet of a connection passes through the chain."""
    accepts: bool = True
    """Policy: accept packets that reach the end."""
    device: str = ""
    """Interface of a chain at ingress or egress. Empty: not printed."""
    rules: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        kind = "nftables" if self.tool == "nft" else self.tool
        hook = f" ({self.hook})" if self.hook else ""
        return f"{kind} chain {self.family} {self.table} {self.name}{hook}"

    def insertion(self, nft_words: str, iptables_words: str) -> str:
        """Return the command that puts a rule before all others of this chain."""
        if self.tool == "nft":
            return f"nft insert rule {self.family} {self.table} {self.name} {nft_words}"
        return f"{self.tool} -t {self.table} -I {self.name} {iptables_words}"


Ruleset = tuple[Chain, ...]
