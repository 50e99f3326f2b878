"""A law: a virtual server that is made from one of the same shape is the one that reading it would give."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pointsman.conf.build_shapes
import pointsman.conf.source
from pointsman.conf.build_shapes import Shapes
from pointsman.conf.load import load_text
from pointsman.conf.problems import ConfError, Problem
from pointsman.model.checks import HttpCheck
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer

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
    "TCP_CHECK {\n\u00e4 1\n}\n",
    "}\n",
    "",
]
OWN = [
    "lvs_method DR\nprotocol TCP\n",
    "lb_kind DR\nprotocol TCP\nquorum 2\nalpha\n",
    "lb_kind DR\n",
    "lvs_method DR\nprotocol TCP\nsorry_server 10.9.9.9 80\n",
    "lvs_method DR # \u00e4\nprotocol TCP\npersistence_timeout 5\n\n",
    "lvs_method DR\nprotocol TCP\ndelay_loop $LOOP\n",
    "lvs_method DR\nprotocol TCP\n@here weight 3\n",
]
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
    return "$LOOP=7\n" + draw(between) + "".join(several)


@st.composite
def alike(draw: st.DrawFn) -> str:
    """Blocks of one shape, with hardly a mistake."""
    body = draw(st.sampled_from(BODIES[:9]))
    own = draw(st.sampled_from(OWN[:2]))
    line = draw(st.sampled_from(["\n", " "]))
    count = draw(st.integers(0, 3))
    text = ""
    wrong = draw(st.sampled_from(["", "", "", "", "", "0", "1"]))
    several = draw(st.integers(3, 5))
    numbers = iter(draw(st.lists(st.integers(0, 260), min_size=20, max_size=20, unique=True)))
    for _ in range(several):
        port = draw(st.sampled_from(["80", "443", "65535"]))
        text += f"virtual_server 10.1.{next(numbers)}.1 {port} {{\n{own}"
        for _ in range(count):
            number = f"{wrong if wrong == '0' else ''}{next(numbers) % (2 if wrong == '1' else 290)}"
            text += f"real_server 10.2.{number}.1 {port} {{{line}{body}}}\n"
        text += "}\n" + draw(st.sampled_from(["", "\n", "# c {\n"]))
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
        patch.setattr(pointsman.conf.build_shapes, "MAX_SHAPES", 0)
        patch.setattr(pointsman.conf.source, "_CHUNK", re.compile(rb"(?!)"))
        return outcome(text)


@pytest.fixture(scope="module")
def patcher() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@given(files() | alike())
@settings(max_examples=300, deadline=None)
def test_a_block_made_from_its_shape_is_the_block_that_is_read(patcher: Any, text: str) -> None:
    assert outcome(text) == long_way(text, patcher)


LETTERS = st.text(string.ascii_lowercase + ' {}"#!\\$@~\n', max_size=40)


@given(files() | alike(), st.integers(0, 400), LETTERS)
@settings(max_examples=300, deadline=None)
def test_damaged_blocks_are_told_of_alike(patcher: Any, text: str, position: int, put: str) -> None:
    damaged = text[:position] + put + text[position:]
    assert outcome(damaged) == long_way(damaged, patcher)


def test_shapes_are_made_of_blocks_that_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the law above would hold for nothing."""
    block = "virtual_server 10.0.0.%d %d {\nlvs_method DR\nprotocol TCP\nreal_server 10.1.0.%d %d {\n%s}\n}\n"
    read = []
    first = Shapes._first

    def counted(self: Shapes, *arguments: Any) -> list[VirtualServer]:
        read.append(arguments)
        return first(self, *arguments)

    monkeypatch.setattr(Shapes, "_first", counted)
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
