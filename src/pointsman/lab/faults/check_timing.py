# SPDX-License-Identifier: Apache-2.0
"""Cause faults of a real server in the ha-pair lab, and measure which check finds each and how fast."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from pointsman.lab import services, waiting
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab
from pointsman.lab.node import Node
from pointsman.lab.topologies import ha_pair

CHECKS = {
    9001: ("TCP_CHECK", "connect_port 80"),
    9002: ("HTTP_GET", "connect_port 80\nurl {\npath /\n}"),
    9003: ("DR_CHECK", "connect_port 80"),
    9004: ("DR_CHECK url", "connect_port 80\nurl {\npath /\n}"),
    9005: ("PING_CHECK", ""),
}
"""Check keyword (with a remark) and parameters by the port of its service."""
DELAY, TIMEOUT, BEFORE_RETRY = 0.5, 1.0, 0.2
AT_ONCE = DELAY + BEFORE_RETRY
"""Most seconds from a fault to the verdict where probes are refused (docs/health.md, timing)."""
BOUND = AT_ONCE + 2 * TIMEOUT
"""Most seconds from a fault to the verdict where probes get no answer."""
SETTLED = 20.0
"""Seconds that any step may take on a busy machine."""
_WEB = ha_pair.WEB_SERVERS["web-01"]
_SERVICE = """
virtual_server {vip} {port} {{
    delay_loop {delay}
    delay_before_retry {before}
    retry 1
    warmup 0
    connect_timeout {timeout}
    protocol TCP
    lvs_method DR
    real_server {web} {port} {{
        {check} {{
            {words}
        }}
    }}
}}
"""
_CROWDED = """
import socket, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 80))
listener.listen(1)
waiting = [socket.socket() for _ in range(4)]
for each in waiting:
    each.setblocking(False)
    each.connect_ex(("127.0.0.1", 80))
time.sleep(3600)
"""
"""A server that never accepts and whose backlog is full."""


_FAILED = re.compile(
    rf"(?P<date>\S+ [\d:,]+) .* service \[{re.escape(_WEB)}\]:tcp:(?P<port>\d+) failed"
    r"(?P<again> after \d+ retries)?\. \((?P<reason>.*)\)"
)
"""A failed check in the director's log."""


class Case(NamedTuple):
    """A fault of web-01 and the expected result of each check."""

    name: str
    cause: Callable[[Lab], None]
    undo: Callable[[Lab], None]
    expected: dict[str, str]
    """Part of the expected reason by check. Checks that are not here pass."""


class Finding(NamedTuple):
    """Result of one check for one case."""

    case: str
    check: str
    expected: str
    """Part of the expected reason. Empty: the check should pass."""
    reason: str
    """Empty: the check passed."""
    seconds: float | None
    """Seconds from the fault to the verdict in the director's log. None: there was no verdict."""
    bound: float | None
    """Most seconds that the verdict may take. None: the check should pass."""

    @property
    def right(self) -> bool:
        """True if the result is the expected one."""
        return self.expected in self.reason if self.expected else not self.reason


def _nginx(lab: Lab, number: signal.Signals) -> None:
    for pid, words in _web(lab).processes().items():
        if words.startswith("nginx"):
            os.kill(pid, number)


def _web(lab: Lab) -> Node:
    return lab.node("web-01")


def _kill(lab: Lab) -> None:
    _nginx(lab, signal.SIGKILL)
    waiting.until(lambda: not services.listens(_web(lab), 80), SETTLED, "nginx has ended")


def crowd(lab: Lab) -> None:
    """Replace web-01's server by one that never accepts and has a full backlog."""
    _kill(lab)
    _web(lab).popen([sys.executable, "-c", _CROWDED], log="crowded")


def uncrowd(lab: Lab) -> None:
    """Undo `crowd`."""
    for pid, words in _web(lab).processes().items():
        if "listener.listen(1)" in words:
            os.kill(pid, signal.SIGKILL)
    waiting.until(lambda: not services.listens(_web(lab), 80), SETTLED, "the full server has ended")
    lab.start_web_server("web-01")


def _plug_in(lab: Lab) -> None:
    web = _web(lab)
    web.set_link("ens224", up=True)
    web.run(["ip", "route", "replace", "default", "via", "192.168.100.2"])


def _vip(word: str) -> Callable[[Lab], None]:
    def change(lab: Lab) -> None:
        _web(lab).run(["ip", "address", word, f"{ha_pair.VIP}/32", "dev", "lo"])

    return change


_REFUSED, _NOBODY_LISTENS = "connection refused", "no program listens on the VIP"
_SILENT, _NO_VIP, _FROZEN = "connect timeout", "no answer to", "read timeout after 1.0 s"
CASES = (
    Case(
        "killed (SIGKILL)",
        _kill,
        lambda lab: lab.start_web_server("web-01"),
        {
            "TCP_CHECK": _REFUSED,
            "HTTP_GET": _REFUSED,
            "DR_CHECK": _NOBODY_LISTENS,
            "DR_CHECK url": _NOBODY_LISTENS,
        },
    ),
    Case(
        "frozen (SIGSTOP)",
        lambda lab: _nginx(lab, signal.SIGSTOP),
        lambda lab: _nginx(lab, signal.SIGCONT),
        {"HTTP_GET": _FROZEN, "DR_CHECK url": _FROZEN},
    ),
    Case(
        "backlog full",
        crowd,
        uncrowd,
        {"TCP_CHECK": _SILENT, "HTTP_GET": _SILENT, "DR_CHECK": _NO_VIP, "DR_CHECK url": _NO_VIP},
    ),
    Case(
        "without the VIP",
        _vip("del"),
        _vip("add"),
        {"DR_CHECK": _NO_VIP, "DR_CHECK url": _NO_VIP},
    ),
    Case(
        "unplugged",
        lambda lab: _web(lab).set_link("ens224", up=False),
        _plug_in,
        {
            "TCP_CHECK": "",
            "HTTP_GET": "",
            "DR_CHECK": "no answer",
            "DR_CHECK url": "no answer",
            "PING_CHECK": "",
        },
    ),
)


def configure(lab: Lab) -> None:
    """Configure lb-01 with one service per check, and wait until all checks pass."""
    file = lab.directory / "lb-01.conf"
    text = ha_pair.configuration("lb-01")
    text = text[: text.index("virtual_server")]
    for port, (check, words) in CHECKS.items():
        text += _SERVICE.format(
            vip=ha_pair.VIP,
            port=port,
            web=_WEB,
            check=check.split()[0],
            words=words,
            delay=DELAY,
            before=BEFORE_RETRY,
            timeout=TIMEOUT,
        )
    file.write_text(text)
    lab.node("lb-01").run(["pointsman", "reload"])
    _until_all_pass(lab)


def reasons(lab: Lab) -> dict[str, str | None]:
    """Return the current reason of each check by its keyword. Empty: it passes. None: it has not run yet."""
    status = json.loads(lab.node("lb-01").run(["pointsman", "status", "--json"]).stdout)
    found: dict[str, str | None] = {}
    for service in status["services"]:
        (server,) = service["servers"]
        up: Any = server["up"]
        word, _ = CHECKS[int(service["service"].rpartition(":")[2])]
        found[word] = None if up is None else "" if up else server["reason"]
    return found


def run(lab: Lab) -> Iterator[Finding]:
    """Cause each case, undo it, and yield the result of each check."""
    for case in CASES:
        yield from _one(lab, case)
        _until_all_pass(lab)


def _one(lab: Lab, case: Case) -> list[Finding]:
    log = lab.node("lb-01").log("director")
    read = log.stat().st_size
    began, end = time.time(), time.monotonic() + SETTLED
    case.cause(lab)
    # A check without a failure until then, and one interval more, passes.
    enough = time.monotonic() + BOUND + DELAY
    seen: dict[str, tuple[str, float]] = {}
    try:
        while time.monotonic() < enough or not set(case.expected) <= set(seen):
            time.sleep(0.1)
            seen = _failures(log.read_bytes()[read:].decode(), began)
            if time.monotonic() > end:
                break
    finally:
        case.undo(lab)
    return [_finding(case, word, *seen.get(word, ("", None))) for word, _ in CHECKS.values()]


def _failures(log: str, began: float) -> dict[str, tuple[str, float]]:
    """Return the first failure of each check in a log by its keyword: the reason and the seconds."""
    found: dict[str, tuple[str, float]] = {}
    for match in map(_FAILED.match, log.splitlines()):
        if match is not None:
            word, _ = CHECKS[int(match["port"])]
            when = datetime.strptime(match["date"], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
            found.setdefault(word, (match["reason"], when - began))
    return found


def _finding(case: Case, word: str, reason: str, seconds: float | None) -> Finding:
    piece = case.expected.get(word)
    if piece is None:
        return Finding(case.name, word, "", reason, seconds, None)
    refused = piece in (_REFUSED, _NOBODY_LISTENS)
    return Finding(case.name, word, piece or _WEB, reason, seconds, AT_ONCE if refused else BOUND)


def _until_all_pass(lab: Lab) -> None:
    try:
        waiting.until(lambda: set(reasons(lab).values()) == {""}, SETTLED, "all checks pass")
    except LabError as error:
        raise LabError(f"{error}; their results: {reasons(lab)}") from error


def table(findings: list[Finding]) -> str:
    """Return the results as a table for the terminal."""
    lines = [f"{'real server':18} {'check':12} {'verdict':8} {'after':>6} {'at most':>8}  reason"]
    for each in findings:
        verdict = "DOWN" if each.reason else "up"
        wrong = "" if each.right else f"   expected: {each.expected or 'up'}"
        after = f"{each.seconds:.1f} s" if each.seconds is not None else ""
        bound = f"{each.bound:.1f} s" if each.bound is not None else ""
        line = f"{each.case:18} {each.check:12} {verdict:8} {after:>6} {bound:>8}  {each.reason[:80]}{wrong}"
        lines.append(line.rstrip())
    return "\n".join(lines)
