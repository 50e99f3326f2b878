# SPDX-License-Identifier: Apache-2.0
"""Rule about adverts that the director drops: two routers that do not understand each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.control.status import DroppedStatus
from pointsman.control.status_verdict import is_recent
from pointsman.doctor.facts import DirectorFacts, InstanceFact
from pointsman.doctor.finding import Finding, fault, warning
from pointsman.model.wording import count

MENDS = {
    "version": "use the same vrrp_version on both",
    "virtual_router_id": "give the instance the same virtual_router_id on both",
    "authentication_type": "use the same auth_type in authentication on both, or none",
    "password": "use the same auth_pass in authentication on both",
    "advert_interval": "use the same advert_int on both",
    "multicast_unicast_mode": "use unicast_peer on both, or on none",
    "unicast_source": "add the sender to unicast_peer, if it belongs to the group",
    "signature": "use the same keys on both",
    "replay": "synchronise the clocks of both",
    "own_packet": "give each director an address of its own",
    "ttl": "look for a router between the two: multicast adverts do not pass one",
}
"""Advice by reason. Other reasons have none."""


def dropped_adverts(facts: DirectorFacts) -> Iterable[Finding]:
    """Yield a finding for each sender whose adverts an instance drops now."""
    for instance in facts.instances:
        for each in instance.dropped:
            if is_recent(each, instance.advert_interval):
                yield _finding(instance, each)


def _finding(instance: InstanceFact, dropped: DroppedStatus) -> Finding:
    number = count(dropped.count, "advert")
    text = f"{instance.name} has dropped {number} of {dropped.sender}: {dropped.text}"
    advice = MENDS.get(dropped.reason, "compare the vrrp_instance of both directors")
    if instance.state == "MASTER":
        return fault("adverts-dropped", text, "both become master: both have the VIP", advice=advice)
    return warning("adverts-dropped", text, "this director does not know that one is alive", advice=advice)
