# SPDX-License-Identifier: Apache-2.0
"""Strict mode, multicast groups, TTL limits of peers: from text to model and back, and what is forbidden."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.diff import without_locations
from pointsman.model.tracking import AnnouncementPauses
from pointsman.model.vrrp import TtlLimits, VrrpInstance

FRAME = """
global_defs {
    %s
}
vrrp_instance A {
    interface eth0
    virtual_router_id 51
    %s
}
"""
VIP = "virtual_ipaddress {\n10.0.0.9\n}\n"


def instance(more: str, top: str = "") -> VrrpInstance:
    config = load_text(FRAME % (top, more), "f").config
    assert without_locations(load_text(show_config(config), "f").config) == without_locations(config), (
        show_config(config)
    )
    return config.instances[0]


def test_strict_mode_implies_what_keepalived_implies() -> None:
    found = instance(VIP + "version 3\naccept", "vrrp_strict")
    assert (found.strict, found.lower_prio_no_advert, found.garp_lower_prio_repeat) == (True, True, 0)
    assert not found.owner_ignores_adverts
    owner = instance(VIP + "state MASTER\npriority 255\nstrict_mode")
    assert owner.owner_ignores_adverts
    assert not instance(VIP + "strict_mode off", "vrrp_strict").strict


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (VIP, "nobody would reach them"),
        (VIP + "version 3", "nobody would reach them"),
        (VIP + "accept", "nobody would reach them"),
        ("version 3\naccept", "an instance must have a virtual address"),
        (VIP + "version 3\naccept\nunicast_peer {\n10.0.0.2\n}", "unicast adverts are not allowed"),
        (VIP + "authentication {\nauth_type PASS\nauth_pass x\n}", "authentication is not allowed"),
        (VIP + "version 3\naccept\nstate MASTER\npriority 9", "state MASTER needs priority 255"),
        (VIP + "version 3\naccept\npreempt_delay 9", "preempt_delay is not allowed"),
        (VIP + "version 3\naccept\nuse_vmac\nvmac_xmit_base", "adverts must leave by the VMAC"),
        (VIP + "version 3\naccept\nlower_prio_no_advert off", "a lower priority must not be answered"),
        ("virtual_ipaddress {\n2001:db8::9/64\n}\naccept", "the first IPv6 address must be link-local"),
    ],
)
def test_what_strict_mode_forbids(more: str, error: str) -> None:
    with pytest.raises(ConfError) as caught:
        instance(more, "vrrp_strict")
    assert any(error in str(each) for each in caught.value.errors), caught.value.errors


def test_groups_limits_and_checksums() -> None:
    found = instance(VIP, "vrrp_mcast_group4 224.0.0.77")
    assert found.multicast_group == ipaddress.ip_address("224.0.0.77")
    assert instance(VIP + "mcast_dst_ip 224.0.0.18", "vrrp_mcast_group4 224.0.0.77").multicast_group is None
    assert instance(VIP, "vrrp_mcast_group6 ff02::77").multicast_group is None
    peers = "unicast_peer {\n10.0.0.2 min_ttl 254\n10.0.0.3 min_ttl 1 max_ttl 9\n10.0.0.4\n}\n"
    unicast = instance(VIP + peers + "old_unicast_checksum")
    assert unicast.ttl_limits == (
        TtlLimits(ipaddress.ip_address("10.0.0.2"), 254, 255),
        TtlLimits(ipaddress.ip_address("10.0.0.3"), 1, 9),
    )
    assert (unicast.check_unicast_source, unicast.old_unicast_checksum) == (True, True)
    assert not instance(VIP + peers + "old_unicast_checksum never").old_unicast_checksum
    with pytest.raises(ConfError, match="is not an IPv4 multicast address"):
        instance(VIP + "mcast_dst_ip 10.0.0.1")


def test_no_accept_says_so_in_strict_mode_too() -> None:
    assert not instance(VIP + "no_accept").accepts
    assert instance(VIP + "no_accept\nstate MASTER\npriority 255").accepts
    assert instance(VIP).accepts
    strict = instance(VIP + "no_accept", "vrrp_strict")
    assert strict.strict and not strict.accepts
    with pytest.raises(ConfError, match="accept and no_accept contradict each other"):
        instance(VIP + "accept\nno_accept")


def test_pauses_between_announcements() -> None:
    group = "garp_group {\n%s\n}\n"
    several = "interfaces {\neth0\neth1\n}\ninterface eth2\ngarp_interval 0.5\ngna_interval 2"
    text = group % several + FRAME % ("vrrp_garp_interval 0.001", VIP)
    config = load_text(text, "f").config
    assert config.vrrp.pauses == (
        AnnouncementPauses(interfaces=("eth0", "eth1", "eth2"), arp=0.5, na=2.0),
        AnnouncementPauses(arp=0.001),
    )
    assert without_locations(load_text(show_config(config), "f").config) == without_locations(config), (
        show_config(config)
    )
    for words, error in (
        ("garp_interval 1", "garp_group names no interface"),
        ("interface eth0\n}\ngarp_group {\ninterface eth0", "is already in a garp_group"),
        ("interface this-name-is-too-long", "this-name-is-too-long"),
    ):
        with pytest.raises(ConfError) as caught:
            load_text(group % words + FRAME % ("", VIP), "f")
        assert any(error in str(each) for each in caught.value.errors), caught.value.errors
