# SPDX-License-Identifier: Apache-2.0
"""Two directors compared, from facts written down by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pointsman.doctor.finding import Finding, Verdict
from pointsman.doctor.rules.peer import PeerFacts, PeerInstance, PeerService, compare

WEB = {"192.168.100.20:80": 1, "192.168.100.21:80": 1}
NAME = "TCP 192.168.100.9:80"
INSTANCE = PeerInstance(
    name="VI_1",
    state="MASTER",
    interface="ens224",
    virtual_router_id=51,
    priority=200,
    advert_interval=1.0,
    addresses=("192.168.100.9",),
)
HERE = PeerFacts(
    host="lb-01",
    version="1",
    time=1000.0,
    instances=(INSTANCE,),
    services={NAME: PeerService(scheduler="rr", persistence=600, servers=dict(WEB))},
    connection_limit=1 << 20,
)


def peer(
    instance: dict[str, Any] | None = None, service: dict[str, Any] | None = None, **changes: Any
) -> PeerFacts:
    told = msgspec.structs.replace(INSTANCE, **({"state": "BACKUP", "priority": 100} | (instance or {})))
    served = msgspec.structs.replace(HERE.services[NAME], **(service or {}))
    fields = {"host": "lb-02", "instances": (told,), "services": {NAME: served}}
    return msgspec.structs.replace(HERE, **(fields | changes))


def wrong(facts: PeerFacts, here: PeerFacts = HERE) -> list[Finding]:
    return compare(here, facts).having(Verdict.FAULT, Verdict.WARNING)


def test_a_pair_that_fits_gets_no_complaint() -> None:
    assert wrong(peer()) == []
    assert wrong(peer(time=1003.0)) == [], "asking takes a moment"
    equals = compare(HERE, peer(instance={"priority": 200}))
    assert [item.check for item in equals.having(Verdict.NOTE)] == ["peer-settings"]


@pytest.mark.parametrize(
    ("facts", "check", "said"),
    [
        (peer(problem="no director is running here"), "peer", "on lb-02: no director is running here"),
        (peer(instance={"state": "MASTER"}), "peer-vrrp", "VI_1 is MASTER here and MASTER on lb-02"),
        (peer(instance={"state": "FAULT"}), "peer-vrrp", "VI_1 is MASTER here and FAULT on lb-02"),
        (
            peer(instance={"advert_interval": 2.0}),
            "peer-settings",
            "advert_int of VI_1 is 1.0 here and 2.0 on lb-02",
        ),
        (
            peer(instance={"addresses": ("192.168.100.8",)}),
            "peer-settings",
            "virtual_ipaddress of VI_1 is 192.168.100.9 here and 192.168.100.8 on lb-02",
        ),
        (peer(service={"scheduler": "wlc"}), "peer-services", f"scheduler of {NAME}: rr here, wlc on lb-02"),
        (
            peer(service={"servers": {"192.168.100.20:80": 5, "192.168.100.21:80": 1}}),
            "peer-services",
            "192.168.100.20:80 weight 5",
        ),
        (peer(services={}), "peer-services", f"{NAME} is active only here"),
        (
            peer(service={"servers": WEB | {"192.168.100.21:80": None}, "down": ("192.168.100.21:80",)}),
            "peer-health",
            "192.168.100.21:80 of TCP 192.168.100.9:80 fails its check on lb-02 and passes here",
        ),
        (peer(version="2"), "peer-version", "this is pointsman 1, lb-02 has 2"),
        (peer(time=900.0), "peer-clock", "the clock of lb-02 is 100 s behind"),
        (peer(connection_limit=16), "peer-table", "1048576 connections here, 16 on lb-02"),
    ],
)
def test_what_differs_is_named_once(facts: PeerFacts, check: str, said: str) -> None:
    (finding,) = wrong(facts)
    assert finding.check == check
    assert said in finding.found
    assert finding.why
    assert finding.advice


def test_another_virtual_router_id_is_told_of_both() -> None:
    found = wrong(peer(instance={"virtual_router_id": 52}))
    assert [item.found.split(",")[0] for item in found] == [
        "lb-02 has no instance with virtual_router_id 51 (VI_1)",
        "only lb-02 has VI_1",
    ]


def test_nobody_is_master() -> None:
    here = msgspec.structs.replace(HERE, instances=(msgspec.structs.replace(INSTANCE, state="BACKUP"),))
    (finding,) = wrong(peer(), here)
    assert finding.why == "no director has the VIP"


def test_a_service_that_waits_for_its_vip_is_no_difference() -> None:
    assert wrong(peer(services={}, standby=(NAME,))) == []
