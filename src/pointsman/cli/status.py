# SPDX-License-Identifier: Apache-2.0
"""`pointsman status`: show the state of this host's director on one screen."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import click
import msgspec
from rich.console import Console
from rich.text import Text

from pointsman.cli.live_screen import UNLIMITED, LiveScreen
from pointsman.cli.status_screen import screen
from pointsman.cli.wording import complain, said
from pointsman.control.client import ControlError, DirectorNotRunning, ProtocolError, request
from pointsman.control.messages import ErrorReply, StatusReply, StatusRequest, TableReply, TableRequest
from pointsman.control.paths import control_socket, pin_directory
from pointsman.control.pinned import pinned_plane, read_table
from pointsman.control.status import ServerStatus, Status
from pointsman.control.status_verdict import find_wrong
from pointsman.dataplane.xdp.kernel.pins import map_directories
from pointsman.model.traffic import Counters, ServerCounters
from pointsman.net.neighbour_table import kernel_entries, kernel_limit

EXIT_WRONG = 1
"""Something is wrong, as with `doctor` and `realserver status`."""
EXIT_NOT_RUNNING = 3
"""No director runs here, as with `systemctl status`."""
EXIT_UNKNOWN = 4
"""The director cannot be asked, as with `systemctl status`."""


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
        click.echo(json.dumps(state.document() | {"wrong": wrong}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    is_narrow = console.is_terminal or "COLUMNS" in os.environ
    for line in screen(state, wrong, console.width if is_narrow else UNLIMITED):
        console.print(line)
    sys.exit(EXIT_WRONG if wrong else 0)


def fetch() -> Status:
    """Return the status, with the counters of connections and tables. Raises ControlError, ProtocolError."""
    reply = request(StatusRequest(), control_socket())
    if isinstance(reply, ErrorReply):
        raise ControlError(reply.error)
    assert isinstance(reply, StatusReply)
    counted = request(TableRequest(), control_socket())
    state = reply.status
    if isinstance(counted, TableReply):
        state = with_counters(state, counted.counters)
    plane = msgspec.structs.replace(
        state.data_plane, neighbours=kernel_entries(), neighbour_limit=kernel_limit()
    )
    return msgspec.structs.replace(state, data_plane=plane)


def with_counters(state: Status, counters: Counters) -> Status:
    """Return the status with the numbers of connections."""
    counted = {
        (str(service.key), str(server.key)): server
        for service in counters.services
        for server in service.servers
    }
    used = counters.connections_over_ipv4()
    return msgspec.structs.replace(
        state,
        data_plane=msgspec.structs.replace(state.data_plane, connections=used),
        services=tuple(
            msgspec.structs.replace(
                service,
                servers=tuple(
                    _with_load(server, counted.get((service.service, server.server)))
                    for server in service.servers
                ),
            )
            for service in state.services
        ),
    )


def _with_load(server: ServerStatus, counted: ServerCounters | None) -> ServerStatus:
    if counted is None:
        return server
    return msgspec.structs.replace(server, active=counted.active, inactive=counted.inactive)


def _watched(width: int) -> Sequence[Text]:
    """Return the lines of the live screen, also while there is no director."""
    try:
        state = fetch()
    except (ControlError, ProtocolError) as error:
        left = _left_in_force() if isinstance(error, DirectorNotRunning) else ""
        return [Text(text, "bold red") for text in (str(error), *left.splitlines())]
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
