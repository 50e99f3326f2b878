# SPDX-License-Identifier: Apache-2.0
"""Run a program of the administrator: as a user, in a session of its own, with a timeout."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import os
import pwd
import signal
from pathlib import Path

from pointsman.conf.check.programs import Identity
from pointsman.daemon.runtime.ownership import find_weakness
from pointsman.model.tracking import Command

DEFAULT_USER = "keepalived_script"
"""Scripts run as this user if it exists, else as root, as in keepalived."""
_NO_RESOURCES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
_TERM_TIME = 2.0
"""Seconds between SIGTERM and SIGKILL."""


class CannotRunError(Exception):
    """The program was not started; the text is the reason."""


class InsecureProgramError(CannotRunError):
    """The program is not run as root, because others can change it (enable_script_security)."""


class NoResourcesError(CannotRunError):
    """This host could not start any program now. That says nothing about the program."""


async def start_program(
    command: Command, more: tuple[str, ...] = (), *, user: str = "", group: str = "", security: bool = False
) -> asyncio.subprocess.Process:
    """Start a program with `more` after its own arguments, in a session of its own. Raises CannotRunError.

    `user`, `group`: defaults of a command without them. `security`: do not run as root a program that a user
    other than root can change (enable_script_security).
    """
    identity = _identity(command.user or user, command.group or group)
    try:
        if security and identity["user"] == 0 and (weakness := find_weakness(Path(command.words[0]))):
            raise InsecureProgramError(
                f"{command.words[0]}: {weakness}, so it does not run as root (enable_script_security)"
            )
        return await asyncio.create_subprocess_exec(
            *command.words,
            *more,
            stdin=asyncio.subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **(identity if os.geteuid() == 0 else {}),  # type: ignore[arg-type]
        )
    except OSError as error:
        kind = NoResourcesError if error.errno in _NO_RESOURCES else CannotRunError
        raise kind(f"cannot run {command.words[0]}: {error.strerror}") from error


async def run_program(
    command: Command, timeout: float, *, user: str = "", group: str = "", security: bool = False
) -> int | None:
    """Run a program until it ends and return its exit code; None: it was ended after `timeout` seconds.

    Cancelling this also ends the program. Arguments and errors: as in `start_program`.
    """
    process = await start_program(command, user=user, group=group, security=security)
    try:
        return await finish_program(process, timeout)
    finally:
        if process.returncode is None:
            await end_program(process)


async def finish_program(process: asyncio.subprocess.Process, timeout: float) -> int | None:
    """Wait for a program and return its exit code; None: it was ended after `timeout` seconds.

    By asyncio.timeout, here and below. Before Python 3.12 wait_for loses a cancellation that comes at the
    same time as the result, and the caller then waits for ever.
    """
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        await end_program(process)
        return None


async def end_program(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM to the program and its children, and SIGKILL if it does not end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TERM_TIME):
                await process.wait()
            return


def find_identity(user: str, group: str) -> Identity:
    """Return the numbers of a user (empty: the default) and a group (empty: the user's).

    Raises KeyError with the name that does not exist.
    """
    try:
        entry = pwd.getpwnam(user) if user else _default_user()
    except KeyError:
        raise KeyError(user) from None
    try:
        return Identity(entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid)
    except KeyError:
        raise KeyError(group) from None


def _identity(user: str, group: str) -> dict[str, object]:
    try:
        found = find_identity(user, group)
    except KeyError as error:
        raise CannotRunError(f"no such user or group: {error.args[0]}") from error
    return {"user": found.user, "group": found.group, "extra_groups": []}


def _default_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(DEFAULT_USER)
    except KeyError:
        return pwd.getpwuid(0)
