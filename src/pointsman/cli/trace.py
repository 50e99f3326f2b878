"""`pointsman trace`: one connection, hop by hop."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path

import click
import msgspec

from pointsman.insight import hoptable, pcapng
from pointsman.insight.livetrace import watch
from pointsman.lab.errors import LabError
from pointsman.lab.lab import PREFIX, TOPOLOGIES, Lab, running
from pointsman.lab.tracing import Traced
from pointsman.lab.tracing import trace as trace_lab

FAILED = 1


@click.command()
@click.argument("service", metavar="VIP:PORT")
@click.option("--here", is_flag=True, help="On this host (a director or a real server) instead of in a lab.")
@click.option(
    "--seconds", type=click.FloatRange(1, 3600), default=30, show_default=True, help="How long --here waits."
)
@click.option(
    "--lab", "topology", type=click.Choice(list(TOPOLOGIES)), help="Which lab; default: the one that is up."
)
@click.option(
    "--client",
    default="",
    help="The lab's node that connects, 'client' unless given; with --here: wait for this address only.",
)
@click.option("--prefix", default=PREFIX, show_default=True, help="The lab's, when it has one of its own.")
@click.option(
    "--pcap",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every frame of the connection to this pcapng file, with comments that Wireshark shows.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def trace(
    service: str,
    here: bool,
    seconds: float,
    topology: str | None,
    client: str,
    prefix: str,
    pcap: Path | None,
    as_json: bool,
) -> None:
    """Follow one TCP connection: which MAC changed where, and is it direct routing?

    In a lab it captures at every interface while the client connects to VIP:PORT. With --here it waits for
    the next connection and tells what this host saw of it: a director its decision, a real server arrival
    and answer, or why its kernel dropped the request.

    Exit code 0: all as it should be; 1: not so, or no trace could be made.
    """
    try:
        vip, port = _service(service)
        traced = _host(vip, port, client, seconds) if here else _connect(topology, prefix, vip, port, client)
        if pcap:
            pcap.write_bytes(pcapng.encode(traced.trace, traced.sightings))
    except (LabError, OSError) as error:
        click.echo(f"pointsman trace: {error}", err=True)
        sys.exit(FAILED)
    if as_json:
        document = {
            "trace": msgspec.to_builtins(traced.trace),
            "outcome": traced.outcome,
            "remark": traced.remark,
            "ok": traced.trace.ok,
        }
        click.echo(json.dumps(document, indent=2))
    else:
        console = hoptable.wide_console()
        hoptable.show(traced.trace, traced.hosts, console)
        for text in (f"the client got: {traced.outcome}" if traced.outcome else "", traced.remark):
            if text:
                console.print(f"  {text}", markup=False)
    sys.exit(0 if traced.trace.ok else FAILED)


def _connect(topology: str | None, prefix: str, vip: str, port: int, client: str) -> Traced:
    lab = _lab(topology, prefix)
    return trace_lab(lab, vip, port, client or "client")


def _host(vip: str, port: int, client: str, seconds: float) -> Traced:
    try:
        address = ipaddress.IPv4Address(vip)
        if client:
            ipaddress.IPv4Address(client)
    except ValueError as error:
        raise LabError(f"{error}: trace follows IPv4 only, so far") from error
    watched = watch(
        address,
        port,
        client,
        seconds,
        lambda: click.echo(f"waiting for a connection to {vip}:{port} (at most {seconds:g} s)", err=True),
    )
    return Traced(watched.trace, "", watched.sightings, watched.remark, watched.hosts)


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
