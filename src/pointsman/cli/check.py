# SPDX-License-Identifier: Apache-2.0
"""`pointsman check`: show every mistake of a configuration."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from pointsman.cli.loading import EXIT_ERRORS, EXIT_WARNINGS, load_file, print_problems, summary
from pointsman.cli.run import DEFAULT_FILE
from pointsman.conf.check.live import HostInterface, check_live
from pointsman.conf.check.pair import check_pair
from pointsman.conf.load import ExtraCheck
from pointsman.conf.text.problems import ConfError, Findings, Problem, Severity
from pointsman.model.config import Config

MANY = 4
"""Problems that fill a screen."""

MOST_LISTED = 20


@click.command()
@click.argument("argument", metavar="[FILE]", type=click.Path(path_type=Path), required=False)
@click.option(
    "-f",
    "--use-file",
    "option",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"keepalived.conf to check; - is standard input. [default: {DEFAULT_FILE}]",
)
@click.option(
    "-i", "--config-id", help="Id that lines with @id are compared with. [default: the short host name]"
)
@click.option("--live", is_flag=True, help="Also compare with this host's interfaces and addresses.")
@click.option(
    "--peer",
    type=click.Path(path_type=Path),
    help="Also compare with the other director's file.",
)
@click.option("--peer-id", help="Config id for --peer. [default: that of this file]")
@click.option(
    "--xdp-mode",
    type=click.Choice(["auto", "native", "generic", "tc"]),
    default="auto",
    help="Mode of the director that would run the file: with tc, tc filters can mark packets.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 if there are warnings.")
@click.option("--json", "as_json", is_flag=True, help="Print all problems as JSON.")
def check(
    argument: Path | None,
    option: Path | None,
    config_id: str | None,
    live: bool,
    peer: Path | None,
    peer_id: str | None,
    xdp_mode: str,
    strict: bool,
    as_json: bool,
) -> None:
    """Show every mistake in a keepalived.conf: wrong keywords, wrong values, and what cannot work.

    It changes nothing. It needs no root. It needs the interfaces only with --live.

    \b
    Exit codes:
      0  the director would run with this file
      1  there are warnings (only with --strict)
      2  there are errors
    """
    if argument is not None and option is not None:
        raise click.UsageError(f"one file at a time: {argument} or {option}; --peer compares two")
    file = argument or option or DEFAULT_FILE
    more: list[ExtraCheck] = []
    if live:
        more.append(_live)
    if peer is not None:
        more.append(_pair(peer, config_id if peer_id is None else peer_id))
    try:
        problems = load_file(file, config_id, more, tc=xdp_mode == "tc").problems
        code = EXIT_WARNINGS if strict and _has(problems, Severity.WARNING) else 0
    except ConfError as error:
        problems, code = error.problems, EXIT_ERRORS
    if as_json:
        click.echo(_json(file, problems))
    else:
        print_problems(problems)
        click.echo(f"{file}: {summary(problems)}{_where(problems)}")
    sys.exit(code)


def _live(config: Config, findings: Findings) -> None:
    from pointsman.net.addresses import addresses
    from pointsman.net.links import links
    from pointsman.net.netlink import NetlinkSocket
    from pointsman.net.other_balancers import other_balancers

    try:
        with NetlinkSocket() as netlink:
            present, found = links(netlink), addresses(netlink)
    except OSError as error:
        findings.error(None, f"cannot look at this host's interfaces: {error}")
        return
    host = {
        link.name: HostInterface(
            link.up,
            tuple(
                ipaddress.ip_interface((each.address, each.prefix_length))
                for each in found
                if each.index == link.index
            ),
        )
        for link in present.values()
    }
    check_live(config, host, findings)
    for other in other_balancers():
        findings.error(None, f"{other.found}: {other.why}", "; ".join(other.remedy))


def _pair(peer: Path, config_id: str | None) -> ExtraCheck:
    def compare(config: Config, findings: Findings) -> None:
        try:
            other = load_file(peer, config_id).config
        except ConfError as error:
            text = f"the peer's file {peer} has errors itself ({summary(error.problems)})"
            findings.error(None, text, f"pointsman check -f {peer}")
            return
        check_pair(config, other, findings)

    return compare


def _has(problems: Sequence[Problem], severity: Severity) -> bool:
    return any(problem.severity is severity for problem in problems)


def _where(problems: Sequence[Problem]) -> str:
    """Return the lines of errors if they could be overlooked among warnings."""
    errors = [each.location for each in problems if each.severity is Severity.ERROR and each.location]
    if len(problems) < MANY or len(errors) == len(problems) or not errors:
        return ""
    one = len({place.file for place in errors}) == 1
    lines = dict.fromkeys(str(place.line) if one else f"{place.file}:{place.line}" for place in errors)
    more = ", ..." if len(lines) > MOST_LISTED else ""
    return f"; errors in line{'s' if len(lines) > 1 else ''} {', '.join([*lines][:MOST_LISTED])}{more}"


def _json(file: Path, problems: Sequence[Problem]) -> str:
    counts = {f"{kind.value}s": sum(each.severity is kind for each in problems) for kind in Severity}
    document = {"file": str(file), **counts, "problems": problems}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
