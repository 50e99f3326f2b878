# SPDX-License-Identifier: Apache-2.0
"""`pointsman trace`: follow one connection, hop by hop."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import select
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from pointsman.cli.wording import fail, said
from pointsman.control import paths
from pointsman.doctor.gather import read_facts
from pointsman.lab.errors import LabError
from pointsman.lab.faults.runner import caused_faults, doctor_command
from pointsman.lab.lab import PREFIX, TOPOLOGIES, Lab, running_labs
from pointsman.lab.tracing import Traced
from pointsman.lab.tracing import trace as trace_lab
from pointsman.model.address import Address, format_endpoint
from pointsman.trace import hop_table, pcapng
from pointsman.trace import report as host_report
from pointsman.trace.frames import TCP, UDP
from pointsman.trace.live import watch
from pointsman.trace.multi_host import SAW, WAITING, GroupError, gather
from pointsman.trace.report import HostReport

FAILED = 1
NOTHING_CAME = "nothing came"


class Wanted(msgspec.Struct, frozen=True):
    """The service and the connection to wait for, from the command line."""

    vip: Address
    port: int
    protocol: str
    client: str
    seconds: float

    @property
    def service(self) -> str:
        return format_endpoint(self.vip, self.port)


@click.command()
@click.argument("service", metavar="VIP:PORT")
@click.option(
    "--udp", is_flag=True, help="Follow the first datagram of a client of a UDP service, and its answer."
)
@click.option("--here", is_flag=True, help="Trace on this host (director or real server), not in a lab.")
@click.option(
    "--host",
    "hosts",
    metavar="NAME[=COMMAND]",
    multiple=True,
    help="Trace on several hosts. COMMAND (ssh web-01) reaches the host. Default: this host.",
)
@click.option(
    "--merge",
    "files",
    metavar="[NAME=]FILE",
    multiple=True,
    help="Merge what `--here --json` wrote on several hosts. May be repeated.",
)
@click.option("--follow", is_flag=True, help="With --here or --host: trace one connection after the other.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=30,
    show_default=True,
    help="Time that --here and --host wait for a connection.",
)
@click.option(
    "--lab", "topology", type=click.Choice(list(TOPOLOGIES)), help="Lab to use. [default: the one that is up]"
)
@click.option(
    "--client",
    default="",
    help="In a lab: the node that connects. [default: client] With --here: wait for this address only.",
)
@click.option("--prefix", default=PREFIX, show_default=True, help="Prefix of the lab.")
@click.option(
    "--pcap",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all frames to this pcapng file, with comments that Wireshark shows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--until-eof", is_flag=True, hidden=True, help="With --here: trace until standard input ends.")
def trace(
    service: str,
    udp: bool,
    here: bool,
    hosts: tuple[str, ...],
    files: tuple[str, ...],
    follow: bool,
    seconds: float,
    topology: str | None,
    client: str,
    prefix: str,
    pcap: Path | None,
    as_json: bool,
    until_eof: bool,
) -> None:
    """Follow one connection: show which MAC address changed where, and if this is direct routing.

    In a lab, capture at every interface while the client connects to VIP:PORT.

    With --here, wait for the next connection and show what this host saw. On a director: its decision. On a
    real server: the request and the answer, or why its kernel dropped the request. This is the default if no
    lab is up, on a director and on a host that has VIP.

    With --host, do this on several hosts, and follow the connection through all of them. With --merge, do the
    same with files that were written on each host.

    \b
    Exit codes:
      0  the connection is as it should be
      1  it is not, or no trace could be made
    """
    if follow and not (here or hosts):
        raise click.UsageError("--follow goes with --here or --host")
    try:
        vip, port = _service(service)
        wanted = Wanted(vip, port, UDP if udp else TCP, client, seconds)
        source: Callable[[], Traced]
        if files:
            source = partial(_merged, wanted, files)
        elif hosts:
            source = partial(_group, wanted, dict(map(_named, hosts)))
        elif here or _is_meant(wanted, topology, prefix):
            source = partial(_host, wanted, until_eof)
        else:
            source = partial(_connect, _lab(topology, prefix, wanted), wanted)
        fine = _tell(source(), pcap, as_json)
        while follow:
            traced = source()
            if traced.outcome == NOTHING_CAME:
                break
            fine &= _tell(traced, pcap, as_json)
    except KeyboardInterrupt:
        if not follow:
            raise
        fine = True
    except (LabError, GroupError) as error:
        fail(str(error))
    except OSError as error:
        captures = isinstance(error, PermissionError) and error.filename is None
        fail("a trace captures packets. It needs root; run it with sudo" if captures else said(error))
    sys.exit(0 if fine else FAILED)


def _tell(traced: Traced, pcap: Path | None, as_json: bool) -> bool:
    """Show the trace. True if all is as it should be."""
    if pcap:
        pcap.write_bytes(pcapng.encode(traced.trace, traced.sightings))
    if as_json:
        document: dict[str, Any] = {
            "trace": msgspec.to_builtins(traced.trace),
            "outcome": traced.outcome,
            "remark": traced.remark,
            "ok": traced.trace.ok,
        }
        if traced.report is not None:
            document["report"] = msgspec.to_builtins(traced.report)
        click.echo(json.dumps(document, indent=2))
        return traced.trace.ok
    console = hop_table.wide_console()
    hop_table.show(traced.trace, traced.hosts, console)
    for text in (f"the client got: {traced.outcome}" if traced.outcome else "", traced.remark):
        if text and traced.outcome != NOTHING_CAME:
            console.print(f"  {text}", markup=False)
    return traced.trace.ok


def _connect(lab: Lab, wanted: Wanted) -> Traced:
    client = wanted.client or "client"
    traced = trace_lab(lab, str(wanted.vip), wanted.port, client, protocol=wanted.protocol)
    missed = caused_faults(lab) if traced.trace.ok else []
    hints = [
        f"{each.name} is broken in this lab, but this connection did not meet it: {doctor_command(lab, each)}"
        for each in missed
    ]
    return msgspec.structs.replace(traced, remark="; ".join(filter(None, (traced.remark, *hints))))


def _host(wanted: Wanted, until_eof: bool) -> Traced:
    report = watch(
        wanted.vip,
        wanted.port,
        _client(wanted),
        wanted.seconds,
        partial(_say_waiting, wanted),
        wanted.protocol,
        _say_seen if until_eof else lambda _client, _port: None,
        _input_ended if until_eof else None,
    )
    came = report.sightings or report.decisions or report.drops
    return Traced(
        host_report.judge_report(report),
        "" if came else NOTHING_CAME,
        report.sightings,
        report.remark,
        report.hosts,
        report=report,
    )


def _group(wanted: Wanted, hosts: dict[str, str]) -> Traced:
    for name, command in hosts.items():
        try:
            shlex.split(command)
        except ValueError as error:
            raise LabError(f"--host {name}={command}: a quote is not closed") from error
    words = ["--seconds", "3600", wanted.service]
    words += ["--udp"] if wanted.protocol == UDP else []
    words += ["--client", client] if (client := _client(wanted)) else []
    return _together(gather(hosts, words, wanted.seconds, partial(_say_waiting, wanted)))


def _merged(wanted: Wanted, files: tuple[str, ...]) -> Traced:
    reports = []
    for text in files:
        name, path = _named(text) if "=" in text else ("", text)
        try:
            report = msgspec.convert(json.loads(Path(path).read_bytes())["report"], HostReport)
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"{path} is not what `pointsman trace --here --json` writes: {error}") from error
        if (report.vip, report.port) != (str(wanted.vip), wanted.port):
            raise LabError(f"{path} is about {report.vip}, port {report.port}")
        reports.append(host_report.rename_host(report, name) if name else report)
    return _together(reports)


def _together(reports: list[HostReport]) -> Traced:
    try:
        merged = host_report.merge(reports)
    except ValueError as error:
        raise LabError(f"{error}; name them: NAME=FILE") from error
    came = any(report.sightings or report.decisions or report.drops for report in reports)
    outcome = "" if came else NOTHING_CAME
    return Traced(merged.trace, outcome, merged.sightings, merged.remark, merged.hosts)


def _client(wanted: Wanted) -> str:
    if not wanted.client:
        return ""
    try:
        return str(ipaddress.ip_address(wanted.client))
    except ValueError as error:
        raise LabError(f"--client {error}") from error


def _say_waiting(wanted: Wanted) -> None:
    click.echo(f"{WAITING} to {wanted.service} (at most {wanted.seconds:g} s)", err=True)


def _say_seen(client: str, port: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        click.echo(f"{SAW}{client} {port}", err=True)


def _input_ended() -> bool:
    return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 4096)


def _named(text: str) -> tuple[str, str]:
    name, _, rest = text.partition("=")
    return name, rest


def _service(text: str) -> tuple[Address, int]:
    name, _, port = text.rpartition(":")
    try:
        vip = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        vip = None
    if vip is None or not port.isdigit() or not 0 < int(port) < 65536:
        raise LabError(f"{text!r} is not VIP:PORT; an example: 192.168.100.9:80, or [2001:db8::9]:80")
    return vip, int(port)


def _is_meant(wanted: Wanted, topology: str | None, prefix: str) -> bool:
    """True if this host takes part in the service and no lab does. Say so."""
    if topology is not None or any(True for _ in running_labs(prefix)):
        return False
    director = paths.control_socket().exists()
    if not director:
        here = read_facts.read_host()
        if not here.redirects(wanted.vip) and not here.holders(wanted.vip):
            return False
    role = "a director runs here" if director else f"{wanted.vip} is on this host"
    click.echo(f"no lab is up and {role}: tracing on this host, as with --here", err=True)
    return True


def _lab(topology: str | None, prefix: str, wanted: Wanted) -> Lab:
    found = [lab for lab in running_labs(prefix) if topology in (None, lab.topology.name)]
    if not found:
        meant = (
            each.name
            for each in TOPOLOGIES.values()
            if (each.vip, each.port) == (str(wanted.vip), wanted.port)
        )
        name = topology or next(meant, "ha-pair")
        raise LabError(
            f"{topology or 'no lab'} is {'not ' if topology else ''}up; start it: pointsman lab up {name}"
            + ("" if topology else "; on a director or real server: --here")
        )
    return found[0]
