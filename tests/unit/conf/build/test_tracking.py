# SPDX-License-Identifier: Apache-2.0
"""Trackers, sync groups, notify scripts and VRRP's finer settings, from text to model and back."""

from __future__ import annotations

import ipaddress

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.config import Config
from pointsman.model.diff import without_locations
from pointsman.model.routing import VirtualRoute
from pointsman.model.tracking import (
    Command,
    Notify,
    Tracked,
    TrackFile,
    TrackKind,
    TrackProcess,
    TrackScript,
)

WHOLE = """
global_defs {
    script_user nobody nogroup
    enable_script_security
    vrrp_notify_fifo /run/vrrp.fifo
    vrrp_notify_fifo_script "/usr/bin/reader -v"
    vrrp_garp_lower_prio_repeat 2
    vrrp_down_timer_adverts 4
    vrrp_startup_delay 2.5
    vrrp_check_unicast_src
}
vrrp_script web {
    script "/usr/bin/curl -f 'http://127.0.0.1/a b'"
    interval 2
    weight -20
    fall 3
    rise 2
    user www-data
    init_fail
}
track_file load {
    file /run/load
    weight 2 reverse
    init_file 7 overwrite
}
vrrp_track_process nginx {
    process nginx -g
    param_match initial
    quorum 2
    quorum_max 9
    delay 1.5
}
vrrp_instance A {
    interface eth0
    virtual_router_id 1
    virtual_ipaddress {
        10.0.0.1/24
    }
    virtual_ipaddress_excluded {
        fd00::1/64
    }
    virtual_routes {
        default via 10.0.0.254 dev eth0 src 10.0.0.1 table 100 metric 5
        to fd01::/64 gw fd00::9
        10.1.0.0/16 oif eth1 scope link
        blackhole 10.2.0.0/16
        192.0.2.0/24 via 10.9.9.9 dev eth0 onlink
    }
    track_script {
        web
    }
    track_interface {
        eth1 weight -10
        eth2
    }
    track_file {
        load
    }
    track_process {
        nginx weight 4
    }
    notify /usr/bin/all
    notify_master "/usr/bin/up --loud" root
    notify_master_rx_lower_pri /usr/bin/lower
    unicast_ttl 5
    lower_prio_no_advert
    v3_checksum_as_v2 on
    notify_priority_changes on
    garp_lower_prio_delay 1
}
vrrp_instance B {
    interface eth1
    virtual_router_id 1
    virtual_ipaddress {
        fd00::2/64
    }
}
vrrp_instance C {
    interface eth2
    virtual_router_id 1
    virtual_ipaddress {
        10.0.2.1
    }
    track_interface {
        eth9 weight 3
    }
}
vrrp_sync_group G {
    group {
        B
        C
    }
    track_interface {
        eth3
    }
    notify_fault "/usr/bin/fault G"
}
"""


@pytest.fixture(scope="module")
def whole() -> Config:
    config, _ = load_text(WHOLE, "f")
    return config


def test_trackers_are_defined(whole: Config) -> None:
    (script,), (file,), (process,) = whole.vrrp.scripts, whole.vrrp.files, whole.vrrp.processes
    assert without_locations(script) == without_locations(
        TrackScript(
            name="web",
            command=Command(("/usr/bin/curl", "-f", "http://127.0.0.1/a b"), "www-data"),
            interval=2.0,
            timeout=2.0,
            weight=-20,
            rise=2,
            fall=3,
            init_fail=True,
        )
    )
    assert without_locations(file) == without_locations(
        TrackFile(name="load", path="/run/load", weight=2, reverse=True, initial=7, overwrite=True)
    )
    assert without_locations(process) == without_locations(
        TrackProcess(
            name="nginx",
            words=("nginx", "-g"),
            arguments="initial",
            quorum=2,
            quorum_max=9,
            fork_delay=1.5,
            terminate_delay=1.5,
        )
    )


def test_an_instance_takes_the_usual_weight_or_writes_its_own(whole: Config) -> None:
    assert whole.instances[0].tracked == (
        Tracked(kind=TrackKind.SCRIPT, name="web", weight=-20),
        Tracked(kind=TrackKind.INTERFACE, name="eth1", weight=-10),
        Tracked(kind=TrackKind.INTERFACE, name="eth2"),
        Tracked(kind=TrackKind.FILE, name="load", weight=2, reverse=True),
        Tracked(kind=TrackKind.PROCESS, name="nginx", weight=4),
    )


def test_programs_have_arguments_and_users(whole: Config) -> None:
    assert whole.instances[0].notify == Notify(
        every=Command(("/usr/bin/all",)),
        master=Command(("/usr/bin/up", "--loud"), "root"),
        lower_priority=Command(("/usr/bin/lower",)),
    )
    assert (whole.vrrp.script_user, whole.vrrp.script_group) == ("nobody", "nogroup")
    (fifo,) = whole.vrrp.fifos
    assert (fifo.word, fifo.path) == ("vrrp_notify_fifo", "/run/vrrp.fifo")
    assert fifo.reader == Command(("/usr/bin/reader", "-v"), "nobody", "nogroup")


def test_finer_settings_come_from_the_instance_or_from_global_defs(whole: Config) -> None:
    first, second, _ = whole.instances
    assert (first.unicast_ttl, first.lower_prio_no_advert, first.garp_lower_prio_delay) == (5, True, 1.0)
    assert (second.unicast_ttl, second.lower_prio_no_advert, second.garp_lower_prio_delay) == (
        255,
        False,
        5.0,
    )
    for instance in whole.instances:
        assert (instance.garp_lower_prio_repeat, instance.down_timer_adverts) == (2, 4)
        assert (instance.startup_delay, instance.check_unicast_source) == (2.5, True)
    assert [str(each.address) for each in first.excluded_addresses] == ["fd00::1"]
    assert [str(each.address) for each in first.moving_addresses] == ["10.0.0.1", "fd00::1"]


def test_an_instance_of_ipv6_addresses_speaks_version_3_over_ipv6(whole: Config) -> None:
    assert (whole.instances[1].version, whole.instances[1].family) == (3, 6)
    assert whole.instances[1].addresses[0].address == ipaddress.IPv6Address("fd00::2")


def test_routes_are_read_in_iproute2_s_language(whole: Config) -> None:
    ip = ipaddress.ip_address
    assert whole.instances[0].routes == (
        VirtualRoute(
            destination=ip("0.0.0.0"),
            prefix_length=0,
            gateway=ip("10.0.0.254"),
            device="eth0",
            source=ip("10.0.0.1"),
            table=100,
            metric=5,
        ),
        VirtualRoute(destination=ip("fd01::"), prefix_length=64, gateway=ip("fd00::9")),
        VirtualRoute(destination=ip("10.1.0.0"), prefix_length=16, device="eth1", scope="link"),
        VirtualRoute(kind="blackhole", destination=ip("10.2.0.0"), prefix_length=16),
        VirtualRoute(
            destination=ip("192.0.2.0"),
            prefix_length=24,
            gateway=ip("10.9.9.9"),
            device="eth0",
            on_link=True,
        ),
    )


def test_a_sync_group_gives_trackers_to_members_whose_own_weights_do_not_count(
    whole: Config,
) -> None:
    (group,) = whole.vrrp.groups
    assert (group.members, group.notify.fault) == (("B", "C"), Command(("/usr/bin/fault", "G")))
    shared = Tracked(kind=TrackKind.INTERFACE, name="eth3")
    assert whole.instances[1].tracked == (shared,)
    assert whole.instances[2].tracked == (Tracked(kind=TrackKind.INTERFACE, name="eth9"), shared)


def test_what_is_shown_can_be_read_again(whole: Config) -> None:
    again, problems = load_text(show_config(whole), "shown")
    assert without_locations(again) == without_locations(whole)
    assert not [
        problem for problem in problems if "eth9" not in problem.text and problem.severity.value == "error"
    ]


FRAME = """vrrp_instance A {
    interface eth0
    virtual_router_id 1
    virtual_ipaddress {
        10.0.0.1
    }
    %s
}
%s
"""


@pytest.mark.parametrize(
    ("inside", "outside", "text"),
    [
        ("virtual_routes {\n via 10.0.0.9\n }", "", "a route needs a destination"),
        ("virtual_routes {\n 10.1.0.0/16\n }", "", "a route needs via GATEWAY or dev INTERFACE"),
        ("virtual_routes {\n 10.1.0.1/16 dev eth0\n }", "", "did you mean 10.1.0.0/16?"),
        (
            "virtual_routes {\n 10.1.0.0/16 dev eth0 src fd00::1\n }",
            "",
            "all addresses of a route must be of one family",
        ),
        ("virtual_routes {\n 10.1.0.0/16 dev eth0 mtu big\n }", "", "big: must be a number"),
        ("track_script {\n x\n }", "", "track_script: there is no vrrp_script x"),
        ("track_interface {\n eth1 weight 400\n }", "", "the weight must be a number from -253 to 253"),
        ("track_interface {\n eth1 often\n }", "", "often is not an option; the options are weight N"),
        ("notify_master ./up.sh", "", "notify_master: ./up.sh is relative"),
        ('notify_master "/bin/a \'b"', "", "notify_master: a ' is not closed"),
        ("", "vrrp_script s {\n interval 1\n }", "vrrp_script s has no script"),
        ("", "track_file f {\n weight 1\n }", "track_file f has no file"),
        ("", "vrrp_sync_group G {\n group {\n Z\n }\n }", "group: there is no vrrp_instance Z"),
        ("", "vrrp_sync_group G {\n group {\n }\n }", "vrrp_sync_group G has no members"),
        (
            "",
            "vrrp_sync_group G {\n group {\n A\n }\n }\nvrrp_sync_group H {\n group {\n A\n }\n }",
            "A is in two sync groups: G and H",
        ),
        (
            "",
            "vrrp_script s {\n script /bin/true\n weight lots\n }",
            "the weight must be a number from -253 to 253",
        ),
    ],
)
def test_a_mistake_is_told(inside: str, outside: str, text: str) -> None:
    with pytest.raises(ConfError) as caught:
        load_text(FRAME % (inside, outside), "f")
    assert any(text in problem.text for problem in caught.value.errors), caught.value.errors
