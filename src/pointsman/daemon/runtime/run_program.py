"""Run an administrator's program: as which user, in a session of its own, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import signal
from pathlib import Path

from pointsman.daemon.runtime.ownership import find_weakness
from pointsman.model.tracking import Command

DEFAULT_USER = "keepalived_script"
"""Scripts run as this user when there is one, else as root, as in keepalived."""
_TERM_TIME = 2.0
"""Seconds between SIGTERM and SIGKILL."""


class CannotRunError(Exception):
    """A program that is not started; the text says why and what to do."""


async def start_program(
    command: Command, more: tuple[str, ...] = (), *, user: str = "", group: str = "", security: bool = False
) -> asyncio.subprocess.Process:
    """Start a program with `more` behind its own arguments, in a session of its own. Raises CannotRunError.

    `user`, `group`: those of commands that name none. `security`: refuse to run as root what others than root
    can change (enable_script_security).
    """
    identity = _identity(command.user or user, command.group or group)
    try:
        if security and identity["user"] == 0 and (weakness := find_weakness(Path(command.words[0]))):
            raise CannotRunError(
                f"{command.words[0]}: {weakness}, so it is not run as root (enable_script_security)"
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
        raise CannotRunError(f"cannot run {command.words[0]}: {error.strerror}") from error


async def run_program(
    command: Command, timeout: float, *, user: str = "", group: str = "", security: bool = False
) -> int | None:
    """Run a program to its end and return its exit code; None: it was ended after `timeout` seconds.

    Whoever cancels this ends the program. Arguments and errors are those of `start_program`.
    """
    process = await start_program(command, user=user, group=group, security=security)
    try:
        return await finish_program(process, timeout)
    finally:
        if process.returncode is None:
            await end_program(process)


async def finish_program(process: asyncio.subprocess.Process, timeout: float) -> int | None:
    """Wait for its end and return its exit code; None: it was ended after `timeout` seconds.

    By asyncio.timeout, here and below: before Python 3.12 wait_for forgets that it was cancelled when what it
    waits for comes at the same time, and whoever cancelled it waits for ever.
    """
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        await end_program(process)
        return None


async def end_program(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM to it and to what it has started, and SIGKILL if that is not enough."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TERM_TIME):
                await process.wait()
            return


def _identity(user: str, group: str) -> dict[str, object]:
    try:
        entry = pwd.getpwnam(user) if user else _default_user()
        number = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError as error:
        raise CannotRunError(f"no such user or group: {error.args[0]}") from error
    return {"user": entry.pw_uid, "group": number, "extra_groups": []}


def _default_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(DEFAULT_USER)
    except KeyError:
        return pwd.getpwuid(0)
