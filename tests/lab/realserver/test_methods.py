"""Every way to set a real server up, on a real network stack: byte for byte restored, killed where it may be.

Runs `up` and `down` in this process (a child that can be killed), in a namespace of its own for each example.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.lab import namespace, waiting
from pointsman.realserver import host, nft, setup, state, watch
from pointsman.realserver.facts import SetupError

pytestmark = pytest.mark.root

VIP, SECOND, VIP6 = map(ipaddress.ip_address, ("192.168.7.33", "192.168.7.34", "fd00::33"))
BUILD = """
ip link set lo up
ip link add eth14 type veth peer name wire14; ip link add quiet type veth peer name wire1
ip link set quiet arp off
for nic in eth14 wire14 quiet wire1; do ip link set $nic up; done
ip address add 192.168.7.99/24 dev eth14; ip -6 address add fd00::99/64 dev eth14 nodad
"""
SNAPSHOT = """
ip -o address | sed 's/ *valid_lft.*//' | grep -v ' fe80' | sort
ip -o link | sort
for way in -4 -6; do ip $way rule; ip $way route show table all | grep -v fe80 | sort; done
grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward | sort
nft list ruleset
"""
STEPS = ((host, "write_arp add_address remove_address set_lo"), (state, "save forget"), (nft, "replace"))
numbers = itertools.count()


class Place:
    """A host in a namespace, and where `realserver` notes what it did there."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory

    def sh(self, script: str) -> str:
        inside = ["nsenter", f"--net=/run/netns/{self.name}", "sh", "-euc", script]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def has_carriers(self) -> bool:
        """Whether the kernel is done with bringing the links up, which it is some time after `ip` is."""
        links = self.sh("ip -o link show type veth").splitlines()
        return len(links) == 4 and all(" state UP " in link for link in links)

    def is_settled(self) -> bool:
        """True if every link whose peer was switched off says so, which the kernel tells a moment later."""
        links = self.sh("ip -o link show type veth").splitlines()
        return not any("M-DOWN" in link and " state UP " in link for link in links)

    def snapshot(self) -> str:
        return self.sh(SNAPSHOT)

    def call(self, action: Callable[[], Any]) -> Any:
        with namespace.entered(self.name):
            return action()

    def up(self, vips: list[Any], method: str, device: str = "") -> list[setup.Step]:
        return self.call(lambda: setup.up(self.directory, vips, None, method, device))  # type: ignore[no-any-return]

    def down(self, vips: list[Any] | None = None) -> list[setup.Step]:
        return self.call(lambda: setup.down(self.directory, vips or []))  # type: ignore[no-any-return]

    def look(self) -> list[str]:
        """The settings that are not right."""
        report = self.call(lambda: watch.look(self.directory, self.vips(), None))
        return [f"{row.setting}: {row.value}" for row in report.settings if not row.ok]

    def vips(self) -> list[Any]:
        known = state.load(self.directory, self.call(host.namespace_identity))
        return [ipaddress.ip_address(text) for text in known.was_there]

    def killed_before(self, step: int, action: Callable[[], Any]) -> bool:
        """Run it in a child that is killed (SIGKILL) before its change number `step`; whether it was."""
        child = os.fork()
        if child == 0:
            left = itertools.count(step, -1)

            def counted(real: Callable[..., Any]) -> Callable[..., Any]:
                def wrapped(*arguments: Any, **options: Any) -> Any:
                    if next(left) == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*arguments, **options)

                return wrapped

            try:
                for module, names in STEPS:
                    for name in names.split():
                        setattr(module, name, counted(getattr(module, name)))
                action()
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), "it ended with an error"
        return code != 0


@contextmanager
def fresh() -> Iterator[Place]:
    name = f"pmt-methods-{os.getpid()}-{next(numbers)}"
    directory = Path(tempfile.mkdtemp())
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        place = Place(name, directory / "run")
        place.sh(BUILD)
        waiting.until(place.has_carriers, 30.0, "every link has its carrier: a snapshot shows it")
        yield place
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
        shutil.rmtree(directory)


@pytest.fixture
def place() -> Iterator[Place]:
    with fresh() as made:
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
    with fresh() as here:
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
def test_every_step_of_every_way_can_be_the_last(place: Place, method: str, device: str) -> None:
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
def test_a_second_vip_comes_and_goes_without_the_first(place: Place, method: str, device: str) -> None:
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


def test_status_knows_which_table_has_drifted_and_up_puts_it_back(place: Place) -> None:
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
        ("sysctl", "eth14", "true", "eth14 speaks ARP, and answers for its own addresses"),
        ("sysctl", "quiet", "ip link set quiet down", "quiet is down. Nothing changed"),
        ("sysctl", "quiet", f"ip address add {VIP}/32 dev lo", f"{VIP} is on lo, not on quiet"),
        (
            "redirect",
            "",
            f"ip address add {VIP}/32 dev lo",
            "with --method redirect this host shall not have",
        ),
        ("redirect", "quiet", "true", "no interface has the VIP: leave --dev quiet out"),
        ("nft", "eth9", "true", "there is no interface eth9 here"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_changed(
    place: Place, method: str, device: str, script: str, said: str
) -> None:
    place.sh(script)
    waiting.until(place.is_settled, 30.0, "the links have the state of their peers")
    snapshot = place.snapshot()
    with pytest.raises(SetupError, match=said):
        place.up([VIP], method, device)
    assert place.snapshot() == snapshot
    assert not place.directory.exists()


def test_a_dummy_is_made_and_removed_or_the_kernel_has_none(place: Place) -> None:
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


def test_an_ipv6_vip_begins_without_detection_and_is_no_source(place: Place) -> None:
    place.up([VIP6], "nft", "eth14")
    (line,) = place.sh(f"ip -o -6 address show dev eth14 to {VIP6}").splitlines()
    assert "nodad" in line
    assert "deprecated" in line
    assert "tentative" not in line
    assert "src fd00::99" in place.sh("ip -6 route get fd00::77")
