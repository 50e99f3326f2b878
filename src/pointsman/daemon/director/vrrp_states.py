"""What VRRP last said of each instance, and what mails have told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pointsman.control.messages import GroupChanged, InstanceChanged
from pointsman.health.alerts import Alert, group_alert, instance_alert
from pointsman.model.config import Config
from pointsman.model.vrrp import VrrpInstance, VrrpState


class VrrpStates:
    """States of the configured instances. Times are of CLOCK_MONOTONIC."""

    def __init__(self, config: Config, remembered: Mapping[str, tuple[str, float]]) -> None:
        """`remembered`: what `told` was before a restart."""
        self._config = config
        self._reports: dict[str, tuple[InstanceChanged, float]] = {}
        present = {instance.name for instance in config.instances}
        self.told = {name: kept for name, kept in remembered.items() if name in present}
        """The state of each instance that a mail has told of, and since when it is in it."""
        self._deleted: dict[str, VrrpInstance] = {}

    def take(self, report: InstanceChanged, now: float) -> Alert | None:
        """What is to be mailed about it."""
        known = next((each for each in self._config.instances if each.name == report.instance), None)
        if known is None:
            return self._last_words(report)
        before, since = self.told.get(report.instance, ("", 0.0))
        if before == report.state:
            self._reports[report.instance] = (report, since)
            return None
        self._reports[report.instance] = (report, now)
        self.told[report.instance] = (report.state, now)
        state = VrrpState(report.state)
        if not before and state is VrrpState.MASTER:
            return None  # it was master before we asked: it has adopted its addresses
        return instance_alert(self._config.router_id, known, state, report.reason)

    def _last_words(self, report: InstanceChanged) -> Alert | None:
        """Of an instance that a reload has removed."""
        state = VrrpState(report.state)
        if state is VrrpState.INIT and (instance := self._deleted.pop(report.instance, None)):
            return instance_alert(self._config.router_id, instance, state, report.reason, deleted=True)
        return None

    def take_group(self, report: GroupChanged) -> Alert | None:
        """What is to be mailed about a sync group."""
        known = next((group for group in self._config.vrrp.groups if group.name == report.group), None)
        return group_alert(self._config.router_id, known, VrrpState(report.state)) if known else None

    def use(self, config: Config) -> None:
        """Forget instances that are in it no more, but for what their last mail needs."""
        present = {instance.name for instance in config.instances}
        self._reports = {name: kept for name, kept in self._reports.items() if name in present}
        self.told = {name: kept for name, kept in self.told.items() if name in present}
        self._deleted = {each.name: each for each in self._config.instances if each.name not in present}
        self._config = config

    def holding(self) -> dict[str, bool]:
        """Of each instance that was heard of, whether it holds its addresses."""
        return {name: report.holds_addresses for name, (report, _) in self._reports.items()}

    def virtual_macs(self) -> set[tuple[str, bytes]]:
        """Interfaces and MAC addresses by which packets come to the addresses that are held here."""
        held = self.holding()
        return {
            (each.base, each.mac)
            for instance in self._config.instances
            for each in instance.virtual_interfaces
            if each.has_mac and held.get(instance.name)
        }

    def listed(self) -> Iterator[tuple[InstanceChanged, float]]:
        """The last report of each, and since when it is in that state."""
        yield from self._reports.values()
