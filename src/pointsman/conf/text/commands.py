r"""Command lines of script keywords: quotes and escapes, read twice (lib/parser.c, core/notify.c).

The line of the file is taken apart first, and its second word, which is the command line, once more: `'a b'`,
`\"a b\"` and `a\\ b` inside of `"..."` are one argument each.
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
"""Keywords with a command line behind them."""

_KEYWORD = re.compile(rf"(?:^|[{{}}])\s*(?:{'|'.join(sorted(COMMANDS))})(?=[\s\"'])", re.ASCII)

WORD = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\."""
"""A part of a word that is quoted or escaped; parts without a blank between them join."""

_WORD = re.compile(rf"(?:{WORD}|[^\s\"'\\])+".encode(), re.DOTALL)
_PART = re.compile(rb"(\")|(')|\\(x[0-9a-fA-F]+|c.|[0-7]{1,3}|.)|[^\"'\\]+", re.DOTALL)
_BLANKS = b" \t\f\n\r\v"
_LETTERS = dict(zip(b"abEfnrtv", b"\a\b\x1b\f\n\r\t\v", strict=True))
_SAFE = re.compile(r"[A-Za-z0-9._+@:/%,=^-]+")
_SPECIAL = re.compile(r"[\x00-\x1f\x7f\"]|\$(?=[A-Za-z_{])|~(?=SEQ|LST)")
"""What may not stand in a line of the file, or means something there already."""


def has_command(text: str) -> bool:
    """Whether quotes and escapes of a line, which holds some, are those of a command line."""
    return _KEYWORD.search(text) is not None


def split_command(text: str) -> tuple[str, ...]:
    """The words of a command line. Raises ValueError, which says what is wrong."""
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
            raise ValueError("the \\ at the end escapes nothing")
        if word is None or behind[:1] in (b"'", b'"'):
            raise ValueError(f"a {behind[:1].decode()} is never closed")
        found.append(_unquote(word[0]))
        at = word.end()
    return tuple(found)


def unescape(text: str) -> str:
    """A word without its quotes and escapes. Raises ValueError."""
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
        raise ValueError("an escape makes a NUL byte, where an argument would end")
    try:
        return made.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"an escape makes byte 0x{made[error.start]:02x}, which is not UTF-8 text") from None


def _escaped_byte(code: bytes) -> int:
    """The byte that stands for what is behind a backslash; large numbers are cut to a byte."""
    if code[:1] == b"x" and len(code) > 1:
        return int(code[1:], 16) & 0xFF
    if code[:1] == b"c" and len(code) > 1:
        return code[1] & 0x1F
    if code[0] in b"01234567":
        return int(code, 8) & 0xFF
    return _LETTERS.get(code[0], code[0])


def quote_command(words: tuple[str, ...]) -> str:
    """The words as a command line in `"..."`, which is read as these words."""
    return '"' + " ".join(map(_quote_word, words)) + '"'


def _quote_word(word: str) -> str:
    if _SAFE.fullmatch(word):
        return word
    inner = word.replace("\\", "\\\\").replace("'", "\\'")
    inner = _SPECIAL.sub(lambda found: f"\\{ord(found[0]):03o}", inner)
    return "'" + inner.replace("\\", "\\\\") + "'"
