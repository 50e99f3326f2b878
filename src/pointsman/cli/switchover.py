# SPDX-License-Identifier: Apache-2.0
"""`pointsman switchover`: make the other director master without losing a packet."""

from __future__ import annotations

import sys
import time

import click

from pointsman.cli.wording import complain, fail
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import ErrorReply, StatusReply, StatusRequest, SwitchoverRequest
from pointsman.control.paths import control_socket
from pointsman.control.status import InstanceStatus

_PATIENCE = 6.0
"""Seconds; VRRP gives up waiting for another router after three."""


@click.command()
@click.argument("instance", default="")
def switchover(instance: str) -> None:
    """Make another director master of INSTANCE, or of all instances that are master here.

    The addresses stay here until the other director has announced itself. Then this one remains backup,
    whatever its priority, until the other one is gone.

    \b
    Exit codes:
      0  the other director is master
      1  not; the message says why
    """
    try:
        masters = _chosen(instance)
        reply = request(SwitchoverRequest(instance), control_socket())
        if isinstance(reply, ErrorReply):
            fail(reply.error)
        left = _wait(masters)
    except (ControlError, ProtocolError) as error:
        fail(str(error))
    for name, priority in masters:
        if name in left:
            complain(f"{name}: no other director has taken over; still master")
        else:
            click.echo(
                f"{name}: handed over; this director (priority {priority}) is backup until the other is gone"
            )
    sys.exit(1 if left else 0)


def _chosen(instance: str) -> list[tuple[str, int]]:
    """Return names and priorities of the chosen masters. Exit if there are none."""
    found = _instances()
    if instance and instance not in found:
        fail(f"there is no vrrp_instance {instance}; there are: {', '.join(found) or 'none'}")
    if instance and found[instance].state != "MASTER":
        fail(f"{instance} is {found[instance].state} here; only a master can hand over")
    masters = [
        (name, each.priority)
        for name, each in found.items()
        if each.state == "MASTER" and instance in ("", name)
    ]
    if not masters:
        fail("no instance is master here")
    return masters


def _wait(masters: list[tuple[str, int]]) -> set[str]:
    """Wait for the switchover; return the names that are still master."""
    deadline = time.monotonic() + _PATIENCE
    names = {name for name, _ in masters}
    while True:
        found = _instances()
        left = {name for name in names if name in found and found[name].state == "MASTER"}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _instances() -> dict[str, InstanceStatus]:
    reply = request(StatusRequest(services=False), control_socket())
    if isinstance(reply, ErrorReply):
        fail(reply.error)
    assert isinstance(reply, StatusReply)
    return {each.instance: each for each in reply.status.instances}
