# SPDX-License-Identifier: Apache-2.0
"""Routes, rules and what is static: from text to model and back, and mistakes at their word."""

from __future__ import annotations

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.diff import without_locations

FRAME = """
track_group G {{
    group {{
        A
    }}
}}
static_{word} {{
    {line}
}}
vrrp_instance A {{
    interface eth0
    virtual_router_id 51
    virtual_{word} {{
        {line}
    }}
}}
"""
ROUTES = (
    "10.1.0.0/16 via 10.0.0.9 dev eth0 src 10.0.0.1 metric 5 table 77 scope site protocol bird tos 0x04",
    "default via 10.0.0.9 or 10.0.0.10 dev eth0 mtu lock 1400 advmss 101 window 105 ssthresh lock 107",
    "10.1.0.0/16 dev eth0 rtt 102ms rttvar 103 rto_min 108 reordering 104 cwnd 106 initrwnd 110 append",
    "10.1.0.0/16 nexthop via 10.0.0.9 weight 3 nexthop dev eth1 onlink",
    "10.1.0.0/16 via inet6 fe80::1 dev eth0 realms 7/9 congctl reno features ecn",
    "blackhole 10.1.0.0/16 add",
    "inet6 default via fe80::1 dev eth0 pref low expires 60 ttl-propagate disabled fastopen_no_cookie 1",
    "2001:db8::/32 from 2001:db8:1::/48 dev eth0 onlink quickack 1 hoplimit 9",
    "10.1.0.0/16 encap ip id 5 dst 10.0.0.9 src 10.0.0.1 ttl 9 tos 4 flags 7 dev eth0 src 10.0.0.2",
    "10.1.0.0/16 dev eth0 encap ip6 id 0x10 dst 2001:db8::9 hoplimit 3 tc 1 metric 5",
    "10.1.0.0/16 nexthop via 10.0.0.9 encap mpls 100/200 ttl 7 weight 2 nexthop via 10.0.0.8 encap mpls 16",
    "2001:db8::/32 encap seg6 mode inline segs 2001:db8::1,2001:db8::2 dev eth0",
)
RULES = (
    "from 10.1.0.0/16 to 10.2.0.0/16 iif eth0 oif eth1 tos 16 fwmark 24/12 priority 39 realms 30/20 goto 40",
    "not from 10.1.0.0/16 lookup main",
    "to 2001:db8::/32 uidrange 100-200 l3mdev protocol 12 ipproto udp sport 10-20 dport 30",
    "inet6 fwmark 1 unreachable",
    "iif eth0 type prohibit",
    "from 10.1.0.0/16 table 9 suppress_prefixlength 0 sup_group 3 tunnel-id 5",
    "to 10.1.0.0/16 nop preference 7",
)


def text(word: str, line: str) -> str:
    return FRAME.format(word=word, line=line)


@pytest.mark.parametrize("line", ROUTES)
def test_routes_come_back_as_they_were(line: str) -> None:
    config = load_text(text("routes", line), "f").config
    assert config.static.routes == config.instances[0].routes != ()
    again = load_text(show_config(config), "f").config
    assert without_locations(again) == without_locations(config), show_config(config)


@pytest.mark.parametrize("line", RULES)
def test_rules_come_back_as_they_were(line: str) -> None:
    config = load_text(text("rules", line), "f").config
    (static,), (moving,) = config.static.rules, config.instances[0].rules
    written = static.preference == moving.preference
    assert written or (static.preference, moving.preference) == (16384, 16383)
    again = load_text(show_config(config), "f").config
    assert without_locations(again) == without_locations(config), show_config(config)


def test_options_of_either_kind() -> None:
    config = load_text(
        "global_defs {\n default_interface eth7\n}\n"
        + "static_ipaddress {\n 10.0.0.9/24 track_group G\n 10.0.0.10 dev eth1\n}\n"
        + text("routes", "10.1.0.0/16 dev eth0"),
        "f",
    ).config
    assert [each.device for each in config.static.addresses] == ["eth7", "eth1"]
    assert [each.track_group for each in config.static.addresses] == ["G", ""]
    assert [(group.name, group.members) for group in config.static.groups] == [("G", ("A",))]
    assert without_locations(load_text(show_config(config), "f").config) == without_locations(config)


@pytest.mark.parametrize(
    ("word", "line", "error"),
    [
        ("routes", "10.1.0.0/16 dev eth0 mtu", "the value is missing"),
        ("routes", "10.1.0.0/16 dev eth0 colour red", "is not an option of a route"),
        ("routes", "10.1.0.0/16 dev eth0 pref high", "are for IPv6 routes"),
        ("routes", "2001:db8::/32 via 10.0.0.9", "an IPv6 route cannot have an IPv4 gateway"),
        ("routes", "10.1.0.0/16 nexthop weight 3", "nexthop needs via or dev"),
        ("routes", "10.1.0.0/16 dev eth0 track_group H", "there is no track_group H"),
        ("routes", "10.1.0.0/16 encap gre id 5 dev eth0", "gre is not ip, ip6, mpls or seg6"),
        ("routes", "10.1.0.0/16 dev eth0 encap ip ttl 5", "encap ip needs dst or id"),
        ("routes", "10.1.0.0/16 dev eth0 encap ip6 dst 10.0.0.9", "10.0.0.9 is not an IPv6 address"),
        ("routes", "10.1.0.0/16 dev eth0 encap mpls 100/1048576", "must be a number from 0 to 1048575"),
        ("routes", "10.1.0.0/16 dev eth0 encap seg6 mode encap", "encap seg6 needs segs"),
        (
            "routes",
            "10.1.0.0/16 dev eth0 encap seg6 mode x segs fd00::1",
            "the mode must be one of inline, encap",
        ),
        ("routes", "10.1.0.0/16 dev eth0 vrf red", "write the table of the VRF"),
        ("rules", "from 10.1.0.0/16", "a rule needs table, goto"),
        (
            "rules",
            "from 10.1.0.0/16 to 2001:db8::/32 table 9",
            "all addresses of a rule must be of one family",
        ),
        ("rules", "dport 30-20 table 9", "must be a number or a range such as 10-20"),
        ("rules", "from 10.1.0.1/16 table 9", "is not a network"),
    ],
)
def test_mistakes_are_told(word: str, line: str, error: str) -> None:
    with pytest.raises(ConfError) as caught:
        load_text(text(word, line), "f")
    assert any(error in str(problem) for problem in caught.value.errors), caught.value.errors
