# SPDX-License-Identifier: Apache-2.0
"""`pointsman lab break`, `mend` and `faults`: break things on purpose."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from pointsman.cli.wording import fail
from pointsman.lab import interrupts
from pointsman.lab.errors import LabError
from pointsman.lab.faults import runner as fault_runner
from pointsman.lab.faults.cluster import FAULTS, find_fault
from pointsman.lab.faults.fault import Fault
from pointsman.lab.faults.runner import Outcome
from pointsman.lab.lab import TOPOLOGIES, XDP_MODES, Lab, running_labs
from pointsman.trace import hop_table

FAILED, INTERRUPTED = 1, 130
_SHOWN = 100
"""Characters of a command that are shown."""
_names = click.Choice([fault.name for fault in FAULTS])


@click.command(name="break", short_help="Break something, for `pointsman doctor` to find.")
@click.argument("fault", type=_names, metavar="FAULT")
@click.pass_obj
def break_lab(prefix: str, fault: str) -> None:
    """Break something in the running lab. `pointsman doctor` on the node finds it.

    `pointsman lab faults` lists the faults.
    """
    with reported():
        chosen = find_fault(fault)
        made = _lab_for(prefix, chosen)
        fault_runner.break_(made, chosen)
        click.echo(f"{chosen.node}: {chosen.text}")
        for command in chosen.commands:
            click.echo(_one_line(*fault_runner.shell_command(made, chosen.node, command)))
        click.echo(f"next: {fault_runner.doctor_command(made, chosen)}")
        click.echo(f"back: {made.command} mend {chosen.name}")


def _one_line(node: str, command: str) -> str:
    """Return a command and its node; of a script only the first line."""
    first, *more = command.splitlines()
    shown = first if len(first) <= _SHOWN else f"{first[:_SHOWN]}..."
    return f"  {node}: {shown}{f' ({len(more)} more lines)' if more else ''}"


@click.command(short_help="Undo a fault, or all of them.")
@click.argument("fault", type=_names, required=False, metavar="[FAULT]")
@click.pass_obj
def mend(prefix: str, fault: str | None) -> None:
    """Undo a fault, or all faults in the running labs."""
    with reported():
        if fault:
            chosen = [(_lab_for(prefix, find_fault(fault)), find_fault(fault))]
        else:
            chosen = [
                (made, item) for made in running_labs(prefix) for item in fault_runner.caused_faults(made)
            ]
        for made, item in chosen:
            fault_runner.mend(made, item)
            click.echo(f"{item.name}: undone")
        if not chosen:
            click.echo("nothing is broken")


@click.command(name="faults", short_help="List the faults; --run: test if the doctor finds them.")
@click.argument("names", type=_names, nargs=-1, metavar="[FAULT]...")
@click.option(
    "--run", is_flag=True, help="Make each fault in a lab of its own, and see what doctor and trace say."
)
@click.option(
    "--healthy",
    metavar="N",
    type=click.IntRange(1, 10_000),
    help="Examine each lab N times without a fault. Each finding is a false alarm.",
)
@click.option(
    "--xdp-mode",
    type=click.Choice(XDP_MODES),
    default="auto",
    show_default=True,
    help="How the directors attach their program.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_faults(
    prefix: str, names: tuple[str, ...], run: bool, healthy: int | None, xdp_mode: str, as_json: bool
) -> None:
    """List the faults.

    With --run, make each fault and show a table: fault, doctor, trace, and if the remedy corrected it.

    \b
    Exit codes of --run:
      0  the doctor named every fault and was silent after its remedy
      1  it did not

    \b
    Exit codes of --healthy:
      0  no false alarm
      1  at least one false alarm
    """
    if healthy is not None:
        _examine_healthy(prefix, healthy, xdp_mode, as_json)
        return
    chosen = [find_fault(name) for name in names] or list(FAULTS)
    if not run:
        _list(chosen, as_json)
        return
    with reported():

        def tell(outcome: Outcome) -> None:
            if not as_json:
                click.echo(
                    f"{'✓' if outcome.ok else '✗'} {outcome.fault} ({outcome.seconds:.1f} s)", err=True
                )

        outcomes = fault_runner.run_all(chosen, prefix, xdp_mode, tell, traced=True)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(outcomes)).decode())
        else:
            hop_table.wide_console().print(_table(outcomes))
        sys.exit(0 if all(outcome.ok for outcome in outcomes) else FAILED)


def _examine_healthy(prefix: str, runs: int, xdp_mode: str, as_json: bool) -> None:
    """Examine every topology, one after the other, without a fault."""

    def tell(number: int, alarms: list[str]) -> None:
        for text in alarms:
            click.echo(f"✗ run {number}: {text}", err=True)

    with reported():
        found = [fault_runner.false_alarms(name, runs, prefix, xdp_mode, tell) for name in TOPOLOGIES]
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        else:
            for item in found:
                click.echo(
                    f"{'✗' if item.alarms else '✓'} {item.topology}: {len(item.alarms)} false alarms in "
                    f"{item.examinations} examinations and {item.traces} traces ({item.seconds:.0f} s)"
                )
        sys.exit(FAILED if any(item.alarms for item in found) else 0)


def _list(chosen: Sequence[Fault], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(chosen)).decode())
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "topology", "node", "what", "doctor's name"):
        table.add_column(heading, no_wrap=heading != "what")
    for fault in chosen:
        table.add_row(fault.name, fault.topology, fault.node, fault.text, fault.check)
    Console(highlight=False, emoji=False).print(table)


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "fault", "on", "the doctor said", "the trace showed", "mended", "s"):
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        table.add_row(
            "✓" if outcome.ok else "✗",
            outcome.fault,
            outcome.node,
            outcome.doctor or "nothing about it",
            outcome.trace,
            outcome.mended,
            f"{outcome.seconds:.1f}",
        )
    return table


def _lab_for(prefix: str, fault: Fault) -> Lab:
    found = next((made for made in running_labs(prefix) if made.topology.name == fault.topology), None)
    if found is None:
        raise LabError(
            f"{fault.name} needs {fault.topology}, which is not up: pointsman lab up {fault.topology}"
        )
    return found


@contextmanager
def reported() -> Iterator[None]:
    """Turn an error into one clear message. Ctrl-C and SIGTERM end with the usual exit code."""
    try:
        if os.geteuid() != 0:
            raise LabError("the lab's nodes are network namespaces, which need root; run it with sudo")
        with interrupts.stopping_unwinds():
            yield
    except LabError as error:
        fail(str(error), FAILED)
    except KeyboardInterrupt:
        fail("interrupted; nothing is left behind", INTERRUPTED)
