# SPDX-License-Identifier: Apache-2.0
r"""Command lines: quotes and escapes, in the file and behind it, as keepalived 2.2.7 takes them."""

from __future__ import annotations

import pytest
from tests.support.command_words import WORDS

from pointsman.conf.keywords.table import TABLE
from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.commands import COMMANDS
from pointsman.conf.text.problems import ConfError

SCRIPT = "vrrp_script s {\n script %s\n}\nvrrp_instance A {\n interface e\n virtual_router_id 5\n}\n"


@pytest.mark.parametrize("written", WORDS)
def test_a_program_gets_the_words_that_keepalived_gives_it(written: str) -> None:
    config = load_text(SCRIPT % written, "f").config
    assert list(config.vrrp.scripts[0].command.words) == ["/p", *WORDS[written]]
    assert load_text(show_config(config)).config.vrrp.scripts[0].command == config.vrrp.scripts[0].command


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('"/p a', "f:2:9: error: this quote is not closed"),
        ("'/p a", "f:2:9: error: this quote is not closed"),
        ("/p\\", "f:2:11: error: there is nothing after this \\"),
        ('"/p it\'s"', "f:2:2: error: script: a ' is not closed"),
        ("\"/p 'it\\'s'\"", "f:2:2: error: script: a ' is not closed"),
        (r'"/p a\\"', "f:2:2: error: script: there is nothing after the \\ at the end"),
        (r'"/p \\0"', "f:2:2: error: script: an escape makes a NUL byte"),
        (r'"/p \0"', "f:2:9: error: an escape makes a NUL byte"),
        (r'"/p \xff"', "f:2:9: error: an escape makes byte 0xff, which is not UTF-8"),
    ],
)
def test_what_no_program_could_get_is_an_error(written: str, problem: str) -> None:
    with pytest.raises(ConfError) as caught:
        load_text(SCRIPT % written, "f")
    assert any(str(each).startswith(problem) for each in caught.value.errors), caught.value.errors


def test_words_of_other_keywords_have_no_escapes() -> None:
    config = load_text('global_defs {\n router_id "a\\tb"\n}\n' + SCRIPT % "/p", "f").config
    assert config.router_id == r"a\tb"


def test_user_and_group_stand_behind_the_command_line() -> None:
    text = SCRIPT.replace("virtual", "notify \"/p 'a b'\" 'web' data\n virtual") % "/p"
    command = load_text(text, "f").config.instances[0].notify.every
    assert command is not None
    assert (command.words, command.user, command.group) == (("/p", "a b"), "web", "data")


SERVICE = r"""
virtual_server 10.0.0.%d 80 {
    lvs_method DR
    protocol TCP
    quorum_up "/p \"a # %s { \" c"
    real_server 10.0.1.%d 80 {
        notify_up '/p "%s"'
    }
}
"""


def test_virtual_servers_that_differ_in_a_command_alone_are_told_apart() -> None:
    text = "".join(SERVICE % (number, name, number, name) for number, name in enumerate("abcd", 1))
    servers = load_text(text, "f").config.virtual_servers
    ups = [server.quorum_up_command.words for server in servers if server.quorum_up_command]
    assert ups == [("/p", f"a # {name} {{ ", "c") for name in "abcd"]
    members = [server.members[0].notify_up for server in servers]
    assert [member.words for member in members if member] == [("/p", name) for name in "abcd"]


def test_the_table_and_the_lexer_know_the_same_keywords() -> None:
    wanting = {
        row.name for rows in TABLE.values() for row in rows.values() if "command line" in row.kind.expected
    }
    assert wanting == COMMANDS
