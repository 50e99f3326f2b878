"""Programs as they are written in keepalived.conf, and the words that keepalived makes of them."""

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
"""What keepalived 2.2.7 ran /p with when it was asked (tests/interop/conf/test_commands.py asks again)."""
