# SPDX-License-Identifier: Apache-2.0
"""`pointsman lab`: run clusters on this machine, with real packets."""

from __future__ import annotations

import json
import os
import sys

import click
from rich.console import Console
from rich.table import Table

from pointsman.cli.lab_faults import FAILED, break_lab, list_faults, mend, reported
from pointsman.cli.wording import fail
from pointsman.lab.demo import CHAPTERS, run_demo
from pointsman.lab.errors import LabError
from pointsman.lab.faults import check_timing
from pointsman.lab.lab import PREFIX, TOPOLOGIES, XDP_MODES, Lab, check_prefix, explain_no_lab, running_labs
from pointsman.lab.node import Node, environment
from pointsman.trace import hop_table

_console = Console(highlight=False, emoji=False)

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit codes of a command that did not come to run, as of a shell."""

_topology = click.argument("topology", type=click.Choice(list(TOPOLOGIES)))
_optional_topology = click.argument("topology", type=click.Choice(list(TOPOLOGIES)), required=False)
_xdp_mode = click.option(
    "--xdp-mode",
    type=click.Choice(XDP_MODES),
    default="auto",
    show_default=True,
    help="How the directors attach their program. native: also prepares the veth cables for it.",
)


def _prefix(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return check_prefix(value)
    except LabError as error:
        raise click.BadParameter(str(error)) from error


@click.group()
@click.option(
    "--prefix",
    default=PREFIX,
    callback=_prefix,
    show_default=True,
    help="Prefix of the namespaces. A lab with another prefix can run beside this one.",
)
@click.pass_context
def lab(context: click.Context, prefix: str) -> None:
    """Run clusters on this machine, with real packets. Needs root.

    \b
    ha-pair     two directors, two web servers, mail, clients behind a router
    dual-homed  one director and one real server on two bridges of a KVM node
    two-box     two directors that are also the real servers

    Each node is a network namespace, pm-NODE.
    """
    context.obj = prefix


@lab.command(short_help="Build a lab and start its programs.")
@_topology
@_xdp_mode
@click.pass_obj
def up(prefix: str, topology: str, xdp_mode: str) -> None:
    """Build a lab and start its programs. If anything fails, remove all of it."""
    with reported():
        made = Lab(
            topology,
            prefix=prefix,
            xdp_mode=xdp_mode,
            progress=lambda text: _console.print(f"  {text}", markup=False),
        )
        made.up()
        _console.print(f"{topology} is up: {', '.join(made.nodes)}")
        _console.print(f"next: {made.command} status | exec NODE -- CMD | down", markup=False)


@lab.command(short_help="Remove a lab, or all of them.")
@_optional_topology
@click.pass_obj
def down(prefix: str, topology: str | None) -> None:
    """Remove a lab, or all of them: processes, pins, files, namespaces."""
    with reported():
        names = [topology] if topology else list(TOPOLOGIES)
        for name in names:
            Lab(name, prefix=prefix).down()
        _console.print(f"{' and '.join(names)}: nothing is left")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(prefix: str, as_json: bool) -> None:
    """Show which lab is up, and what runs on its nodes.

    \b
    Exit codes:
      0  a lab is up
      1  none is up, or a part of one is missing
    """
    with reported():
        labs = list(running_labs(prefix))
        if as_json:
            click.echo(json.dumps({made.topology.name: _facts(made) for made in labs}, indent=2))
        for made in [] if as_json else labs:
            _console.print(f"{made.topology.name}: {made.topology.summary}", soft_wrap=True)
            _console.print(_status_table(made))
            if missing := made.missing():
                lost = f"no namespace {', '.join(missing)}"
                _console.print(
                    f"{made.topology.name} is incomplete ({lost}); run: {made.command} down", soft_wrap=True
                )
        if not labs and not as_json:
            _console.print(explain_no_lab(prefix), soft_wrap=True)
        if not labs or any(made.missing() for made in labs):
            sys.exit(FAILED)


@lab.command(
    name="exec", short_help="Run a command on a node.", context_settings={"ignore_unknown_options": True}
)
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def execute(prefix: str, node: str, command: tuple[str, ...]) -> None:
    """Run a command on a node: pointsman lab exec lb-01 -- pointsman ipvsadm -Ln.

    The exit code is that of the command. As in a shell, 127 means that the command was not found, and 126
    that it cannot be executed.
    """
    with reported():
        place = _node(prefix, node)
        with place.entered():
            try:
                os.execvpe(command[0], list(command), environment())
            except OSError as error:
                code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
                fail(f"{node}: {command[0]}: {error.strerror}", code)


@lab.command(short_help="Run two clusters and show what happens, step by step.")
@click.argument("topology", type=click.Choice(list(CHAPTERS)), required=False)
@_xdp_mode
@click.pass_obj
def demo(prefix: str, topology: str | None, xdp_mode: str) -> None:
    """Run both clusters (or one) and show what happens, step by step. It takes about a minute.

    Each expectation is checked.

    \b
    Exit codes:
      0  every expectation held
      1  one did not hold
    """
    with reported():
        console = hop_table.wide_console()
        if not run_demo(console, [topology] if topology else list(CHAPTERS), xdp_mode, prefix):
            sys.exit(FAILED)


@lab.command(name="verdicts", short_help="Measure which check finds which failure, and when.")
@_xdp_mode
@click.pass_obj
def show_verdicts(prefix: str, xdp_mode: str) -> None:
    """Make a real server fail in several ways; measure which check finds it, and after how long.

    \b
    Exit codes:
      0  each check gave the right result
      1  one did not
    """
    with reported(), Lab("ha-pair", prefix=prefix, xdp_mode=xdp_mode) as made:
        check_timing.configure(made)
        findings = list(check_timing.run(made))
        click.echo(check_timing.table(findings))
        if not all(finding.right for finding in findings):
            sys.exit(FAILED)


def _node(prefix: str, name: str) -> Node:
    labs = list(running_labs(prefix))
    if not labs:
        raise LabError(explain_no_lab(prefix))
    found = [made.nodes[name] for made in labs if name in made.nodes]
    if not found:
        raise LabError(
            f"no node {name!r}; there are: {', '.join(name for made in labs for name in made.nodes)}"
        )
    return found[0]


def _facts(made: Lab) -> dict[str, object]:
    return {
        "xdp_mode": made.xdp_mode,
        "directory": str(made.directory),
        "nodes": {name: _node_facts(node) for name, node in made.nodes.items()},
    }


def _node_facts(node: Node) -> dict[str, object]:
    up = node.up
    return {
        "role": node.spec.role.value,
        "namespace": node.namespace,
        "up": up,
        "interfaces": {card.name: node.addresses(card.name) for card in node.spec.interfaces} if up else {},
        "processes": {str(pid): words for pid, words in node.processes().items()} if up else {},
    }


def _status_table(made: Lab) -> Table:
    table = Table(box=None)
    for heading in ("node", "role", "interface", "addresses", "runs"):
        table.add_column(heading, overflow="fold")
    for name, node in made.nodes.items():
        if not node.up:
            table.add_row(name, node.spec.role.value, "", "", "is not there")
            continue
        places = [(card.name, node.addresses(card.name)) for card in node.spec.interfaces]
        places += [
            (segment.name, node.addresses(segment.name))
            for segment in made.topology.segments
            if segment.node == name
        ]
        runs = ", ".join(sorted({_program(words) for words in node.processes().values()}))
        for row, (interface, addresses) in enumerate(places or [("", [])]):
            first = row == 0
            table.add_row(
                name if first else "",
                node.spec.role.value if first else "",
                interface,
                " ".join(addresses),
                runs if first else "",
            )
    return table


def _program(words: str) -> str:
    """Return the name of a program, from its command line."""
    for known in ("mailsink", "http.server", "pointsman run", "nginx"):
        if known in words:
            return known
    return words.split(" ")[0].rsplit("/", 1)[-1].rstrip(":")


for command in (break_lab, mend, list_faults):
    lab.add_command(command)
