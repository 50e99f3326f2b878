# SPDX-License-Identifier: Apache-2.0
"""connection_sync: from text to model and back, and mistakes that say how to do it right."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.conf.load import load
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.conf.text.source import TextReader
from pointsman.model.config import Config, ConnectionSync, SyncPeer
from pointsman.model.diff import without_locations

FILES: dict[str, str | bytes] = {"/etc/sync.key": "0123456789abcdef-and-more\n", "/etc/short": "0123456789"}
PEER = "peer 192.168.100.11"
KEY = "key_file sync.key"


def loaded(text: str) -> Config:
    return load(TextReader({"/etc/f": text, **FILES}), "/etc/f").config


def sync(*lines: str) -> ConnectionSync:
    config = loaded("connection_sync {\n" + "\n".join(lines) + "\n}")
    assert without_locations(loaded(show_config(config))) == without_locations(config)
    assert config.sync is not None
    return config.sync


def refused(*lines: str) -> str:
    with pytest.raises(ConfError) as caught:
        sync(*lines)
    return str(caught.value)


def test_defaults() -> None:
    found = sync(PEER, KEY)
    assert found.peers == (SyncPeer(ipaddress.ip_address("192.168.100.11"), 8849),)
    assert found.secret == b"0123456789abcdef-and-more"
    assert (found.port, found.bind_address, found.group, found.hand_over) == (8849, None, None, 1.0)


def test_everything() -> None:
    found = sync(
        "peer 192.168.100.11 9000",
        "peer 192.168.100.12",
        KEY,
        "port 9001",
        "bind_address 192.168.100.10",
        "group 239.0.0.81",
        "interface eth0",
        "hand_over 0",
        "ask_real_servers",
    )
    assert [peer.port for peer in found.peers] == [9000, 8849]
    assert (found.port, str(found.bind_address), str(found.group)) == (9001, "192.168.100.10", "239.0.0.81")
    assert (found.interface, found.hand_over, found.ask_port) == ("eth0", 0.0, 8850)


def test_without_the_block_nothing_is_synchronised() -> None:
    assert loaded("global_defs {\n}").sync is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((PEER,), ("has no key_file", "openssl rand")),
        ((KEY,), ("has no peer",)),
        ((PEER, "key_file none"), ("cannot read /etc/none", "openssl rand")),
        ((PEER, "key_file short"), ("fewer than 16 bytes", "openssl rand")),
        ((PEER, PEER, KEY), ("repeated",)),
        ((PEER, "peer 2001:db8::1", KEY), ("of another family",)),
        ((PEER, KEY, "group 10.0.0.1"), ("no multicast address",)),
        ((PEER, KEY, "group ff02::81"), ("different families",)),
        ((PEER, KEY, "peer 192.168.100.12 0"), ("peer",)),
        ((PEER, KEY, "hand_over 11"), ("hand_over",)),
        ((*(f"peer 192.168.100.{number}" for number in range(11, 27)), KEY), ("more than 15 peers",)),
    ],
)
def test_a_mistake_says_what_to_do(lines: tuple[str, ...], words: tuple[str, ...]) -> None:
    said = refused(*lines)
    assert all(word in said for word in words), said
    assert "0123456789" not in said, "no secret is shown"
