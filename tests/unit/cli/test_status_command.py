# SPDX-License-Identifier: Apache-2.0
"""Output of `pointsman status` about lost packets and services that were added by hand."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from rich.console import Console

from pointsman.cli.status import show
from pointsman.control.status import ConfigurationStatus, DataPlaneStatus, ServerStatus, ServiceStatus, Status

SERVER = ServerStatus(server="10.0.0.20:80", weight=1, up=None, reason="")
SERVICE = ServiceStatus(service="TCP 10.0.0.1:80", scheduler="rr", managed=True, servers=(SERVER,))
replace = msgspec.structs.replace


def shown(**changes: Any) -> str:
    state = Status(
        router_id="lb-01",
        uptime=1.0,
        data_plane=DataPlaneStatus(name="xdp"),
        configuration=ConfigurationStatus(file="", config_id=None, generation=1, seconds=1.0),
    )
    out = io.StringIO()
    show(replace(state, **changes), Console(file=out, width=200, highlight=False))
    return out.getvalue()


def test_lost_packets_are_counted_and_explained_others_are_not() -> None:
    said = shown(exits={"no_neighbour": 12, "ttl_exceeded": 0, "not_ip": 99})
    assert "12 packets no_neighbour: dropped; the real server's MAC address was not known" in said
    assert "ttl" not in said and "not_ip" not in said


def test_a_service_put_in_by_hand_is_not_called_unchecked() -> None:
    by_hand = shown(services=(replace(SERVICE, managed=False),))
    assert "by hand" in by_hand and "unchecked" not in by_hand
    configured = shown(services=(replace(SERVICE, persistence=50),))
    assert "unchecked" in configured and "rr persistent 50 s" in configured


def test_an_ipv6_address_is_not_taken_for_markup() -> None:
    server = replace(SERVER, server="[fd00::20]:80", reason="[fd00::20]:80 does not answer")
    service = replace(SERVICE, service="TCP [fd00::1]:80", servers=(server,))
    said = shown(services=(service,), problems=("of [fd00::1]:80",))
    assert "TCP [fd00::1]:80 rr" in said
    assert "-> [fd00::20]:80" in said and "[fd00::20]:80 does not answer" in said
    assert "! of [fd00::1]:80" in said
