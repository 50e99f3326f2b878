# SPDX-License-Identifier: Apache-2.0
"""Addresses with every option, and the virtual interfaces that bear them: from text to model and back."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.config import Config
from pointsman.model.diff import without_locations
from pointsman.model.vrrp import VirtualAddress, VirtualInterface, VrrpInstance

FRAME = """
global_defs {{
    {top}
}}
vrrp_instance A {{
    interface eth0
    virtual_router_id 51
    {more}
    virtual_ipaddress {{
        {line}
    }}
}}
"""


def instance(line: str, more: str = "", top: str = "") -> VrrpInstance:
    text = FRAME.format(line=line, more=more, top=top)
    config = load_text(text, "f").config
    again = load_text(show_config(config), "f").config
    assert plain(again) == plain(config), show_config(config)
    return config.instances[0]


def plain(config: Config) -> object:
    return without_locations(config)


def entry(line: str, more: str = "") -> VirtualAddress:
    return instance(line, more).addresses[0]


def test_options_of_an_address() -> None:
    assert entry(
        "192.0.2.9/24 brd + dev eth1 scope link label eth1:9 noprefixroute autojoin preferred_lft 60 no_track"
    ) == VirtualAddress(
        address=ipaddress.ip_address("192.0.2.9"),
        prefix_length=24,
        device="eth1",
        broadcast=ipaddress.ip_address("192.0.2.255"),
        scope="link",
        label="eth1:9",
        preferred=60,
        flags=("noprefixroute", "autojoin"),
        tracked=False,
    )
    ipv6 = entry("2001:db8::9/64 home -nodad mngtmpaddr")
    assert ipv6.flags == ("home", "dad", "mngtmpaddr")


def test_a_single_ipv6_address_is_deprecated_unless_it_is_said_otherwise() -> None:
    assert entry("2001:db8::9").preferred == 0
    assert entry("2001:db8::9 preferred_lft forever").preferred is None
    assert entry("2001:db8::9/64").preferred is None
    assert entry("192.0.2.9").preferred is None


def test_the_other_end_of_a_point_to_point_link() -> None:
    found = entry("192.0.2.9 peer 192.0.2.10/30")
    assert (found.peer, found.prefix_length) == (ipaddress.ip_address("192.0.2.10"), 30)
    assert entry("192.0.2.9 peer 192.0.2.10").prefix_length == 32


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("192.0.2.9 home", "is for IPv6 addresses only"),
        ("192.0.2.9 track_group G", "is for static addresses only"),
        ("192.0.2.9 preferred_lft soon", "must be a number of seconds, or forever"),
        ("192.0.2.9 peer me", "must be an address"),
        ("192.0.2.9 label", "the value is missing"),
        ("192.0.2.9 colour red", "is no option of an address"),
    ],
)
def test_mistakes_are_told_at_their_word(line: str, error: str) -> None:
    with pytest.raises(ConfError) as caught:
        instance(line)
    assert any(error in problem.text for problem in caught.value.problems)


def test_the_virtual_mac_address_follows_number_and_family() -> None:
    found = instance("192.0.2.9/24", "use_vmac")
    assert found.own_interface == VirtualInterface(
        name="vrrp.51", base="eth0", mac=bytes.fromhex("00005e000133")
    )
    assert found.addresses[0].device == "vrrp.51"
    assert found.arrivals == ("eth0",)
    assert not found.advertises_by_base
    six = instance("fe80::9/64", "use_vmac").own_interface
    assert six == VirtualInterface(name="vrrp6.51", base="eth0", mac=bytes.fromhex("00005e000233"))


@pytest.mark.parametrize(
    ("words", "name", "mac"),
    [
        ("v51", "v51", "00005e000133"),
        ("v51 02:00:00:00:00:07", "v51", "020000000007"),
        ("02:00:00:00:01", "vrrp.51", "020000000133"),
        ("name n51 group 7", "n51", "00005e000133"),
    ],
)
def test_name_and_address_may_be_written(words: str, name: str, mac: str) -> None:
    own = instance("192.0.2.9/24", f"use_vmac {words}").own_interface
    assert own is not None
    assert (own.name, own.mac.hex()) == (name, mac)


def test_adverts_by_the_base_and_unicast() -> None:
    assert instance("192.0.2.9/24", "use_vmac\nvmac_xmit_base").advertises_by_base
    peers = "use_vmac\nunicast_peer {\n192.0.2.2\n}"
    assert instance("192.0.2.9/24", peers).advertises_by_base


def test_an_ipvlan_has_the_mac_address_of_its_interface_which_sends_the_adverts() -> None:
    found = instance("192.0.2.9/24", "use_ipvlan\nvrf red")
    assert found.own_interface == VirtualInterface(name="vrrp.51", base="eth0", mode="bridge")
    assert not found.own_interface.has_mac
    assert (found.addresses[0].device, found.arrivals, found.vrf) == ("vrrp.51", ("eth0",), "red")
    assert (found.advertises_by_base, found.advert_device) == (True, "eth0")
    own = instance("192.0.2.9/24", "use_ipvlan name bridge 192.0.2.1/24 vepa group 7").own_interface
    assert own == VirtualInterface(name="bridge", base="eth0", mode="vepa", group=7)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("use_ipvlan\nuse_vmac", "use_vmac and use_ipvlan contradict each other"),
        ("use_ipvlan v51 02:00:00:00:00:07", "an ipvlan has no MAC address of its own"),
        ("use_ipvlan v51 v52", "there is already a name"),
    ],
)
def test_what_an_ipvlan_cannot_have(words: str, error: str) -> None:
    with pytest.raises(ConfError) as caught:
        instance("192.0.2.9/24", words)
    assert any(error in problem.text for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("addresses", "words", "needed"),
    [
        ("192.0.2.9/24\n192.0.2.8/24 dev eth0", "", ()),
        ("192.0.2.9/24 dev eth1\n192.0.2.8/24 dev eth1 no_track", "", ("eth1",)),
        ("192.0.2.9/24 dev eth1 no_track", "", ()),
        ("192.0.2.9/24", "virtual_ipaddress_excluded {\n192.0.2.7/24 dev eth2\n}", ("eth2",)),
        (
            "192.0.2.9/24",
            "virtual_routes {\n10.0.0.0/8 dev eth2\n10.1.0.0/16 dev eth3 no_track\n}",
            ("eth2",),
        ),
        (
            "192.0.2.9/24",
            "virtual_rules {\niif eth2 oif eth3 table 9\niif eth4 table 9 no_track\n}",
            ("eth2", "eth3"),
        ),
        ("192.0.2.9/24 dev eth1", "use_vmac\ndont_track_primary", ("eth1",)),
    ],
)
def test_the_interfaces_without_which_an_instance_cannot_serve(
    addresses: str, words: str, needed: tuple[str, ...]
) -> None:
    found = instance(addresses, words)
    assert found.needed_interfaces == needed
    assert found.tracks_interface is ("dont_track_primary" not in words)


def test_addresses_on_other_interfaces_have_virtual_ones_when_they_ask() -> None:
    lines = "192.0.2.9/24\n198.51.100.9/24 dev eth1 use_vmac\n203.0.113.9/24 dev eth2"
    found = instance(lines, "use_vmac", "vmac_prefix v\nvmac_addr_prefix w")
    assert [each.device for each in found.addresses] == ["v.51", "w.51", "eth2"]
    assert found.arrivals == ("eth0", "eth1", "eth2")
    assert [each.base for each in found.virtual_interfaces] == ["eth0", "eth1"]
    assert found.needed_interfaces == ("eth1", "eth2"), "a virtual interface goes down with its base"
    every = instance(lines.replace(" use_vmac", ""), "use_vmac_addr")
    assert [each.device for each in every.addresses] == ["eth0", "vrrp.51", "vrrp.51.1"]


def test_each_instance_has_its_own_interface() -> None:
    one = FRAME.format(top="", more="use_vmac", line="192.0.2.9/24")
    other = (
        one.replace("instance A", "instance B").replace("eth0", "eth1").replace("global_defs {\n    \n}", "")
    )
    config = load_text(one + other, "f").config
    assert [each.own_interface.name for each in config.instances if each.own_interface] == [
        "vrrp.51",
        "vrrp.51.1",
    ]


def test_announcements_where_no_adverts_leave() -> None:
    found = instance("192.0.2.9/24", "use_vmac\ngarp_extra_if 60")
    assert (found.extra_announcements, found.extra_everywhere) == (60, False)
    assert found.advert_device == "vrrp.51"
    other = instance("192.0.2.9/24", "use_vmac\nvmac_xmit_base", "vrrp_garp_extra_if all 30")
    assert (other.extra_announcements, other.extra_everywhere, other.advert_device) == (30, True, "eth0")
    with pytest.raises(ConfError, match="must be a number from 0 to 86400"):
        instance("192.0.2.9/24", "garp_extra_if soon")


@pytest.mark.parametrize("name", ["track_group", "no_track", "use_vmac", "-nodad", "scope", "dev"])
def test_a_device_or_label_may_be_called_like_an_option(name: str) -> None:
    """`conf show` writes such lines, too."""
    more = f"virtual_ipaddress_excluded {{\n192.0.2.7/24 dev {name} scope link label {name}\n}}"
    (excluded,) = instance("192.0.2.9/24", more).excluded_addresses
    assert (excluded.device, excluded.label, excluded.scope) == (name, name, "link")
    assert (excluded.tracked, excluded.track_group, excluded.flags) == (True, "", ())


def test_an_option_that_moving_addresses_lack_is_told_at_its_own_word() -> None:
    with pytest.raises(ConfError, match=r"f:10:40: error: virtual_ipaddress track_group: is for static"):
        instance("192.0.2.9/24 label track_group track_group G")


def test_a_static_address_on_a_device_called_track_group_is_of_no_group() -> None:
    config = load_text("static_ipaddress {\n192.0.2.7/24 dev track_group scope link\n}", "f").config
    (address,) = config.static.addresses
    assert (address.device, address.track_group) == ("track_group", "")
