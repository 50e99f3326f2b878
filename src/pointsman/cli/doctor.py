# SPDX-License-Identifier: Apache-2.0
"""`pointsman doctor`: find what is wrong with direct routing on this host, and how to correct it."""

from __future__ import annotations

import ipaddress
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.text import Text

from pointsman import __version__
from pointsman.cli import wording
from pointsman.control import paths
from pointsman.doctor.finding import Diagnosis, Finding, Verdict
from pointsman.doctor.gather import read_facts
from pointsman.doctor.rules import director as director_rules
from pointsman.doctor.rules import peer as peer_rules
from pointsman.doctor.rules import realserver as real_server_rules
from pointsman.doctor.rules.peer import PeerFacts
from pointsman.model.address import Address
from pointsman.model.decoding import InvalidDataError, decoding
from pointsman.realserver import host, state
from pointsman.realserver.facts import SetupError, parse_vip

FAULTY, USAGE = 1, 2
NEEDS_ROOT = "the doctor sends ARP and reads other hosts' answers. It needs root; run it with sudo"
MANY = 4
"""From this many faults and warnings on, a list with a line each comes before the explanations."""
_PEER_SECONDS = 60
ROLES = ("auto", "director", "realserver")
MARKS = {
    Verdict.FAULT: ("✗", "bold red"),
    Verdict.WARNING: ("!", "bold yellow"),
    Verdict.UNKNOWN: ("?", "bold"),
    Verdict.NOTE: ("·", "cyan"),
    Verdict.RIGHT: ("✓", "green"),
}

Examination = Callable[[], Diagnosis]
Vips = dict[Address, tuple[int, ...]]


@click.command()
@click.argument("vips", metavar="[VIP[:PORT]...]", nargs=-1)
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="auto",
    show_default=True,
    help="Role of this host. auto: director if one runs here, real server if VIPs are named or set up.",
)
@click.option("--fix", is_flag=True, help="Run the remedies that change only what direct routing needs.")
@click.option("--all", "everything", is_flag=True, help="Also show what is right.")
@click.option(
    "--peer",
    metavar="COMMAND|FILE",
    default="",
    help="Compare with the other director. COMMAND reaches it (ssh lb-02); FILE holds its --facts.",
)
@click.option("--facts", is_flag=True, help="Print as JSON what --peer on the other director needs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    vips: tuple[str, ...], role: str, fix: bool, everything: bool, peer: str, facts: bool, as_json: bool
) -> None:
    """Find what is wrong with direct routing on this host, why it matters, and what to do.

    On a director the doctor reads the table of the running director. It asks the network for the rest: who
    answers ARP for the VIP, which real servers accept a SYN for the VIP, how long packets may be, who sends
    adverts.

    On a real server the doctor looks at the VIPs that `pointsman realserver up` has set up, or at the named
    ones. With PORT it also looks for the program that listens there.

    \b
    Exit codes:
      0  no fault (there may be warnings)
      1  a fault
      2  nothing to look at, or not root
    """
    if os.geteuid() != 0:
        wording.fail(NEEDS_ROOT, USAGE)
    try:
        if facts:
            click.echo(msgspec.json.format(msgspec.json.encode(_own_facts())).decode())
            return
        examinations = _examinations(_parse(vips) or _known_vips(), role)
        if peer:
            examinations.append(lambda: _compared(_peer_facts(peer)))
        diagnoses = [examine() for examine in examinations]
        if fix and _repair(diagnoses, quiet=as_json):
            diagnoses = [examine() for examine in examinations]
    except OSError as error:
        wording.fail(wording.said(error), USAGE)
    except SetupError as error:
        wording.fail(str(error), USAGE)
    if as_json:
        click.echo(_json(diagnoses))
    else:
        _show(diagnoses, everything)
    sys.exit(0 if all(diagnosis.ok for diagnosis in diagnoses) else FAULTY)


def _examinations(vips: Vips, role: str) -> list[Examination]:
    """Return the examinations for this host. Exit if there are none."""
    found: list[Examination] = []
    if role == "director" or (role == "auto" and _has_director()):
        found.append(lambda: director_rules.examine(read_facts.read_director()))
    if role == "realserver" or (role == "auto" and vips):
        if not vips:
            wording.fail("pointsman has set up no VIP here; name it: pointsman doctor VIP[:PORT]", USAGE)
        found.append(lambda: real_server_rules.examine(read_facts.read_real_server(list(vips), vips)))
    if not found:
        wording.fail(
            "no director runs here and no VIP is set up here. On a real server name the VIP: "
            "pointsman doctor VIP[:PORT]; where a director should run: pointsman doctor --role director",
            USAGE,
        )
    return found


def _own_facts() -> PeerFacts:
    facts = read_facts.read_director(probing=False)
    return peer_rules.describe_director(facts, __version__, time.time())


def _compared(peer: PeerFacts) -> Diagnosis:
    return peer_rules.compare(_own_facts(), peer)


def _words(peer: str) -> list[str]:
    try:
        words = shlex.split(peer)
    except ValueError as error:
        raise OSError(f"--peer {peer}: a quote is not closed") from error
    if not words:
        raise OSError("--peer: neither a file nor a command")
    return words


def _peer_facts(peer: str) -> PeerFacts:
    """Return the peer's facts, from a file or from a command.

    `time` is the end of the call. If the peer's clock lies outside of the call, `time` is off by as much. A
    file tells nothing about the clock. Raises OSError.
    """
    begun = time.time()
    from_file = Path(peer).is_file()
    if from_file:
        text, name = Path(peer).read_text(errors="replace"), peer
    else:
        words = _words(peer)
        line = [*words, "pointsman", "doctor", "--facts"]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=_PEER_SECONDS, check=False)
        except FileNotFoundError as error:
            raise OSError(f"--peer {peer}: neither a file nor a command on this host") from error
        except subprocess.TimeoutExpired as error:
            raise OSError(f"--peer {peer}: no answer within {_PEER_SECONDS} s") from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise OSError(f"--peer {peer}: {said[-1]}")
        names = [word for word in words if not word.startswith("-")]
        text, name = done.stdout, names[-1]
    try:
        with decoding():
            found = msgspec.json.decode(text, type=PeerFacts)
    except InvalidDataError as error:
        raise OSError(f"--peer {peer}: not what `pointsman doctor --facts` prints: {error}") from error
    ended = time.time()
    told = 0.0 if from_file else ended + max(0.0, found.time - ended) - max(0.0, begun - found.time)
    host_name = found.host if found.host != socket.gethostname() else name
    return msgspec.structs.replace(found, host=host_name, time=told)


def _has_director() -> bool:
    """True if a director runs here, or has left its program in force."""
    pins = paths.pin_directory()
    return paths.control_socket().exists() or (pins.is_dir() and any(pins.iterdir()))


def _parse(texts: Iterable[str]) -> Vips:
    """Parse `VIP` and `VIP:PORT`; gather the ports of each VIP."""
    found: Vips = {}
    for text in texts:
        name, port = text, ""
        if text.startswith("["):
            name, _, port = text[1:].partition("]")
            port = port.removeprefix(":")
        elif text.count(":") == 1:
            name, port = text.split(":")
        try:
            vip = parse_vip(name)
        except SetupError as error:
            raise click.BadParameter(str(error)) from error
        if port and not (port.isdigit() and 0 < int(port) < 65536):
            raise click.BadParameter(f"{port!r} in {text!r} is not a port")
        found[vip] = (*found.get(vip, ()), *([int(port)] if port else ()))
    return found


def _known_vips() -> Vips:
    """Return the VIPs that `pointsman realserver up` has set up here."""
    known = state.load(paths.run_directory(), host.namespace_identity())
    return {ipaddress.ip_address(text): () for text in known.was_there}


def _repair(diagnoses: Sequence[Diagnosis], quiet: bool) -> bool:
    """Run every safe remedy, each command once. True if there was one."""
    commands = dict.fromkeys(
        command
        for diagnosis in diagnoses
        for finding in diagnosis.findings
        if finding.safe
        for command in finding.remedy
    )
    here = os.path.dirname(sys.executable)  # noqa: PTH120  a list of folders, not a path
    environment = os.environ | {"PATH": f"{here}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"}
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment
        )
        if not quiet:
            click.echo(f"fix: {command}" + (f": {done.stderr.strip()}" if done.returncode else ""))
    return bool(commands)


def _json(diagnoses: Sequence[Diagnosis]) -> str:
    document = {
        "host": socket.gethostname(),
        "ok": all(diagnosis.ok for diagnosis in diagnoses),
        "diagnoses": [
            {"role": item.role, "ok": item.ok, "findings": msgspec.to_builtins(item.findings)}
            for item in diagnoses
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def _show(diagnoses: Sequence[Diagnosis], everything: bool) -> None:
    console = Console(highlight=False, emoji=False)
    for diagnosis in diagnoses:
        console.print(_summary(diagnosis))
        bad = diagnosis.having(Verdict.FAULT) + diagnosis.having(Verdict.WARNING)
        if diagnosis.role == "director" and not bad:
            console.print("If clients are not served: on each real server, pointsman doctor VIP:PORT")
        if len(bad) >= MANY:
            for line in _overview(bad, console.width):
                console.print(line, soft_wrap=True)
        quiet = diagnosis.having(Verdict.UNKNOWN)
        if everything:
            quiet += diagnosis.having(Verdict.NOTE) + diagnosis.having(Verdict.RIGHT)
        for finding in [*bad, *quiet]:
            _print(console, finding)


def _summary(diagnosis: Diagnosis) -> Text:
    """Return the first line: `director: 2 faults, 1 warning; 14 checks right`."""
    words = []
    for verdict, name in ((Verdict.FAULT, "fault"), (Verdict.WARNING, "warning")):
        number = len(diagnosis.having(verdict))
        if number:
            words.append(f"{number} {name}{'s' if number > 1 else ''}")
    quiet = len(diagnosis.having(Verdict.RIGHT))
    unseen = len(diagnosis.having(Verdict.UNKNOWN))
    tail = f"; {quiet} checks right" + (f", {unseen} not decided" if unseen else "")
    style = "bold red" if not diagnosis.ok else "bold yellow" if words or unseen else "bold green"
    found = ", ".join(words) or ("no fault found" if unseen else "nothing wrong")
    return Text.assemble(f"{diagnosis.role}: ", (found, style), tail)


def _overview(findings: Sequence[Finding], width: int) -> list[Text]:
    """List each check once, with its first finding cut to a line: a screen at most."""
    longest = max(len(finding.check) for finding in findings)
    lines = []
    for check in dict.fromkeys(finding.check for finding in findings):
        same = [finding for finding in findings if finding.check == check]
        mark, style = MARKS[same[0].verdict]
        number = f"{len(same)} times; the first: " if len(same) > 1 else ""
        line = Text.assemble((f"{mark} {check:<{longest}}", style), f"  {number}{same[0].found}")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def _print(console: Console, finding: Finding) -> None:
    mark, style = MARKS[finding.verdict]
    found = Text.assemble((f"{mark} {finding.check}", style), f"  {finding.found}")
    _wrap(console, Text(), Text(" " * 4), found)
    if finding.why:
        _under(console, "why", finding.why)
    for command in finding.remedy:  # whole, for copying: the terminal may wrap it, we do not
        console.print(Text.assemble(("    do   ", "dim"), (command, "bold")), soft_wrap=True)
    if finding.advice:
        _under(console, "do", finding.advice)


def _under(console: Console, word: str, text: str) -> None:
    """Print a sentence below a finding, wrapped beside its word."""
    _wrap(console, Text(f"    {word:<5}", style="dim"), Text(" " * 9), Text(text))


def _wrap(console: Console, first: Text, further: Text, text: Text) -> None:
    """Print a text in lines that begin with `first` and `further`."""
    for number, line in enumerate(text.wrap(console, max(20, console.width - len(further)))):
        line.rstrip()
        console.print(Text.assemble(further if number else first, line), soft_wrap=True)
