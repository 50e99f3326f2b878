# SPDX-License-Identifier: Apache-2.0
"""Configurations made from the keyword table: honoured words mean something, and show keeps it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.keyword_values import CHECKS, MEANT, METHODS, words
from tests.support.plain_config import plain

from pointsman.conf.keywords.keyword import Keyword
from pointsman.conf.keywords.values import (
    Boolean,
    Choice,
    Flag,
    Integer,
    Kind,
    Seconds,
    Texts,
)
from pointsman.conf.keywords.values_lvs import Method
from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError


@st.composite
def lines(draw: st.DrawFn, block: str) -> str:
    """A few of its words, each once."""
    chosen = draw(st.lists(st.sampled_from(words(block)), max_size=6, unique_by=lambda row: row[0].canonical))
    return "".join(f"    {row.name} {draw(strategy)}\n" for row, strategy in chosen)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Blocks of words; often they contradict each other, which load says."""
    check = draw(st.sampled_from(CHECKS))
    extra = {"MISC_CHECK": "misc_path /bin/true\n", "FILE_CHECK": "track_file load\n"}.get(check, "")
    if check in ("HTTP_GET", "SSL_GET", "DR_CHECK"):
        extra = f"url {{\n{draw(lines('url'))}}}\n"
    return (
        f"global_defs {{\n{draw(lines('global_defs'))}}}\n"
        f"track_file load {{\nfile /run/load\n}}\n"
        f"vrrp_script alive {{\nscript /bin/true\n{draw(lines('vrrp_script'))}}}\n"
        f"vrrp_track_process web {{\nprocess nginx\n{draw(lines('vrrp_track_process'))}}}\n"
        f"vrrp_instance A {{\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {{\n10.0.0.251/24\n}}\n"
        f"track_script {{\nalive\n}}\n{draw(lines('vrrp_instance'))}}}\n"
        f"virtual_server 10.0.0.251 80 {{\nlvs_method DR\nprotocol TCP\n{draw(lines('virtual_server'))}"
        f"real_server 10.0.0.252 80 {{\n{draw(lines('real_server'))}"
        f"{check} {{\n{extra}{draw(lines(check))}}}\n"
        f"}}\n}}\n"
    )


LOADED: list[Any] = []


@given(files())
@settings(max_examples=300, deadline=None)
def test_what_words_of_the_table_make_is_shown_and_read_alike(text: str) -> None:
    try:
        config = load_text(text).config
    except ConfError:
        return
    LOADED.append(config)
    assert plain(load_text(show_config(config)).config) == plain(config)


def test_most_of_them_are_no_contradictions() -> None:
    """Runs behind the law above, which would otherwise hold for nothing."""
    assert len(LOADED) > 30


def frame(block: str, inside: str, check: str) -> str:
    """A configuration with something more in one of its blocks."""

    def more(name: str) -> str:
        return inside if name == block else ""

    extra = {"MISC_CHECK": "misc_path /bin/true\n", "FILE_CHECK": "track_file load\n"}.get(check, "")
    if check in ("HTTP_GET", "SSL_GET"):
        extra = f"url {{\npath /\n{more('url')}}}\n"
    return (
        "global_defs {\nsmtp_server 10.0.0.9\nnotification_email {\na@b.c\n}\nvrrp_notify_fifo /run/fifo\n"
        f"{more('global_defs')}}}\ntrack_file load {{\nfile /run/load\n{more('track_file')}}}\n"
        f"vrrp_script alive {{\nscript /bin/true\n{more('vrrp_script')}}}\n"
        f"vrrp_track_process web {{\nprocess nginx\n{more('vrrp_track_process')}}}\n"
        "vrrp_instance A {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.0.0.251/24\n}\n"
        f"track_script {{\nalive\n}}\n{more('vrrp_instance')}}}\n"
        f"virtual_server 10.0.0.251 80 {{\nlvs_method DR\nprotocol TCP\n{more('virtual_server')}"
        f"real_server 10.0.0.252 80 {{\n{more('real_server')}{check} {{\n{extra}{more(check)}}}\n}}\n}}\n"
    )


def some(kind: Kind) -> list[str]:
    """Values of a type, of which one at least is not the default."""
    if isinstance(kind, Integer):
        return [str(kind.low), str(min(kind.high, kind.low + 7)), str(kind.high)]
    if isinstance(kind, Seconds):
        return [f"{kind.low:f}", f"{min(kind.high, kind.low + 7):.0f}"]
    if isinstance(kind, Boolean):
        return ["on", "off"]
    if isinstance(kind, Choice | Texts):
        return list(kind.choices)
    if isinstance(kind, Method):
        return METHODS
    if isinstance(kind, Flag):
        return [""]
    return [
        "200",
        "10.0.0.7",
        "224.0.0.99",
        "eth7",
        "24",
        "9b3a0c85a887a256d6939da88aabd8cd",
        '"/path"',
        "word",
    ]


NEEDS = {
    "virtual_server.ops": "protocol UDP",
    "virtual_server.sh-port": "lvs_sched sh",
    "virtual_server.sh-fallback": "lvs_sched sh",
    "virtual_server.mh-port": "lvs_sched mh",
    "virtual_server.mh-fallback": "lvs_sched mh",
    "virtual_server.quorum": "weight 20",
    "virtual_server.hysteresis": "weight 20\nquorum 10",
    "real_server.lthreshold": "uthreshold 9",
    "vrrp_instance.vmac_xmit_base": "use_vmac",
    "virtual_server.sorry_server_lvs_method": "sorry_server 10.0.0.9 80",
    "url.regex_no_match": "regex a",
    "url.regex_options": "regex a",
    "url.regex_min_offset": "regex a",
    "url.regex_max_offset": "regex a",
    "DR_CHECK.virtualhost": "url {\npath /\n}",
}
"""The line that must precede a word, so that the word has a meaning."""


@pytest.mark.parametrize("row", MEANT, ids=lambda row: f"{row.block}.{row.name}")
def test_an_honoured_word_changes_the_model(row: Keyword) -> None:
    check = row.block if row.block in CHECKS else "HTTP_GET"
    before = NEEDS.get(f"{row.block}.{row.name}", "") + "\n"

    def model(statement: str) -> Any:
        try:
            return plain(load_text(frame(row.block, before + statement, check)).config)
        except ConfError as error:
            return str(error)

    without = model("")
    assert isinstance(without, dict), without
    found = [model(f"{row.name} {value}\n") for value in some(row.kind)]
    assert any(isinstance(each, dict) and each != without for each in found), found
