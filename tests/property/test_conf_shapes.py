# SPDX-License-Identifier: Apache-2.0
"""A law: a virtual server that is made from one of the same shape is the one that reading it would give."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pointsman.conf.build.fast_path.cache
import pointsman.conf.text.source
from pointsman.conf.build.fast_path.cache import MakerCache
from pointsman.conf.build.fast_path.split import NUMBERS, SECONDS, SHORT_SECONDS, SMALL_NUMBERS
from pointsman.conf.keywords.table import TABLE
from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError, Problem
from pointsman.model.checks import HttpCheck
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer

CHECKERS = [row for row in TABLE["real_server"].values() if row.opens]
BODIES = [
    "TCP_CHECK {\nconnect_port 80\n}\n",
    "TCP_CHECK {\n}\n",
    "weight 3\n  TCP_CHECK {\n connect_timeout 2 # soon\n retry 0\n}\n",
    "TCP_CHECK { }\n",
    'HTTP_GET {\n url {\n path "/a b"\n }\n}\n',
    'HTTP_GET {\n virtualhost "#1"\n url {\n path / ! root\n status_code 200\n }\n url {\n path /b\n }\n}\n',
    "TCP_CHECK {\n connect_ip 10.1.1.1\n bindto 10.1.1.2\n}\nPING_CHECK {\n}\n",
    "DR_CHECK {\n}\n",
    'notify_up "/bin/echo real_server 10.0.0.1 80 {" \n MISC_CHECK {\n misc_path "/bin/true a"\n}\n',
    "inhibit_on_failure\nsnmp_name x\nTCP_CHECK {\n}\n",
    "weight <number>\n alpha\n TCP_CHECK {\n delay_loop <number>\n connect_port <number>\n}\n",
    "HTTP_GET {\n virtualhost <name>\n url {\n path <path>\n digest <digest>\n }\n}\n",
    'notify_up "/bin/echo <name> <number>"\n MISC_CHECK {\n misc_path "<path>"\n}\n DR_CHECK {\n}\n',
    "weight <number>\n weight 70<digit>\n PING_CHECK {\n delay_loop <number>\n}\n",
    "retry <number>\n TCP_CHECK {\n connect_timeout <seconds>\n warmup <seconds>\n rise <number>\n}\n",
    "uthreshold <number>\n lthreshold 2<digit>\n",
    "TCP_CHECK {\n\u00e4 1\n}\n",
    "}\n",
    "",
]
VALUES = {
    "number": ["80", "9999", "5", "1", "701", "207", "0", "10000", "007", "-1", "3.5"],
    "seconds": ["3", "0.5", "2.25", "999.999999", "701", "0", "1.", "1.1234567", "1000"],
    "name": ["www.example.org", "a", "7", '"x y"', "b1"],
    "path": ["/", "/a/b.html", "/alpha/1", "relative"],
    "digest": ["0" * 32, "b" + "0" * 30 + "1", "F" * 32, "12"],
    "digit": ["0", "1", "9"],
}
OWN = [
    "lvs_method DR\nprotocol TCP\n",
    "lb_kind DR\nprotocol TCP\nquorum 2\nalpha\n",
    "lb_kind DR\n",
    "lvs_method DR\nprotocol TCP\nsorry_server 10.9.9.9 80\n",
    "lvs_method DR # \u00e4\nprotocol TCP\npersistence_timeout 5\n\n",
    "lvs_method DR\nprotocol TCP\ndelay_loop $LOOP\n",
    "lvs_method DR\nprotocol TCP\n@here weight 3\n",
    "lvs_method DR\nprotocol TCP\nvirtualhost <name>\nweight <number>\npersistence_timeout <number>\n",
    'lvs_method DR\nprotocol TCP\nquorum_up "/bin/echo <name>" web\nquorum <digit>\n',
    'lvs_method DR\nprotocol TCP\nquorum_down "<path>"\ndelay_loop <number>\n',
]
LIKELY = [0, 1, 5, 6, 7]
"""The shapes that give few messages."""
addresses = st.integers(0, 40).map(lambda n: f"10.0.0.{n}") | st.sampled_from(
    ["224.0.0.1", "10.0.0.256", "010.0.0.1", "2001:db8::1", "0.0.0.0", "x", "2001:DB8:0::1"]
)
ports = st.sampled_from(["80", "80", "80", "443", "0", "65536", ""])
between = st.sampled_from(["", "\n", "\n\n", "# c {\n", "$X = 1\n", "global_defs {\n}\n"])


@st.composite
def blocks(draw: st.DrawFn, bodies: list[str], own: list[str]) -> str:
    """A virtual_server block with anything in it."""
    port = draw(ports)
    start = draw(st.sampled_from([" {\n", "\n{\n", "  {  # web\n"]))
    text = f"virtual_server {draw(addresses)} {port}{start}{draw(st.sampled_from(own))}"
    for _ in range(draw(st.integers(0, 3))):
        head = f"real_server {draw(addresses)} {draw(st.just(port) | ports)}"
        text += f"{head} {{\n{draw(st.sampled_from(bodies))}}}\n"
    return text + draw(st.sampled_from(["}\n", "} # end\n", "}\r\n", "} x\n"])) + draw(between)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Blocks with all kinds of mistakes."""
    bodies = draw(st.lists(st.sampled_from(BODIES), min_size=1, max_size=2))
    own = draw(st.lists(st.sampled_from(OWN), min_size=1, max_size=2))
    several = draw(st.lists(blocks(bodies, own), min_size=2, max_size=6))
    return "$LOOP=7\n" + draw(between) + "".join(filled(draw, text) for text in several)


def filled(draw: st.DrawFn, text: str) -> str:
    """A text with other values; seldom such as are wrong."""
    worst = draw(st.sampled_from([2, 4, 4, 6, 20]))
    return re.sub(r"<(\w+)>", lambda found: draw(st.sampled_from(VALUES[found[1]][:worst])), text)


@st.composite
def alike(draw: st.DrawFn) -> str:
    """Blocks of one shape, with hardly a mistake."""
    bodies = draw(st.lists(st.sampled_from(BODIES[:14]), min_size=1, max_size=2))
    own = OWN[draw(st.sampled_from(LIKELY))]
    line = draw(st.sampled_from(["\n", " "]))
    count = draw(st.integers(0, 3))
    text = ""
    wrong = draw(st.sampled_from(["", "", "", "", "", "0", "1"]))
    several = draw(st.integers(3, 6))
    sorry = draw(st.sampled_from(["", "", "sorry_server 10.3.%d.1 %s\n"]))
    numbers = iter(draw(st.lists(st.integers(0, 260), min_size=40, max_size=40, unique=True)))
    for _ in range(several):
        port = draw(st.sampled_from(["80", "443", "65535"]))
        text += f"virtual_server 10.1.{next(numbers)}.1 {port} {{\n{filled(draw, own)}"
        if sorry:
            text += sorry % (next(numbers), port)
        for _ in range(count):
            number = f"{wrong if wrong == '0' else ''}{next(numbers) % (2 if wrong == '1' else 290)}"
            body = filled(draw, draw(st.sampled_from(bodies)))
            text += f"real_server 10.2.{number}.1 {port} {{{line}{body}}}\n"
        text += "}\n" + draw(st.sampled_from(["", "\n", "# c {\n"]))
    return text


QUIET = [
    "weight <number>\n TCP_CHECK {\n delay_loop <number>\n connect_port <number>\n}\n",
    "HTTP_GET {\n virtualhost <name>\n url {\n path <path>\n digest <digest>\n }\n}\n",
    "HTTP_GET {\n url {\n path <path>\n }\n url {\n path <path>\n virtualhost <name>\n }\n}\n",
    'notify_up "/bin/echo <name> <number>"\n MISC_CHECK {\n misc_path "<path>"\n}\n',
    "uthreshold <number>\n lthreshold 2<digit>\n PING_CHECK {\n}\n",
    "TCP_CHECK {\n connect_timeout <seconds>\n retry <number>\n delay_before_retry <seconds>\n}\n",
    "alpha\n weight <number>\n DR_CHECK {\n}\n",
]
QUIET_OWN = [
    "virtualhost <name>\nweight <number>\npersistence_timeout <number>\n",
    'quorum_up "/bin/echo <name>" web\ndelay_loop <number>\n',
    "delay_loop <seconds>\nwarmup <seconds>\nconnect_timeout <seconds>\nslow_start <seconds>\n",
    "weight <number>\nquorum 1<digit>\n",
]


@st.composite
def quiet(draw: st.DrawFn) -> str:
    """Many blocks of which nothing is to be said, as a rule, and which differ in values only."""
    bodies = draw(st.lists(st.sampled_from(QUIET), min_size=1, max_size=2))
    own = "lvs_method DR\nprotocol TCP\n" + draw(st.sampled_from(QUIET_OWN))
    sorry = draw(st.sampled_from(["", "sorry_server 10.3.0.1 %d\n"]))
    reals = draw(st.integers(0, 3))
    text = ""
    for number in range(draw(st.integers(4, 9))):
        port = draw(st.sampled_from([80, 443]))
        text += (
            f"virtual_server 10.1.{number}.1 {port} {{\n{filled(draw, own)}{sorry % port if sorry else ''}"
        )
        for real in range(reals):
            body = filled(draw, draw(st.sampled_from(bodies)))
            text += f"real_server 10.2.{number}.{real} {port} {{\n{body}}}\n"
        text += "}\n"
    return text


Outcome = tuple[Config | None, tuple[Problem, ...]]


def outcome(text: str) -> Outcome:
    try:
        loaded = load_text(text, config_id="here")
        return loaded.config, loaded.problems
    except ConfError as error:
        return None, error.problems


def long_way(text: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Every line read on its own."""
    with monkeypatch.context() as patch:
        patch.setattr(pointsman.conf.build.fast_path.cache, "MAX_SHAPES", 0)
        patch.setattr(pointsman.conf.text.source, "_CHUNK", re.compile(rb"(?!)"))
        return outcome(text)


@pytest.fixture(scope="module")
def patcher() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@given(quiet() | quiet() | alike() | files())
@settings(max_examples=300, deadline=None)
def test_a_block_made_from_its_shape_is_the_block_that_is_read(patcher: Any, text: str) -> None:
    assert outcome(text) == long_way(text, patcher)


def test_a_block_with_very_many_values_is_read() -> None:
    """A block is compiled from other values of its own, of which there are not that many."""
    body = "weight 2\nTCP_CHECK {\ndelay_loop 5\nconnect_port 3\nretry 2\n"
    body += "connect_timeout 1\nwarmup 1\nrise 2\ndelay_before_retry 1\n}\n"
    reals = "".join(f"real_server 10.1.0.{number} 80 {{\n{body}}}\n" for number in range(1, 40))
    own = "lvs_method DR\nprotocol TCP\n"
    text = "".join(f"virtual_server 10.0.0.{number} 80 {{\n{own}{reals}}}\n" for number in range(1, 5))
    assert [len(each.members) for each in load_text(text).config.virtual_servers] == [39] * 4


LETTERS = st.text(string.ascii_lowercase + ' {}"#!\\$@~\n', max_size=40)


@given(alike() | quiet(), st.integers(0, 1000), LETTERS)
@settings(max_examples=300, deadline=None)
def test_damaged_blocks_are_told_of_alike(patcher: Any, text: str, position: int, put: str) -> None:
    damaged = text[:position] + put + text[position:]
    assert outcome(damaged) == long_way(damaged, patcher)


@pytest.mark.parametrize(
    ("word", "extremes"),
    [
        *((word, ("1", "9999")) for word in (*NUMBERS, *SECONDS)),
        *((word, ("1", "999")) for word in SMALL_NUMBERS),
        *((word, ("1", "999.999999")) for word in SHORT_SECONDS),
        *((word, ("1.000001", "9999.999999")) for word in SECONDS),
    ],
)
def test_numbers_that_are_taken_unread_are_good_in_every_block(word: str, extremes: tuple[str, str]) -> None:
    for block in ("virtual_server", "real_server", *(row.name for row in CHECKERS), "host", "url"):
        row = TABLE[block].get(word)
        for text in extremes if row else ():
            assert row is not None and row.kind.read([text]) in (float(text), (text,))


BLOCK = (
    "virtual_server 10.0.0.%d 80 {\nlvs_method DR\nprotocol TCP\n%s\nreal_server 10.1.0.%d 80 {\n%s\n}\n}\n"
)


@pytest.mark.parametrize(
    ("own", "inside", "wrong", "said"),
    [
        ("quorum 5", "weight %d", 4, "quorum 5 is above 4"),
        ("", "uthreshold %d\nlthreshold 5", 4, "lthreshold 5 is above uthreshold 4"),
        ("virtualhost 701\nweight 702", "weight %d", 703, ""),
        ("", "TCP_CHECK {\nconnect_port %d\nretry 2\n}", 2, ""),
    ],
)
def test_a_value_that_matters_in_another_way_is_seen(
    monkeypatch: pytest.MonkeyPatch, own: str, inside: str, wrong: int, said: str
) -> None:
    values = [9, 9, 9, 8, 7, wrong, 6]
    text = "".join(BLOCK % (n, own, n, inside % value) for n, value in enumerate(values, 1))
    found = outcome(text)
    assert found == long_way(text, monkeypatch)
    assert [said in problem.text for problem in found[1]] == ([True] if said else [])


def test_shapes_are_made_of_blocks_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the law above would hold for nothing."""
    block = "virtual_server 10.0.0.%d %d {\nlvs_method DR\nprotocol TCP\nreal_server 10.1.0.%d %d {\n%s}\n}\n"
    read = []
    first = MakerCache._read_and_learn

    def counted(self: MakerCache, *arguments: Any) -> list[VirtualServer]:
        read.append(arguments)
        return first(self, *arguments)

    monkeypatch.setattr(MakerCache, "_read_and_learn", counted)
    text = "".join(block % (n, 80 + n, n, 80 + n, BODIES[5]) for n in range(50))
    config = load_text(text).config
    assert len(read) == 2
    last = config.virtual_servers[49]
    assert str(last.service.key) == "TCP 10.0.0.49:129"
    (member,) = last.members
    assert str(member.server.key) == "10.1.0.49:129"
    (check,) = member.checks
    assert isinstance(check, HttpCheck) and check.connect_port == 129
    assert str(check.location) == f"keepalived.conf:{49 * 16 + 5}:1"
