# SPDX-License-Identifier: Apache-2.0
"""The wanted table of a whole configuration, computed at once: what a director makes of it by and by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pointsman.lvs.desired import Overrides, PoolState, Shares, Verdicts, WeightChanges, pool_state, serving
from pointsman.model.health import VirtualServer
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable

PoolStates = Mapping[ServiceKey, PoolState]


class Desired(msgspec.Struct, frozen=True):
    """The wanted table, and the states for the next call."""

    table: ServiceTable
    pools: dict[ServiceKey, PoolState]


def desired(
    virtual_servers: Iterable[VirtualServer],
    verdicts: Verdicts,
    overrides: Overrides | None = None,
    before: PoolStates | None = None,
    weight_changes: WeightChanges | None = None,
    shares: Shares | None = None,
) -> Desired:
    """Return the table for these check results, with services and real servers in the order of the
    configuration.

    `before` is `pools` of the previous call. Raises ValueError if two virtual servers have the same key.
    """
    pools: dict[ServiceKey, PoolState] = {}
    entries: list[ServiceEntry] = []
    for virtual in virtual_servers:
        key = virtual.service.key
        last = (before or {}).get(key)
        pools[key] = pool_state(virtual, verdicts, overrides or {}, last, weight_changes or {})
        entries.append(ServiceEntry(virtual.service, serving(virtual, pools[key], shares or {})))
    return Desired(ServiceTable.of(entries), pools)
