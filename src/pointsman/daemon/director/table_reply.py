# SPDX-License-Identifier: Apache-2.0
"""The reply to TableRequest, and the rates in it, made in slices of the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator

import msgspec

from pointsman.control.client_messages import ErrorReply, Pages, TableReply, TableRequest, encode
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.runtime.slices import in_slices
from pointsman.dataplane.interface import DataPlane
from pointsman.lvs.estimator import PERIOD, Estimator
from pointsman.model.service import ServiceEntry, ServiceKey, ServiceTable
from pointsman.model.traffic import Connection, Counters, ServiceCounters

log = logging.getLogger("director")

MAX_CONNECTIONS = 10_000
"""Connections in a reply: listing one takes 10 us."""
NO_RATES = ServiceCounters(ServiceKey())


async def table_reply(plane: DataPlane, estimator: Estimator, request: TableRequest) -> ErrorReply | Pages:
    """Return the part of the table that is asked for, encoded, in pages of about a slice of work.

    Raises OSError.
    """
    connections: list[list[Connection]] = []
    if request.connections:
        listed = itertools.islice(plane.connections(), MAX_CONNECTIONS + 1)
        connections = [piece async for piece in in_slices(listed)]
    if sum(map(len, connections)) > MAX_CONNECTIONS:
        return ErrorReply(
            f"more than {MAX_CONNECTIONS} connections: listing them would occupy the director; run "
            "`pointsman ipvsadm -Lc` as root to read them from the kernel"
        )
    last = TableReply(
        ServiceTable(), Counters(exits=plane.exits()), plane.timeouts(), plane.capabilities().connection_limit
    )
    replace = msgspec.structs.replace
    empty = replace(last, counters=Counters(), more=True)
    pages = [encode(replace(empty, connections=tuple(piece))) for piece in connections if piece]
    async for rows in in_slices(_rows(plane, estimator, request)):
        if rows:
            entries, counters, rates = zip(*rows, strict=True)
            page = replace(empty, table=ServiceTable(entries), counters=Counters(counters))
            pages.append(encode(replace(page, rates=Counters(rates)) if request.rates else page))
    return (*pages, encode(last))


def _rows(
    plane: DataPlane, estimator: Estimator, request: TableRequest
) -> Iterator[tuple[ServiceEntry, ServiceCounters, ServiceCounters]]:
    """Yield the services that are asked for, with counters and rates. The table may change meanwhile."""
    if request.service is not None:
        found = plane.counters_of(request.service)
        listed = iter((found,) if found else ())
    else:
        listed = plane.service_counters() if request.services else iter(())
    for counted in listed:
        if (entry := plane.entry(counted.key)) is not None:
            rates = estimator.rates_of(counted.key) if request.rates else NO_RATES
            yield entry, counted, rates


async def estimate_rates(plane: DataPlane, estimator: Estimator) -> None:
    """Update the rates that `ipvsadm -L --rate` shows, each PERIOD, until this is cancelled.

    The work grows with the services that have traffic, or had it some minutes ago.
    """
    once = LogOnce(log)
    while True:
        pause = asyncio.create_task(asyncio.sleep(PERIOD))
        try:
            async for _ in in_slices(_estimates(plane, estimator)):
                pass
        except OSError as error:
            once.error("rates", "cannot read the counters: %s", error)
        await pause


def _estimates(plane: DataPlane, estimator: Estimator) -> Iterator[None]:
    """Update the averages of a few services at each step. Raises OSError."""
    quiet = estimator.moving()
    for part in plane.changed_counters():
        for service in part:
            estimator.update(service)
            quiet.discard(service.key)
        yield
    for key in quiet:
        estimator.rest(key)
        yield
    estimator.keep_only({key for key in estimator.services() if plane.entry(key) is not None})
