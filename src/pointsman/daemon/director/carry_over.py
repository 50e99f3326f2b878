"""What of the verdicts is still true under another configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pointsman.lvs.desired import CheckKey
from pointsman.model.config import Config
from pointsman.model.diff import same
from pointsman.model.health import AnyCheck, PoolMember
from pointsman.model.service import ServerKey, ServiceKey


def service_keys(config: Config) -> frozenset[ServiceKey]:
    """The services of a configuration."""
    return frozenset(virtual.service.key for virtual in config.virtual_servers)


def members_of(config: Config) -> Iterator[tuple[tuple[ServiceKey, ServerKey], PoolMember]]:
    """Every real server of every service, with its key."""
    for virtual in config.virtual_servers:
        for member in virtual.members:
            yield (virtual.service.key, member.server.key), member


def carried_over(old: Config, new: Config, verdicts: dict[CheckKey, bool]) -> dict[CheckKey, bool]:
    """The verdicts for the new checks: that of the equal old check, else that of the one in its place.

    A changed check says nothing until it has run; taking the server out, or back, meanwhile would be a guess.
    """
    before = {key: member.checks for key, member in members_of(old)}
    carried: dict[CheckKey, bool] = {}
    for key, member in members_of(new):
        checks = before.get(key, ())
        for index, check in enumerate(member.checks):
            place = _former_place(index, check, checks, member.checks)
            if place is not None and (*key, place) in verdicts:
                carried[(*key, index)] = verdicts[(*key, place)]
    return carried


def _former_place(
    index: int, check: AnyCheck, old: Sequence[AnyCheck], new: Sequence[AnyCheck]
) -> int | None:
    """Where among the old checks this one was; None: it is new."""
    equal = (place for place, other in enumerate(old) if same(check, other))
    changed = index < len(old) and not any(same(old[index], other) for other in new)
    return next(equal, index if changed else None)
