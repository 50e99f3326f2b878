# SPDX-License-Identifier: Apache-2.0
"""`pointsman conf help`: the keyword table for people, and for the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.cli.conf import conf
from pointsman.conf.keywords.reference import reference, words


def test_a_word_is_explained_in_each_of_its_blocks() -> None:
    done = CliRunner().invoke(conf, ["help", "weight"])
    assert done.exit_code == 0
    assert "conf.build" not in done.output and "lvs.desired" not in done.output
    heads = [line for line in done.output.splitlines() if not line.startswith(" ")]
    assert "weight, in real_server: share of the connections" in heads
    assert "weight, in vrrp_script: added to the priority; 0: a failure means FAULT" in heads
    assert "a whole number, 0 or more" in done.output


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("garp_master_delay", "    default:   vrrp_garp_master_delay, else 5"),
        (
            "connect_timeout",
            "    default:   that of the real server, else that of the virtual server, else 5",
        ),
        ("notify_up", "    repeated:  the first one counts"),
    ],
)
def test_defaults_are_those_of_the_block_they_come_from(word: str, line: str) -> None:
    assert line in CliRunner().invoke(conf, ["help", word]).output.splitlines()


def test_a_word_without_effect_says_why() -> None:
    output = CliRunner().invoke(conf, ["help", "enable_snmp_vrrp"]).output
    assert "accepted, without effect" in output and "there is no SNMP agent" in output


def test_a_typo_gets_a_suggestion_and_an_exit_code() -> None:
    done = CliRunner().invoke(conf, ["help", "wieght"])
    assert (done.exit_code, done.output) == (
        1,
        "wieght is no keyword of keepalived.conf; did you mean weight?\n",
    )


def test_the_reference_has_every_word() -> None:
    output = CliRunner().invoke(conf, ["help", "--all"]).output
    assert [word for word in words() if f"| `{word}`" not in output] == []


def test_the_shell_completes_words() -> None:
    environment = {
        **os.environ,
        "_POINTSMAN_COMPLETE": "bash_complete",
        "COMP_WORDS": "pointsman conf help virtual_ip",
        "COMP_CWORD": "3",
    }
    program = "from pointsman.cli.main import main; main(prog_name='pointsman')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["plain,virtual_ipaddress", "plain,virtual_ipaddress_excluded"]


def test_the_page_of_all_words_is_up_to_date() -> None:
    page = Path(__file__).parents[4] / "docs" / "keywords.md"
    assert page.read_text() == reference(), "pointsman conf help --all > docs/keywords.md"
