# SPDX-License-Identifier: Apache-2.0
"""The last report of each VRRP instance, and the mails about changes."""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.control.messages import (
    AdvertHeard,
    AdvertsDropped,
    AdvertsHeard,
    GroupChanged,
    InstanceChanged,
)
from pointsman.control.status import AdvertStatus, DroppedStatus, InstanceStatus
from pointsman.daemon.director import status as status_report
from pointsman.health.alerts import Alert, group_alert, instance_alert
from pointsman.model.config import Config
from pointsman.model.vrrp import VrrpInstance, VrrpState

MAX_DROPPED = 256
"""Reports about dropped adverts that are kept."""
DROPPED_FOR = 600.0
"""Seconds for which `status` shows dropped adverts."""


class VrrpStates:
    """States of the configured VRRP instances. Times are of CLOCK_MONOTONIC."""

    def __init__(self, config: Config, restored: Mapping[str, tuple[str, float]]) -> None:
        """`restored`: the value of `states` in the previous director process; empty: none."""
        self._config = config
        self._reports: dict[str, tuple[InstanceChanged, float]] = {}
        present = {instance.name for instance in config.instances}
        self.states = {name: kept for name, kept in restored.items() if name in present}
        """State of each instance that has sent a report, and the time it entered that state."""
        self._deleted: dict[str, VrrpInstance] = {}
        self._dropped: dict[tuple[str, str, str], tuple[AdvertsDropped, float]] = {}
        """Dropped adverts by instance, sender and reason, and the time of the report."""
        self._heard: dict[str, AdvertHeard] = {}
        """The last valid advert of each instance."""

    def on_instance_changed(self, report: InstanceChanged, now: float) -> Alert | None:
        """Store a report. Return the mail about a change; None: there is none."""
        instance = next((each for each in self._config.instances if each.name == report.instance), None)
        if instance is None:
            return self._on_deleted_instance(report)
        before, since = self.states.get(report.instance, ("", 0.0))
        if before == report.state:
            self._reports[report.instance] = (report, since)
            return None
        self._reports[report.instance] = (report, now)
        self.states[report.instance] = (report.state, now)
        state = VrrpState(report.state)
        if not before and state is VrrpState.MASTER:
            return None  # it was master before the director started: it adopted its addresses
        return instance_alert(self._config.router_id, instance, state, report.reason)

    def _on_deleted_instance(self, report: InstanceChanged) -> Alert | None:
        """Return the mail about an instance that a reload has removed, once it has stopped."""
        state = VrrpState(report.state)
        if state is VrrpState.INIT and (instance := self._deleted.pop(report.instance, None)):
            return instance_alert(self._config.router_id, instance, state, report.reason, deleted=True)
        return None

    def on_adverts_dropped(self, report: AdvertsDropped, now: float) -> None:
        """Store a report about dropped adverts."""
        key = (report.instance, report.sender, report.reason)
        if key in self._dropped or len(self._dropped) < MAX_DROPPED:
            self._dropped[key] = (report, now)

    def dropped(self, instance: str, now: float) -> tuple[DroppedStatus, ...]:
        """Return the adverts that an instance has dropped in the last minutes, the latest first."""
        found = [
            DroppedStatus(each.sender, each.reason, each.text, each.count, now - at)
            for each, at in self._dropped.values()
            if each.instance == instance and now - at <= DROPPED_FOR
        ]
        return tuple(sorted(found, key=lambda each: each.seconds))

    def on_adverts_heard(self, report: AdvertsHeard) -> None:
        """Store the last adverts of configured instances."""
        present = {instance.name for instance in self._config.instances}
        self._heard |= {each.instance: each for each in report.adverts if each.instance in present}

    def on_group_changed(self, report: GroupChanged) -> Alert | None:
        """Return the mail about a sync group; None: there is none."""
        group = next((each for each in self._config.vrrp.groups if each.name == report.group), None)
        return group_alert(self._config.router_id, group, VrrpState(report.state)) if group else None

    def reconfigure(self, config: Config) -> None:
        """Forget instances that are not in `config`, except for the data of their last mail."""
        present = {instance.name for instance in config.instances}
        self._reports = {name: kept for name, kept in self._reports.items() if name in present}
        self.states = {name: kept for name, kept in self.states.items() if name in present}
        self._heard = {name: kept for name, kept in self._heard.items() if name in present}
        self._deleted = {each.name: each for each in self._config.instances if each.name not in present}
        self._dropped.clear()
        self._config = config

    def holds_addresses(self) -> dict[str, bool]:
        """Return for each instance that has sent a report: True if its addresses are on this host."""
        return {name: report.holds_addresses for name, (report, _) in self._reports.items()}

    def virtual_macs(self) -> set[tuple[str, bytes]]:
        """Return interface and virtual MAC address of each virtual router whose addresses are here."""
        held = self.holds_addresses()
        return {
            (each.base, each.mac)
            for instance in self._config.instances
            for each in instance.virtual_interfaces
            if each.has_mac and held.get(instance.name)
        }

    def describe(self, now: float, boot_time: float) -> tuple[InstanceStatus, ...]:
        """Return the instances for `status`. `boot_time`: the seconds since boot (CLOCK_BOOTTIME)."""
        return tuple(
            status_report.instance(
                self._config, report, now - since, self.dropped(name, now), self._last_advert(name, boot_time)
            )
            for name, (report, since) in self._reports.items()
        )

    def _last_advert(self, instance: str, boot_time: float) -> AdvertStatus | None:
        heard = self._heard.get(instance)
        return AdvertStatus(heard.source, heard.priority, boot_time - heard.time) if heard else None
