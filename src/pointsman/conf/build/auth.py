# SPDX-License-Identifier: Apache-2.0
"""Build authentication from the authentication and auth_hmac blocks of an instance."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

from pointsman.conf.keywords.settings import Setting, Settings, read_block
from pointsman.conf.keywords.values import BadValueError
from pointsman.conf.text.corrections import remove, replace
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.source import FileReader
from pointsman.conf.text.tokens import Word
from pointsman.model.vrrp import AhAuthentication, HmacAuthentication, HmacKey, PassAuthentication

PASSWORD_BYTES = 8
"""Length of the password field in VRRP version 2 (RFC 2338 section 5.3.6.2)."""
_SHORTEST_KEY, _LONGEST_KEY = 32, 64
_LARGEST_FILE = 256
"""Limit of bytes read from a key file. No valid key is as long."""
_LEAST_WINDOW = 5


def build_authentication(
    block: Settings, version: int, findings: Findings
) -> PassAuthentication | AhAuthentication | None:
    """Return the authentication of version 2; None: there is none."""
    setting = block.last("authentication")
    if setting is None:
        return None
    keyword = setting.node.keyword
    inner = read_block(setting.block, "authentication", findings)
    kind, password = inner.last("auth_type"), inner.last("auth_pass")
    if version == 3:
        text = (
            "version 3 has no authentication (RFC 5798 section 9); the block has no effect, as in keepalived"
        )
        findings.warning(
            keyword.location,
            text,
            "remove it, or write version 2 in the instance",
            keyword.width,
            remove(keyword),
        )
        return None
    if kind is None or password is None:
        missing = "auth_type" if kind is None else "auth_pass"
        if not any(node.keyword.text == missing for node in setting.block):
            text = f"authentication without {missing} has no effect"
            edits = remove(keyword) if kind is not None or not inner.all("auth_pass") else ()
            findings.error(keyword.location, text, f"add {missing}", keyword.width, edits)
        return None
    word = password.node.values[0]
    size = len(word.text.encode())
    if size > PASSWORD_BYTES:
        text = f"the password has {size} bytes; VRRP carries only the first {PASSWORD_BYTES}"
        findings.warning(
            word.location,
            text,
            f"shorten it to {PASSWORD_BYTES} bytes on all routers",
            word.width,
            replace(word, _quoted(word, word.text[:PASSWORD_BYTES])) if word.text.isascii() else (),
        )
    return AhAuthentication(word.text) if kind.value == "AH" else PassAuthentication(word.text)


def _quoted(word: Word, text: str) -> str:
    return f'"{text}"' if word.quoted else text


class KeyFiles:
    """Reader of key files."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader

    def read(self, path: str, named_in: str) -> tuple[str, bytes]:
        """Return path and content of a key file. Raises BadValueError.

        A relative path begins at the directory of the configuration file that names it.
        """
        whole = str(PurePosixPath(named_in).parent / path)
        try:
            content = self._reader.read(whole, _LARGEST_FILE)
        except OSError as error:
            raise BadValueError(f"cannot read {whole}: {(error.strerror or str(error)).lower()}", 1) from None
        return whole, content.removesuffix(b"\n").removesuffix(b"\r")


def build_hmac(
    block: Settings, advert_interval: float, files: KeyFiles, findings: Findings
) -> HmacAuthentication | None:
    """Return the settings of auth_hmac; None: there is no such block, or it has an error."""
    setting = block.last("auth_hmac")
    if setting is None:
        return None
    inner = read_block(setting.block, "auth_hmac", findings)
    keys: dict[int, HmacKey] = {}
    for each in inner.all("key"):
        try:
            key = _parse_key([word.text for word in each.node.values], files, each.node.keyword.location.file)
            if key.number in keys:
                raise BadValueError(f"key {key.number} is repeated")
            keys[key.number] = key
        except BadValueError as error:
            # A message must not show the key itself.
            word = each.node.values[0] if each.node.values and error.index == 0 else each.node.keyword
            findings.error(word.location, f"key: {error}", width=word.width)
    active = _active_key(inner, setting, keys, findings)
    if active is None:
        return None
    window = inner.get("time_window", int)
    return HmacAuthentication(
        keys=tuple(keys.values()),
        active_key=active,
        by_time=inner.get("anti_replay", str) != "monotonic",
        window=float(window) if window else float(max(math.ceil(3 * advert_interval), _LEAST_WINDOW)),
        mode=inner.get("mode", str) or "enforce",
    )


def _active_key(
    inner: Settings, setting: Setting, keys: dict[int, HmacKey], findings: Findings
) -> int | None:
    keyword = setting.node.keyword
    if not keys:
        if not inner.all("key"):
            findings.error(keyword.location, "auth_hmac has no key", "add key NUMBER KEY", keyword.width)
        return None
    written = inner.get("active_key", int)
    if written is None and len(keys) == 1:
        return next(iter(keys))
    if written not in keys:
        text = "auth_hmac has no active_key" if written is None else f"there is no key {written}"
        findings.error(keyword.location, text, "write active_key NUMBER", keyword.width)
        return None
    return written


def _parse_key(words: list[str], files: KeyFiles, named_in: str) -> HmacKey:
    """Parse `NUMBER KEY`. Raises BadValueError.

    KEY is hex:DIGITS, the text of the key, or file:PATH with one of these in the file.
    """
    if len(words) < 2 or not re.fullmatch(r"[0-9]{1,3}", words[0]) or int(words[0]) > 255:
        raise BadValueError("must be a number from 0 to 255 and a key")
    path, written = "", words[1].encode()
    if words[1].startswith("file:"):
        path, written = files.read(words[1].removeprefix("file:"), named_in)
    key = written
    if written.startswith(b"hex:"):
        digits = written.removeprefix(b"hex:")
        if not re.fullmatch(rb"([0-9a-fA-F]{2})+", digits):
            raise BadValueError("hex: needs pairs of hexadecimal digits", 1)
        key = bytes.fromhex(digits.decode())
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise BadValueError(
            f"the key must have {_SHORTEST_KEY} to {_LONGEST_KEY} bytes; it has {len(key)}", 1
        )
    return HmacKey(int(words[0]), key, path)
