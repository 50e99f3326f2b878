"""The sync groups of a VRRP process: settled whenever something has happened to a member, and told of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from pointsman.control.messages import GroupChanged
from pointsman.control.vrrp_messages import group_event
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.reports import ReportChannel
from pointsman.model.tracking import SyncGroupSettings
from pointsman.vrrp.groups import SyncGroup

log = logging.getLogger("vrrp")


class SyncGroups:
    """Of one configuration at a time."""

    def __init__(self, agenda: DeadlineQueue[InstanceController], outbox: ReportChannel) -> None:
        self._agenda = agenda
        self._outbox = outbox
        self._groups: list[tuple[SyncGroup, SyncGroupSettings, list[InstanceController]]] = []

    def form(self, wanted: Iterable[SyncGroupSettings], routers: Sequence[InstanceController]) -> None:
        """These from now on, in place of those before."""
        for group, _, _ in self._groups:
            group.dissolve()
        named = {router.instance.name: router for router in routers}
        self._groups = []
        for settings in wanted:
            members = [named[name] for name in settings.members]
            group = SyncGroup(settings.name, [member.machine for member in members])
            self._groups.append((group, settings, members))

    def settle(self, now: float) -> None:
        """Bring those in line of which something has happened to a member."""
        changed = self._agenda.changed()
        for group, settings, members in self._groups:
            if changed.isdisjoint(members):
                continue
            state = group.sync(now)
            for router in members:
                router.carry_out()
            if state is not None:
                log.info("VRRP_Group(%s) Entering %s STATE", group.name, state.value)
                self._outbox.notify(group_event(settings, state))
                self._outbox.report(GroupChanged(group.name, state.value))
        self._agenda.changed()  # by the settling itself
