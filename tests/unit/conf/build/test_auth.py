# SPDX-License-Identifier: Apache-2.0
"""auth_type AH and auth_hmac: from text to model and back, and mistakes that do not show the key."""

from __future__ import annotations

import pytest

from pointsman.conf.load import load
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.conf.text.source import TextReader
from pointsman.model.config import Config
from pointsman.model.diff import without_locations
from pointsman.model.vrrp import AhAuthentication, HmacAuthentication, HmacKey, VrrpInstance

FRAME = """
vrrp_instance A {
    interface eth0
    virtual_router_id 51
    advert_int 3
    %s
}
"""
KEY = "00112233445566778899aabbccddeeff" * 2
FILES: dict[str, str | bytes] = {
    "/etc/keys/raw": bytes(range(100, 140)) + b"\n",
    "/run/credentials/hex": f"hex:{KEY}",
    "/etc/keys/short": b"short-one-xyz\r\n",
    "/etc/keys/bad": b"hex:xyz",
    "/etc/keys/long": b"x" * 1000,
}


def instance(more: str) -> VrrpInstance:
    def loaded(text: str) -> Config:
        return load(TextReader({"/etc/f": text, **FILES}), "/etc/f").config

    config = loaded(FRAME % more)
    assert without_locations(loaded(show_config(config))) == without_locations(config)
    return config.instances[0]


def test_ah() -> None:
    found = instance("authentication {\nauth_type AH\nauth_pass secret12\n}")
    assert found.authentication == AhAuthentication("secret12")


def test_hmac() -> None:
    assert instance(f"auth_hmac {{\nkey 1 hex:{KEY}\n}}").hmac == HmacAuthentication(
        keys=(HmacKey(1, bytes.fromhex(KEY)),), active_key=1, window=9.0
    )
    plain = "a" * 40
    words = (
        f"key 1 hex:{KEY}\nkey 2 {plain}\nactive_key 2\nanti_replay monotonic\ntime_window 7\nmode permissive"
    )
    assert instance(f"auth_hmac {{\n{words}\n}}").hmac == HmacAuthentication(
        keys=(HmacKey(1, bytes.fromhex(KEY)), HmacKey(2, plain.encode())),
        active_key=2,
        by_time=False,
        window=7.0,
        mode="permissive",
    )


def test_keys_in_files_are_read_and_not_shown() -> None:
    found = instance("auth_hmac {\nkey 1 file:keys/raw\nkey 2 file:/run/credentials/hex\nactive_key 2\n}")
    assert found.hmac is not None
    assert found.hmac.keys == (
        HmacKey(1, bytes(range(100, 140)), "/etc/keys/raw"),
        HmacKey(2, bytes.fromhex(KEY), "/run/credentials/hex"),
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "auth_hmac has no key"),
        ("key 1 short-one", "the key must have 32 to 64 bytes; it has 9"),
        ("key 1 hex:xyz", "hex: needs pairs of hexadecimal digits"),
        ("key 1 file:/etc/key", "cannot read /etc/key: no such file"),
        ("key 1 file:keys/short", "the key must have 32 to 64 bytes; it has 13"),
        ("key 1 file:keys/bad", "hex: needs pairs of hexadecimal digits"),
        ("key 1 file:keys/long", "the key must have 32 to 64 bytes; it has 256"),
        ("key 300 hex:" + KEY, "must be a number from 0 to 255 and a key"),
        (f"key 1 hex:{KEY}\nkey 2 hex:{KEY}", "auth_hmac has no active_key"),
        (f"key 1 hex:{KEY}\nactive_key 3", "there is no key 3"),
        (f"key 1 hex:{KEY}\nkey 1 hex:{KEY}", "key 1 is repeated"),
    ],
)
def test_mistakes_are_told_without_the_key(words: str, error: str) -> None:
    with pytest.raises(ConfError) as caught:
        instance(f"auth_hmac {{\n{words}\n}}")
    problems = [str(each) for each in caught.value.errors]
    assert any(error in each for each in problems), problems
    assert not any("short-one" in each or "xyz" in each for each in problems)
