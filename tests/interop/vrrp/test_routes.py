# SPDX-License-Identifier: Apache-2.0
"""Routes, rules and addresses of every kind in the kernel: as configured, put back, and gone at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.until import until
from tests.support.vrrp.process import Ours
from tests.support.vrrp.switch import Host, switch

from pointsman.conf.load import load_text
from pointsman.lab import namespace
from pointsman.model.config import Config

pytestmark = [pytest.mark.root, pytest.mark.slow]

MOVING = """
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    version 3
    advert_int 0.1
    priority 200
    promote_secondaries
    virtual_ipaddress {
        10.9.0.100/24 brd + label eth0:vip noprefixroute
        10.9.0.102 peer 10.9.0.202/32
        10.9.0.103/32 no_track
    }
    virtual_ipaddress_excluded {
        fd00::100/64 preferred_lft 0 home
        fd00::101
    }
    virtual_routes {
        10.77.0.0/16 via 10.9.0.3 dev eth0 mtu lock 1400 rto_min 108ms initcwnd 12 metric 5 tos 0x10
        10.78.0.0/16 via 10.9.0.3 or 10.9.0.4 dev eth0
        10.79.0.0/16 table 1000 nexthop via 10.9.0.3 dev eth0 weight 3 nexthop via 10.9.0.4 dev eth0 onlink
        10.80.0.0/16 via inet6 fe80::3 dev eth0
        blackhole 10.81.0.0/16 no_track
        default via 10.9.0.1 dev eth0 src 10.9.0.100 table 1001 features ecn
        fd77::/32 via fe80::3 dev eth0 pref high quickack 1
        unreachable fd78::/32
    }
    virtual_rules {
        from 10.77.0.0/16 table 1000
        not to 10.78.0.0/16 iif eth0 fwmark 3/7 tos 16 table 1001 preference 99
        ipproto tcp sport 10-20 dport 80 uidrange 100-200 unreachable no_track
        from fd77::/32 suppress_prefixlength 0 table main
    }
}
"""
STATIC = """
track_group G {
    group {
        VI_1
    }
}
static_ipaddress {
    10.9.0.66/24 dev eth0
    10.9.0.67/24 dev eth0 track_group G
}
static_routes {
    10.66.0.0/16 via 10.9.0.3 dev eth0 track_group G
}
static_rules {
    to 10.66.0.0/16 table 66
}
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with switch(tmp_path) as made:
        yield made.host("a", "10.9.0.1/24")


def config(text: str) -> Config:
    return load_text(text, "f").config


def ours(host: Host, directory: Path, text: str) -> Ours:
    loaded = config(text)
    return Ours(host, directory, *loaded.instances, static=loaded.static)


def everything(host: Host) -> list[str]:
    commands = ("-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all", "-o addr")
    lines = [line for words in commands for line in host.ip(*words.split()).splitlines()]
    return [" ".join(line.replace("\\", " ").split()) for line in lines]


def test_everything_that_moves(host: Host, tmp_path: Path) -> None:
    before = everything(host)
    process = ours(host, tmp_path, MOVING)
    until("it is master", lambda: process.state() == "MASTER")
    until("the last of it is there", lambda: any("lookup 1000" in line for line in everything(host)))
    shown = "\n".join(everything(host))
    for expected in (
        "inet 10.9.0.100/24 brd 10.9.0.255 scope global secondary dynamic noprefixroute eth0:vip",
        "inet 10.9.0.102 peer 10.9.0.202/32 scope global dynamic eth0",
        "10.77.0.0/16 tos 0x10 via 10.9.0.3 dev eth0 proto keepalived metric 5 mtu lock 1400 ",
        "initcwnd 12 rto_min 108ms",
        "10.80.0.0/16 via inet6 fe80::3 dev eth0 proto keepalived",
        "blackhole 10.81.0.0/16 proto keepalived",
        "default via 10.9.0.1 dev eth0 table 1001 proto keepalived src 10.9.0.100 features ecn",
        "fd77::/32 via fe80::3 dev eth0 proto keepalived metric 1024",
        "unreachable fd78::/32 dev lo proto keepalived metric 1024",
        "16384: from 10.77.0.0/16 lookup 1000 proto keepalived",
        "99: not from all to 10.78.0.0/16 tos 0x10 fwmark 0x3/0x7 iif eth0 lookup 1001 proto keepalived",
        "16383: from all uidrange 100-200 ipproto tcp sport 10-20 dport 80 unreachable proto keepalived",
        "16382: from fd77::/32 lookup main suppress_prefixlength 0 proto keepalived",
    ):
        assert expected in shown
    assert shown.count("nexthop via 10.9.0.3 dev eth0 weight 3") == 1
    assert shown.count("nexthop via 10.9.0.4 dev eth0 weight 1") == 2
    deprecated = [line for line in everything(host) if "fd00::10" in line and "deprecated" in line]
    assert len([line for line in deprecated if "inet6" in line]) == 2

    for command in (
        "route del 10.77.0.0/16 tos 0x10",
        "rule del pref 99",
        "-6 route del fd77::/32",
        "route del blackhole 10.81.0.0/16",
        "addr del 10.9.0.103/32 dev eth0",
    ):
        host.ip(*command.split())
    for part in ("10.77.0.0/16 tos", "99: not", "fd77::/32 via"):
        until(f"{part} is back", lambda part=part: part in "\n".join(everything(host)))  # type: ignore[misc]
    after = "\n".join(everything(host))
    assert "10.81.0.0/16" not in after and "10.9.0.103" not in after, "no_track: not before the next master"
    assert process.state() == "MASTER"
    assert [report.state for report in process.heard] == ["BACKUP", "MASTER"]

    assert process.stop() == 0
    assert everything(host) == before
    with namespace.entered(host.namespace):
        assert Path("/proc/sys/net/ipv4/conf/eth0/promote_secondaries").read_text().strip() == "0"


def test_what_is_static_comes_back_and_its_loss_is_a_fault(host: Host, tmp_path: Path) -> None:
    host.ip("addr", "add", "10.9.0.66/24", "dev", "eth0")
    before = everything(host)
    process = ours(host, tmp_path, STATIC + MOVING)
    until("it is master", lambda: process.state() == "MASTER")

    def there() -> bool:
        shown = "\n".join(everything(host))
        return all(
            each in shown for each in ("10.9.0.67/24", "10.66.0.0/16 via", "to 10.66.0.0/16 lookup 66")
        )

    assert there()
    host.ip("addr", "del", "10.9.0.67/24", "dev", "eth0")
    host.ip("route", "del", "10.66.0.0/16")
    host.ip("rule", "del", "to", "10.66.0.0/16", "table", "66")
    until("all of it is back", there)
    assert process.state() == "MASTER"

    assert process.stop() == 0
    heir = ours(host, tmp_path, STATIC.replace("10.9.0.3", "10.99.0.3") + MOVING)
    until("its gateway cannot be reached", lambda: heir.state() == "FAULT")
    assert "static route to 10.66.0.0/16 is missing" in heir.states["VI_1"].reason
    host.ip("addr", "add", "10.99.0.1/24", "dev", "eth0")
    host.ip("link", "set", "eth0", "alias", "changed")
    until("it works when the route can be had", lambda: heir.state() == "MASTER")
    assert heir.stop() == 0
    host.ip("addr", "del", "10.99.0.1/24", "dev", "eth0")
    assert everything(host) == before, "the address that was there before is left alone"
