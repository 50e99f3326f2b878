# SPDX-License-Identifier: Apache-2.0
"""Sync groups: instances that are master only together (keepalived's vrrp_sync_group)."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.model.vrrp import VrrpState
from pointsman.vrrp.machine import VrrpMachine


class SyncGroup:
    """A group of machines with one state. Call `sync` after each event of a member.

    A fault of one member is a fault of all. If one member becomes backup, all do. All become master when
    each of them would.
    """

    def __init__(self, name: str, members: Sequence[VrrpMachine], state: VrrpState = VrrpState.INIT) -> None:
        """`state`: state of a group with the same members before a reload."""
        self.name = name
        self.members = tuple(members)
        self.state = state
        for member in self.members:
            member.grouped = True

    def dissolve(self) -> None:
        """End the coupling of the members."""
        for member in self.members:
            member.grouped = False

    def sync(self, now: float) -> VrrpState | None:
        """Synchronize the members. Return the group's new state, or None if it has not changed."""
        self._share_faults(now)
        if self.state is VrrpState.MASTER and any(each.state is VrrpState.BACKUP for each in self.members):
            for member in self.members:
                member.on_group_backup(now)
        if all(each.wants_master or each.state is VrrpState.MASTER for each in self.members):
            for member in self.members:
                if member.wants_master:
                    member.become_master(now)
        return self._new_state()

    def _share_faults(self, now: float) -> None:
        broken = [member for member in self.members if member.fault]
        for member in self.members:
            others = [other for other in broken if other is not member]
            text = f"{others[0].instance.name} of sync group {self.name}: {others[0].fault}" if others else ""
            member.set_group_fault(now, text)

    def _new_state(self) -> VrrpState | None:
        states = {member.state for member in self.members}
        for state in (VrrpState.FAULT, VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER):
            if state in states:
                changed, self.state = state is not self.state, state
                return state if changed else None
        return None
