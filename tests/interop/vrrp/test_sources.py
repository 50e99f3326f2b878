# SPDX-License-Identifier: Apache-2.0
"""The address that adverts are sent from: missing at the start, taken away, another one, back again."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived
from tests.support.vrrp.process import Ours, instance
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.model.vrrp import VirtualAddress

pytestmark = pytest.mark.root

SOURCE, PEER = ipaddress.IPv4Address("10.9.0.7"), ipaddress.IPv4Address("10.9.0.2")
SOURCE6, PEER6 = ipaddress.IPv6Address("fd09::7"), ipaddress.IPv6Address("fd09::2")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[Switch, Host]]:
    with switch(tmp_path) as made:
        yield made, made.host("a", "10.9.0.1/24")


def change(host: Host, action: str, address: object = SOURCE) -> None:
    length = 24 if ":" not in str(address) else 64
    host.ip("addr", action, f"{address}/{length}", "dev", "eth0")


@pytest.mark.parametrize(
    "source",
    [
        {"unicast_source": SOURCE, "unicast_peers": (PEER,)},
        {"unicast_source": SOURCE6, "unicast_peers": (PEER6,)},
        {"multicast_source": SOURCE},
    ],
    ids=["unicast", "unicast6", "multicast"],
)
def test_a_source_that_comes_late_is_a_fault_of_its_instance_until_it_comes(
    host: tuple[Switch, Host], source: dict[str, Any]
) -> None:
    made, a = host
    late = instance(name="VI_2", virtual_router_id=52, addresses=(), **source)
    process = Ours(a, made.directory, instance(), late)
    until("the other one works", lambda: process.state() == "MASTER")
    address = next(iter(source.values()))
    assert process.state("VI_2") == "FAULT"
    assert process.states["VI_2"].reason == f"source address {address} is missing"
    change(a, "add", address)
    until("it works, too", lambda: process.state("VI_2") == "MASTER")
    assert process.stop() == 0


def test_keepalived_begins_in_fault_just_so_but_does_not_see_the_address_come(
    host: tuple[Switch, Host],
) -> None:
    """Version 2.2.7 (Debian 12) stays in FAULT for good; whoever has seen it come goes on."""
    made, a = host
    configuration = f"""vrrp_instance VI_1 {{
        state BACKUP
        interface eth0
        virtual_router_id 51
        track_src_ip
        unicast_src_ip {SOURCE}
        unicast_peer {{
            {PEER}
        }}
    }}
    """
    theirs = Keepalived(a, made.directory, configuration)
    until("it has begun", lambda: theirs.state() == "FAULT")
    assert "entering FAULT state (src address not configured)" in theirs.log.read_text()


@pytest.mark.parametrize(
    "source", [{"unicast_peers": (PEER,), "unicast_source": SOURCE}, {"multicast_source": SOURCE}]
)
def test_a_tracked_source_that_goes_is_a_fault(host: tuple[Switch, Host], source: dict[str, Any]) -> None:
    made, a = host
    change(a, "add")
    process = Ours(a, made.directory, instance(track_source=True, **source))
    until("it is master", lambda: process.state() == "MASTER")
    change(a, "del")
    until("it is in fault", lambda: process.state() == "FAULT")
    assert process.heard[-1].reason == f"source address {SOURCE} is missing"
    assert a.addresses() == ["10.9.0.1/24"], "nothing virtual has stayed"
    change(a, "add")
    until("it is master again", lambda: process.state() == "MASTER")


def test_a_master_whose_source_is_not_tracked_goes_on_and_its_adverts_with_it(
    host: tuple[Switch, Host],
) -> None:
    made, a = host
    b = made.host("b", f"{PEER}/24")
    change(a, "add")
    process = Ours(a, made.directory, instance(unicast_source=SOURCE, unicast_peers=(PEER,)))
    until("it is master", lambda: process.state() == "MASTER")
    second = instance(priority=100, unicast_source=PEER, unicast_peers=(SOURCE,))
    other = Ours(b, made.directory, second)
    until("b is backup", lambda: other.state() == "BACKUP")
    change(a, "del")
    capture = Capture(made, a)
    until("it has sent twenty more", lambda: len(capture.adverts()) > 20)
    capture.close()
    assert (process.state(), other.state()) == ("MASTER", "BACKUP")
    change(a, "add")
    other.kill()
    assert "Entering FAULT" not in process.log.read_text()


def test_a_backup_whose_source_goes_makes_no_second_master(host: tuple[Switch, Host]) -> None:
    """It would hear none of the unicast adverts any more."""
    made, a = host
    b = made.host("b", f"{PEER}/24")
    own = ipaddress.IPv4Address("10.9.0.1")
    first = Ours(a, made.directory, instance(unicast_source=own, unicast_peers=(PEER,)))
    until("a is master", lambda: first.state() == "MASTER")
    second = Ours(b, made.directory, instance(priority=100, unicast_source=PEER, unicast_peers=(own,)))
    until("b is backup", lambda: second.state() == "BACKUP")
    b.ip("addr", "add", "10.9.0.9/24", "dev", "eth0")
    change(b, "del", PEER)
    until("b is in fault", lambda: second.state() == "FAULT")
    change(b, "add", PEER)
    until("b is backup again", lambda: second.state() == "BACKUP")
    assert "MASTER" not in [report.state for report in second.heard]


def test_what_moves_with_another_instance_is_no_source(host: tuple[Switch, Host]) -> None:
    """It would go with that one's mastership, and the peers would take it for another router's."""
    made, a = host
    a.ip("addr", "add", f"{SOURCE}/32", "dev", "lo")
    vip = VirtualAddress(address=ipaddress.ip_address("10.9.0.102"), prefix_length=24, device="eth0")
    other = instance(name="VI_2", virtual_router_id=52, addresses=(vip,), multicast_source=SOURCE)
    process = Ours(a, made.directory, instance(), other)
    until("both are masters", lambda: process.state() == process.state("VI_2") == "MASTER")
    a.ip("addr", "del", "10.9.0.1/24", "dev", "eth0")
    until("it has no source", lambda: process.state() == "FAULT")
    until("the other one has its address again", lambda: "10.9.0.102/24" in a.addresses())
    time.sleep(1.0)  # time in which nothing may happen
    assert (process.state(), process.state("VI_2")) == ("FAULT", "MASTER")
    assert process.heard[-1].reason == "eth0 has no address to send adverts from (virtual ones do not count)"
    a.ip("addr", "add", "10.9.0.1/24", "dev", "eth0")
    until("it is master again", lambda: process.state() == "MASTER")


def test_without_a_configured_source_another_address_of_the_interface_serves(
    host: tuple[Switch, Host],
) -> None:
    made, a = host
    a.ip("addr", "flush", "dev", "eth0")
    process = Ours(a, made.directory, instance())
    until("it waits", lambda: process.state() == "FAULT")
    assert process.heard[-1].reason == "eth0 has no address to send adverts from (virtual ones do not count)"
    change(a, "add")
    until("it is master", lambda: process.state() == "MASTER")
    a.ip("addr", "add", "10.9.1.1/24", "dev", "eth0")
    change(a, "del")
    capture = Capture(made, a)
    until(
        "it sends from the other one",
        lambda: any(packet[12:16] == bytes([10, 9, 1, 1]) for packet in capture.adverts()),
    )
    capture.close()
    assert process.state() == "MASTER"
    a.ip("addr", "del", "10.9.1.1/24", "dev", "eth0")
    until("it has none left", lambda: process.state() == "FAULT")
    left = json.loads(a.ip("-j", "-4", "addr", "show", "dev", "eth0"))
    assert [each["local"] for found in left for each in found.get("addr_info", [])] == []


def test_an_address_of_the_host_that_is_also_virtual_stays_until_another_master_is_heard(
    host: tuple[Switch, Host],
) -> None:
    """Removed at the start, it would cut off a host that has no other one."""
    made, a = host
    a.ip("addr", "flush", "dev", "eth0")
    a.ip("addr", "add", "10.9.0.100/24", "dev", "eth0")
    process = Ours(a, made.directory, instance(priority=100))
    until("it waits", lambda: process.state() == "FAULT")
    assert process.heard[-1].reason == "eth0 has no address to send adverts from (virtual ones do not count)"
    until("it says that the address stays", lambda: "it stays" in process.log.read_text())
    assert a.addresses() == ["10.9.0.100/24"]
    assert process.stop() == 0
    assert a.addresses() == ["10.9.0.100/24"], "not ours to remove"
    other = made.host("b", "10.9.0.2/24")
    better = Ours(other, made.directory, instance())
    until("the other one is master", lambda: better.state() == "MASTER")
    process = Ours(a, made.directory, instance(priority=100))
    until("it waits again", lambda: process.state() == "FAULT")
    a.ip("addr", "add", "10.9.0.1/16", "dev", "eth0")
    until("it hears the master", lambda: process.state() == "BACKUP" and a.addresses() == ["10.9.0.1/16"])
