# SPDX-License-Identifier: Apache-2.0
"""The unit's settings, by which nft and redirect hold over a boot: whatever was there is there again."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pointsman.cli.realserver.command import realserver
from pointsman.realserver import persist, unit
from pointsman.realserver.facts import SetupError
from pointsman.realserver.persist import SYSCTL, Backend

VIP, VIP2, VIP6 = map(ipaddress.ip_address, ("192.168.7.33", "192.168.7.34", "fd00::33"))
INSTALLED = (Path(__file__).parents[3] / "systemd/pointsman-realserver.default").read_text()
FILES = ["", INSTALLED, 'VIPS=""', "OPTIONS=--interface ens224\n", "OPTIONS='--method nft' \n# no VIPs\n"]


def settings(root: Path, text: str | None) -> Path:
    path = root / unit.SETTINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        path.write_text(text)
    return path


def assigned(path: Path) -> dict[str, str]:
    """Return the value that systemd uses: the last one."""
    pairs = [line.split("=", 1) for line in path.read_text().splitlines() if not line.startswith("#")]
    return {pair[0]: pair[1].strip("\"'") for pair in pairs if len(pair) == 2}


def apply(changes: list[persist.FileChange]) -> None:
    for change in changes:
        change.apply()


def test_vips_come_and_go_in_one_way(tmp_path: Path) -> None:
    path = settings(tmp_path, INSTALLED)
    apply(unit.add(tmp_path, [VIP], "nft", ""))
    assert assigned(path) == {"VIPS": "192.168.7.33", "OPTIONS": "--method=nft"}
    apply(unit.add(tmp_path, [VIP6, VIP], "nft", "lo"))
    assert assigned(path) == {"VIPS": "192.168.7.33 fd00::33", "OPTIONS": "--method=nft"}
    assert unit.add(tmp_path, [VIP], "nft", "")[0].diff() == ""
    apply(unit.remove(tmp_path, [VIP]))
    assert assigned(path)["VIPS"] == "fd00::33"
    apply(unit.remove(tmp_path, [VIP6]))
    assert path.read_text() == INSTALLED
    assert unit.remove(tmp_path, []) == []


def test_options_of_others_are_kept_and_the_method_is_replaced(tmp_path: Path) -> None:
    path = settings(tmp_path, 'OPTIONS="--interface ens224 --method sysctl --dev dummy1"\n')
    apply(unit.add(tmp_path, [VIP], "redirect", ""))
    assert assigned(path)["OPTIONS"] == "--interface ens224 --method=redirect"


@pytest.mark.parametrize("text", [None, *FILES])
@given(steps=st.lists(st.tuples(st.booleans(), st.sampled_from([VIP, VIP2, VIP6])), max_size=6))
def test_what_was_there_is_there_again(
    text: str | None,
    steps: list[tuple[bool, ipaddress.IPv4Address]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("root")
    path = settings(root, text)
    present = dict[object, None]()
    for adds, vip in steps:
        apply(unit.add(root, [vip], "nft", "") if adds else unit.remove(root, [vip]))
        present = present | {vip: None} if adds else {key: None for key in present if key != vip}
        if present:
            assert assigned(path)["VIPS"].split() == [str(key) for key in present]
        else:
            assert (path.read_text() if path.exists() else None) == text
    apply(unit.remove(root, []))
    assert (path.read_text() if path.exists() else None) == text


@pytest.mark.parametrize(
    ("text", "method", "device", "said"),
    [
        ('VIPS="192.168.7.34"\n', "nft", "", "contains VIPs that this command did not write"),
        (None, "nft", "eth14", "eth14 is down then"),
        (None, "redirect", "dummy7", "omit --dev dummy7"),
        (persist.HEADER + "VIPS=x\n", "nft", "", "was changed by hand"),
        (persist.HEADER + 'VIPS="x"\nOPTIONS=""\n', "nft", "", "was changed by hand"),
        (
            persist.HEADER + 'VIPS="fd00::1"\nOPTIONS="--method=redirect"\n',
            "nft",
            "",
            "which apply to all VIPs",
        ),
        ('OPTIONS="--method\n', "nft", "", "No closing quotation"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, text: str | None, method: str, device: str, said: str
) -> None:
    settings(tmp_path, text)
    with pytest.raises(SetupError, match=said):
        unit.add(tmp_path, [VIP], method, device)


def test_the_two_ways_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / SYSCTL).parent.mkdir(parents=True)
    (tmp_path / SYSCTL).write_text(f"{persist.HEADER}net.ipv4.conf.all.arp_ignore = 1\n")
    with pytest.raises(SetupError, match="sets up VIPs in another way"):
        unit.add(tmp_path, [VIP], "nft", "")


def typed(root: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(realserver, ["persist", "--root", str(root), *words])
    return done.exit_code, done.output


def test_as_typed(tmp_path: Path) -> None:
    code, text = typed(tmp_path, "192.168.7.33", "--method", "nft", "--dry-run")
    assert (code, unit.is_enabled(tmp_path)) == (0, False)
    assert '+VIPS="192.168.7.33"\n+OPTIONS="--method=nft"\n' in text
    assert text.endswith("dry run: nothing written\n")
    assert not (tmp_path / unit.SETTINGS).exists()
    code, text = typed(tmp_path, "192.168.7.33", "--method", "nft")
    assert code == 0
    assert text.endswith(
        "pointsman-realserver.service is not enabled: systemctl enable pointsman-realserver.service "
        "(`make install` brings it)\n"
        "in force from the next boot on; for now: pointsman realserver up 192.168.7.33 --method=nft\n"
    )
    beside = ("192.168.7.33", "--backend", Backend.NETWORKD.value)
    assert typed(tmp_path, *beside)[0] == 1
    assert typed(tmp_path, "--remove")[0] == 0
    assert not (tmp_path / unit.SETTINGS).exists()
    assert typed(tmp_path, *beside)[0] == 0
    assert typed(tmp_path, "192.168.7.33", "--dev", "eth14")[0] == 1
