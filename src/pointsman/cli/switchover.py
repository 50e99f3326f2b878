"""`pointsman switchover`: let the other director be master, without losing a packet."""

from __future__ import annotations

import sys
import time

import click

from pointsman.cli.wording import complain, fail
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.messages import ErrorReply, StatusReply, StatusRequest, SwitchoverRequest
from pointsman.control.paths import control_socket
from pointsman.control.status import InstanceStatus

_PATIENCE = 6.0
"""Seconds; VRRP gives up waiting for another router after three."""


@click.command()
@click.argument("instance", default="")
def switchover(instance: str) -> None:
    """Hand the mastership of INSTANCE (or of all that are master here) over to another router.

    The addresses stay until the other one has announced itself. This router then stands back, whatever its
    priority, until the other one is gone. Exit code 0: handed over; 1: not, and why.
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
            complain(f"{name}: no other router has taken over; still master")
        else:
            click.echo(f"{name}: handed over; priority {priority} stands back until it is needed")
    sys.exit(1 if left else 0)


def _chosen(instance: str) -> list[tuple[str, int]]:
    """Names and priorities of the masters that are meant."""
    found = _instances()
    if instance and instance not in found:
        fail(f"there is no vrrp_instance {instance}; there are: {', '.join(found) or 'none'}")
    if instance and found[instance].state != "MASTER":
        fail(f"{instance} is {found[instance].state} here; only a master hands over")
    masters = [
        (name, each.priority)
        for name, each in found.items()
        if each.state == "MASTER" and instance in ("", name)
    ]
    if not masters:
        fail("no instance is master here")
    return masters


def _wait(masters: list[tuple[str, int]]) -> set[str]:
    """Which of them are still master when all that could has been done."""
    deadline = time.monotonic() + _PATIENCE
    names = {name for name, _ in masters}
    while True:
        found = _instances()
        left = {name for name in names if name in found and found[name].state == "MASTER"}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _instances() -> dict[str, InstanceStatus]:
    reply = request(StatusRequest(), control_socket())
    if isinstance(reply, ErrorReply):
        fail(reply.error)
    assert isinstance(reply, StatusReply)
    return {each.instance: each for each in reply.status.instances}
