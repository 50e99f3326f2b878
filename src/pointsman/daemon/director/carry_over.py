# SPDX-License-Identifier: Apache-2.0
"""Check results: what they mean for real servers, and which remain valid under a new configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pointsman.control.messages import CheckResult
from pointsman.lvs.desired import CheckKey
from pointsman.model.config import Config
from pointsman.model.health import AnyCheck, PoolMember
from pointsman.model.service import ServerKey, ServiceKey


def service_keys(config: Config) -> frozenset[ServiceKey]:
    """Return the services of a configuration."""
    return frozenset(virtual.service.key for virtual in config.virtual_servers)


def members_of(config: Config) -> Iterator[tuple[tuple[ServiceKey, ServerKey], PoolMember]]:
    """Yield every real server of every service, with its key."""
    for virtual in config.virtual_servers:
        for member in virtual.members:
            yield (virtual.service.key, member.server.key), member


def checks_of(config: Config) -> dict[CheckKey, PoolMember]:
    """Return every check of a configuration, with its real server."""
    return {(*key, check.identity): member for key, member in members_of(config) for check in member.checks}


def verdicts(results: Mapping[CheckKey, CheckResult]) -> dict[CheckKey, bool]:
    """Return for each check True if it passes."""
    return {key: result.up for key, result in results.items()}


def weight_changes(
    checks: Mapping[CheckKey, PoolMember], results: Mapping[CheckKey, CheckResult]
) -> dict[CheckKey, int]:
    """Return the number that each check adds to the configured weight of its real server."""
    changes: dict[CheckKey, int] = {}
    for key, result in results.items():
        if result.weight is not None:
            changes[key] = result.weight - checks[key].server.weight + result.weight_change
        elif result.weight_change:
            changes[key] = result.weight_change
    return changes


def carry_over(
    old: Config, new: Config, results: Mapping[CheckKey, CheckResult]
) -> dict[CheckKey, CheckResult]:
    """Return the results under the new configuration. Results of removed checks are dropped.

    A changed check has the result of the check that it replaces until it has run itself: until then nothing
    is known about the real server that would justify a change.
    """
    before = {key: member.checks for key, member in members_of(old)}
    carried: dict[CheckKey, CheckResult] = {}
    for key, member in members_of(new):
        for place, check in enumerate(member.checks):
            identity = check.identity
            found = results.get((*key, identity))
            if found is None:
                former = _replaced_identity(place, before.get(key, ()), member.checks)
                found = results.get((*key, former))
            if found is not None:
                carried[(*key, identity)] = msgspec.structs.replace(found, check=identity)
    return carried


def _replaced_identity(place: int, old: Sequence[AnyCheck], new: Sequence[AnyCheck]) -> str:
    """Return the identity of the old check that the new one in this place replaces; empty: of none."""
    if place >= len(old) or new[place].identity in {check.identity for check in old}:
        return ""
    former = old[place].identity
    return "" if former in {check.identity for check in new} else former
