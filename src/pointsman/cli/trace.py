"""`pointsman trace`: one connection, hop by hop."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import msgspec

from pointsman.insight import hoptable, pcapng
from pointsman.lab.errors import LabError
from pointsman.lab.lab import PREFIX, TOPOLOGIES, Lab, running
from pointsman.lab.tracing import trace as trace_lab

FAILED = 1


@click.command()
@click.argument("service", metavar="VIP:PORT")
@click.option(
    "--lab", "topology", type=click.Choice(list(TOPOLOGIES)), help="Which lab; default: the one that is up."
)
@click.option("--client", default="client", show_default=True, help="The node that connects.")
@click.option("--prefix", default=PREFIX, show_default=True, help="The lab's, when it has one of its own.")
@click.option(
    "--pcap",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every frame of the connection to this pcapng file, with comments that Wireshark shows.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def trace(
    service: str, topology: str | None, client: str, prefix: str, pcap: Path | None, as_json: bool
) -> None:
    """Follow one TCP connection through a lab: which MAC changed where, and is it direct routing?

    Captures at every interface while the client connects to VIP:PORT. Exit code 0: the director changed only
    MACs and TTL, and the answer did not pass it; 1: not so, or no trace could be made.
    """
    try:
        vip, port = _service(service)
        lab = _lab(topology, prefix)
        traced = trace_lab(lab, vip, port, client)
        if pcap:
            pcap.write_bytes(pcapng.encode(traced.trace, traced.sightings))
    except (LabError, OSError) as error:
        click.echo(f"pointsman trace: {error}", err=True)
        sys.exit(FAILED)
    if as_json:
        document = msgspec.to_builtins(traced) | {"ok": traced.trace.ok}
        del document["sightings"]
        click.echo(json.dumps(document, indent=2))
    else:
        console = hoptable.wide_console()
        hoptable.show(traced.trace, lab.topology.hosts_by_mac(), console)
        console.print(f"  the client got: {traced.outcome}", markup=False)
        if traced.remark:
            console.print(f"  {traced.remark}", markup=False)
    sys.exit(0 if traced.trace.ok else FAILED)


def _service(text: str) -> tuple[str, int]:
    vip, _, port = text.rpartition(":")
    if not vip or not port.isdigit() or not 0 < int(port) < 65536:
        raise LabError(f"{text!r} is not VIP:PORT; an example: 192.168.100.9:80")
    return vip, int(port)


def _lab(topology: str | None, prefix: str) -> Lab:
    found = [lab for lab in running(prefix) if topology in (None, lab.topology.name)]
    if not found:
        name = topology or "ha-pair"
        raise LabError(
            f"{topology or 'no lab'} is {'not ' if topology else ''}up; start it: pointsman lab up {name}"
        )
    return found[0]
