"""Services that a director keeps out of its table while another director holds their VIP. Pure.

Where directors are real servers of the service themselves (two machines are the whole cluster), the master
sends connections to the other one, which must take them itself: balanced again there they would come back,
and go round until their TTL is used up. So a service that counts this host among its real servers is in force
only while this host holds its virtual address; until then packets for it belong to the host's own stack.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pointsman.model.address import Address
from pointsman.model.health import VirtualServer
from pointsman.model.service import Forwarding, ServiceKey
from pointsman.model.vrrp import VrrpInstance


def on_standby(
    virtual_servers: Iterable[VirtualServer],
    own: Collection[Address],
    instances: Iterable[VrrpInstance],
    held: Mapping[str, bool],
    present: Collection[ServiceKey],
) -> frozenset[ServiceKey]:
    """The services to be kept out.

    `own`: this host's addresses. `held`: by name of an instance that has spoken, whether this host holds its
    addresses; until it has spoken, a service stays as it is (`present`: those in the table).
    """
    of_vip = {entry.address: instance.name for instance in instances for entry in instance.moving_addresses}
    found = set()
    for virtual in virtual_servers:
        key = virtual.service.key
        vips = [key.address] if key.address else [front.address for front in virtual.service.fronts]
        names = {of_vip[vip] for vip in vips if vip in of_vip}
        if not names or not serves_itself(virtual, own):
            continue
        if not any(held.get(name, key in present) for name in names):
            found.add(key)
    return frozenset(found)


def serves_itself(virtual: VirtualServer, own: Collection[Address]) -> bool:
    """Whether one of the real servers of direct routing is this very host."""
    return any(
        member.server.key.address in own and member.server.forwarding is Forwarding.ROUTE
        for member in virtual.members
    )
