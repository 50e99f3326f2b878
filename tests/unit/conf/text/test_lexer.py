# SPDX-License-Identifier: Apache-2.0
"""Lines, comments, quotes, blocks, includes, conditions, definitions, sequences; and their bounds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pointsman.conf.load import load
from pointsman.conf.text.problems import ConfError, Findings
from pointsman.conf.text.reading import Preprocessor
from pointsman.conf.text.source import Chunk, Sources, TextReader
from pointsman.conf.text.tree import Node, parse_tree

Shape = list[str | tuple[str, "Shape"]]


def shape(nodes: Sequence[Node | Chunk]) -> Shape:
    """Statements as their words, blocks as (words, statements)."""
    found: Shape = []
    for node in nodes:
        assert isinstance(node, Node)
        words = "|".join(word.text for word in node.words)
        found.append(words if node.block is None else (words, shape(node.block)))
    return found


def read(files: str | dict[str, str | bytes], config_id: str = "here") -> tuple[Shape, list[str]]:
    """Shape and problems of the file `f`."""
    sources: Sources = {}
    findings = Findings(sources)
    reader = TextReader({"f": files} if isinstance(files, str) else files)
    nodes = parse_tree(Preprocessor(reader, findings, sources, config_id).lines("f"), findings)
    return shape(nodes), [str(problem) for problem in findings.problems()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c\n", ["a|b|c"]),
        ("a b\r\nc", ["a|b", "c"]),
        ("\ta\fb\vc ", ["a|b|c"]),
        ("a # b\n#c\n! d\n e ! f", ["a", "e"]),
        (r"a b\#c d\!e # f", ["a|b#c|d!e"]),
        ('a "b # c" d', ["a|b # c|d"]),
        ('a "b c"d"e" ""', ["a|b c|d|e|"]),
        ("a 'b c'", ["a|'b|c'"]),
        ("a {\nb\n}\n", [("a", ["b"])]),
        ("a\n{\nb\n}\n", [("a", ["b"])]),
        ("a { b c }", [("a", ["b|c"])]),
        ("a{b{c}}d", [("a", [("b", ["c"])]), "d"]),
        ('a "{" { "}" }', [("a|{", ["}"])]),
        ("a {}\nb {\n}", [("a", []), ("b", [])]),
        ("", []),
    ],
)
def test_lines_words_and_blocks(text: str, expected: Shape) -> None:
    assert read(text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\n b {\n c\n", "f:2:4: error: this block is not closed"),
        ("a\n }\n", "f:2:2: error: this } closes no block"),
        ("{\na\n}", "f:1:1: error: this block has no keyword before it"),
        ("a {\n}\n{\n}", "f:3:1: error: this block has no keyword before it"),
        ('a "b', "f:1:3: error: this quote is not closed"),
        ("x" * 1024, "f:1:1: error: the line has 1024 bytes"),
        ("a\nb\0c", "f:2:2: error: a NUL byte"),
    ],
)
def test_broken_shape(text: str, problem: str) -> None:
    assert read(text)[1][0].startswith(problem)


def test_bytes_that_are_no_text() -> None:
    assert read({"f": "a\nä".encode() + b"\xff b\nc"}) == (
        ["a", "c"],
        ["f:2:2: error: byte 0xff is not UTF-8 text; save the file in UTF-8, or remove it"],
    )


def test_nesting_is_bounded() -> None:
    with pytest.raises(ConfError, match=r"1:66: error: blocks nested deeper than 32"):
        load(TextReader({"f": "a{" * 100 + "\n"}), "f")
    with pytest.raises(ConfError, match="nested deeper"):
        load(TextReader({"f": "a{\n" * 100_000}), "f")


def test_lines_and_words_are_bounded() -> None:
    with pytest.raises(ConfError, match="f:1:1: error: the file has more than 1000000 lines"):
        load(TextReader({"f": "\n" * 1_000_001}), "f")
    with pytest.raises(ConfError, match="more than 200000 words"):
        load(TextReader({"f": ("a " * 500 + "\n") * 4001}), "f")


def test_include_is_relative_to_the_including_file() -> None:
    files: dict[str, str | bytes] = {
        "f": "a\ninclude d/g\nb",
        "d/g": "g {\ninclude h\n}",
        "d/h": "h",
    }
    assert read(files) == (["a", ("g", ["h"]), "b"], [])


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"f": "a\n include gone"}, "f:2:10: warning: no file matches gone"),
        ({"f": "includer gone"}, "f:1:10: error: no file matches gone"),
        ({"f": "includea gone"}, "f:1:10: error: no file matches gone"),
        ({"f": "include"}, "f:1:1: error: include needs the name of a file"),
        ({"f": "a\ninclude f"}, "f:2:1: error: f includes itself: f -> f"),
        ({"f": "include g", "g": "include f"}, "g:1:1: error: f includes itself: f -> g -> f"),
    ],
)
def test_includes_that_fail(files: dict[str, str | bytes], problem: str) -> None:
    assert read(files)[1] == [problem]


def test_include_depth_is_bounded() -> None:
    files: dict[str, str | bytes] = {f"f{n}": f"include f{n + 1}" for n in range(40)}
    assert read({"f": "include f0", **files})[1] == ["f14:1:1: error: includes nested deeper than 16"]


def test_conditions_by_config_id() -> None:
    text = "@here a\n@there b\n@^here c\n@^there d\n@here e {\nf\n@here }"
    assert read(text)[0] == ["a", "d", ("e", ["f"])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A=1\nx $A y", ["x|1|y"]),
        ("$A=1\nx ${A}0", ["x|10"]),
        ("$A=1 2\nx $A", ["x|1|2"]),
        ("$A=$B\n$B=2\nx $A", ["x|2"]),
        ("x $A", ["x|$A"]),
        ("$A=1\nx $A/24", ["x|$A/24"]),
        ("$A=a {\\\n b\\\n }\n$A\nc", [("a", ["b"]), "c"]),
        ("$A=b\\\nc\nx $A y", ["x|b", "c|y"]),
        ("x ${_HASH}y ${_BANG}", ["x|#y|!"]),
        ("x ${_RANDOM 7 7}", ["x|7"]),
        ("x ${_PWD}/y", ["x|./y"]),
        ("x ${_INSTANCE}y\ninstance one\nx ${_INSTANCE}y", ["x|y", "instance|one", "x|oney"]),
        ("$A=1\nx pa$ss$A", ["x|pa$ss1"]),
    ],
)
def test_definitions(text: str, expected: Shape) -> None:
    assert read(text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x ${A} y", "f:1:3: error: ${A} is not defined"),
        ("x y~${A}", "f:1:5: error: ${A} is not defined"),
        ("~LST(V, a) x ${A}~${V}", "f:1:14: error: ${A} is not defined"),
        ("x ${_RANDOM 2 1}", "f:1:3: error: there is no number from 2 to 1"),
        ("x ${_RANDOM a}", "f:1:3: error: ${_RANDOM} takes at most two numbers"),
        ("x ${_ENV GONE}", "f:1:3: error: GONE is not in the environment; set GONE, or write the value"),
        ("x ${_ENV}", "f:1:3: error: ${_ENV} needs the name of a variable"),
        ("$A=$A\nx $A", "f:2:3: error: $A never stops expanding"),
        ("$A=x $B\n$B=x $A\n$A", "f:3:1: error: "),
        ("$A=aaaaaaaaaa${B}${B}\n$B=${C}${C}\n$C=${D}${D}\n$D=${A}${A}\n$A", "f:5:1: error: "),
        ("$A=b\\", "f:1:1: error: the last line of $A ends with \\, but no line follows"),
    ],
)
def test_definitions_that_fail(text: str, problem: str) -> None:
    assert read(text)[1][0].startswith(problem)


def test_a_word_from_a_definition_points_to_where_it_is_used() -> None:
    sources: Sources = {}
    findings = Findings(sources)
    lines = Preprocessor(TextReader({"f": "$A=one two\n  x $A y"}), findings, sources, "").lines("f")
    (node,) = parse_tree(lines, findings)
    assert isinstance(node, Node)
    assert {word.location.through for word in node.words} == {"", "$A, defined at f:1"}
    assert [(word.text, word.location.column) for word in node.words] == [
        ("x", 3),
        ("one", 5),
        ("two", 5),
        ("y", 8),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~SEQ(i, 3) a $i", ["a|1", "a|2", "a|3"]),
        ("~SEQ(i, 2, 4) 10.0.0.$i", ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        ("~SEQ(i, 9, -4, 1) ${i}x", ["9x", "5x", "1x"]),
        ("~SEQx(i, 9, 11) $i", ["9", "a", "b"]),
        ("~SEQx(i, 0xe, 0x10) $i", ["e", "f", "10"]),
        ("~SEQ(i, 0x9, +012) $i", ["9", "10"]),
        ("~SEQ(i, -1, 1) $i", ["-1", "0", "1"]),
        ("~LST({a, b}, {1,x}, {2, y}) $a ${b}", ["1|x", "2|y"]),
        ("~LST({a,b},{1,x},{2,y}) ${a}$b", ["1x", "2y"]),
        ("~LST({a},{1},2) $a", ["1", "2"]),
        ("~LST({a,b},{$b,$a}) $a $b", ["$b|$a"]),
        ("$L=~SEQ(i, 2) ${i}x\n$L", ["1x", "2x"]),
        ("$L=~SEQ(i, 2) ${i}${X}\n$X=y\n$L", ["1y", "2y"]),
        ("~LST(n, eth0, eth1) on $n", ["on|eth0", "on|eth1"]),
        ("~SEQ(i, 2) ~SEQ(j, 2) ${i}.$j", ["1.1", "1.2", "2.1", "2.2"]),
        ("~LST(i, $i) $i", ["$i"]),
        ("~SEQ(i, 2) $i/24", ["$i/24", "$i/24"]),
        ("~ a", ["~|a"]),
    ],
)
def test_sequences(text: str, expected: Shape) -> None:
    assert read(text) == (expected, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("~SEQ(i, 1, 0, 5) $i", "~SEQ never gets from 1 to 5 in steps of 0"),
        ("~SEQ(i, a) $i", "~SEQ needs numbers such as 10, 0xa (hexadecimal) or 012 (octal), not a"),
        ("~SEQx(i, 9, b) $i", "~SEQx needs numbers such as 10, 0xa (hexadecimal) or 012 (octal), not b"),
        ("~SEQ(i, 09) $i", "~SEQ needs numbers"),
        ("~SEQx(i, -1, 1) $i", "~SEQx allows no numbers below 0"),
        (
            "~LST({a,b},{1}) $a",
            "~LST has 2 names, but the values 1; ~LST(name, a, b) or ~LST({name, other}, ",
        ),
        ("~LST(a,{1,2}) $a", "~LST has 1 names, but the values 1, 2"),
        ("~LST({a b},{1}) $a", "~LST needs a name and values"),
        ("~LST(a,{1,2) $a", "~LST is not understood from {1,2 on"),
        ("~SEQ(i) $i", "~SEQ needs a name and values"),
        ("~SEQ(i, 70000) $i", "~SEQ makes more than 65536 lines"),
    ],
)
def test_sequences_that_fail(text: str, problem: str) -> None:
    assert read(text)[1][0].startswith(f"f:1:1: error: {problem}")


def test_sequences_that_multiply_are_bounded() -> None:
    assert read("~SEQ(i, 60000) ~SEQ(j, 60000) $i $j")[1] == [
        "f:1:16: error: ~SEQ(j, 60000) makes more than 65536 lines"
    ]


SERVICE = (
    b"virtual_server 10.0.0.%d 80 {\nlvs_method DR\nprotocol TCP\nreal_server 10.0.1.%b 80 {\n%b\n}\n}\n"
)


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ((b"1", b"weight 1"), (b"01", b"weight 1"), "real_server 10.0.1.01: 10.0.1.01 is not an IP address"),
        ((b"1", b"weight 1"), (b"256", b"weight 1"), "10.0.1.256 is not an IP address"),
        ((b"1", b"# a"), (b"2", b"# \xff"), "byte 0xff is not UTF-8 text"),
        ((b"1", b"weight 1"), (b"2", b"includer g"), "no file matches g"),
        ((b"1", b"weight 1"), (b"2", b"weight $A"), "weight $A: must be a whole number"),
        ((b"1", b"weight 1"), (b"2", b"# " + b"x" * 1100), "the line has 1102 bytes"),
    ],
)
def test_a_block_like_the_one_before_is_looked_at_too(
    first: tuple[bytes, bytes], second: tuple[bytes, bytes], problem: str
) -> None:
    with pytest.raises(ConfError) as caught:
        load(TextReader({"f": SERVICE % (1, *first) + SERVICE % (2, *second)}), "f")
    assert problem in str(caught.value)
    assert {each.location.line > 7 for each in caught.value.errors if each.location} == {True}


def test_a_problem_tells_how_its_text_got_there() -> None:
    files: dict[str, str | bytes] = {
        "f": "$P=prio\ninclude g\n",
        "g": "\ninclude h\n",
        "h": "vrrp_instance A {\n ~SEQ(i, 1) ${P}$i\n}\n",
    }
    with pytest.raises(ConfError) as caught:
        load(TextReader(files), "f")
    problem = next(each for each in caught.value.errors if each.text.startswith("unknown"))
    assert str(problem.location) == "h:2:13"
    assert problem.excerpt == " ~SEQ(i, 1) ${P}$i"
    assert problem.origin == ("through $P, defined at f:1", "included at g:2:1", "included at f:2:1")


def predefined(text: str, host_name: str) -> str:
    sources: Sources = {}
    findings = Findings(sources)
    reading = Preprocessor(TextReader({"f": text}), findings, sources, "", host_name, {"PORT": "8080"})
    (node,) = parse_tree(reading.lines("f"), findings)
    assert isinstance(node, Node) and not findings.has_errors
    return " ".join(word.text for word in node.words)


def test_a_variable_of_the_environment() -> None:
    assert predefined("port ${_ENV PORT}x", "a") == "port 8080x"


def test_random_numbers_are_those_of_the_host_each_time_it_reads_its_file() -> None:
    text = "x" + " ${_RANDOM 1 6}" * 60
    assert predefined(text, "a") == predefined(text, "a") != predefined(text, "b")
    assert set(predefined(text, "a").split()) == set("x123456")
    assert int(predefined("${_RANDOM 32000}", "a")) >= 32000
