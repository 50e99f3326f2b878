"""From what packets show of a real server to the suspicion that it does not answer (`passive_check`).

With direct routing the clients' packets are all that a director sees. Clients who wait in vain repeat their
SYN, after one second as a rule; clients who lose patience with an established connection reset it. Neither
proves anything, so all that a suspicion does is to have the real server checked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.traffic import Signs

PAUSE = 5.0
"""Seconds after a suspicion in which the same real server is not suspected again: what lost packets, or a
hostile client, can cost is one check in that time."""
FEWEST_ABORTED = 3
"""Resets since the last look below which they mean nothing; above, they do when they are at least half as
many as the connections begun meanwhile."""

Watched = tuple[ServiceKey, ServerKey]
_WRAP = 1 << 32


class Suspicion(NamedTuple):
    """A real server that may not answer."""

    service: ServiceKey
    server: ServerKey
    reason: str
    """For people."""


class PassiveChecks:
    """Looks at what was counted now and then, once a second or so."""

    def __init__(self) -> None:
        self._seen: dict[Watched, Signs] = {}
        self._quiet: dict[Watched, float] = {}
        """Until when nobody wants to hear of it again."""

    def look(self, now: float, counted: Mapping[Watched, Signs]) -> list[Suspicion]:
        """Who is suspected, as of what has been counted since the last look; not the first time."""
        found = []
        for key, signs in counted.items():
            before = self._seen.get(key, signs)
            repeated = (signs.repeated - before.repeated) % _WRAP
            aborted = (signs.aborted - before.aborted) % _WRAP
            begun = signs.connections - before.connections
            if not repeated and not (aborted >= FEWEST_ABORTED and 2 * aborted >= begun):
                continue
            if self._quiet.get(key, now) <= now:
                self._quiet[key] = now + PAUSE
                found.append(Suspicion(*key, _reason(repeated, aborted)))
        self._seen = dict(counted)
        self._quiet = {key: until for key, until in self._quiet.items() if until > now and key in counted}
        return found


def _reason(repeated: int, aborted: int) -> str:
    said = [f"{repeated} SYNs repeated"] * bool(repeated) + [f"{aborted} connections reset"] * bool(aborted)
    return f"{' and '.join(said)} by clients"
