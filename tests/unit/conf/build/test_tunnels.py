# SPDX-License-Identifier: Apache-2.0
"""lvs_method TUN: what each real server of a service gets, in which families; none need be on-link."""

from __future__ import annotations

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.config import Config
from pointsman.model.service import Forwarding, RealServer, Tunnel, TunnelChecksum, TunnelType

SERVICE = """
vrrp_instance A {
    interface eth0
    virtual_router_id 5
    virtual_ipaddress {
        10.0.0.251/26
    }
}
virtual_server 10.0.0.251 80 {
    protocol TCP
    %s
    sorry_server 10.9.0.3 80
    real_server 10.9.0.1 80 {
    }
    real_server %s 80 {
        %s
    }
}
"""
GUE = "TUN type gue port 6080 csum"


def config(service: str, member: str = "", address: str = "10.9.0.2") -> Config:
    return load_text(SERVICE % (service, address, member)).config


def servers(config: Config) -> list[tuple[Forwarding, Tunnel]]:
    """Both real servers, then the sorry server."""
    (virtual,) = config.virtual_servers
    assert virtual.sorry_server is not None
    found: list[RealServer] = [*(member.server for member in virtual.members), virtual.sorry_server]
    return [(server.forwarding, server.tunnel) for server in found]


IPIP = (Forwarding.TUNNEL, Tunnel())
BY_GUE = (Forwarding.TUNNEL, Tunnel(TunnelType.GUE, 6080, TunnelChecksum.FULL))
DIRECT = (Forwarding.ROUTE, Tunnel())


@pytest.mark.parametrize(
    ("service", "member", "expected"),
    [
        ("lvs_method TUN", "", [IPIP, IPIP, IPIP]),
        ("lb_kind TUN type ipip", "lvs_method DR", [IPIP, DIRECT, IPIP]),
        ("lvs_method DR", f"lvs_method {GUE}", [DIRECT, BY_GUE, DIRECT]),
        ("lvs_method TUN\nsorry_server_lvs_method DR", f"lvs_method {GUE}", [IPIP, BY_GUE, DIRECT]),
        (f"lvs_method {GUE}\nsorry_server_lvs_method TUN", "", [BY_GUE, BY_GUE, IPIP]),
        ("lvs_method TUN csum port 6080 type gue", "", [BY_GUE, BY_GUE, BY_GUE]),
        ("lvs_method TUN type gue port 6080 nocsum csum", "", [BY_GUE, BY_GUE, BY_GUE]),
    ],
)
def test_each_server_has_its_own_method_or_the_services(
    service: str, member: str, expected: list[object]
) -> None:
    found = config(service, member)
    assert servers(found) == expected
    again = load_text(show_config(found)).config
    assert servers(again) == expected
    assert show_config(again) == show_config(found)


def test_only_a_tunnel_joins_families() -> None:
    assert servers(config("lvs_method TUN", "", "2001:db8::2")) == [IPIP] * 3
    with pytest.raises(ConfError, match="different families"):
        config("lvs_method TUN", "lvs_method DR", "2001:db8::2")


def test_a_server_in_a_tunnel_need_not_be_on_the_link() -> None:
    def about_links(service: str) -> list[str]:
        found = load_text(SERVICE % (service, "10.9.0.2", "")).problems
        return [problem.text for problem in found if "networks" in problem.text]

    assert about_links("lvs_method TUN") == []
    assert len(about_links("lvs_method DR")) == 2


def test_dr_check_does_not_go_through_a_tunnel() -> None:
    def about_checks(service: str) -> list[str]:
        found = load_text(SERVICE % (service, "10.0.0.200", "DR_CHECK {\n}")).problems
        return [problem.text for problem in found if "DR_CHECK" in problem.text]

    assert about_checks("lvs_method DR") == []
    assert about_checks("lvs_method TUN") == [
        "DR_CHECK needs 10.0.0.200 on the same link; it does not use the tunnel"
    ]
