# SPDX-License-Identifier: Apache-2.0
"""Reasons in the network why an instance cannot serve."""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.model.vrrp import VrrpInstance, VrrpState
from pointsman.net.links import Link
from pointsman.vrrp.machine import VrrpMachine


def find_network_fault(
    instance: VrrpInstance,
    machine: VrrpMachine,
    links: Mapping[str, Link],
    has_source: bool,
    has_socket: bool,
) -> str:
    """Return the reason why adverts cannot be sent and received, or addresses not served. Empty: they can.

    A master can send without its source address, as in keepalived, and still receives multicast adverts.
    A backup must not become master without it, because it would not receive the unicast adverts of one.
    """
    link, own_address = links.get(instance.interface), machine.own_address
    if link is None or (instance.tracks_interface and not link.running):
        return "interface down"
    for name in instance.needed_interfaces:
        needed = links.get(name)
        if needed is None or not needed.running:
            return f"interface {name} {'does not exist' if needed is None else 'is down'}"
    if own_address.is_unspecified:
        return f"{link.name} has no address to send adverts from (virtual ones do not count)"
    if not has_source and (instance.track_source or machine.state is not VrrpState.MASTER):
        return f"source address {own_address} is missing"
    return "" if has_socket else f"no socket for adverts from {own_address}"
