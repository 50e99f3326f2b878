# SPDX-License-Identifier: Apache-2.0
"""The files that make a real server last, below a root of their own."""

from __future__ import annotations

import configparser
import ipaddress
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.realserver import persist, sysctl
from pointsman.realserver.facts import ArpKey, SetupError
from pointsman.realserver.persist import IFUPDOWN, NETWORKD, SYSCTL, Backend, FileChange

VIP = ipaddress.ip_address("192.168.100.9")
VIP2 = ipaddress.ip_address("192.168.100.8")
VIP6 = ipaddress.ip_address("fd00::9")
PLAIN = "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n"
DOCUMENT = """auto lo
iface lo inet loopback
    up ip addr add dev lo 192.168.100.9/32
    up route add -host 192.168.100.9 dev lo
source /etc/network/interfaces.d/*
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with ifupdown."""
    for name, text in {"etc/network/interfaces": PLAIN, "usr/sbin/ifup": ""}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


def enable_networkd(root: Path) -> None:
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")


def apply(changes: list[FileChange]) -> None:
    for change in changes:
        change.apply()


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_add_writes_the_documents_file_and_keys(root: Path) -> None:
    apply(persist.add(root, [VIP], ["ens224"], Backend.AUTO))
    assert sysctl.parse((root / SYSCTL).read_text()) == {
        ArpKey(place, name): value
        for place in ("all", "lo", "ens224")
        for name, value in (("arp_ignore", 1), ("arp_announce", 2))
    }
    assert "up ip address replace 192.168.100.9/32 dev lo" in (root / IFUPDOWN).read_text()


def test_remove_leaves_the_host_as_it_was(root: Path) -> None:
    before = tree(root)
    apply(persist.add(root, [VIP, VIP6], ["ens224"], Backend.AUTO))
    assert tree(root) != before
    apply(persist.remove(root, [], Backend.AUTO))
    assert tree(root) == before


def test_twice_is_once_and_vips_add_up(root: Path) -> None:
    apply(persist.add(root, [VIP], ["ens224"], Backend.AUTO))
    once = tree(root)
    again = persist.add(root, [VIP], [], Backend.AUTO)
    assert not any(change.diff() for change in again)
    apply(again)
    assert tree(root) == once
    apply(persist.add(root, [VIP2, VIP6], [], Backend.AUTO))
    assert persist.own_vips(root) == [VIP, VIP2, VIP6]
    apply(persist.remove(root, [VIP2, VIP6], Backend.AUTO))
    assert tree(root) == once


def test_only_ipv6_needs_no_arp_rules(root: Path) -> None:
    apply(persist.add(root, [VIP6], [], Backend.AUTO))
    assert not (root / SYSCTL).exists()
    assert "iface lo inet6 manual" in (root / IFUPDOWN).read_text()


def test_the_diff_is_shown_before_anything_is_written(root: Path) -> None:
    before = tree(root)
    text = "".join(change.diff() for change in persist.add(root, [VIP], [], Backend.AUTO))
    assert "+net.ipv4.conf.all.arp_ignore = 1" in text
    assert tree(root) == before


def test_a_file_of_another_hand_is_not_touched(root: Path) -> None:
    path = root / SYSCTL
    path.parent.mkdir(parents=True)
    path.write_text("net.ipv4.conf.all.arp_ignore = 1\n")
    with pytest.raises(SetupError, match=r"was not written by pointsman.*conf\.all\.arp_announce = 2"):
        persist.add(root, [VIP], [], Backend.AUTO)
    path.write_text("".join(f"{key} = {2 if 'announce' in str(key) else 1}\n" for key in all_and_lo()))
    changes = persist.add(root, [VIP], [], Backend.AUTO)
    assert path not in [change.path for change in changes], "it says already what is wanted"


def test_the_file_of_the_document_is_enough_for_every_interface(root: Path) -> None:
    path = root / SYSCTL
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{key} = {2 if 'announce' in str(key) else 1}\n" for key in all_and_lo()))
    changes = persist.add(root, [VIP], ["ens224"], Backend.AUTO)
    assert path not in [change.path for change in changes], "`all` holds for each interface"
    path.write_text(path.read_text().replace("all.arp_announce = 2", "all.arp_announce = 0"))
    with pytest.raises(SetupError, match=r"ens224\.arp_announce = 2"):
        persist.add(root, [VIP], ["ens224"], Backend.AUTO)


def all_and_lo() -> list[ArpKey]:
    return [ArpKey(place, name) for place in ("all", "lo") for name in ("arp_ignore", "arp_announce")]


def test_a_vip_the_administrator_has_in_interfaces_is_left_to_him(root: Path) -> None:
    (root / "etc/network/interfaces").write_text(DOCUMENT)
    apply(persist.add(root, [VIP, VIP2], [], Backend.AUTO))
    text = (root / IFUPDOWN).read_text()
    assert "192.168.100.8/32" in text
    assert "192.168.100.9" not in text


def test_interfaces_that_read_no_folder_are_refused(root: Path) -> None:
    (root / "etc/network/interfaces").write_text("auto lo\niface lo inet loopback\n")
    with pytest.raises(SetupError, match=r"Add the line `source /etc/network/interfaces\.d/\*`"):
        persist.add(root, [VIP], [], Backend.AUTO)


def test_networkd_when_it_is_enabled_and_the_other_ones_file_goes(root: Path) -> None:
    apply(persist.add(root, [VIP], [], Backend.AUTO))
    enable_networkd(root)
    apply(persist.add(root, [VIP6], [], Backend.AUTO))
    assert not (root / IFUPDOWN).exists()
    assert (
        (root / NETWORKD)
        .read_text()
        .endswith("[Match]\nName=lo\n\n[Network]\nAddress=192.168.100.9/32\nAddress=fd00::9/128\n")
    )


def test_a_network_file_that_has_lo_already_gets_a_drop_in(root: Path) -> None:
    folder = root / "etc/systemd/network"
    folder.mkdir(parents=True)
    (folder / "10-loopback.network").write_text("[Match]\nName=lo\n[Network]\nAddress=10.0.0.1/32\n")
    (folder / "00-eth.network").write_text("[Match]\nName=e*\n")
    before = tree(root)
    apply(persist.add(root, [VIP], [], Backend.NETWORKD))
    assert not (root / NETWORKD).exists()
    drop_in = folder / "10-loopback.network.d/pointsman.conf"
    assert drop_in.read_text().endswith("\n[Network]\nAddress=192.168.100.9/32\n")
    assert persist.own_vips(root) == [VIP]
    apply(persist.remove(root, [], Backend.NETWORKD))
    assert tree(root) == before
    assert not drop_in.parent.exists()


def test_networkmanager_gets_a_keyfile_that_only_root_can_read(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "NetworkManager.service").symlink_to("/lib/systemd/system/NetworkManager.service")
    apply(persist.add(tmp_path, [VIP, VIP2, VIP6], ["ens224"], Backend.AUTO))
    file = configparser.ConfigParser()
    file.read(tmp_path / persist.KEYFILE)
    assert dict(file["connection"]) == {"id": "pointsman-lo", "type": "loopback", "interface-name": "lo"}
    assert dict(file["ipv4"]) == {"address1": f"{VIP}/32", "address2": f"{VIP2}/32", "method": "manual"}
    assert dict(file["ipv6"]) == {"address1": f"{VIP6}/128", "method": "manual"}
    assert (tmp_path / persist.KEYFILE).stat().st_mode & 0o777 == 0o600
    apply(persist.remove(tmp_path, [VIP6], Backend.AUTO))
    file = configparser.ConfigParser()
    file.read(tmp_path / persist.KEYFILE)
    assert dict(file["ipv6"]) == {"method": "auto"}


def test_netplan_gets_a_file_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "etc/netplan").mkdir(parents=True)
    (tmp_path / "etc/netplan/50-cloud-init.yaml").write_text("network: {version: 2}\n")
    enable_networkd(tmp_path)
    before = tree(tmp_path)
    apply(persist.add(tmp_path, [VIP, VIP6], ["ens224"], Backend.AUTO))
    text = (tmp_path / persist.NETPLAN).read_text()
    assert text.endswith(
        'ethernets:\n    lo:\n      addresses:\n        - "127.0.0.1/8"\n        - "::1/128"\n'
        f'        - "{VIP}/32"\n        - "{VIP6}/128"\n'
    )
    assert (tmp_path / persist.NETPLAN).stat().st_mode & 0o777 == 0o600
    apply(persist.remove(tmp_path, [], Backend.AUTO))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", [persist.KEYFILE, persist.NETPLAN])
def test_a_file_of_that_name_by_another_hand_is_not_touched(tmp_path: Path, name: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("mine\n")
    backend = Backend.NETPLAN if name == persist.NETPLAN else Backend.NETWORK_MANAGER
    with pytest.raises(SetupError, match="was not written by pointsman"):
        persist.add(tmp_path, [VIP], [], backend)


OTHERS = {
    "etc/sysctl.d/10-other.conf": "net.ipv4.conf.all.arp_ignore = 1\n",
    "etc/network/interfaces.d/other": DOCUMENT,
    "etc/systemd/network/10-lo.network": "[Match]\nName=lo\n",
    "etc/systemd/network/10-lo.network.d/other.conf": "[Network]\n",
    "etc/NetworkManager/system-connections/wire.nmconnection": "[connection]\n",
    "etc/netplan/01.yaml": "network: {version: 2}\n",
}


@given(
    others=st.sets(st.sampled_from(sorted(OTHERS))),
    ways=st.lists(st.sampled_from([item for item in Backend if item is not Backend.AUTO]), min_size=1),
    vips=st.lists(st.sampled_from([VIP, VIP2, VIP6]), min_size=1, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_whatever_was_there_is_there_again_after_remove(
    others: set[str], ways: list[Backend], vips: list[ipaddress.IPv4Address]
) -> None:
    """Also when one VIP after the other was written, by one program after the other."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ["etc/network/interfaces", *others]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(OTHERS.get(name, PLAIN))
        before = tree(root)
        for backend in ways:
            for vip in vips:
                apply(persist.add(root, [vip], ["ens224"], backend))
        apply(persist.remove(root, [], ways[-1]))
        assert tree(root) == before


def test_a_host_with_neither_is_told_of_the_unit(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"pointsman-realserver\.service"):
        persist.add(tmp_path, [VIP], [], Backend.AUTO)


def test_a_vip_line_mended_by_hand_is_named(root: Path) -> None:
    apply(persist.add(root, [VIP], [], Backend.AUTO))
    path = root / IFUPDOWN
    path.write_text(path.read_text().replace("# VIPs: 192.168.100.9", "# VIPs: 192.168.100.999"))
    with pytest.raises(SetupError, match=r"pointsman-lo.*192\.168\.100\.999"):
        persist.add(root, [VIP2], [], Backend.AUTO)


def test_which_file_sets_a_key_is_the_last_that_does(tmp_path: Path) -> None:
    key = ArpKey("all", "arp_ignore")
    for name, value in {"etc/sysctl.d/10-a.conf": 1, "usr/lib/sysctl.d/20-b.conf": 0}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(f"# {key} = 7\n-{key} = {value}\n")
    assert sysctl.file_that_sets(key, 1, tmp_path) is None, "20-b.conf comes later"
    (tmp_path / "etc/sysctl.d/20-b.conf").symlink_to("/dev/null")
    assert sysctl.file_that_sets(key, 1, tmp_path) == str(tmp_path / "etc/sysctl.d/10-a.conf")


@pytest.mark.skipif(shutil.which("ifquery") is None, reason="ifupdown is not installed")
def test_ifupdown_itself_reads_the_stanza(root: Path) -> None:
    apply(persist.add(root, [VIP, VIP6], [], Backend.IFUPDOWN))
    main = root / "etc/network/interfaces"
    main.write_text(PLAIN.replace("/etc/network", str(main.parent)))
    done = subprocess.run(
        ["ifquery", "-i", main, "lo"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}"},
    )
    assert "up: ip address replace 192.168.100.9/32 dev lo" in done.stdout
    assert "up: ip address replace fd00::9/128 dev lo" in done.stdout
