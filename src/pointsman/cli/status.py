"""`pointsman status`: one screen about the director of this host."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console

from pointsman.daemon.client import ControlError, ProtocolError, request
from pointsman.daemon.messages import ErrorReply, StatusReply, StatusRequest
from pointsman.daemon.paths import control_socket

STATE_STYLE = {"MASTER": "bold green", "BACKUP": "cyan", "FAULT": "bold red", "INIT": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def status(as_json: bool) -> None:
    """What the director here does: VRRP, health of the real servers, data plane.

    Exit code 0: answered; 1: no director runs here.
    """
    try:
        reply = request(StatusRequest(), control_socket())
    except (ControlError, ProtocolError) as error:
        click.echo(f"pointsman status: {error}", err=True)
        sys.exit(1)
    if isinstance(reply, ErrorReply):
        click.echo(f"pointsman status: {reply.error}", err=True)
        sys.exit(1)
    assert isinstance(reply, StatusReply)
    if as_json:
        click.echo(json.dumps(reply.status, indent=2))
    else:
        show(reply.status, Console(highlight=False, soft_wrap=True))


def show(state: dict[str, Any], console: Console) -> None:
    """Print the status for a person."""
    plane = state["data_plane"]
    console.print(f"[bold]{state['router_id']}[/]  up {state['uptime']:.0f} s, data plane {plane['name']}")
    configuration = state["configuration"]
    console.print(
        f"  configuration {configuration['generation']} for {configuration['for']:.0f} s"
        + (f", {configuration['file']}" if configuration["file"] else "")
    )
    for attachment in plane["attachments"]:
        reason = f"  ({attachment['reason']})" if attachment["reason"] else ""
        console.print(f"  {attachment['interface']}: {attachment['mode']}{reason}")
    for item in state["instances"]:
        style = STATE_STYLE.get(item["state"], "")
        name = f"[{style}]{item['state']}[/]" if style else item["state"]
        since = f"for {item['for']:.0f} s" + (f": {item['reason']}" if item["reason"] else "")
        console.print(f"\nVRRP {item['instance']}  {name}  priority {item['priority']}  {since}")
    for service in state["services"]:
        console.print(f"\n{service['service']} {service['scheduler']}")
        for server in service["servers"]:
            _show_server(server, console)
        if not service["servers"]:
            console.print("  [bold red]no real server[/]")
    for problem in state["problems"]:
        console.print(f"\n[bold red]![/] {problem}")


def _show_server(server: dict[str, Any], console: Console) -> None:
    health, style = {True: ("up", "green"), False: ("DOWN", "bold red"), None: ("unchecked", "yellow")}[
        server["up"]
    ]
    weight = "out" if server["weight"] is None else f"weight {server['weight']}"
    by_hand = f"by hand: {server['by_hand']}" if server["by_hand"] else ""
    rest = "  ".join(text for text in (server["next_hop"], server["reason"], by_hand) if text)
    console.print(f"  -> {server['server']:24} [{style}]{health:9}[/] {weight:9} {rest}")
