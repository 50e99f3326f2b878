# SPDX-License-Identifier: Apache-2.0
"""The status as a JSON document: names, order and absences that scripts rely on."""

from __future__ import annotations

import json
from ipaddress import ip_address

import msgspec

from pointsman.control.client import joined
from pointsman.control.client_messages import ServicesReply, StatusReply, decode_reply, encode
from pointsman.control.status import (
    AddressStatus,
    AdvertStatus,
    AttachmentStatus,
    ConfigurationStatus,
    DataPlaneStatus,
    InstanceStatus,
    ServerStatus,
    ServiceStatus,
    SessionStatus,
    Status,
)

KNOWN = InstanceStatus(
    instance="VI_1",
    state="MASTER",
    priority=100,
    reason="",
    holds_addresses=True,
    seconds=3.5,
    interface="eth0",
    virtual_router_id=51,
    advert_interval=1.0,
    unicast_peers=(ip_address("fd00::2"),),
    addresses=(AddressStatus(ip_address("192.0.2.9"), 24, "eth0"),),
    last_advert=AdvertStatus("192.0.2.3", 90, 0.5),
)
REMOVED = InstanceStatus(
    instance="OLD", state="INIT", priority=90, reason="deleted", holds_addresses=False, seconds=1.0
)
STATUS = Status(
    router_id="lb-01",
    uptime=12.5,
    data_plane=DataPlaneStatus(
        name="xdp",
        schedulers=("rr",),
        forwarding=("Route",),
        attachments=(AttachmentStatus("eth0", 2, "native"),),
        connection_limit=1024,
        interfaces=("eth0",),
    ),
    configuration=ConfigurationStatus("/etc/lb.conf", None, 2, 7.5, 1),
    exits={"forwarded": 3},
    instances=(KNOWN, REMOVED),
    sessions=(SessionStatus("far", ip_address("192.0.2.3"), up=False, reason="not started yet"),),
    services=(
        ServiceStatus(
            service="TCP 192.0.2.9:80",
            scheduler="rr",
            managed=True,
            servers=(ServerStatus(server="192.0.2.20:80", weight=None, up=None, reason=""),),
        ),
    ),
    problems=("one",),
)
DOCUMENT = {
    "router_id": "lb-01",
    "uptime": 12.5,
    "data_plane": {
        "name": "xdp",
        "schedulers": ["rr"],
        "forwarding": ["Route"],
        "attachments": [{"interface": "eth0", "index": 2, "mode": "native", "reason": "", "link": ""}],
        "connection_limit": 1024,
        "interfaces": ["eth0"],
        "connections": None,
        "neighbours": None,
        "neighbour_limit": None,
    },
    "configuration": {
        "file": "/etc/lb.conf",
        "config_id": None,
        "generation": 2,
        "for": 7.5,
        "rollback_to": 1,
        "warnings": [],
    },
    "exits": {"forwarded": 3},
    "instances": [
        {
            "type": "InstanceChanged",
            "instance": "VI_1",
            "state": "MASTER",
            "priority": 100,
            "reason": "",
            "holds_addresses": True,
            "for": 3.5,
            "interface": "eth0",
            "virtual_router_id": 51,
            "advert_interval": 1.0,
            "unicast_peers": ["fd00::2"],
            "addresses": [{"address": "192.0.2.9", "prefix_length": 24, "device": "eth0"}],
            "last_advert": {"source": "192.0.2.3", "priority": 90, "age": 0.5},
        },
        {
            "type": "InstanceChanged",
            "instance": "OLD",
            "state": "INIT",
            "priority": 90,
            "reason": "deleted",
            "holds_addresses": False,
            "for": 1.0,
        },
    ],
    "sessions": [{"name": "far", "neighbour": "192.0.2.3", "up": False, "reason": "not started yet"}],
    "services": [
        {
            "service": "TCP 192.0.2.9:80",
            "scheduler": "rr",
            "managed": True,
            "standby": False,
            "flags": [],
            "persistence": None,
            "servers": [
                {
                    "server": "192.0.2.20:80",
                    "weight": None,
                    "forwarding": "Route",
                    "tunnel": "",
                    "next_hop": "",
                    "up": None,
                    "reason": "",
                    "by_hand": "",
                    "by_hand_left": None,
                    "active": None,
                    "inactive": None,
                }
            ],
        }
    ],
    "problems": ["one"],
    "sync": None,
}


def test_the_document_has_the_names_and_the_order_that_it_always_had() -> None:
    assert json.dumps(STATUS.document()) == json.dumps(DOCUMENT)


def test_a_status_survives_the_control_socket() -> None:
    assert decode_reply(encode(StatusReply(STATUS))) == StatusReply(STATUS)


def test_a_status_in_several_messages_is_that_in_one() -> None:
    services = [msgspec.structs.replace(STATUS.services[0], service=f"FWM {number}") for number in range(5)]
    whole = StatusReply(msgspec.structs.replace(STATUS, services=tuple(services)))
    pages = ServicesReply(tuple(services[:2])), ServicesReply(tuple(services[2:]))
    last = StatusReply(msgspec.structs.replace(STATUS, services=()))
    assert joined(decode_reply(encode(part)) for part in (*pages, last)) == whole
