# SPDX-License-Identifier: Apache-2.0
"""Suspect real servers that do not answer, from counted packets (`passive_check`).

With direct routing a director sees only the clients' packets. A client without an answer repeats its SYN,
usually after one second. A client that gives up on an established connection resets it. Neither is a
proof, so a suspicion only has the real server checked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.traffic import PassiveCounters
from pointsman.model.wording import count

PAUSE = 5.0
"""Seconds after a suspicion in which the same real server is not suspected again.

So lost packets or a hostile client cost at most one check in this time.
"""
FEWEST_ABORTED = 3
"""Fewest resets since the last call that count.

They must also be at least half as many as the new connections of that time.
"""

Watched = tuple[ServiceKey, ServerKey]
_WRAP = 1 << 32


class Suspicion(NamedTuple):
    """A real server that may not answer."""

    service: ServiceKey
    server: ServerKey
    reason: str
    """Text for the user."""


class PassiveChecks:
    """Comparison of the counters of two calls, about a second apart."""

    def __init__(self) -> None:
        self._seen: dict[Watched, PassiveCounters] = {}
        self._quiet: dict[Watched, float] = {}
        """Time until which a real server is not suspected again."""

    def find_suspects(self, now: float, counted: Mapping[Watched, PassiveCounters]) -> list[Suspicion]:
        """Return the suspected real servers, from what was counted since the last call. The first call has
        none."""
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
    said = [f"{count(repeated, 'SYN')} repeated"] * bool(repeated)
    said += [f"{count(aborted, 'connection')} reset"] * bool(aborted)
    return f"{' and '.join(said)} by clients"
