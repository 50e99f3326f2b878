# SPDX-License-Identifier: Apache-2.0
"""Mails about real servers, services and VRRP instances, in keepalived's words.

Subjects and first body lines are those of keepalived (core/smtp.c and the checkers). The reason of a
result, which keepalived does not give, follows on its own line.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pointsman.health import check_types
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.naming import server_name, virtual_name
from pointsman.model.service import ServerKey
from pointsman.model.tracking import SyncGroupSettings
from pointsman.model.vrrp import VrrpInstance, VrrpState

_VRRP_WORDS = {
    VrrpState.MASTER: ("Entering MASTER state", "now"),
    VrrpState.BACKUP: ("Entering BACKUP state", "no longer"),
    VrrpState.FAULT: ("Entering FAULT state", "no longer"),
    VrrpState.INIT: ("Stopping", "no longer"),
}


class Alert(msgspec.Struct, frozen=True):
    """A mail: its subject and its body."""

    subject: str
    body: str


def check_alert(
    router_id: str,
    virtual: VirtualServer,
    member: PoolMember,
    check: str,
    *,
    up: bool,
    reason: str,
    was_up: bool | None,
) -> Alert | None:
    """Return the mail about a check's new result. None: it is not wanted, or nothing changed.

    `member`: the real server of `virtual`. `check`: the Check.identity of one of its checks.

    `was_up` is the check's verdict before, None for the first one: a real server that started as up and is up
    is no news, one that starts down until it passes (`alpha`) is.
    """
    presumed = not (virtual.alpha or member.alpha)
    if not (member.smtp_alert and virtual.leads) or up is (presumed if was_up is None else was_up):
        return None
    meant = next((each for each in member.checks if each.identity == check), None)
    if meant is None:
        return None
    name = server_name(virtual.service.key, member.server.key)
    names = f"Realserver {name} of virtual server {virtual_name(virtual)}"
    words = check_types.words(meant)
    return Alert(
        f"[{router_id}] {names} - {'UP' if up else 'DOWN'}",
        _body(words.mail_up if up else words.mail_down, reason),
    )


def quorum_alert(router_id: str, virtual: VirtualServer, *, up: bool, detail: str) -> Alert | None:
    """Return the mail about a gained or lost quorum. None: not wanted. `detail` as in lvs.transitions."""
    if not (virtual.smtp_alert and virtual.leads):
        return None
    subject = f"[{router_id}] Virtualserver {virtual_name(virtual)} - {'UP' if up else 'DOWN'}"
    return Alert(subject, _body(f"=> {detail} <="))


def farewell_alerts(router_id: str, virtual: VirtualServer, living: Iterable[ServerKey]) -> list[Alert]:
    """Return the mails of a service with `omega` at the stop: its alive real servers and its quorum."""
    service = virtual.service.key
    wanted = {member.server.key for member in virtual.members if member.smtp_alert}
    names = [
        f"Realserver {server_name(service, server)} of virtual server {virtual_name(virtual)}"
        for server in living
        if server in wanted
    ]
    names += [f"Virtualserver {virtual_name(virtual)}"] if virtual.smtp_alert else []
    return [Alert(f"[{router_id}] {name} - DOWN", _body("=> Shutting down <=")) for name in names]


def instance_alert(
    router_id: str, instance: VrrpInstance, state: VrrpState, reason: str, *, deleted: bool = False
) -> Alert | None:
    """Return the mail about a VRRP instance that has entered `state`. None without `smtp_alert`.

    `deleted`: the instance has stopped because it was removed from the configuration.
    """
    if not instance.smtp_alert:
        return None
    event, owning = _VRRP_WORDS[state]
    return Alert(
        f"[{router_id}] VRRP Instance {instance.name} - {'Deleted' if deleted else event}",
        _body(f"=> VRRP Instance is {owning} owning VRRP VIPs <=", reason),
    )


def group_alert(router_id: str, group: SyncGroupSettings, state: VrrpState) -> Alert | None:
    """Return the mail about a sync group that has entered `state`. None without `smtp_alert`."""
    if not group.smtp_alert:
        return None
    event, _ = _VRRP_WORDS[state]
    text = f"=> All VRRP group instances are now in {state.value} state <="
    return Alert(f"[{router_id}] VRRP Group {group.name} - {event}", _body(text))


def _body(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines if line)
