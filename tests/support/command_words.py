# SPDX-License-Identifier: Apache-2.0
"""Programs as written in keepalived.conf, with the words into which keepalived splits them."""

from __future__ import annotations

WORDS = {
    r'"/p a b"': ["a", "b"],
    r"/p a b": [],
    r""" "/p 'a b' c" """: ["a b", "c"],
    r'"/p \"a b\" c"': ["a b", "c"],
    r'"/p a\tb"': ["a", "b"],
    r'"/p a\\tb"': ["a\tb"],
    r""" "/p 'a\\tb'" """: ["a\tb"],
    r'"/p \x41\102\cA"': ["AB\x01"],
    r'"/p \\x41\\102\\cA"': ["AB\x01"],
    r'"/p \\x0141z \\1019"': ["Az", "A9"],
    r'"/p \\E\\a\\b\\f\\v\\r\\n"': ["\x1b\a\b\f\v\r\n"],
    r'"/p \\q\\C"': ["qC"],
    r""" "/p 'a''b'c" """: ["abc"],
    r""" '/p a "b c" d' """: ["a", "b c", "d"],
    r'"/p a"b c': ["ab"],
    r'"/p a\ b"': ["a", "b"],
    r'"/p a\\ b"': ["a b"],
    r""" "/p '' x" """: ["", "x"],
    r'"/p \\\\\\\\"': ["\\\\"],
    r""" "/p \\'x" """: ["'x"],
    r""" "/p ''" """: [""],
    r'"/p $x é"': ["$x", "é"],
    r'"/p a # b"': ["a", "#", "b"],
    r'"/p a { b }"': ["a", "{", "b", "}"],
    r'"/p \"a # b\" c"': ["a # b", "c"],
    r""" "/p 'a { b' c" """: ["a { b", "c"],
    r'"/p \xc3\xa9"': ["é"],
}
"""The words that keepalived 2.2.7 passed to /p (tests/interop/conf/test_commands.py compares again)."""
