# SPDX-License-Identifier: Apache-2.0
"""Services that a director keeps out of its table while another director holds their VIP. Pure.

This is for directors that are also real servers of the service (two machines are the whole cluster). The
master sends connections to the other one, which must accept them itself. If it balanced them again they
would return, and loop until the TTL is 0. So a service with this host among its real servers is active
only while this host has its virtual address. Until then packets for it belong to the host's own stack.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pointsman.model.address import Address
from pointsman.model.health import VirtualServer
from pointsman.model.service import Forwarding, ServiceKey
from pointsman.model.vrrp import VrrpInstance


def find_candidates(
    virtual_servers: Iterable[VirtualServer], own: Collection[Address], instances: Iterable[VrrpInstance]
) -> dict[ServiceKey, frozenset[str]]:
    """Return the services with this host among their real servers, and the instances that move their VIPs.

    `own`: this host's addresses.
    """
    ours = (virtual for virtual in virtual_servers if has_this_host(virtual, own)) if own else ()
    return instances_of(ours, instances)


def instances_of(
    virtual_servers: Iterable[VirtualServer], instances: Iterable[VrrpInstance]
) -> dict[ServiceKey, frozenset[str]]:
    """Return the services whose VIPs VRRP moves, each with the instances that do."""
    of_vip = {entry.address: instance.name for instance in instances for entry in instance.moving_addresses}
    found: dict[ServiceKey, frozenset[str]] = {}
    for virtual in virtual_servers if of_vip else ():
        key = virtual.service.key
        vips = [key.address] if key.address else [front.address for front in virtual.service.fronts]
        if names := frozenset(of_vip[vip] for vip in vips if vip in of_vip):
            found[key] = names
    return found


def is_standby(instances: Iterable[str], held: Mapping[str, bool], is_present: bool) -> bool:
    """True if a candidate has to stay out of the table.

    `held`: True by name of an instance if this host holds its addresses. Until an instance has reported, its
    services stay as they are (`is_present`: in the table).
    """
    return not any(held.get(name, is_present) for name in instances)


def has_this_host(virtual: VirtualServer, own: Collection[Address]) -> bool:
    """True if this host is one of the service's real servers with direct routing."""
    return any(
        member.server.key.address in own and member.server.forwarding is Forwarding.ROUTE
        for member in virtual.members
    )
