# SPDX-License-Identifier: Apache-2.0
"""Print a trace as a table of at most 120 columns, or as a list on a narrower terminal.

An asterisk marks changed fields. On a terminal with colour they are also yellow.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pointsman.trace.connection import ADDRESS_FIELDS, MAC_FIELDS, NAMES, Hop, Trace
from pointsman.trace.frames import UDP

WIDTH = 120
"""Columns of the table, and of output that does not go to a terminal."""
_CHANGED = "bold yellow"


def wide_console() -> Console:
    """Return the console for a trace: as wide as the terminal, but at most as wide as the table."""
    found = Console(highlight=False, emoji=False)
    width = min(WIDTH, found.width) if found.is_terminal else WIDTH
    return Console(highlight=False, width=width, emoji=False)


def show(trace: Trace, hosts: dict[str, str], console: Console) -> None:
    """Print the hops of the request, the hops of the answer, and the verdict."""
    if trace.request:
        console.print(_table(trace, hosts) if console.width >= WIDTH else _list(trace, hosts))
    for decision in trace.decisions:
        console.print(Text.assemble(("· ", "cyan"), str(decision)))
    for finding in trace.findings:
        mark = Text("✓ ", "bold green") if finding.ok else Text("✗ ", "bold red")
        console.print((Text("· ", "cyan") if finding.note else mark) + finding.text)


def _list(trace: Trace, hosts: dict[str, str]) -> Text:
    """Return the hops below each other, for terminals on which the table does not fit."""
    lines = []
    for hops in (trace.request, trace.answer):
        for hop in hops:
            number, elapsed, place, macs, addresses, ttl, what, changed = _row(hop, hosts)
            head = Text.assemble(number, f". {elapsed} µs  ", place, "  TTL ", ttl, "  ", what)
            lines.append(Text(head.plain.replace("\n", " "), "bold"))
            for part in (macs, addresses):
                source, destination = part.split("\n")
                lines.append(Text.assemble(" ", source, " ", destination))
            if changed.plain:
                lines.append(Text(f"   changed: {changed.plain}".replace("\n", ", "), _CHANGED))
    return Text("\n").join(lines)


def _table(trace: Trace, hosts: dict[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("hop", "µs", "place", "MAC", "IP", "TTL", "TCP", "changed"):
        table.add_column(
            heading, justify="right" if heading in ("hop", "µs", "TTL") else "left", no_wrap=True
        )
    for hops in (trace.request, trace.answer):
        for hop in hops:
            table.add_row(*_row(hop, hosts))
        table.add_section()
    return table


def _row(hop: Hop, hosts: dict[str, str]) -> Iterable[Text]:
    changed = {change.field for change in hop.changes}
    frame, place = hop.frame, hop.place
    yield Text(str(hop.number))
    yield Text(f"{hop.elapsed * 1e6:.0f}")
    yield Text.assemble(
        (place.host, "bold cyan" if place.role == "director" else "bold"),
        f":{place.interface}\n{place.role} {'sends' if place.sends else 'receives'}",
    )
    yield _stack(
        _mark(_with_host(frame.source_mac, hosts), "source_mac" in changed),
        _mark(_with_host(frame.destination_mac, hosts), "destination_mac" in changed),
    )
    source, destination = (
        any(field in changed for field in fields) for fields in (ADDRESS_FIELDS[:2], ADDRESS_FIELDS[2:])
    )
    yield _stack(
        _mark(_endpoint(frame.source, frame.source_port), source),
        _mark(_endpoint(frame.destination, frame.destination_port), destination),
    )
    yield _mark(str(frame.ttl), "ttl" in changed)
    what = f"UDP {frame.length}" if frame.protocol == UDP else f"[{frame.flags}]"
    yield _mark(what, "flags" in changed)
    yield _summary(hop)


def _summary(hop: Hop) -> Text:
    """Return the changed fields. Both MACs are one word, because they change together at every router."""
    changed = {change.field: change for change in hop.changes}
    words = []
    if all(name in changed for name in MAC_FIELDS):
        words.append("both MACs")
    else:
        words += [NAMES[name] for name in MAC_FIELDS if name in changed]
    words += [str(change) for name, change in changed.items() if name not in MAC_FIELDS]
    return Text("\n".join(words), _CHANGED)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _with_host(mac: str, hosts: dict[str, str]) -> str:
    return f"{mac} {hosts[mac]}" if mac in hosts else mac


def _mark(text: str, changed: bool) -> Text:
    return Text(f"{text} *", _CHANGED) if changed else Text(text)


def _stack(source: Text, destination: Text) -> Text:
    return Text.assemble("  ", source, "\n> ", destination)
