# SPDX-License-Identifier: Apache-2.0
"""Options: the same option has the same meaning in every verb, and in keepalived."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import pointsman
from pointsman.cli.main import VERBS, main


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from commands(inner, f"{name} {word}")


def every_command() -> Iterator[tuple[str, click.Command]]:
    for verb, (module, attribute, _) in VERBS.items():
        yield from commands(getattr(importlib.import_module(module), attribute), verb)


@pytest.mark.parametrize(("short", "long"), [("-i", "--config-id"), ("-f", "--use-file")])
def test_short_options_are_keepaliveds(short: str, long: str) -> None:
    takers = {
        name: [option for option in parameter.opts if option.startswith("--")]
        for name, command in every_command()
        for parameter in command.params
        if short in parameter.opts
    }
    assert {"run", "check", "conf show"} <= takers.keys()
    assert set(map(tuple, takers.values())) == {(long,)}


def test_the_package_is_a_program_too() -> None:
    command = [sys.executable, "-m", "pointsman", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, f"pointsman, version {pointsman.__version__}\n"), said.stderr


NAMES = [name for name, _ in every_command() if name != "ipvsadm"]
"""ipvsadm prints its own help."""


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_is_imperative_and_fits_on_eighty_columns(name: str) -> None:
    told = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=80).output.splitlines()
    assert [line for line in told if len(line) > 80] == []
    assert told[2].split()[0] not in {"What", "Whether", "Which", "Is", "The", "Of"}
