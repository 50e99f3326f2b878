"""Sync groups: instances that are master together or not at all (keepalived's vrrp_sync_group)."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.model.vrrp import VrrpState
from pointsman.vrrp.machine import VrrpMachine


class SyncGroup:
    """Couples machines. Call `settle` after anything has happened to one of them.

    A fault of one member is a fault of all; a member that gives way takes all with it; all become master when
    every one of them would.
    """

    def __init__(self, name: str, members: Sequence[VrrpMachine]) -> None:
        self.name = name
        self.members = tuple(members)
        self.state = VrrpState.INIT
        for member in self.members:
            member.grouped = True

    def dissolve(self) -> None:
        """Let the members go their own ways."""
        for member in self.members:
            member.grouped = False

    def settle(self, now: float) -> VrrpState | None:
        """Bring the members in line. The group's new state, or None when it has not changed."""
        self._share_faults(now)
        if self.state is VrrpState.MASTER and any(each.state is VrrpState.BACKUP for each in self.members):
            for member in self.members:
                member.leave_with_group(now)
        if all(each.wants_master or each.state is VrrpState.MASTER for each in self.members):
            for member in self.members:
                if member.wants_master:
                    member.take_over(now)
        return self._new_state()

    def _share_faults(self, now: float) -> None:
        broken = [member for member in self.members if member.fault]
        for member in self.members:
            others = [other for other in broken if other is not member]
            text = f"{others[0].instance.name} of sync group {self.name}: {others[0].fault}" if others else ""
            member.fail_with_group(now, text)

    def _new_state(self) -> VrrpState | None:
        states = {member.state for member in self.members}
        for state in (VrrpState.FAULT, VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER):
            if state in states:
                changed, self.state = state is not self.state, state
                return state if changed else None
        return None
