# SPDX-License-Identifier: Apache-2.0
"""A lab beside another one, or in ruins: nothing takes away what somebody else has built."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import namespace
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab, running_labs

pytestmark = pytest.mark.root

PREFIX = f"pmt-beside-{os.getpid()}"


def bare(topology: str, prefix: str = PREFIX) -> Lab:
    return Lab(topology, prefix=prefix, programs=False)


def pointsman_lab(*words: str, prefix: str = PREFIX) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pointsman.cli.main", "lab", "--prefix", prefix, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)


@pytest.mark.parametrize("topology", ["dual-homed", "ha-pair"])
def test_a_demo_beside_a_lab_is_refused_before_its_first_step_and_the_lab_stays(topology: str) -> None:
    with bare("dual-homed") as lab:
        inodes = [node.inode for node in lab.nodes.values()]
        said = pointsman_lab("demo", topology)
        assert (said.returncode, said.stdout) == (1, ""), said.stdout
        assert f"a lab is already up (namespace {PREFIX}-client exists)" in said.stderr
        assert f"pointsman lab --prefix {PREFIX} down" in said.stderr
        assert [node.inode for node in lab.nodes.values()] == inodes


def test_down_of_the_other_topology_leaves_the_nodes_of_the_one_that_is_up() -> None:
    with bare("dual-homed") as lab:
        inodes = [node.inode for node in lab.nodes.values()]
        assert pointsman_lab("down", "ha-pair").returncode == 0
        assert [node.inode for node in lab.nodes.values()] == inodes


def test_status_of_a_lab_that_is_half_there_says_so_and_what_to_do() -> None:
    with bare("dual-homed") as lab:
        namespace.delete(lab.node("server").namespace)
        said = pointsman_lab("status")
        assert said.returncode == 1, said.stderr
        assert "Traceback" not in said.stderr
        assert f"dual-homed is incomplete (no namespace {PREFIX}-server)" in said.stdout
        assert f"pointsman lab --prefix {PREFIX} down" in said.stdout
        facts = json.loads(pointsman_lab("status", "--json").stdout)
        nodes = facts["dual-homed"]["nodes"]
        assert {name: node["up"] for name, node in nodes.items()} == {
            "client": True,
            "lvs": True,
            "server": False,
        }


@pytest.mark.parametrize("prefix", ["a b/c", "", "..", "-x", "x@y", "n" * 65, "ä"])
def test_a_prefix_that_cannot_be_a_name_is_refused(prefix: str) -> None:
    said = pointsman_lab("status", prefix=prefix)
    assert said.returncode == 2
    assert "letters, digits" in said.stderr
    with pytest.raises(LabError, match="letters, digits"):
        bare("dual-homed", prefix)


def test_who_finds_no_lab_hears_of_those_under_other_prefixes() -> None:
    with bare("dual-homed", f"{PREFIX}-o"):
        for words in (["status"], ["exec", "lvs", "--", "true"]):
            said = pointsman_lab(*words)
            assert said.returncode == 1
            text = said.stdout + said.stderr
            assert "no lab is up" in text
            assert f"dual-homed is up with --prefix {PREFIX}-o" in text
        assert list(running_labs(PREFIX)) == []
