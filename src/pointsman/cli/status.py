# SPDX-License-Identifier: Apache-2.0
"""`pointsman status`: show the state of this host's director on one screen."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable

import click
import msgspec

from pointsman.cli.screens.coloured_lines import Line, coloured, plain, wants_colour
from pointsman.cli.screens.live_screen import UNLIMITED, LiveScreen
from pointsman.cli.screens.status_screen import screen
from pointsman.cli.wording import complain, said
from pointsman.control.client import ControlError, DirectorNotRunning, ProtocolError, request
from pointsman.control.client_messages import ErrorReply, StatusReply, StatusRequest, TableRequest
from pointsman.control.codec import encoder
from pointsman.control.paths import control_socket, pin_directory
from pointsman.control.pinned import pinned_plane, read_table
from pointsman.control.status import Status
from pointsman.control.status_verdict import find_wrong
from pointsman.dataplane.xdp.kernel.pins import map_directories
from pointsman.net.neighbour_table import kernel_entries, kernel_limit

EXIT_WRONG = 1
"""Something is wrong, as with `doctor` and `realserver status`."""
EXIT_NOT_RUNNING = 3
"""No director runs here, as with `systemctl status`."""
EXIT_UNKNOWN = 4
"""The director cannot be asked, as with `systemctl status`."""
LINES_AT_ONCE = 500
"""Lines that are written with one system call."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "-w",
    "--watch",
    type=click.FloatRange(0.5, 3600),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Show it again and again until Ctrl-C: each 2 seconds, or as given. What is wrong comes first.",
)
def status(as_json: bool, watch: float | None) -> None:
    """Show the state of this host's director: VRRP, health of the real servers, data plane.

    Green means that the checks pass. Whether a real server has the VIP, and answers, is tested by
    DR_CHECK and by `pointsman doctor`. The last lines, with !, are all that is wrong.

    \b
    Exit codes:
      0  all is well
      1  something is wrong (not with --json, which lists it as "wrong")
      2  wrong arguments
      3  no director runs here
      4  the director cannot be asked
    """
    if as_json and watch:
        raise click.UsageError("--watch shows a screen, and --json a document: use one of them")
    if watch:
        LiveScreen(watch).run(_watched)
        return
    try:
        state = fetch()
    except DirectorNotRunning as error:
        complain(str(error))
        if left := _left_in_force():
            click.echo(left, err=True)
        sys.exit(EXIT_NOT_RUNNING)
    except (ControlError, ProtocolError) as error:
        complain(str(error))
        sys.exit(EXIT_UNKNOWN)
    wrong = find_wrong(state)
    if as_json:
        click.echo(_document(state, wrong))
        return
    is_narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    _print(screen(state, wrong, shutil.get_terminal_size().columns if is_narrow else UNLIMITED))
    sys.exit(EXIT_WRONG if wrong else 0)


def _document(state: Status, wrong: list[str]) -> str:
    """Return the JSON document, in ASCII: control characters above it could trick a terminal."""
    encoded = encoder.encode(state)[:-1] + b',"wrong":' + encoder.encode(wrong) + b"}"
    document = msgspec.json.format(encoded, indent=2)
    return document.decode() if document.isascii() else json.dumps(json.loads(document), indent=2)


def _print(lines: Iterable[Line]) -> None:
    """Print lines in blocks: a terminal would get each with a system call."""
    write = coloured if wants_colour() else plain
    texts = map(write, lines)
    while block := list(itertools.islice(texts, LINES_AT_ONCE)):
        sys.stdout.write("\n".join((*block, "")))


def fetch() -> Status:
    """Return the status, with the numbers of connections. Raises ControlError, ProtocolError."""
    reply = request(StatusRequest(connections=True), control_socket())
    if isinstance(reply, ErrorReply):
        raise ControlError(reply.error)
    assert isinstance(reply, StatusReply)
    plane = msgspec.structs.replace(
        reply.status.data_plane, neighbours=kernel_entries(), neighbour_limit=kernel_limit()
    )
    return msgspec.structs.replace(reply.status, data_plane=plane)


def _watched(width: int) -> Iterable[Line]:
    """Return the lines of the live screen, also while there is no director."""
    try:
        state = fetch()
    except (ControlError, ProtocolError) as error:
        left = _left_in_force() if isinstance(error, DirectorNotRunning) else ""
        return [[(text, "bold red")] for text in (str(error), *left.splitlines())]
    return screen(state, find_wrong(state), width, wrong_first=True)


def _left_in_force() -> str:
    """Return a text about what a dead or stopped director left in the kernel; empty if nothing."""
    try:
        if not map_directories(pin_directory()):
            return ""
        plane = pinned_plane()
        is_kept, seconds = bool(plane.unattended.kept()), plane.unattended.seconds_left()
        found = read_table(plane, TableRequest())
        names = ", ".join(each.interface for each in plane.capabilities().attachments)
    except OSError as error:
        more = "" if os.geteuid() == 0 else "; run this as root"
        return f"Cannot tell if a dead director left services in the kernel: {said(error)}{more}"
    if is_kept and not found.table:
        return (
            f"The director was stopped. Its connections are still forwarded, for up to {seconds} s.\n"
            "To continue: pointsman run (it adopts them). To end it: pointsman detach"
            if seconds
            else ""
        )
    services = ", ".join(str(entry.service.key) for entry in found.table) or "no service"
    return (
        f"The kernel still forwards what a dead director left: {services}; from {names or 'no interface'}.\n"
        "Health, VRRP and MAC addresses stay as they were when it ended.\n"
        "To continue: pointsman run (it adopts everything). To end it: pointsman detach"
    )
