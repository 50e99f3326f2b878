# SPDX-License-Identifier: Apache-2.0
"""A fault in a lab, with the commands that cause it and undo it.

In a command {directory} stands for the lab's run-time directory, {xdp_mode} for the mode in which its
directors are attached, {{ and }} for braces. A command that starts with @NODE runs on that node.
"""

from __future__ import annotations

import msgspec

from pointsman.lab.topologies import ha_pair


class Fault(msgspec.Struct, frozen=True):
    """A fault: where, how, and the doctor's check that must find it."""

    name: str
    node: str
    """Node on which the commands run."""
    text: str
    check: str
    """Name of the doctor's check that finds the fault."""
    commands: tuple[str, ...]
    undo: tuple[str, ...]
    """Commands that undo the fault and what its remedy may have left. Each of them may fail."""
    seen_on: str = ""
    """Node whose doctor finds the fault. Empty: `node`."""
    arguments: tuple[str, ...] = ()
    """Arguments of `pointsman doctor` there."""
    topology: str = ha_pair.TOPOLOGY.name
    xdp_mode: str = ""
    """Mode in which the directors must be attached. Empty: any."""
    through: str = ""
    """Real server whose clients have the problem. Empty: `node`, if it is a real server."""

    @property
    def patient(self) -> str:
        """Node on which the doctor runs."""
        return self.seen_on or self.node


def nft_drop_commands(hook: str, match: str) -> tuple[str, ...]:
    """Return commands that add an nftables rule with drop."""
    chain = f"type filter hook {hook} priority 0;"
    return (
        "nft add table inet fault",
        f"nft add chain inet fault {hook} '{{ {chain} }}'",
        f"nft add rule inet fault {hook} {match} drop",
    )


def sysctl_commands(setting: str, *interfaces: str) -> tuple[str, ...]:
    """Return commands that set a sysctl on each of the interfaces."""
    return tuple(f"sysctl -qw net.ipv4.conf.{interface}.{setting}" for interface in interfaces)
