# SPDX-License-Identifier: Apache-2.0
"""The reply to TableRequest, and the rates in it, made in slices of the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging

import msgspec

from pointsman.control.messages import ErrorReply, Reply, TableReply, TableRequest
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.runtime.slices import encode_in_slices, in_slices
from pointsman.dataplane.interface import DataPlane
from pointsman.lvs.estimator import PERIOD, Estimator
from pointsman.model.service import ServiceTable
from pointsman.model.traffic import Connection, Counters

log = logging.getLogger("director")

MAX_CONNECTIONS = 10_000
"""Connections in a reply: listing one takes 10 us."""


async def table_reply(plane: DataPlane, estimator: Estimator, request: TableRequest) -> Reply:
    """Return the table with its counters, and with the connections if they are not too many.

    Lists are encoded already. Raises OSError.
    """
    connections: list[Connection] = []
    if request.connections:
        listed = itertools.islice(plane.connections(), MAX_CONNECTIONS + 1)
        connections = [each async for piece in in_slices(listed) for each in piece]
    if len(connections) > MAX_CONNECTIONS:
        return ErrorReply(
            f"more than {MAX_CONNECTIONS} connections: listing them would occupy the director; run "
            "`pointsman ipvsadm -Lc` as root to read them from the kernel"
        )
    replace = msgspec.structs.replace  # its values may be encoded already
    return replace(
        TableReply(ServiceTable(), Counters(), plane.timeouts(), plane.capabilities().connection_limit),
        table=replace(ServiceTable(), entries=await encode_in_slices(plane.read())),
        counters=replace(
            Counters(exits=plane.exits()), services=await encode_in_slices(plane.service_counters())
        ),
        connections=await encode_in_slices(connections),
        rates=replace(Counters(), services=await encode_in_slices(estimator.rates())),
    )


async def estimate_rates(plane: DataPlane, estimator: Estimator) -> None:
    """Update the rates that `ipvsadm -L --rate` shows, each PERIOD, until this is cancelled."""
    once = LogOnce(log)
    while True:
        pause = asyncio.create_task(asyncio.sleep(PERIOD))
        try:
            async for piece in in_slices(plane.service_counters()):
                for service in piece:
                    estimator.update(service)
            estimator.keep_only({entry.service.key for entry in plane.read()})
        except OSError as error:
            once.error("rates", "cannot read the counters: %s", error)
        await pause
