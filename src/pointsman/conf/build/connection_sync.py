# SPDX-License-Identifier: Apache-2.0
"""Build the synchronisation of connections from the block connection_sync."""

from __future__ import annotations

from typing import cast

from pointsman.conf.build.auth import KeyFiles
from pointsman.conf.keywords.settings import Setting, Settings, read_block
from pointsman.conf.keywords.values import BadValueError
from pointsman.conf.text.problems import Findings
from pointsman.model.address import Address
from pointsman.model.config import SYNC_PORT, ConnectionSync, SyncPeer

MOST_PEERS = 15
SHORTEST_SECRET = 16
"""Bytes of the content of a key file at least."""
_WORD = len("connection_sync")
_MAKE_ONE = "make one and copy it to every director: (umask 077; openssl rand -base64 32 > {})"


def build_connection_sync(
    setting: Setting | None, files: KeyFiles, findings: Findings
) -> ConnectionSync | None:
    """Return the settings; None: there is no such block, or it has an error."""
    if setting is None:
        return None
    block = read_block(setting.block, "connection_sync", findings)
    peers = _peers(block, findings)
    secret = _secret(block, setting, files, findings)
    if not peers and block.absent("peer"):
        findings.error(
            setting.location, "connection_sync has no peer", "add peer ADDRESS of the other director", _WORD
        )
    group = _group(block, peers, findings)
    if not peers or secret is None:
        return None
    hand_over = block.get("hand_over", float)
    return ConnectionSync(
        peers=peers,
        key_file=block.get("key_file", str) or "",
        secret=secret,
        port=block.get("port", int) or SYNC_PORT,
        bind_address=block.address("bind_address"),
        group=group,
        interface=block.get("interface", str) or "",
        hand_over=1.0 if hand_over is None else hand_over,
        ask_port=block.get("ask_real_servers", int) or 0,
        location=setting.location,
    )


def _peers(block: Settings, findings: Findings) -> tuple[SyncPeer, ...]:
    found: dict[Address, SyncPeer] = {}
    for setting in block.all("peer"):
        address, port = cast("tuple[Address, int | None]", setting.value)
        if address in found:
            findings.error(setting.location, f"peer {address} is repeated", "remove one", len("peer"))
        elif found and address.version != next(iter(found)).version:
            text = f"peer {address} is of another family than {next(iter(found))}"
            findings.error(setting.location, text, "make all IPv4, or all IPv6", len("peer"))
        elif len(found) == MOST_PEERS:
            findings.error(setting.location, f"more than {MOST_PEERS} peers", "remove some", len("peer"))
        else:
            found[address] = SyncPeer(address, port or SYNC_PORT)
    return tuple(found.values())


def _secret(block: Settings, setting: Setting, files: KeyFiles, findings: Findings) -> bytes | None:
    stated = block.last("key_file")
    if stated is None:
        if block.absent("key_file"):
            text = "connection_sync has no key_file: everybody on the network could insert connections"
            remedy = f"add key_file PATH; {_MAKE_ONE.format('PATH')}"
            findings.error(setting.location, text, remedy, _WORD)
        return None
    word = stated.node.values[0]
    try:
        path, content = files.read(str(stated.value), stated.node.keyword.location.file)
    except BadValueError as error:
        findings.error(word.location, str(error), _MAKE_ONE.format(word.text), word.width)
        return None
    if len(content.strip()) < SHORTEST_SECRET:
        text = f"the secret in {path} has fewer than {SHORTEST_SECRET} bytes"
        findings.error(word.location, text, _MAKE_ONE.format(word.text), word.width)
        return None
    return content.strip()


def _group(block: Settings, peers: tuple[SyncPeer, ...], findings: Findings) -> Address | None:
    setting, group = block.last("group"), block.address("group")
    if setting is None or group is None:
        return None
    word = setting.node.values[0]
    if not group.is_multicast:
        text = f"{group} is no multicast address"
        findings.error(word.location, text, "write one such as 239.0.0.81, or remove the line", word.width)
        return None
    if any(peer.address.version != group.version for peer in peers):
        text = f"the group {group} and the peers are of different families"
        findings.error(word.location, text, "make all IPv4, or all IPv6", word.width)
        return None
    return group
