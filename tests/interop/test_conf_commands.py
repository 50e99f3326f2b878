"""Debian's keepalived runs a program: it gets the words that Pointsman reads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.conf.test_conf_commands import WORDS

from pointsman.conf.load import load_text
from pointsman.lab import waiting

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace of its own"),
]

PROGRAM = """#!{python}
import json, os, sys
made = sys.argv[1] + ".new"
with open(made, "w") as file:
    json.dump(sys.argv[2:], file)
os.rename(made, sys.argv[1])
"""
SCRIPT = "vrrp_script s{number} {{\n  interval 1\n  script {written}\n}}\n"
INSTANCE = (
    "vrrp_instance A {{\n  interface eth0\n  virtual_router_id 5\n"
    "  virtual_ipaddress {{\n  10.0.0.1/24\n  }}\n  track_script {{\n{names}  }}\n}}\n"
)
HOST = "ip link set lo up; ip link add eth0 type veth peer name eth1; ip link set eth0 up; exec "


def test_keepalived_hands_the_same_words_to_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    asked = [written for written, words in WORDS.items() if words]
    text = "global_defs {\n  script_user root\n}\n"
    for number, written in enumerate(asked):
        text += SCRIPT.format(number=number, written=written.replace("/p", f"{program} {tmp_path}/{number}"))
    text += INSTANCE.format(names="".join(f"    s{number}\n" for number in range(len(asked))))
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    scripts = {script.name: script.command.words for script in load_text(text).config.vrrp.scripts}

    files = [f"--{name}={tmp_path}/{name}" for name in ("pid", "vrrp_pid")]
    command = ["keepalived", "-n", "-l", "-P", "-f", str(file), *files]
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", HOST + '"$@"', "sh", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told = [tmp_path / str(number) for number in range(len(asked))]
        waiting.until(lambda: all(path.exists() for path in told), 60, "every program has run")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
    for number, written in enumerate(asked):
        assert json.loads(told[number].read_text()) == list(scripts[f"s{number}"][2:]) == WORDS[written]
