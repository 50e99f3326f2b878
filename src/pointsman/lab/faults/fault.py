"""A fault: something that goes wrong in a lab, brought about and taken back by commands.

In a command {directory} stands for the lab's run-time directory, {xdp_mode} for how its directors are
attached, {{ and }} for braces. One that begins with @NODE is run on that node.
"""

from __future__ import annotations

import msgspec

from pointsman.lab.topologies import ha_pair


class Fault(msgspec.Struct, frozen=True):
    """Something broken: where, how, and what the doctor must say."""

    name: str
    node: str
    """Where the commands are run."""
    text: str
    check: str
    """The doctor's name for it."""
    commands: tuple[str, ...]
    undo: tuple[str, ...]
    """Takes it back, and what its remedy may have left over; each of them may fail."""
    seen_on: str = ""
    """The node whose doctor names it; the node itself unless given."""
    arguments: tuple[str, ...] = ()
    """Of `pointsman doctor` there."""
    topology: str = ha_pair.TOPOLOGY.name
    xdp_mode: str = ""
    """The mode in which the directors must be attached; empty: any."""
    through: str = ""
    """The real server whose clients have the trouble; the node itself, if it is one, unless given."""

    @property
    def patient(self) -> str:
        """The node whose doctor is asked."""
        return self.seen_on or self.node


def dropping(hook: str, match: str) -> tuple[str, ...]:
    """Commands that make an nftables rule which drops."""
    chain = f"type filter hook {hook} priority 0;"
    return (
        "nft add table inet fault",
        f"nft add chain inet fault {hook} '{{ {chain} }}'",
        f"nft add rule inet fault {hook} {match} drop",
    )


def sysctls(setting: str, *interfaces: str) -> tuple[str, ...]:
    """Commands that set it on each of the interfaces."""
    return tuple(f"sysctl -qw net.ipv4.conf.{interface}.{setting}" for interface in interfaces)
