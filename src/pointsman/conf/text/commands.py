# SPDX-License-Identifier: Apache-2.0
r"""Command lines of script keywords: their quotes and escapes (keepalived's lib/parser.c, core/notify.c).

They are split twice. First the line of the file is split into words. The second word is the command line.
Then the command line is split into arguments: `'a b'`, `\"a b\"` and `a\\ b` inside `"..."` are one argument
each.
"""

from __future__ import annotations

import re

COMMANDS = frozenset(
    {
        "script",
        "misc_path",
        "notify",
        "notify_master",
        "notify_backup",
        "notify_fault",
        "notify_stop",
        "notify_deleted",
        "notify_master_rx_lower_pri",
        "notify_up",
        "notify_down",
        "quorum_up",
        "quorum_down",
        "notify_fifo_script",
        "vrrp_notify_fifo_script",
        "lvs_notify_fifo_script",
        "startup_script",
        "shutdown_script",
    }
)
"""Keywords whose value is a command line."""

_KEYWORD = re.compile(rf"(?:^|[{{}}])\s*(?:{'|'.join(sorted(COMMANDS))})(?=[\s\"'])", re.ASCII)

WORD = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\."""
"""A quoted or escaped part of a word. Parts without a blank between them form one word."""

_WORD = re.compile(rf"(?:{WORD}|[^\s\"'\\])+".encode(), re.DOTALL)
_PART = re.compile(rb"(\")|(')|\\(x[0-9a-fA-F]+|c.|[0-7]{1,3}|.)|[^\"'\\]+", re.DOTALL)
_BLANKS = b" \t\f\n\r\v"
_LETTERS = dict(zip(b"abEfnrtv", b"\a\b\x1b\f\n\r\t\v", strict=True))
_SAFE = re.compile(r"[A-Za-z0-9._+@:/%,=^-]+")
_SPECIAL = re.compile(r"[\x00-\x1f\x7f\"]|\$(?=[A-Za-z_{])|~(?=SEQ|LST)")
"""Characters that cannot stand in a line of the file, or that have another meaning there."""


def has_command(text: str) -> bool:
    """True if the line has a command line. Quotes and escapes follow its rules then."""
    return _KEYWORD.search(text) is not None


def split_command(text: str) -> tuple[str, ...]:
    """Split a command line into words. Raises ValueError with the reason."""
    data = text.encode()
    found: list[str] = []
    at = 0
    while at < len(data):
        if data[at] in _BLANKS:
            at += 1
            continue
        word = _WORD.match(data, at)
        behind = data[word.end() :] if word else data[at:]
        if behind[:1] == b"\\":
            raise ValueError("there is nothing after the \\ at the end")
        if word is None or behind[:1] in (b"'", b'"'):
            raise ValueError(f"a {behind[:1].decode()} is not closed")
        found.append(_unquote(word[0]))
        at = word.end()
    return tuple(found)


def unescape(text: str) -> str:
    """Return a word without its quotes and escapes. Raises ValueError with the reason."""
    return _unquote(text.encode())


def _unquote(word: bytes) -> str:
    made = bytearray()
    quote = b""
    for part in _PART.finditer(word):
        sign = part[1] or part[2]
        if sign and sign == quote:
            quote = b""
        elif sign and not quote:
            quote = sign
        elif part[3]:
            made.append(_escaped_byte(part[3]))
        else:
            made += part[0]
    if 0 in made:
        raise ValueError("an escape makes a NUL byte, which would end the argument")
    try:
        return made.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"an escape makes byte 0x{made[error.start]:02x}, which is not UTF-8 text") from None


def _escaped_byte(code: bytes) -> int:
    """Return the byte for the characters after a backslash. Only the low 8 bits of a number count."""
    if code[:1] == b"x" and len(code) > 1:
        return int(code[1:], 16) & 0xFF
    if code[:1] == b"c" and len(code) > 1:
        return code[1] & 0x1F
    if code[0] in b"01234567":
        return int(code, 8) & 0xFF
    return _LETTERS.get(code[0], code[0])


def quote_command(words: tuple[str, ...]) -> str:
    """Return the words as a command line in `"..."`. Reading it gives the same words."""
    return '"' + " ".join(map(_quote_word, words)) + '"'


def _quote_word(word: str) -> str:
    if _SAFE.fullmatch(word):
        return word
    inner = word.replace("\\", "\\\\").replace("'", "\\'")
    inner = _SPECIAL.sub(lambda found: f"\\{ord(found[0]):03o}", inner)
    return "'" + inner.replace("\\", "\\\\") + "'"
