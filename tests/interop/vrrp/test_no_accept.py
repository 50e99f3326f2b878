# SPDX-License-Identifier: Apache-2.0
"""no_accept: a master is found at its addresses, forwards what is for them, and answers nothing itself."""

from __future__ import annotations

import ipaddress
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.project import ROOT
from tests.support.until import DEADLINE, until
from tests.support.vrrp.process import Ours, instance
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.vrrp import VirtualAddress
from pointsman.net.nftables import RULES, TABLE, FilteredAddress, FilterTable

pytestmark = pytest.mark.root

VIP, GLOBAL, LINK_LOCAL = "10.9.0.100", "2001:db8::100", "fe80::100"
ADDRESSES = tuple(
    VirtualAddress(
        address=ipaddress.ip_address(address), prefix_length=length, device="eth0", flags=("nodad",)
    )
    for address, length in ((VIP, 24), (GLOBAL, 64), (LINK_LOCAL, 64))
)
CONF = """
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 1
    version 3
    advert_int 0.1
    no_accept
    virtual_ipaddress {
        10.9.0.100/24 dev eth0
    }
}
virtual_server 10.9.0.100 80 {
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 10.9.0.3 80 {
    }
}
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def answers(host: Host, address: str) -> bool:
    with namespace.entered(host.namespace):
        return subprocess.run(["ping", "-c1", "-W1", address], capture_output=True).returncode == 0


def tables(host: Host) -> str:
    with namespace.entered(host.namespace):
        return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


def flush(host: Host) -> None:
    with namespace.entered(host.namespace):
        subprocess.run(["nft", "flush", "ruleset"], check=True)


def test_a_master_is_found_but_does_not_answer_until_it_stops(made: Switch) -> None:
    a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
    for number, host in enumerate((a, b), 1):
        host.ip("addr", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
    settings = instance(addresses=ADDRESSES[:1], excluded_addresses=ADDRESSES[1:], no_accept=True)
    ours = Ours(a, made.directory, settings)
    until("it is master", lambda: ours.state() == "MASTER")
    every = (VIP, GLOBAL, f"{LINK_LOCAL}%eth0")
    assert [answers(b, address) for address in every] == [False] * 3
    assert [b.neighbour(address) for address in (VIP, GLOBAL, LINK_LOCAL)] == [a.mac()] * 3
    assert answers(b, "10.9.0.1") and answers(b, "2001:db8::1")
    flush(a)
    assert answers(b, VIP)
    until("the table is back", lambda: "pointsman_vrrp" in tables(a))
    ours.process.send_signal(signal.SIGKILL)
    ours.process.wait()
    assert not answers(b, VIP), "nothing changes before the next start"
    ours = Ours(a, made.directory, settings)
    until("it goes on", lambda: ours.state() == "MASTER")
    assert [answers(b, address) for address in every] == [False] * 3
    assert ours.stop() == 0
    assert (tables(a), list(ours.run_directory.iterdir())) == ("", [])


def test_nft_prints_the_rules_as_they_are_written(made: Switch) -> None:
    host = made.host("a", "10.9.0.1/24")
    with namespace.entered(host.namespace):
        table = FilterTable()
        try:
            table.replace(FilteredAddress(entry.address, 7) for entry in ADDRESSES)
        finally:
            table.close()
        command = ["nft", "-n", "list", "table", "inet", TABLE]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for chain, rules in RULES.items():
        lines = printed.partition(f"chain {chain} {{\n")[2].partition("}")[0].splitlines()
        assert tuple(line.strip() for line in lines[1:] if line.strip()) == rules
    assert "elements = { 10.9.0.100 }" in printed
    assert "elements = { 2001:db8::100 }" in printed
    assert "elements = { fe80::100 . 7 }" in printed


def test_an_owner_and_who_does_not_ask_for_it_answer(made: Switch) -> None:
    a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
    first = instance(no_accept=True, priority=255)
    second = instance(2, no_accept=True)
    ours = Ours(a, made.directory, first, second, instance(3))
    until("all are master", lambda: {ours.state(f"VI_{number}") for number in (1, 2, 3)} == {"MASTER"})
    assert [answers(b, f"10.9.0.10{number}") for number in (0, 1, 2)] == [True, False, True]
    assert ours.stop() == 0


def serve(host: Host) -> None:
    """The real server: its VIP on lo, and one answer to each connection."""
    host.ip("addr", "add", f"{VIP}/32", "dev", "lo")
    with namespace.entered(host.namespace):
        for name, value in (("arp_ignore", "1"), ("arp_announce", "2")):
            Path(f"/proc/sys/net/ipv4/conf/all/{name}").write_text(value)
        listener = socket.create_server(("0.0.0.0", 80))

    def loop() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"here")

    threading.Thread(target=loop, daemon=True).start()


def fetched(host: Host) -> bytes:
    with namespace.entered(host.namespace):
        caller = socket.socket()
    with caller:
        caller.settimeout(DEADLINE)
        try:
            caller.connect((VIP, 80))
            return caller.recv(100)
        except OSError:
            return b""


def pointsman(host: Host, *words: str) -> int:
    with namespace.entered(host.namespace):
        command = [sys.executable, "-m", "pointsman.cli.main", *words]
        return subprocess.run(command, capture_output=True, cwd=ROOT).returncode


def test_what_is_forwarded_is_not_touched_and_a_reload_changes_it_in_place(made: Switch) -> None:
    a, b, c = (made.host(name, f"10.9.0.{number}/24") for number, name in enumerate("abc", 1))
    serve(c)
    conf = made.directory / "keepalived.conf"
    conf.write_text(CONF)
    run = (sys.executable, "-m", "pointsman.cli.main", "run", "-f", str(conf), "--xdp-mode", "generic")
    director = a.start(*run, log=made.directory / "director.log", cwd=ROOT)
    until("the service is there", lambda: fetched(b) == b"here")
    assert not answers(b, VIP)
    conf.write_text(CONF.replace("no_accept", "accept"))
    assert pointsman(a, "reload") == 0
    until("it answers", lambda: answers(b, VIP))
    assert tables(a) == ""
    conf.write_text(CONF)
    assert pointsman(a, "reload") == 0
    until("it answers no more", lambda: not answers(b, VIP))
    assert fetched(b) == b"here"
    director.kill()
    director.wait()
    assert pointsman(a, "detach") == 0
    assert tables(a) == ""
    assert f"{VIP}/24" not in a.addresses()
