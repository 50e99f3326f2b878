# SPDX-License-Identifier: Apache-2.0
"""Output of the doctor: no part of a remedy may be cut at the edge of a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from pointsman.cli import doctor
from pointsman.doctor.finding import fault

COMMAND = "pointsman ipvsadm -e -t 192.168.100.9:80 -r 192.168.100.20:80 -g -w 1 && ip link set ens224 arp on"


def test_a_remedy_is_whole_and_a_reason_is_wrapped() -> None:
    finding = fault("link", "found " * 30, "reason " * 30, remedy=[COMMAND], advice="advice " * 30)
    out = io.StringIO()
    doctor._print(Console(file=out, width=80, highlight=False), finding)
    lines = out.getvalue().splitlines()
    assert f"    do   {COMMAND}" in lines
    words = out.getvalue().split()
    assert [words.count(word) for word in ("found", "reason", "advice")] == [30, 30, 30]
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines if COMMAND not in line)
    assert all(line.startswith("    ") for line in lines[1:])


def test_the_list_of_many_shows_each_checks_name_and_one_line() -> None:
    findings = [fault(check, "found " * 30, "") for check in ("link", "connection-table", "mtu", "mtu")]
    lines = [line.plain for line in doctor._overview(findings, 80)]
    assert [line.split()[:2] for line in lines] == [["✗", "link"], ["✗", "connection-table"], ["✗", "mtu"]]
    assert all(len(line) == 80 and line.endswith("…") for line in lines)
    assert lines[2].split("  ", 1)[1].lstrip().startswith("2 times; the first: found")
