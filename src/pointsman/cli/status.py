"""`pointsman status`: one screen about the director of this host."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

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
        show(reply.status, Console(highlight=False))


def show(state: dict[str, Any], console: Console) -> None:
    """Print the status for a person."""
    plane = state["data_plane"]
    console.print(f"[bold]{state['router_id']}[/]  up {state['uptime']:.0f} s, data plane {plane['name']}")
    for attachment in plane["attachments"]:
        reason = f"  ({attachment['reason']})" if attachment["reason"] else ""
        console.print(f"  {attachment['interface']}: {attachment['mode']}{reason}")
    if state["instances"]:
        console.print(_instances(state["instances"]))
    if state["services"]:
        console.print(_services(state["services"]))
    for problem in state["problems"]:
        console.print(f"[bold red]![/] {problem}")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _instances(instances: list[dict[str, Any]]) -> Table:
    table = _table("VRRP instance", "state", "priority", "since", "reason")
    for item in instances:
        style = STATE_STYLE.get(item["state"], "")
        table.add_row(
            item["instance"],
            f"[{style}]{item['state']}[/]" if style else item["state"],
            str(item["priority"]),
            f"{item['for']:.0f} s",
            item["reason"],
        )
    return table


def _services(services: list[dict[str, Any]]) -> Table:
    table = _table("virtual service", "real server", "health", "weight", "next hop", "reason")
    for service in services:
        for number, server in enumerate(service["servers"]):
            up = {True: "[green]up[/]", False: "[bold red]DOWN[/]", None: "unchecked"}[server["up"]]
            table.add_row(
                f"{service['service']} {service['scheduler']}" if number == 0 else "",
                server["server"],
                up,
                "-" if server["weight"] is None else str(server["weight"]),
                server["next_hop"],
                server["reason"],
            )
        if not service["servers"]:
            table.add_row(f"{service['service']} {service['scheduler']}", "[dim]none[/]")
    return table
