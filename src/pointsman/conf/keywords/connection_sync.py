# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: connection_sync."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import OURS, honoured, in_block
from pointsman.conf.keywords.values import Endpoint, Integer, Interface, Ip, Seconds, Text
from pointsman.model.config import ASK_PORT, SYNC_PORT

CONNECTION_SYNC = in_block(
    "connection_sync",
    honoured(
        "peer",
        Endpoint("the address of another director, and perhaps its UDP port"),
        "another director; one line for each of them, up to 15",
        f"port {SYNC_PORT}",
        repeats=True,
        known_to=OURS,
    ),
    honoured(
        "key_file",
        Text("a path"),
        "file with the secret that all directors share, of 16 bytes or more",
        known_to=OURS,
    ),
    honoured("port", Integer(1, 65535), "local UDP port", str(SYNC_PORT), known_to=OURS),
    honoured("bind_address", Ip(), "local address", "every address", known_to=OURS),
    honoured(
        "group",
        Ip("a multicast address"),
        "multicast group for connections that change",
        "each peer gets them by itself",
        known_to=OURS,
    ),
    honoured("interface", Interface(), "interface of the group", "that of the route", known_to=OURS),
    honoured(
        "hand_over",
        Seconds(0, 10),
        "longest time that a hand-over waits until the other directors have all connections",
        "1",
        known_to=OURS,
    ),
    honoured(
        "ask_real_servers",
        Integer(1, 65535, "a TCP port", bare=ASK_PORT),
        "ask real servers for their connections at the start and when a peer is silent; "
        "they run realserver watch --serve",
        "they are not asked",
        known_to=OURS,
    ),
)
