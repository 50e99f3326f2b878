# SPDX-License-Identifier: Apache-2.0
"""`pointsman drain`, `weight`, `up`, `down`, `release`: decide about a real server by hand."""

from __future__ import annotations

import re

import click

from pointsman.cli.wording import complain, fail
from pointsman.conf.keywords.values import BadValueError, parse_address, parse_port
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import (
    ErrorReply,
    OverrideReply,
    OverrideRequest,
    StatusReply,
    StatusRequest,
)
from pointsman.control.paths import control_socket
from pointsman.control.status import ServiceStatus
from pointsman.control.status_verdict import is_deserted
from pointsman.model.address import Address
from pointsman.model.override import Override

EXIT_REFUSED = 1
"""No director runs here, or it knows no such real server."""

_HASHES = ("sh", "dh", "mh")
"""Schedulers that choose by a hash of an address."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


def _duration(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """Parse 30s, 10m, 2h, 1d; seconds without a unit; 0: no end."""
    match = re.fullmatch(r"([0-9]{1,8})([smhd]?)", value)
    if not match:
        raise click.BadParameter(f"{value} is not a time such as 30s, 10m, 2h or 1d")
    return float(int(match[1]) * UNITS[match[2]])


def _real_server(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[Address, int]:
    """Parse `192.0.2.20`, `192.0.2.20:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    match = re.fullmatch(r"\[([^]]+)\](?::([0-9]+))?|([0-9.]+)(?::([0-9]+))?|([0-9a-fA-F:.]+)", value)
    try:
        if not match:
            raise BadValueError(f"{value} is not an IP address")
        port = match[2] or match[4]
        return parse_address(match[1] or match[3] or match[5]), parse_port(port) if port else 0
    except BadValueError as error:
        raise click.BadParameter(str(error)) from None


_server = click.argument("server", callback=_real_server, metavar="RIP[:PORT]")
_service = click.option(
    "--service", default="", metavar="VIP:PORT", help="Only in this service. [default: all services]"
)
_for = click.option(
    "--for",
    "seconds",
    default="0",
    callback=_duration,
    metavar="TIME",
    help="End after this time: 30s, 10m, 2h, 1d. [default: no end]",
)


@click.command()
@_server
@_service
@_for
def drain(server: tuple[Address, int], service: str, seconds: float) -> None:
    """Send no new connections to a real server (weight 0). Existing connections continue.

    \b
    Exit codes:
      0  done
      1  no director runs here, or it has no such real server
      2  wrong arguments
    """
    _send(server, service, Override(weight=0), seconds)


class _WithNumber(click.Command):
    """A command that reads -1 as a number (which is out of range) and not as an option."""

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
    """Give a real server another weight, in place of the configured one.

    \b
    Exit codes:
      0  done
      1  no director runs here, or it has no such real server
      2  wrong arguments
    """
    _send(server, service, Override(weight=number), seconds)


@click.command()
@_server
@_service
@_for
def up(server: tuple[Address, int], service: str, seconds: float) -> None:
    """Put a real server in service, although its checks fail.

    \b
    Exit codes:
      0  done
      1  no director runs here, or it has no such real server
      2  wrong arguments
    """
    _send(server, service, Override(up=True), seconds)


@click.command()
@_server
@_service
@_for
def down(server: tuple[Address, int], service: str, seconds: float) -> None:
    """Take a real server out of service, as if its checks had failed.

    If it was the last one of a service, this is done all the same, with a warning.

    \b
    Exit codes:
      0  done
      1  no director runs here, or it has no such real server
      2  wrong arguments
    """
    _send(server, service, Override(up=False), seconds)


@click.command()
@_server
@_service
def release(server: tuple[Address, int], service: str) -> None:
    """Remove a decision by hand: configuration and checks decide again.

    \b
    Exit codes:
      0  done
      1  no director runs here, or it has no such real server
      2  wrong arguments
    """
    _send(server, service, None, 0.0)


def _send(server: tuple[Address, int], service: str, override: Override | None, seconds: float) -> None:
    """Send the override and print the real servers. Exit with 1 if there is no director or no such server."""
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
    if override is not None and (override.up is False or override.weight == 0):
        _warn(server[0])


def _warn(server: Address) -> None:
    """Print warnings about clients that this real server keeps, or that are refused."""
    try:
        reply = request(StatusRequest(), control_socket())
    except (ControlError, ProtocolError):
        return
    if not isinstance(reply, StatusReply):
        return
    prefix = f"[{server}]:" if server.version == 6 else f"{server}:"
    for service in reply.status.services:
        held = [each for each in service.servers if each.server.startswith(prefix)]
        if held and is_deserted(service):
            complain(
                f"warning: no real server of {service.service} can take a connection now; "
                f"to undo it: pointsman release {server}"
            )
        elif any(each.weight == 0 and each.by_hand for each in held):
            for warning in drain_warnings(service):
                complain(f"warning: {warning}; to move them: pointsman down {server}")


def drain_warnings(service: ServiceStatus) -> list[str]:
    """Describe the clients of this service that a real server with weight 0 keeps, or that are refused."""
    name, found = service.service, []
    if service.scheduler in _HASHES and f"{service.scheduler}-fallback" not in service.flags:
        found.append(
            f"{name} uses {service.scheduler}: new connections of clients whose hash selects this server "
            "are refused"
        )
    if service.persistence is not None:
        found.append(
            f"{name} is persistent: known clients stay with this real server "
            "(unless expire_quiescent_template is 1)"
        )
    return found


def _spoken(seconds: float) -> str:
    """Return ` for 30m`; nothing if there is no end."""
    unit = next(unit for unit in "dhms" if seconds % UNITS[unit] == 0)
    return f" for {seconds / UNITS[unit]:.0f}{unit}" if seconds else ""
