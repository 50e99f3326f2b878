# SPDX-License-Identifier: Apache-2.0
"""Every way to set a real server up, on a real network stack: byte for byte restored, killed where it may be.

Runs `up` and `down` in this process (a child that can be killed), in a namespace of its own for each example.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.realserver_place import SECOND, VIP, VIP6, RealServerHost, fresh_host

from pointsman.lab import waiting
from pointsman.realserver import setup
from pointsman.realserver.facts import SetupError

pytestmark = pytest.mark.root


@pytest.fixture
def place() -> Iterator[RealServerHost]:
    with fresh_host() as made:
        yield made


WAYS = [("sysctl", "lo"), ("sysctl", "quiet"), ("nft", "lo"), ("nft", "eth14"), ("redirect", "")]
FOUND_BEFORE = st.lists(
    st.sampled_from(
        [
            "sysctl -qw net.ipv4.conf.all.arp_ignore=1",
            "sysctl -qw net.ipv4.conf.eth14.arp_ignore=2 net.ipv4.conf.all.arp_announce=1",
            "sysctl -qw net.ipv4.conf.lo.arp_ignore=8 net.ipv4.conf.eth14.arp_announce=2",
            "ip link set lo down",
            "ip link set lo down; ip address flush dev lo",
            "ip address add 10.1.1.1/32 dev lo",
            "nft add table arp pointsman_not; nft add table inet filter; "
            "nft add chain inet filter input '{ type filter hook input priority 0; }'",
            "VIP there",
        ]
    ),
    max_size=3,
    unique=True,
)


@given(
    way=st.sampled_from(WAYS),
    before=FOUND_BEFORE,
    vips=st.lists(st.sampled_from([VIP, SECOND, VIP6]), min_size=1, unique=True),
    killed_in_up=st.integers(0, 14),
    finish=st.booleans(),
    killed_in_down=st.integers(0, 12),
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_up_and_down_leave_the_host_as_it_was_wherever_they_were_killed(
    way: tuple[str, str],
    before: list[str],
    vips: list[Any],
    killed_in_up: int,
    finish: bool,
    killed_in_down: int,
) -> None:
    method, device = way
    with fresh_host() as here:
        for script in before:
            if script != "VIP there":
                here.sh(script)
            elif device:
                here.sh(f"ip address add {vips[0]}/{vips[0].max_prefixlen} dev {device}")
        snapshot = here.snapshot()
        here.killed_before(killed_in_up, lambda: here.up(vips, method, device))
        if finish:
            here.up(vips, method, device)
            assert here.look() == []
        here.killed_before(killed_in_down, here.down)
        here.down()
        assert here.snapshot() == snapshot
        assert not here.directory.exists()


@pytest.mark.parametrize(("method", "device"), [("sysctl", "lo"), ("nft", "eth14"), ("redirect", "")])
def test_every_step_of_every_way_can_be_the_last(place: RealServerHost, method: str, device: str) -> None:
    snapshot = place.snapshot()
    for action in ("up", "down"):
        for step in range(30):
            if action == "down":
                place.up([VIP, VIP6], method, device)
            change = place.down if action == "down" else lambda: place.up([VIP, VIP6], method, device)
            was_killed = place.killed_before(step, change)
            place.down()
            assert place.snapshot() == snapshot, (action, step)
            if not was_killed:
                break
        assert step >= 2, "it was killed at least twice: before the notes, and before the rules"


@pytest.mark.parametrize(("method", "device"), WAYS)
def test_a_second_vip_comes_and_goes_without_the_first(
    place: RealServerHost, method: str, device: str
) -> None:
    snapshot = place.snapshot()
    place.up([VIP], method, device)
    one = place.snapshot()
    place.up([SECOND, VIP6], "", device)
    assert place.look() == []
    assert not any(
        step.outcome is setup.Outcome.CHANGED for step in place.up([VIP, SECOND, VIP6], "", device)
    )
    place.down([SECOND, VIP6])
    assert place.snapshot() == one
    place.down()
    assert place.snapshot() == snapshot


def test_status_knows_which_table_has_drifted_and_up_puts_it_back(place: RealServerHost) -> None:
    place.up([VIP, VIP6], "nft", "eth14")
    place.sh("nft flush chain ip6 pointsman_nd input")
    assert place.look() == ["nftables table ip6 pointsman_nd: changed"]
    place.up([VIP, VIP6], "")
    assert place.look() == []
    place.sh("nft delete table arp pointsman")
    assert place.look() == ["nftables table arp pointsman: absent"]


@pytest.mark.parametrize(
    ("method", "device", "script", "said"),
    [
        ("sysctl", "eth14", "true", "eth14 uses ARP and answers for its own addresses"),
        ("sysctl", "quiet", "ip link set quiet down", "quiet is down. Nothing changed"),
        ("sysctl", "quiet", f"ip address add {VIP}/32 dev lo", f"{VIP} is on lo, not on quiet"),
        (
            "redirect",
            "",
            f"ip address add {VIP}/32 dev lo",
            "with --method redirect this host must not have",
        ),
        ("redirect", "quiet", "true", "no interface has the VIP: omit --dev quiet"),
        ("nft", "eth9", "true", "there is no interface eth9 here"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_changed(
    place: RealServerHost, method: str, device: str, script: str, said: str
) -> None:
    place.sh(script)
    waiting.until(place.is_settled, 30.0, "the links have the state of their peers")
    snapshot = place.snapshot()
    with pytest.raises(SetupError, match=said):
        place.up([VIP], method, device)
    assert place.snapshot() == snapshot
    assert not place.directory.exists()


def test_a_dummy_is_made_and_removed_or_the_kernel_has_none(place: RealServerHost) -> None:
    snapshot = place.snapshot()
    try:
        place.up([VIP, VIP6], "sysctl", "dummy7")
    except SetupError as error:
        assert str(error).endswith("this kernel has no dummy interfaces; use lo")
    else:
        assert f"{VIP}/32" in place.sh("ip -o address show dev dummy7")
        assert place.look() == []
    place.down()
    assert place.snapshot() == snapshot


def test_an_ipv6_vip_begins_without_detection_and_is_no_source(place: RealServerHost) -> None:
    place.up([VIP6], "nft", "eth14")
    (line,) = place.sh(f"ip -o -6 address show dev eth14 to {VIP6}").splitlines()
    assert "nodad" in line
    assert "deprecated" in line
    assert "tentative" not in line
    assert "src fd00::99" in place.sh("ip -6 route get fd00::77")
