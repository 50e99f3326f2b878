"""Programs that a configuration names: are they there, can they be run, and could anybody change them?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from pointsman.conf.problems import Findings
from pointsman.model.config import Config
from pointsman.model.location import Location
from pointsman.model.tracking import Command


class Program(NamedTuple):
    """What is known of a file that is to be run."""

    executable: bool
    changeable_by_others: str
    """Which file or folder on the way others than root may write to; empty: none."""


Inspector = Callable[[str], Program | None]
"""Looks at a path; None: there is no such file."""


def check_programs(config: Config, inspect: Inspector, findings: Findings) -> None:
    """Report programs that cannot be run, once each; they may well be there on the director itself."""
    told: set[str] = set()
    for command, location in _commands(config):
        path = command.words[0]
        if path in told:
            continue
        told.add(path)
        program = inspect(path)
        if program is None:
            findings.warning(location, f"there is no program {path} here", "install it, or correct the path")
        elif not program.executable:
            findings.warning(location, f"{path} cannot be run: it is not executable", f"chmod +x {path}")
        elif program.changeable_by_others:
            place = program.changeable_by_others
            text = f"{path} runs with rights that others than root can take: {place} is writable for them"
            findings.warning(location, text, f"chown root {place}; chmod go-w {place}")


def _commands(config: Config) -> Iterator[tuple[Command, Location | None]]:
    for name in config.__struct_fields__:
        if name != "virtual_servers":
            yield from _inside(getattr(config, name), None)
    for virtual in config.virtual_servers:
        for name in virtual.__struct_fields__:
            if name not in ("members", "service"):
                yield from _inside(getattr(virtual, name), virtual.location)
        for member in virtual.members:
            yield from _inside(member, member.location)


def _inside(value: object, location: Location | None) -> Iterator[tuple[Command, Location | None]]:
    if isinstance(value, Command):
        yield value, location
    elif isinstance(value, msgspec.Struct):
        here = getattr(value, "location", None) or location
        for name in value.__struct_fields__:
            yield from _inside(getattr(value, name), here)
    elif isinstance(value, tuple):
        for each in value:
            yield from _inside(each, location)
