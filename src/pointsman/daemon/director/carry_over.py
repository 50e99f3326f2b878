"""Check results that remain valid under a new configuration."""

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
        former = _former_identities(before.get(key, ()), member.checks)
        for check in member.checks:
            found = results.get((*key, former.get(check.identity, "")))
            if found is not None:
                carried[(*key, check.identity)] = msgspec.structs.replace(found, check=check.identity)
    return carried


def _former_identities(old: Sequence[AnyCheck], new: Sequence[AnyCheck]) -> dict[str, str]:
    """Map the identity of each new check to that of the old check that it replaces, or to itself."""
    gone = {check.identity for check in old} - {check.identity for check in new}
    former = {
        check.identity: before.identity
        for before, check in zip(old, new, strict=False)  # their lengths may differ
        if before.identity in gone
    }
    return former | {check.identity: check.identity for check in old}
