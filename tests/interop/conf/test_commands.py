# SPDX-License-Identifier: Apache-2.0
"""Debian's keepalived runs a program: it gets the words that Pointsman reads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.command_words import WORDS
from tests.support.until import DEADLINE
from tests.support.vrrp.keepalived import own_files

from pointsman.conf.load import load_text
from pointsman.lab import waiting

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace of its own"),
]

PROGRAM = """#!/bin/sh
made=$1
shift
for word; do printf '%s\\0' "$word"; done > "$made.new"
mv "$made.new" "$made"
"""
SCRIPT = "vrrp_script s{number} {{\n  interval 600\n  script {written}\n}}\n"
INSTANCE = (
    "vrrp_instance A {{\n  interface eth0\n  virtual_router_id 5\n"
    "  virtual_ipaddress {{\n  10.0.0.1/24\n  }}\n  track_script {{\n{names}  }}\n}}\n"
)
HOST = "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link set eth0 up; exec "


def test_keepalived_hands_the_same_words_to_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    asked = [written for written, words in WORDS.items() if words]
    text = "global_defs {\n  script_user root\n}\n"
    for number, written in enumerate(asked):
        text += SCRIPT.format(number=number, written=written.replace("/p", f"{program} {tmp_path}/{number}"))
    text += INSTANCE.format(names="".join(f"    s{number}\n" for number in range(len(asked))))
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    scripts = {script.name: script.command.words for script in load_text(text).config.vrrp.scripts}

    command = ["keepalived", "-n", "-l", "-G", "-P", "-f", str(file), *own_files(file)]
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", HOST + '"$@"', "sh", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told = [tmp_path / str(number) for number in range(len(asked))]
        waiting.until(lambda: all(path.exists() for path in told), 180, "every program has run")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(DEADLINE)
    for number, written in enumerate(asked):
        given = told[number].read_bytes().decode().split("\0")[:-1]
        assert given == list(scripts[f"s{number}"][2:]) == WORDS[written]
