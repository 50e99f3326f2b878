# SPDX-License-Identifier: Apache-2.0
"""Sync groups of the VRRP process: synchronized after each event of a member, with reports of their state."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from pointsman.control.messages import GroupChanged
from pointsman.control.vrrp_messages import group_event
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.reports import ReportChannel
from pointsman.model.tracking import SyncGroupSettings
from pointsman.model.vrrp import VrrpState
from pointsman.vrrp.groups import SyncGroup

log = logging.getLogger("vrrp")


class SyncGroups:
    """Sync groups of the current configuration."""

    def __init__(self, deadlines: DeadlineQueue[InstanceController], reports: ReportChannel) -> None:
        self._deadlines = deadlines
        self._reports = reports
        self._groups: list[tuple[SyncGroup, SyncGroupSettings, list[InstanceController]]] = []

    def reconfigure(
        self, wanted: Iterable[SyncGroupSettings], controllers: Sequence[InstanceController]
    ) -> None:
        """Replace all groups by these. One with the same members keeps its state: nobody is told it again."""
        states = {(group.name, group.members): group.state for group, _, _ in self._groups}
        for group, _, _ in self._groups:
            group.dissolve()
        named = {each.instance.name: each for each in controllers}
        self._groups = []
        for settings in wanted:
            members = [named[name] for name in settings.members]
            machines = tuple(member.machine for member in members)
            known = states.get((settings.name, machines), VrrpState.INIT)
            group = SyncGroup(settings.name, machines, known)
            self._groups.append((group, settings, members))

    def sync(self, now: float) -> None:
        """Synchronize the groups with a changed member."""
        changed = self._deadlines.changed()
        for group, settings, members in self._groups:
            if changed.isdisjoint(members):
                continue
            state = group.sync(now)
            for controller in members:
                controller.apply_effects()
            if state is not None:
                log.info("VRRP_Group(%s) Entering %s STATE", group.name, state.value)
                self._reports.notify(group_event(settings, state))
                self._reports.send_report(GroupChanged(group.name, state.value))
        self._deadlines.changed()  # discard the changes of the synchronization itself
