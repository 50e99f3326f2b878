# SPDX-License-Identifier: Apache-2.0
"""`pointsman reload` and `pointsman rollback`: apply the file again, or go back."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from pointsman.cli.loading import EXIT_ERRORS, load_file, print_problems, summary
from pointsman.cli.wording import complain
from pointsman.conf.text.problems import ConfError, Problem, Severity
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import (
    ErrorReply,
    ReloadRefused,
    ReloadReply,
    ReloadRequest,
    StatusReply,
    StatusRequest,
)
from pointsman.control.codec import encode_config
from pointsman.control.paths import control_socket
from pointsman.control.status import Status
from pointsman.model.wording import count

EXIT_NOT_TAKEN = 1
"""No director runs here, or it cannot take the configuration."""

MOST_WARNINGS, MOST_CHARACTERS = 500, 300
"""Warnings that the director keeps for the next reload, and the length of each."""

LONGEST_READING = 60.0
"""Seconds that a reload at SIGHUP may read its file. The supervisor's limit (LONGEST_RUN) is longer."""
PATIENCE = 60.0
"""Seconds that applying a large configuration may take."""


@click.command()
@click.option(
    "-f",
    "--use-file",
    "file",
    type=click.Path(path_type=Path),
    help="keepalived.conf to apply. [default: the director's own file]",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--force", is_flag=True, help="Apply it even if it has neither virtual servers nor VRRP.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def reload(file: Path | None, dry_run: bool, force: bool, as_json: bool) -> None:
    """Apply the configuration file to the running director.

    This command reads and checks the file. If there is an error, nothing changes. Otherwise it shows the plan
    and carries it out. What is not in the plan is not touched: adverts and connections continue.

    \b
    Exit codes:
      0  applied, or nothing to do
      1  no director runs here, or it cannot apply the file
      2  the configuration has errors
    """
    sys.exit(_reload(file, dry_run, as_json, force=force))


@click.command()
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def rollback(dry_run: bool, as_json: bool) -> None:
    """Go back to the configuration before the last reload.

    Repeat it to go back further. The file is not changed: correct it before the next reload.

    \b
    Exit codes:
      0  done
      1  no director runs here, or there is no previous configuration
    """
    sys.exit(_take(ReloadRequest(None, dry_run), as_json, "rolled back to"))


def reload_at_signal(file: Path, config_id: str | None = None) -> int:
    """Handle SIGHUP: reload without a terminal. The log and `status` tell the result.

    Reading that hangs is given up, so that the next SIGHUP is served.
    """
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_READING)
    try:
        return _reload(file, dry_run=False, as_json=False, config_id=config_id, is_signal=True)
    except HangingError:
        why = f"reading {file} was given up after {LONGEST_READING:g} s"
        return EXIT_NOT_TAKEN if _tell_refused((why,)) else _failed(why)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class HangingError(Exception):
    """Reading the configuration does not end."""


def _give_up(_number: int, _frame: object) -> None:
    raise HangingError


def _reload(
    file: Path | None,
    dry_run: bool,
    as_json: bool,
    config_id: str | None = None,
    force: bool = False,
    is_signal: bool = False,
) -> int:
    try:
        status = _status()
    except (ControlError, ProtocolError) as error:
        return _failed(str(error))
    running = status.configuration
    if file is None:
        if not running.file:
            return _failed("this director was started without a configuration file; name one with -f")
        file, config_id = Path(running.file), running.config_id
    try:
        loaded = load_file(file, config_id, tc=_sees_marks_of_tc(status))
    except ConfError as error:
        is_told = not dry_run and _tell_refused(tuple(str(each) for each in error.errors))
        if not (is_signal and is_told):  # the director has logged it
            print_problems(error.problems, err=True)
            click.echo(f"{file}: {summary(error.problems)}; nothing was changed", err=True)
        return EXIT_ERRORS
    if is_signal:
        signal.setitimer(signal.ITIMER_REAL, 0)
    warnings = [each for each in loaded.problems if each.severity is Severity.WARNING]
    _show_new(warnings, running.warnings, file)
    told = tuple(dict.fromkeys(map(_fingerprint, warnings)))[:MOST_WARNINGS]
    asked = ReloadRequest(encode_config(loaded.config), dry_run, force, str(file.absolute()), told)
    return _take(asked, as_json, f"{file} is in force as", is_signal)


def _status() -> Status:
    """Return the status of the director. Raises ControlError and ProtocolError."""
    reply = request(StatusRequest(services=False), control_socket())
    if not isinstance(reply, StatusReply):
        raise ControlError("the director does not know its file; name one with -f")
    return reply.status


def _sees_marks_of_tc(status: Status) -> bool:
    """True if the data plane is attached behind tc filters."""
    return any(each.mode == "tc" for each in status.data_plane.attachments)


def _show_new(warnings: Sequence[Problem], known: Collection[str], file: Path) -> None:
    """Print the warnings that the last reload did not show, and the number of the others."""
    new = [each for each in warnings if _fingerprint(each) not in known]
    print_problems(new, err=True)
    if old := len(warnings) - len(new):
        all_of_them = f"all of them: pointsman check -f {file}"
        click.echo(f"{count(old, 'warning')} as at the last reload; {all_of_them}", err=True)


def _fingerprint(problem: Problem) -> str:
    """Return text that stays the same if the line moves."""
    return f"{problem.text}: {problem.excerpt.strip()}"[:MOST_CHARACTERS]


def _tell_refused(problems: tuple[str, ...]) -> bool:
    """Have the director log and show the errors. Return False if it cannot be asked."""
    try:
        request(ReloadRefused(problems), control_socket())
    except (ControlError, ProtocolError) as trouble:
        complain(str(trouble))
        return False
    return True


def _take(asked: ReloadRequest, as_json: bool, done: str, is_signal: bool = False) -> int:
    try:
        reply = request(asked, control_socket(), timeout=PATIENCE)
    except (ControlError, ProtocolError) as error:
        return _failed(str(error))
    if isinstance(reply, ErrorReply):
        return EXIT_NOT_TAKEN if is_signal else _failed(reply.error)
    assert isinstance(reply, ReloadReply)
    if as_json:
        document = {"plan": reply.plan, "dry_run": asked.dry_run, "generation": reply.generation}
        click.echo(json.dumps(document, indent=2))
        return 0
    for step in reply.plan:
        click.echo(f"  {step}")
    made = count(len(reply.plan), "change")
    if asked.dry_run:
        click.echo(f"{made} would be made" if reply.plan else "nothing would change")
    else:
        click.echo(f"{done} configuration {reply.generation}: {made}")
    return 0


def _failed(why: str) -> int:
    complain(why)
    return EXIT_NOT_TAKEN
