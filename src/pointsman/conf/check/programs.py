# SPDX-License-Identifier: Apache-2.0
"""Check that the programs of a configuration exist, can be executed, and only root can change them."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from pointsman.conf.text.problems import Findings
from pointsman.model.checks import MiscCheck
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.location import Location
from pointsman.model.tracking import Command


class Program(NamedTuple):
    """The properties of a program file."""

    executable: bool
    changeable_by_others: str
    """A file or directory of the path that others than root can write to; empty: none."""


Inspector = Callable[[str], Program | None]
"""Function that inspects a path. None: there is no such file."""


def check_programs(config: Config, inspect: Inspector, findings: Findings) -> None:
    """Warn of programs that cannot be run, once for each. They may exist on the director itself."""
    told: set[str] = set()
    for command, location in _find_commands(config):
        path = command.words[0]
        if path in told:
            continue
        told.add(path)
        program = inspect(path)
        if program is None:
            text, remedy = f"there is no program {path} here", "install it, or correct the path"
        elif not program.executable:
            text, remedy = f"{path} cannot be run: it is not executable", f"chmod +x {path}"
        elif program.changeable_by_others:
            open_ = program.changeable_by_others
            text = f"{path} runs as root, but others can change it: {open_} is writable for them"
            remedy = f"chown root {open_}; chmod go-w {open_}"
        else:
            continue
        place, width = findings.find_place(location, path)
        findings.warning(place, text, remedy, width)


def _find_commands(config: Config) -> Iterator[tuple[Command, Location | None]]:
    yield from _commands_inside(msgspec.structs.replace(config, virtual_servers=()))
    for server in config.virtual_servers:
        yield from _commands_of_service(server)


def _commands_of_service(server: VirtualServer) -> Iterator[tuple[Command, Location | None]]:
    """Yield the commands of a service. The fields are listed because there can be thousands of services."""
    for command in (server.quorum_up_command, server.quorum_down_command):
        if command is not None:
            yield command, server.location
    for member in server.members:
        if member.notify_up is not None:
            yield member.notify_up, member.location
        if member.notify_down is not None:
            yield member.notify_down, member.location
        for check in member.checks:
            if check.__class__ is MiscCheck:
                yield check.command, check.location


def _commands_inside(config: Config) -> Iterator[tuple[Command, Location | None]]:
    """Yield all commands in a configuration, with the place of the block."""
    waiting: list[tuple[Any, Location | None]] = [(config, None)]
    while waiting:
        owner, location = waiting.pop()
        if isinstance(owner, Command):
            yield owner, location
            continue
        here = getattr(owner, "location", None) or location
        for name in _command_fields(owner.__class__):
            if value := getattr(owner, name):
                inside = value if isinstance(value, tuple) else (value,)
                waiting += [(each, here) for each in inside if _can_hold_command(each.__class__)]


@functools.cache
def _can_hold_command(kind: Any) -> bool:
    return issubclass(kind, msgspec.Struct) and (kind is Command or bool(_command_fields(kind)))


@functools.cache
def _command_fields(kind: Any) -> tuple[str, ...]:
    """Return the fields of a type that can hold a command, directly or inside."""
    hints = typing.get_type_hints(kind)
    return tuple(name for name in kind.__struct_fields__ if _leads_to_command(hints[name]))


def _leads_to_command(hint: object) -> bool:
    parts = typing.get_args(hint)
    if parts:
        return any(_leads_to_command(part) for part in parts)
    return isinstance(hint, type) and _can_hold_command(hint)
