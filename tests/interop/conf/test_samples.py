# SPDX-License-Identifier: Apache-2.0
"""examples/samples: a file for each feature of keepalived's samples. Both programs take them, and alike."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from tests.support.plain_config import plain
from tests.support.vrrp.keepalived import keepalived

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.model.vrrp import VrrpInstance

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace of its own"),
]

SAMPLES = {
    path.name.removeprefix("keepalived.").removesuffix(".conf"): path.read_text()
    for path in sorted((Path(__file__).parents[3] / "examples" / "samples").glob("*.conf"))
}
COMPLAINTS = {
    "conditional": "script_security",
    "track_interface": "since own interface",
    "vrrp_localcheck": "script_security",
    "vrrp_routes": "cannot track route",
    "vrrp_scripts": "only 1 virtual router",
}
"""Messages of keepalived 2.2.7 for the files that it accepts with exit code 5 or 6."""


def test_there_are_samples_of_everything() -> None:
    assert len(SAMPLES) >= 25


@pytest.mark.parametrize("name", SAMPLES)
def test_keepalived_takes_the_sample(tmp_path: Path, name: str) -> None:
    code, output = keepalived(tmp_path, SAMPLES[name], "-t")
    assert code in ((5, 6) if name in COMPLAINTS else (0,)), output
    assert COMPLAINTS.get(name, "") in output
    assert "Unknown keyword" not in output


@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_loads_and_what_is_shown_of_it_loads_alike(name: str) -> None:
    config = load_text(SAMPLES[name], config_id="one").config
    again = load_text(show_config(config)).config
    assert plain(again) == plain(config)


def instances(output: str) -> dict[str, dict[str, str]]:
    """keepalived's dump, instance by instance."""
    found: dict[str, dict[str, str]] = {}
    present: dict[str, str] = {}
    topology = output.partition("< VRRP Topology >")[2].partition("< Interfaces")[0]
    for line in topology.splitlines():
        name, equals, value = re.sub(r"^\w+ \w+ +\d+ [\d:]+ \d+: +", "", line).partition(" = ")
        if name == "VRRP Instance":
            present = found[value] = {"addresses": ""}
        elif equals:
            present.setdefault(name, value)
        elif re.match(r"[0-9.]+.* dev ", name) and " via " not in name:
            present["addresses"] += name.split()[0] + " "
    return found


def expected(instance: VrrpInstance) -> dict[str, str]:
    return {
        "Interface": instance.interface,
        "Virtual Router ID": str(instance.virtual_router_id),
        "Priority": str(instance.priority),
        "Advert interval": f"{instance.advert_interval:g} sec",
        "Preempt": "disabled" if instance.nopreempt else "enabled",
        "Gratuitous ARP delay": f"{instance.garp_master_delay:g}",
        "Using smtp notification": "yes" if instance.smtp_alert else "no",
        "addresses": "".join(f"{each.address}/{each.prefix_length} " for each in instance.addresses),
    }


@pytest.mark.parametrize("name", [name for name in SAMPLES if "vrrp_instance" in SAMPLES[name]])
def test_keepalived_understands_the_instances_alike(tmp_path: Path, name: str) -> None:
    text = SAMPLES[name]
    _, output = keepalived(tmp_path, text, "-n", "-l", "-d", "-P", until="< Interfaces")
    theirs = instances(output)
    assert theirs, output
    ours = load_text(text, config_id="one").config.instances
    assert [instance.name for instance in ours] == list(theirs)
    for instance in ours:
        told = theirs[instance.name]
        assert {word: told.get(word) for word in expected(instance)} == expected(instance)
