# SPDX-License-Identifier: Apache-2.0
"""State of connection_sync: when a director has joined, and what is wrong."""

from __future__ import annotations

import ipaddress

from pointsman.control.status import SyncPeerStatus, SyncStatus
from pointsman.control.sync_messages import SyncReport
from pointsman.daemon.director.sync_state import RECENT, SyncState
from pointsman.model.config import ConnectionSync, SyncPeer

PEERS = ("10.0.0.2", "10.0.0.3")
SETTINGS = ConnectionSync(
    peers=tuple(SyncPeer(ipaddress.ip_address(peer)) for peer in PEERS), key_file="f", secret=b"x" * 16
)


def peer(address: str, heard: float | None, complete: bool) -> SyncPeerStatus:
    return SyncPeerStatus(
        address=address, heard=heard, complete=complete, behind=0, carried=0, lost=0, resent=0
    )


def has_joined(*peers: SyncPeerStatus, is_asking: bool = False) -> bool:
    state = SyncState()
    state.report(SyncReport(SyncStatus(peers=peers), 1.0, is_asking), 1.0)
    return state.joined.is_set()


def test_a_director_has_joined_when_it_has_the_tables_of_those_that_answer() -> None:
    dead = peer(PEERS[1], None, complete=False)
    assert not has_joined(dead)
    assert not has_joined(peer(PEERS[0], 1.0, complete=False), dead)
    assert has_joined(peer(PEERS[0], 1.0, complete=True), dead)
    assert not has_joined(peer(PEERS[0], 1.0, complete=True), dead, is_asking=True)


def test_silent_peers_and_wrong_keys_are_problems() -> None:
    state = SyncState()
    peers = (peer(PEERS[0], 9.0, complete=True), peer(PEERS[1], None, complete=False))
    state.report(SyncReport(SyncStatus(peers=peers, dropped={"wrong key": 2}), time=99.0), 1.0)
    found = state.describe(SETTINGS, 2.0, 100.0)
    assert found is not None
    silent, dead, key = found.problems
    assert "10.0.0.2 is silent for 10 s" in silent and "10.0.0.3 has not answered" in dead
    assert "2 datagrams dropped, wrong key: compare the key_file" in key
    later = state.describe(SETTINGS, 2.0 + RECENT, 100.0)
    assert later is not None and len(later.problems) == 2, "a datagram of long ago is no problem"
    assert state.describe(None, 2.0, 100.0) is None


def test_datagrams_are_counted_anew_after_another_key() -> None:
    """The exchange that a reload makes has dropped nothing yet."""
    state = SyncState()
    state.report(SyncReport(SyncStatus(dropped={"wrong key": 2}), time=99.0), 1.0)
    state.report(SyncReport(SyncStatus(), time=99.5), 1.5)
    found = state.describe(SETTINGS, 2.0, 100.0)
    assert found is not None and found.problems == ()
