# SPDX-License-Identifier: Apache-2.0
"""`pointsman status`: show the state of this host's director on one screen."""

from __future__ import annotations

import json
import os
import sys

import click
from rich.console import Console
from rich.markup import escape

from pointsman.cli.wording import complain, fail, said
from pointsman.control.client import ControlError, DirectorNotRunning, ProtocolError, request
from pointsman.control.messages import ErrorReply, StatusReply, StatusRequest, TableRequest
from pointsman.control.paths import control_socket, pin_directory
from pointsman.control.pinned import pinned_plane, read_table
from pointsman.control.status import ServerStatus, Status
from pointsman.dataplane.xdp.kernel.pins import map_directories

LOST = {
    "no_neighbour": "dropped; the real server's MAC address was not known",
    "connection_reset": "reset by the stack; the connection's real server was deleted (reset_on_removal)",
    "not_tunnelled": "dropped; they could not be put into the tunnel to their real server",
    "server_removed": "dropped; the connection's real server was deleted",
    "ttl_exceeded": "answered by ICMP time exceeded; the TTL was used up",
    "no_destination": "answered by ICMP port unreachable; no real server could take a new connection",
    "too_big": "answered by ICMP fragmentation needed; too large for the path to the real server",
    "unanswered": "of the last three: not answered; the rate of ICMP answers is limited",
    "malformed": "left to the stack; cut short, or with a wrong checksum",
    "fragment": "left to the stack; fragments that came before the first one of their packet",
    "table_full": "forwarded by hash; the connection table was full",
    "untracked": "forwarded by hash; their connection had found no room in the table",
    "templates_full": "forwarded by hash; there was no room for a persistent client",
}
"""Exit reasons that an administrator should know about, by the names of bpf/abi.h."""

STATE_STYLE = {
    "MASTER": "bold green",
    "BACKUP": "cyan",
    "FAULT": "bold red",
    "INIT": "yellow",
    "UNKNOWN": "bold red",
}
SESSION_TEXT = {True: "[bold green]up[/]", False: "[bold red]DOWN[/]", None: "[bold red]UNKNOWN[/]"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(as_json: bool) -> None:
    """Show the state of this host's director: VRRP, health of the real servers, data plane.

    \b
    Exit codes:
      0  shown
      1  no director runs here
    """
    try:
        reply = request(StatusRequest(), control_socket())
    except (ControlError, ProtocolError) as error:
        complain(str(error))
        if isinstance(error, DirectorNotRunning) and (left := _left_in_force()):
            click.echo(left, err=True)
        sys.exit(1)
    if isinstance(reply, ErrorReply):
        fail(reply.error)
    assert isinstance(reply, StatusReply)
    if as_json:
        click.echo(json.dumps(reply.status.document(), indent=2))
    else:
        show(reply.status, Console(highlight=False, soft_wrap=True, emoji=False))


def _left_in_force() -> str:
    """Return a text about what a dead director left in the kernel; empty if nothing."""
    try:
        if not map_directories(pin_directory()):
            return ""
        plane = pinned_plane()
        found = read_table(plane, TableRequest())
        names = ", ".join(each.interface for each in plane.capabilities().attachments)
    except OSError as error:
        more = "" if os.geteuid() == 0 else "; run this as root"
        return f"Cannot tell if a dead director left services in the kernel: {said(error)}{more}"
    services = ", ".join(str(entry.service.key) for entry in found.table) or "no service"
    return (
        f"The kernel still forwards what a dead director left: {services}; from {names or 'no interface'}.\n"
        "Health, VRRP and MAC addresses stay as they were when it ended.\n"
        "To continue: pointsman run (it adopts everything). To end it: pointsman detach"
    )


def show(state: Status, console: Console) -> None:
    """Print the status for a person."""
    plane = state.data_plane
    console.print(f"[bold]{escape(state.router_id)}[/]  up {state.uptime:.0f} s, data plane {plane.name}")
    configuration = state.configuration
    console.print(
        f"  configuration {configuration.generation} for {configuration.seconds:.0f} s"
        + (f", {escape(configuration.file)}" if configuration.file else "")
    )
    for attachment in plane.attachments:
        reason = f"  ({escape(attachment.reason)})" if attachment.reason else ""
        link = f"  [bold red]{escape(attachment.link)}[/]" if attachment.link else ""
        console.print(f"  {attachment.interface}: {attachment.mode}{reason}{link}")
    for name, text in LOST.items():
        if count := state.exits.get(name, 0):
            console.print(f"  {count} packets {name}: {text}")
    for item in state.instances:
        style = STATE_STYLE.get(item.state, "")
        name = f"[{style}]{item.state}[/]" if style else item.state
        since = f"for {item.seconds:.0f} s" + (f": {escape(item.reason)}" if item.reason else "")
        console.print(f"\nVRRP {escape(item.instance)}  {name}  priority {item.priority}  {since}")
        for each in item.dropped:
            console.print(
                f"  [bold red]![/] {escape(each.sender)}: adverts dropped: {each.count}, "
                f"the last {each.seconds:.0f} s ago: {escape(each.text)}"
            )
    for session in state.sessions:
        name = SESSION_TEXT[session.up]
        console.print(f"\nBFD {session.name}  {name}  {session.neighbour}  {escape(session.reason)}")
    for service in state.services:
        persistent = f" persistent {service.persistence} s" if service.persistence is not None else ""
        by_hand = "" if service.managed else "  [cyan]by hand[/]"
        if service.standby:
            by_hand = "  [yellow]not in force while another director holds its VIP[/]"
        console.print(f"\n{escape(service.service)} {service.scheduler}{persistent}{by_hand}")
        for server in service.servers:
            _show_server(server, service.managed, console)
        if not service.servers:
            console.print("  [bold red]no real server[/]")
    for problem in state.problems:
        console.print(f"\n[bold red]![/] {escape(problem)}")


def _show_server(server: ServerStatus, managed: bool, console: Console) -> None:
    unknown = ("unchecked", "yellow") if managed else ("by hand", "cyan")
    health, style = {True: ("up", "green"), False: ("DOWN", "bold red"), None: unknown}[server.up]
    weight = "out" if server.weight is None else f"weight {server.weight}"
    by_hand = f"by hand: {server.by_hand}" if server.by_hand else ""
    tunnel = f"in {server.tunnel}" if server.tunnel else ""
    rest = "  ".join(text for text in (tunnel, server.next_hop, server.reason, by_hand) if text)
    address = escape(f"{server.server:24}")
    console.print(f"  -> {address} [{style}]{health:9}[/] {weight:9} {escape(rest)}")
