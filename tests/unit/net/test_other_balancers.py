# SPDX-License-Identifier: Apache-2.0
"""The table of IPVS as /proc/net/ip_vs shows it."""

from __future__ import annotations

import pytest

from pointsman.net import other_balancers as other
from pointsman.net.other_balancers import parse_ipvs

TABLE = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0A80721:1F40 wlc  persistent 50 FFFFFFFF
  -> C0A8074D:1F40      Route   1      0          0
UDP  [fd00:0000:0000:0000:0000:0000:0000:0009]:0035 rr
  -> [fd00:0000:0000:0000:0000:0000:0000:0020]:0035 Route 1 0 0
FWM  0000000A rr
TCP  nonsense rr
"""


def test_the_services_are_named_as_ipvsadm_does() -> None:
    assert parse_ipvs(TABLE) == ["TCP 192.168.7.33:8000", "UDP [fd00::9]:53", "firewall mark 10"]


def test_an_empty_table_is_no_balancer() -> None:
    assert parse_ipvs("\n".join(TABLE.splitlines()[:3])) == []


def test_the_table_is_only_cleared_after_it_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other, "processes_named", lambda _name: [])
    monkeypatch.setattr(other, "ipvs_services", lambda: ["TCP 192.168.7.33:8000"])
    (found,) = other.other_balancers()
    assert found.remedy == ("ipvsadm -Sn > /var/lib/ipvs.saved && ipvsadm -C",)
