# SPDX-License-Identifier: Apache-2.0
"""Carry out an administrator's command that changes the table, in slices of the event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from pointsman.control.client_messages import ApplyReply, ApplyRequest
from pointsman.daemon.director.table_sync import TableSync
from pointsman.daemon.runtime.slices import in_slices
from pointsman.dataplane.interface import DataPlane
from pointsman.model.operations import DeleteService, Flush, Operation, Refusal

log = logging.getLogger("director")

AT_ONCE = 250
"""Operations that are one change of the table. Each change writes the server lists of its services anew."""
SERVICES_AT_ONCE = 25
"""Services that are deleted together. Each may have many real servers."""


async def carry_out(
    request: ApplyRequest,
    uid: int,
    table_sync: TableSync,
    plane: DataPlane,
    follow: Callable[[], None],
) -> ApplyReply:
    """Apply the operations in order; a refused one does not prevent the next. Raises OSError.

    `follow` is called after each slice. Other commands can change the table between two slices.
    """
    refusals: list[Refusal] = []

    def steps() -> Iterator[None]:
        for piece in _pieces(request.operations):
            if isinstance(piece[0], Flush):
                yield from _flush(table_sync, plane)
            refused = table_sync.apply(piece)
            _tell(piece, refused, uid)
            refusals.extend(refused)
            yield

    async for done in in_slices(steps()):
        if done:
            follow()
    return ApplyReply(tuple(refusals))


def _pieces(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Yield the operations in lists of at most AT_ONCE. A flush begins a list."""
    piece: list[Operation] = []
    for operation in operations:
        if piece and (len(piece) == AT_ONCE or isinstance(operation, Flush)):
            yield piece
            piece = []
        piece.append(operation)
    if piece:
        yield piece


def _flush(table_sync: TableSync, plane: DataPlane) -> Iterator[None]:
    """Delete the services in steps. The flush itself then deletes those that were added meanwhile."""
    keys = [entry.service.key for entry in plane.read()]
    for start in range(0, len(keys), SERVICES_AT_ONCE):
        table_sync.apply([DeleteService(key) for key in keys[start : start + SERVICES_AT_ONCE]])
        yield


def _tell(operations: Sequence[Operation], refusals: Sequence[Refusal], uid: int) -> None:
    """Log the operations that were applied and those that were refused."""
    refused = {id(refusal.operation) for refusal in refusals}
    for operation in operations:
        if id(operation) not in refused:
            log.info("by hand: %s", operation.text())
    for refusal in refusals:
        why = refusal.detail or refusal.reason
        log.warning("refused by hand (uid %d): %s: %s", uid, refusal.operation.text(), why)
