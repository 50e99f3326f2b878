# SPDX-License-Identifier: Apache-2.0
"""Routes with encap: the kernel has of ours what it has of ip-route(8), and of keepalived."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from tests.support.until import DEADLINE, until
from tests.support.vrrp.keepalived import own_files
from tests.support.vrrp.switch import Host, switch

from pointsman.conf.load import load_text
from pointsman.lab import namespace
from pointsman.model.routing import Encapsulation, VirtualRoute
from pointsman.net import routes
from pointsman.net.encapsulations import encapsulation_attributes
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket

pytestmark = pytest.mark.root

BY_KEEPALIVED = (
    "10.77.0.0/24 encap ip id 5 dst 10.9.0.9 src 10.9.0.1 ttl 9 tos 4 dev eth0",
    "10.78.0.0/24 encap ip6 id 7 dst fd00::1 hoplimit 5 tc 3 dev eth0",
)
LINES = (
    *BY_KEEPALIVED,
    "10.79.0.0/24 encap ip id 9 dst 10.9.0.9 via 10.9.0.9 dev eth0",
    "10.80.0.0/24 encap seg6 mode encap segs fd00::1,fd00::2,fd00::3 dev eth0",
    "fd77::/64 encap seg6 mode inline segs fd00::1,fd00::2 dev eth0",
    "10.81.0.0/24 nexthop encap ip id 3 dst 10.9.0.8 dev eth0 weight 2 nexthop via 10.9.0.9 dev eth0",
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with switch(tmp_path) as made:
        yield made.host("a", "10.9.0.1/24")


def read(line: str) -> VirtualRoute:
    (route,) = load_text(f"static_routes {{\n{line}\n}}\n", "f").config.static.routes
    return route


def listed(host: Host, line: str) -> str:
    """Return the route of a line as iproute2 shows it."""
    destination = line.split()[0]
    family = "-6" if ":" in destination else "-4"
    return " ".join(host.ip("-d", family, "route", "show", destination).split())


@pytest.mark.parametrize("line", LINES)
def test_the_kernel_has_what_iproute2_would_give_it(host: Host, line: str) -> None:
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        assert routes.assign(netlink, links(netlink), [read(line)]) == []
        ours = listed(host, line)
        assert "encap" in ours
        assert routes.withdraw(netlink, links(netlink), [read(line)]) == []
        assert listed(host, line) == ""
    words = line.partition(" nexthop")
    host.ip("route", "add", *words[0].split(), "proto", "keepalived", *(words[1] + words[2]).split())
    assert ours == listed(host, line)


def test_keepalived_gives_it_the_same(host: Host, tmp_path: Path) -> None:
    if shutil.which("keepalived") is None:
        pytest.skip("Debian's keepalived is not installed")
    conf = tmp_path / "keepalived.conf"
    instance = ("vrrp_instance A {", "interface eth0", "virtual_router_id 5", "}", "")
    conf.write_text("\n".join(("static_routes {", *BY_KEEPALIVED, "}", *instance)))
    process = host.start(
        "keepalived", "-n", "-l", "-G", "-P", "-f", str(conf), *own_files(conf), log=tmp_path / "log"
    )
    until("it has set them", lambda: all("encap" in listed(host, line) for line in BY_KEEPALIVED))
    theirs = [listed(host, line) for line in BY_KEEPALIVED]
    process.terminate()
    process.wait(DEADLINE)
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        assert routes.assign(netlink, links(netlink), [read(line) for line in BY_KEEPALIVED]) == []
    for line, their in zip(BY_KEEPALIVED, theirs, strict=True):
        assert listed(host, line).replace("scope link", "scope global") == their


def test_a_kernel_without_a_kind_says_so_to_ours_as_to_iproute2(host: Host) -> None:
    """MPLS is a module that this kernel may lack; then both hear the same error, else both have the route."""
    line = "10.82.0.0/24 encap mpls 100/200 via 10.9.0.9 dev eth0"
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        failures = routes.assign(netlink, links(netlink), [read(line)])
        ours = listed(host, line)
        routes.withdraw(netlink, links(netlink), [read(line)])
    try:
        host.ip("route", "add", *line.split(), "proto", "keepalived")
    except subprocess.CalledProcessError as refused:
        assert "encapsulation type not supported" in refused.stderr
        said = "Operation not supported (lwt encapsulation type not supported)"
        assert [error.strerror for _, error in failures] == [said]
    else:
        assert failures == []
        assert ours == listed(host, line)


def test_labels_are_as_another_library_writes_them() -> None:
    """pyroute2, as this kernel may have no MPLS to ask."""
    message = rtmsg()
    labels = [{"label": 100, "tc": 0, "bos": 0, "ttl": 0}, {"label": 200, "tc": 0, "bos": 1, "ttl": 0}]
    inside = {"attrs": [("MPLS_IPTUNNEL_DST", labels), ("MPLS_IPTUNNEL_TTL", 9)]}
    message["attrs"] = [("RTA_ENCAP_TYPE", 1), ("RTA_ENCAP", inside)]
    message.encode()
    header = 16 + 12  # struct nlmsghdr, struct rtmsg
    around = Encapsulation(kind="mpls", labels=(100, 200), ttl=9)
    assert encapsulation_attributes(around) == bytes(message.data[header:])
