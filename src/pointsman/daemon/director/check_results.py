# SPDX-License-Identifier: Apache-2.0
"""Check results: what they mean for real servers, and which remain valid under a new configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pointsman.control.messages import CheckResult
from pointsman.daemon.director.services import ServiceIndex
from pointsman.lvs.desired import CheckKey
from pointsman.model.health import AnyCheck, VirtualServer
from pointsman.model.service import ServiceKey

ResultsOfService = Mapping[CheckKey, CheckResult]


class CheckResults:
    """Latest result of each check. A check without a result has not run yet."""

    def __init__(self, index: ServiceIndex) -> None:
        self._index = index
        self._by_service: dict[ServiceKey, dict[CheckKey, CheckResult]] = {}
        self._unexpected: dict[CheckKey, CheckResult] = {}

    @property
    def unexpected(self) -> tuple[CheckResult, ...]:
        """The results that differ from what is presumed of a check that has not run."""
        return tuple(self._unexpected.values())

    def of(self, service: ServiceKey) -> ResultsOfService:
        """Return the results of a service's checks."""
        return self._by_service.get(service, {})

    def is_configured(self, result: CheckResult) -> bool:
        """True if the configuration has the check that this is a result of."""
        member = self._index.member(result.service, result.server)
        return member is not None and any(check.identity == result.check for check in member.checks)

    def changes_server(self, result: CheckResult) -> bool:
        """True if a result, not stored yet, says of its real server other than the one before it."""
        virtual = self._index.services[result.service]
        before = self.of(result.service).get((result.service, result.server, result.check))
        if before is not None:
            said = (before.up, before.weight_change, before.weight)
        else:
            member = self._index.member(result.service, result.server)
            said = (not (virtual.alpha or (member is not None and member.alpha)), 0, None)
        return said != (result.up, result.weight_change, result.weight)

    def put(self, result: CheckResult) -> CheckResult | None:
        """Store a result of a configured check. Return the one before, if there is one."""
        virtual = self._index.services[result.service]
        member = self._index.member(result.service, result.server)
        assert member is not None
        # Each key is in memory once: that of the configuration.
        service, server = virtual.service.key, member.server.key
        kept = msgspec.structs.replace(result, service=service, server=server)
        results = self._by_service.setdefault(service, {})
        before = results.get((service, server, result.check))
        results[service, server, result.check] = kept
        self._note(kept, presumed=not (virtual.alpha or member.alpha))
        return before

    def _note(self, result: CheckResult, presumed: bool) -> None:
        key = (result.service, result.server, result.check)
        if result.up is not presumed or result.weight_change or result.weight is not None:
            self._unexpected[key] = result
        else:
            self._unexpected.pop(key, None)

    def reconfigure(self, index: ServiceIndex, changed: Sequence[VirtualServer]) -> None:
        """Use another configuration, in which these services have changed."""
        before, self._index = self._index, index
        carried = [
            result
            for virtual in changed
            for result in carry_over(before, virtual, self.of(virtual.service.key))
        ]
        gone = [key for key in self._by_service if key not in index.services]
        for key in (*gone, *(virtual.service.key for virtual in changed)):
            for check in self._by_service.pop(key, {}):
                self._unexpected.pop(check, None)
        for result in carried:
            self.put(result)


def verdicts(results: ResultsOfService) -> dict[CheckKey, bool]:
    """Return for each check True if it passes."""
    return {key: result.up for key, result in results.items()}


def weight_changes(virtual: VirtualServer, results: ResultsOfService) -> dict[CheckKey, int]:
    """Return the number that each check of a service adds to the configured weight of its real server."""
    weighing = {key: each for key, each in results.items() if each.weight is not None or each.weight_change}
    if not weighing:
        return {}
    configured = {member.server.key: member.server.weight for member in virtual.members}
    return {
        key: each.weight_change + (0 if each.weight is None else each.weight - configured[each.server])
        for key, each in weighing.items()
    }


def carry_over(before: ServiceIndex, virtual: VirtualServer, results: ResultsOfService) -> list[CheckResult]:
    """Return a service's results under its new configuration. Results of removed checks are dropped.

    A changed check has the result of the check that it replaces until it has run itself: until then nothing
    is known about the real server that would justify a change.
    """
    carried: list[CheckResult] = []
    for member in virtual.members if results else ():
        key = (virtual.service.key, member.server.key)
        former = before.member(*key)
        for place, check in enumerate(member.checks):
            found = results.get((*key, check.identity))
            if found is None:
                replaced = _replaced_identity(place, former.checks if former else (), member.checks)
                found = results.get((*key, replaced))
            if found is not None:
                carried.append(msgspec.structs.replace(found, check=check.identity))
    return carried


def _replaced_identity(place: int, old: Sequence[AnyCheck], new: Sequence[AnyCheck]) -> str:
    """Return the identity of the old check that the new one in this place replaces; empty: of none."""
    if place >= len(old) or new[place].identity in {check.identity for check in old}:
        return ""
    former = old[place].identity
    return "" if former in {check.identity for check in new} else former


def by_check(results: Iterable[CheckResult]) -> dict[CheckKey, CheckResult]:
    """Return results by the check that they are of."""
    return {(each.service, each.server, each.check): each for each in results}
