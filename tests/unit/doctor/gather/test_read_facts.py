# SPDX-License-Identifier: Apache-2.0
"""The doctor's facts from the answers of a director."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pointsman.control.client_messages import StatusReply, StatusRequest, TableReply
from pointsman.control.status import ConfigurationStatus, DataPlaneStatus, Status
from pointsman.doctor.facts import Host
from pointsman.doctor.gather import read_facts
from pointsman.model.service import ServerKey, ServiceKey, ServiceTable, Transport
from pointsman.model.traffic import Counters, ServerCounters, ServiceCounters

STATUS = Status(
    router_id="lb-01",
    uptime=1.0,
    data_plane=DataPlaneStatus(name="xdp"),
    configuration=ConfigurationStatus(file="", config_id=None, generation=1, seconds=1.0),
)


def counted(vip: str, server: str, active: int, inactive: int) -> ServiceCounters:
    key = ServiceKey.of(Transport.TCP, ipaddress.ip_address(vip), 80)
    held = ServerCounters(ServerKey(ipaddress.ip_address(server), 80), active=active, inactive=inactive)
    return ServiceCounters(key, servers=(held,))


def test_connections_over_ipv6_do_not_fill_the_table_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters((counted("10.0.0.1", "10.0.0.20", 3, 2), counted("fd00::1", "fd00::20", 900, 99)))
    table = TableReply(ServiceTable(), counters, (900, 120, 300), connection_table_size=1000)

    def answer(message: Any, _path: Any) -> Any:
        return StatusReply(STATUS) if isinstance(message, StatusRequest) else table

    monkeypatch.setattr(read_facts, "request", answer)
    monkeypatch.setattr(read_facts, "read_host", lambda: Host(name="a"))
    facts = read_facts.read_director(probing=False)
    assert (facts.connections, facts.connection_limit) == (5, 1000)
