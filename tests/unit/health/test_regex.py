# SPDX-License-Identifier: Apache-2.0
"""Regular expressions of HTTP checks beside PCRE2 itself, which keepalived uses."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools

import pytest

from pointsman.health import http
from pointsman.model.checks import Pattern

_NAME = ctypes.util.find_library("pcre2-8")
pytestmark = pytest.mark.skipif(_NAME is None, reason="there is no libpcre2-8")

OPTIONS = {
    "caseless": 0x8,
    "dollar_endonly": 0x10,
    "dotall": 0x20,
    "extended": 0x80,
    "firstline": 0x100,
    "multiline": 0x400,
    "alt_circumflex": 0x200000,
}
"""pcre2.h"""
WITHOUT_EFFECT = {
    "dupnames": 0x40,
    "no_auto_capture": 0x2000,
    "never_backslash_c": 0x100000,
    "ungreedy": 0x40000,
    "alt_verbnames": 0x400000,
}
PATTERNS = (
    *("world", "^world", "world$", "WORLD", "hello.world", "wor ld # x", "hello$", r"\$", "[$]", "[^$]$"),
    *("(h|w)o", "l+", "o.*r", "[[:alpha:]$]+$", r"[\]$]", "[]$]", r"\\$", "(?P<a>h)|(?P<a>w)", "$", "^$"),
    *("<.+>$", "o{1,2}$"),
)
BODIES = (
    *(b"hello\nworld", b"hello\nworld\n", b"world", b"", b"\n", b"cost: 5$\n", b"a]b$", b"one\\"),
    *(b"<b>hello</b>\n<i>", b"HELLO\r\nWORLD\r\n", b"\xff\xfehello"),
)


def pcre2(text: bytes, options: int, body: bytes, start: int) -> int | None:
    """Return the position of PCRE2's match; None: no match. Raises ValueError if it rejects the pattern."""
    library = ctypes.CDLL(_NAME)
    library.pcre2_compile_8.restype = ctypes.c_void_p
    library.pcre2_match_data_create_from_pattern_8.restype = ctypes.c_void_p
    library.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(ctypes.c_size_t)
    code, at = ctypes.c_int(), ctypes.c_size_t()
    made = library.pcre2_compile_8(
        text, ctypes.c_size_t(len(text)), options, ctypes.byref(code), ctypes.byref(at), None
    )
    if not made:
        raise ValueError(code.value)
    expression = ctypes.c_void_p(made)
    data = ctypes.c_void_p(library.pcre2_match_data_create_from_pattern_8(expression, None))
    sizes = ctypes.c_size_t(len(body)), ctypes.c_size_t(start)
    found = library.pcre2_match_8(expression, body, *sizes, 0, data, None)
    first = library.pcre2_get_ovector_pointer_8(data)[0] if found > 0 else None
    library.pcre2_match_data_free_8(data)
    library.pcre2_code_free_8(expression)
    return first


@pytest.mark.parametrize("names", [*itertools.combinations(OPTIONS, 0), *itertools.combinations(OPTIONS, 1)])
@pytest.mark.parametrize(
    "more", [(), ("dotall",), ("multiline",), ("multiline", "alt_circumflex"), ("caseless", "firstline")]
)
def test_it_matches_what_pcre2_matches(names: tuple[str, ...], more: tuple[str, ...]) -> None:
    chosen = tuple(dict.fromkeys((*names, *more)))
    compare(chosen, sum(OPTIONS[name] for name in chosen))


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_options_without_effect_have_none(name: str) -> None:
    compare((), WITHOUT_EFFECT[name])


def compare(chosen: tuple[str, ...], options: int) -> None:
    compared = 0
    for text, body, start, latest in itertools.product(PATTERNS, BODIES, (0, 3), (0, 4)):
        if start > len(body):
            continue
        try:
            found = pcre2(text.encode(), options, body, start)
        except ValueError:
            continue
        if latest and found is not None and found >= latest:
            found = None
        pattern = Pattern(text=text, options=chosen, min_offset=start, max_offset=latest)
        ours = http.judge_body(pattern, http.compile_pattern(pattern), body) == ""
        assert ours is (found is not None), (text, chosen, body, start, latest, found)
        compared += 1
    assert compared > 500
