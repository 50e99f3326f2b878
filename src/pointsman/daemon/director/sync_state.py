# SPDX-License-Identifier: Apache-2.0
"""State of connection_sync for `status`: the last report of the sync process, with ages and problems."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import msgspec

from pointsman.control.messages import encode
from pointsman.control.status import SyncPeerStatus, SyncStatus
from pointsman.control.sync_messages import HandedOver, HandOver, SyncReport
from pointsman.model.config import ConnectionSync
from pointsman.model.wording import count, duration
from pointsman.sync.peer import SILENT_AFTER
from pointsman.sync.wire import Drop

log = logging.getLogger("director")

ANSWER = 0.5
"""Seconds that the answer of the sync process may take beside the time that it waits."""
RECENT = 30.0
"""Seconds after which a dropped datagram is no longer a problem."""
_REMEDIES = {
    Drop.KEY.value: "compare the key_file of all directors (pointsman check shows no secret; use sha256sum)",
    Drop.VERSION.value: "all directors must run versions that understand each other",
    Drop.PEER.value: "each director must be a peer of the others, with the address that it sends from",
}


class SyncState:
    """The last report of the sync process."""

    def __init__(self) -> None:
        self._report = SyncReport(SyncStatus(), 0.0)
        self.joined = asyncio.Event()
        """Set once the whole tables of all peers that answer have arrived."""
        self._handed_over = asyncio.Event()
        self._dropped_at: dict[str, float] = {}

    def report(self, report: SyncReport, now: float) -> None:
        """Keep a report. `now`: seconds of the clock that `describe` gets, too."""
        for reason, number in report.status.dropped.items():
            if number > self._report.status.dropped.get(reason, 0):
                self._dropped_at[reason] = now
        self._report = report
        answering = [peer.complete for peer in report.status.peers if peer.heard is not None]
        if answering and all(answering) and not report.is_asking:
            self.joined.set()

    async def hand_over(self, channel: socket.socket, settings: ConnectionSync | None) -> None:
        """Let the other directors have all connections before one of them becomes master.

        It waits for the time of `hand_over` at most, so that a sick peer does not block.
        """
        if settings is None or not settings.hand_over:
            return
        self._handed_over.clear()
        with contextlib.suppress(OSError, TimeoutError):
            channel.send(encode(HandOver(settings.hand_over)))
            await asyncio.wait_for(self._handed_over.wait(), settings.hand_over + ANSWER)

    def on_handed_over(self, answer: HandedOver) -> None:
        """Let a hand-over go on."""
        if answer.behind:
            log.warning("hand-over: %s did not get all connections in time", ", ".join(answer.behind))
        self._handed_over.set()

    def describe(self, settings: ConnectionSync | None, now: float, since_boot: float) -> SyncStatus | None:
        """Return the state; None: connections are not synchronised. `since_boot`: CLOCK_BOOTTIME."""
        if settings is None:
            return None
        last, passed = self._report.status, since_boot - self._report.time
        addresses = [str(peer.address) for peer in settings.peers]
        peers = tuple(_after(passed, each) for each in last.peers if each.address in addresses)
        problems = (*last.problems, *self._problems(peers, now))
        return msgspec.structs.replace(last, peers=peers, problems=problems)

    def _problems(self, peers: tuple[SyncPeerStatus, ...], now: float) -> Iterator[str]:
        for peer in peers:
            if peer.heard is None:
                yield (
                    f"connection_sync: {peer.address} has not answered: its connections would not survive "
                    f"a change of director"
                )
            elif peer.heard > SILENT_AFTER:
                yield f"connection_sync: {peer.address} is silent for {duration(peer.heard)}"
        for reason, number in self._report.status.dropped.items():
            if reason in _REMEDIES and now - self._dropped_at[reason] < RECENT:
                dropped = count(number, "datagram")
                yield f"connection_sync: {dropped} dropped, {reason}: {_REMEDIES[reason]}"


def _after(passed: float, peer: SyncPeerStatus) -> SyncPeerStatus:
    """Return the status of a peer after so many seconds without a report."""
    return msgspec.structs.replace(peer, heard=None if peer.heard is None else peer.heard + passed)
