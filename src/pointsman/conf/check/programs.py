# SPDX-License-Identifier: Apache-2.0
"""Check that programs and their users exist, and that only root can change what runs as root."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from pointsman.conf.text.problems import Findings
from pointsman.model.checks import MiscCheck
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.location import Location
from pointsman.model.tracking import Command


class Identity(NamedTuple):
    """The user and group that a program runs as, by number."""

    user: int
    group: int


class Program(NamedTuple):
    """The properties of a program file."""

    owner: int
    group: int
    mode: int
    """Permissions, as in stat(2)."""
    changeable_by_others: str
    """A file or directory of the path that others than root can write to; empty: none."""

    def can_be_run_by(self, identity: Identity) -> bool:
        if identity.user == 0:
            return bool(self.mode & 0o111)
        shift = 6 if identity.user == self.owner else 3 if identity.group == self.group else 0
        return bool(self.mode >> shift & 1)


class ProgramHost(Protocol):
    """Programs and users of a host."""

    path: str
    """Directories in which programs without a slash are searched (PATH)."""

    def find(self, name: str) -> str:
        """Return the full path of a program without a slash; empty: there is none."""

    def inspect(self, path: str) -> Program | None:
        """Return the properties of a program; None: there is no such file."""

    def identify(self, user: str, group: str) -> Identity:
        """Return the numbers of a user (empty: the default) and a group (empty: the user's).

        Raises KeyError with the name that does not exist.
        """


class _Run(NamedTuple):
    """A program that runs as a user, and the block that says so."""

    command: Command
    user: str
    group: str
    security: bool
    location: Location | None


def check_programs(config: Config, host: ProgramHost, findings: Findings) -> None:
    """Warn of programs that cannot be run, once for each. They may exist on the director itself."""
    told: set[tuple[str, str, str]] = set()
    for command, location in _find_commands(config):
        user, group = command.user or config.vrrp.script_user, command.group or config.vrrp.script_group
        key = (command.words[0], user, group)
        if key in told:
            continue
        told.add(key)
        _check_one(_Run(command, user, group, config.vrrp.script_security, location), host, findings)


def _check_one(run: _Run, host: ProgramHost, findings: Findings) -> None:
    name = run.command.words[0]
    identity = None
    try:
        identity = host.identify(run.user, run.group)
    except KeyError as missing:
        _report_user(run, str(missing.args[0]), findings)
    path = name if "/" in name else host.find(name)
    program = host.inspect(path) if path else None
    if program is None and "/" not in name:
        text = f"there is no program {name} in PATH here ({host.path})"
        remedy = "install it, or write its full path"
    elif program is None:
        text, remedy = f"there is no program {name} here", "install it, or correct the path"
    elif identity is not None and not program.can_be_run_by(identity):
        user = f" by user {run.user or identity.user}" if identity.user else ""
        text, remedy = f"{path} cannot be run{user}: it is not executable", f"chmod +x {path}"
    elif program.changeable_by_others and identity is not None and identity.user == 0:
        open_ = program.changeable_by_others
        effect = "so it is not run (enable_script_security)" if run.security else "and it runs as root"
        text = f"others than root can change {path}, {effect}: {open_} is writable for them"
        remedy = f"chown root {open_}; chmod go-w {open_}"
    else:
        return
    place, width = findings.find_place(run.location, name)
    findings.warning(place, text, remedy, width)


def _report_user(run: _Run, missing: str, findings: Findings) -> None:
    command = run.command
    what = "group" if missing == run.group and missing != run.user else "user"
    text = f"there is no {what} {missing} here, so {command.words[0]} cannot be run"
    if missing not in (command.user, command.group):
        text, remedy = f"{text} (script_user)", "create it, or correct script_user"
    else:
        whole = " ".join((*command.words, command.user, command.group)).strip()
        remedy = f'create it; if it is meant as an argument, write the command in quotes: "{whole}"'
    place, width = findings.find_place(run.location, command.words[0], missing)
    findings.warning(place, text, remedy, width)


def with_full_paths(config: Config, host: ProgramHost) -> Config:
    """Return the configuration with the full path of each program in PATH, as keepalived finds it."""
    names = {command.words[0] for command, _ in _find_commands(config) if "/" not in command.words[0]}
    paths = {name: path for name in names if (path := host.find(name))}
    return cast(Config, _with_paths(config, paths)) if paths else config


def _with_paths(owner: Any, paths: Mapping[str, str]) -> Any:
    if isinstance(owner, Command):
        name, *arguments = owner.words
        return msgspec.structs.replace(owner, words=(paths.get(name, name), *arguments))
    changed: dict[str, Any] = {}
    for name in _command_fields(owner.__class__):
        value = getattr(owner, name)
        if isinstance(value, tuple):
            changed[name] = tuple(
                _with_paths(each, paths) if _can_hold_command(each.__class__) else each for each in value
            )
        elif value and _can_hold_command(value.__class__):
            changed[name] = _with_paths(value, paths)
    return msgspec.structs.replace(owner, **changed) if changed else owner


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
