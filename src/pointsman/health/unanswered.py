# SPDX-License-Identifier: Apache-2.0
"""Tell of real servers whose checks may pass, but that answer no client.

A check goes to the real server's own address, clients go to the virtual address. A real server without the
VIP, with strict rp_filter, or with a program that does not listen on the VIP passes its checks and serves
nobody. With direct routing the director sees only the packets of clients: one that was answered goes on with
an ACK, or resets the connection.
"""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.model.service import ServerKey, ServiceKey
from pointsman.model.traffic import Unanswered
from pointsman.model.wording import count, duration

FEWEST = 3
"""Fewest half-open connections that are told of. One client whose connection is answered begins anew at 0."""
RECENT = 300.0
"""Seconds after the last sign in which it is told of: a mended real server may have no client for long."""
MOST_NAMED = 3
"""Real servers that are named."""

CAUSES = (
    "the VIP is missing there, rp_filter drops the packets, the program does not listen on the VIP or does "
    "not accept, or no answer reaches the clients; run there: pointsman doctor"
)


def unanswered_problems(found: Mapping[tuple[ServiceKey, ServerKey], Unanswered]) -> list[str]:
    """Return a line for each real server that answers no client, the busiest first."""
    silent = {key: signs for key, signs in found.items() if _is_told(signs)}
    order = sorted(silent, key=lambda key: (-_connections(silent[key]), str(key[0]), str(key[1])))
    lines = [_line(*key, silent[key]) for key in order[:MOST_NAMED]]
    if (more := len(order) - MOST_NAMED) > 0:
        lines.append(f"{count(more, 'more real server')} answered no client of a service either")
    return lines


def _connections(signs: Unanswered) -> int:
    """Return how many connections there were at least: one that repeated its SYN also expires later."""
    return max(signs.repeating, signs.expired)


def _is_told(signs: Unanswered) -> bool:
    return _connections(signs) >= FEWEST and signs.age <= RECENT


def _line(service: ServiceKey, server: ServerKey, signs: Unanswered) -> str:
    return (
        f"real server {server} of {service}: "
        f"{count(_connections(signs), 'connection')} of clients, and it answered none, the last "
        f"{duration(signs.age)} ago: {CAUSES}"
    )
