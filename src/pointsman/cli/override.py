"""`pointsman drain`, `weight`, `up`, `down`, `release`: the administrator's word about a real server."""

from __future__ import annotations

import re

import click

from pointsman.cli.wording import fail
from pointsman.conf.keywords.values import BadValueError, parse_address, parse_port
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.messages import ErrorReply, OverrideReply, OverrideRequest
from pointsman.control.paths import control_socket
from pointsman.model.address import Address
from pointsman.model.override import Override

EXIT_REFUSED = 1
"""No director runs here, or it knows no such real server."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


def _duration(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """30s, 10m, 2h, 1d; seconds without a unit; 0: for good."""
    match = re.fullmatch(r"([0-9]{1,8})([smhd]?)", value)
    if not match:
        raise click.BadParameter(f"{value} is no time such as 30s, 10m, 2h or 1d")
    return float(int(match[1]) * UNITS[match[2]])


def _real_server(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[Address, int]:
    """`192.0.2.20`, `192.0.2.20:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    match = re.fullmatch(r"\[([^]]+)\](?::([0-9]+))?|([0-9.]+)(?::([0-9]+))?|([0-9a-fA-F:.]+)", value)
    try:
        if not match:
            raise BadValueError(f"{value} is not an IP address")
        port = match[2] or match[4]
        return parse_address(match[1] or match[3] or match[5]), parse_port(port) if port else 0
    except BadValueError as error:
        raise click.BadParameter(str(error)) from None


_server = click.argument("server", callback=_real_server, metavar="RIP[:PORT]")
_service = click.option("--service", default="", metavar="VIP:PORT", help="Only in this service.")
_for = click.option(
    "--for", "seconds", default="0", callback=_duration, metavar="TIME", help="How long: 30s, 10m, 2h, 1d."
)


@click.command()
@_server
@_service
@_for
def drain(server: tuple[Address, int], service: str, seconds: float) -> None:
    """No new connections to a real server; those it has go on (weight 0).

    Exit codes: 0 done; 1 no director runs here, or it has no such real server; 2 wrong arguments.
    """
    _send(server, service, Override(weight=0), seconds)


class _WithNumber(click.Command):
    """Takes -1 for a number, which is out of range, and not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            return super().parse_args(ctx, args)
        below = [word for word in args if re.fullmatch(r"-[0-9]+", word)]
        return super().parse_args(ctx, [*(word for word in args if word not in below), "--", *below])


@click.command(cls=_WithNumber)
@_server
@click.argument("number", type=click.IntRange(0, 2**31 - 1))
@_service
@_for
def weight(server: tuple[Address, int], number: int, service: str, seconds: float) -> None:
    """Give a real server another weight than the configured one.

    Exit codes: 0 done; 1 no director runs here, or it has no such real server; 2 wrong arguments.
    """
    _send(server, service, Override(weight=number), seconds)


@click.command()
@_server
@_service
@_for
def up(server: tuple[Address, int], service: str, seconds: float) -> None:
    """Let a real server serve, whatever its checks say.

    Exit codes: 0 done; 1 no director runs here, or it has no such real server; 2 wrong arguments.
    """
    _send(server, service, Override(up=True), seconds)


@click.command()
@_server
@_service
@_for
def down(server: tuple[Address, int], service: str, seconds: float) -> None:
    """Take a real server out, whatever its checks say: as if they had failed.

    Exit codes: 0 done; 1 no director runs here, or it has no such real server; 2 wrong arguments.
    """
    _send(server, service, Override(up=False), seconds)


@click.command()
@_server
@_service
def release(server: tuple[Address, int], service: str) -> None:
    """End what was said by hand: configuration and checks decide again.

    Exit codes: 0 done; 1 no director runs here, or it has no such real server; 2 wrong arguments.
    """
    _send(server, service, None, 0.0)


def _send(server: tuple[Address, int], service: str, override: Override | None, seconds: float) -> None:
    """Exit code 0: done; 1: no director, or no such real server."""
    wanted = OverrideRequest(server[0], server[1], service, override, seconds)
    try:
        reply = request(wanted, control_socket())
    except (ControlError, ProtocolError) as error:
        fail(str(error), EXIT_REFUSED)
    if isinstance(reply, ErrorReply):
        fail(reply.error, EXIT_REFUSED)
    assert isinstance(reply, OverrideReply)
    held = override.text() + _spoken(seconds) if override else "as configured and checked"
    for name in reply.servers:
        click.echo(f"{name}: {held}")


def _spoken(seconds: float) -> str:
    """` for 30m`, the way in which it is written; nothing when it has no end."""
    unit = next(unit for unit in "dhms" if seconds % UNITS[unit] == 0)
    return f" for {seconds / UNITS[unit]:.0f}{unit}" if seconds else ""
