# SPDX-License-Identifier: Apache-2.0
"""keepalived 2.2.7 as recorded, replayed: same probes, same verdicts, same table, same log lines.

The recording (8_keepalived_checks.json.gz: config, check SYNs, table changes and log, in seconds) was made on
a real kernel with real listeners. Only the moment of each first probe, which is random, is taken from it.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.support.desired import desired

from pointsman.health.schedule import CheckSchedule, StartProbe, Timing, Verdict
from pointsman.lvs.desired import CheckKey, PoolState
from pointsman.lvs.transitions import transitions
from pointsman.model.checks import TcpCheck
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService

GOLDEN = Path(__file__).parents[1] / "golden" / "8_keepalived_checks.json.gz"
RECORDING: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
SCENARIOS = {item["name"]: item for item in RECORDING["scenarios"]}

DELAY_LOOP, CONNECT_TIMEOUT = 6.0, 3.0
TOLERANCE = 0.35
"""Seconds: the recorded guest polled every 10 ms and had one slow CPU; its delays add up over a scenario."""
RETRANSMISSION = 1.3
"""A second SYN within so many seconds is the kernel repeating an unanswered one."""

SERVICE = ServiceKey.of(Transport.TCP, ip_address("192.168.100.9"), 80)
NAMES = {"rs1": "192.168.100.11", "rs2": "192.168.100.12"}

LATE = {"killed": "refuses", "drops": "silent", "back": "answers", "answers again": "answers"}
POOL_LINE = re.compile(r"(Removing|Adding) (service|sorry)|(Disabling|Enabling) service|(Lost|Gained) quorum")


def option(config: str, word: str, default: float) -> float:
    found = re.search(rf"^\s+{word} (\S+)$", config, re.MULTILINE)
    return float(found.group(1)) if found else default


def virtual_server(config: str) -> VirtualServer:
    """The scenario's virtual server; nb_get_retry is a word keepalived does not know here."""
    check = {
        "retry": int(option(config, "retry", 1)),
        "delay_before_retry": option(config, "delay_before_retry", 1.0),
        "connect_timeout": CONNECT_TIMEOUT,
        "delay_loop": DELAY_LOOP,
        "connect_port": 80,
    }
    members = tuple(
        PoolMember(
            server=RealServer(key=ServerKey(ip_address(address), 80)),
            checks=(TcpCheck(connect_address=ip_address(address), **check),),  # type: ignore[arg-type]
            inhibit_on_failure="inhibit_on_failure" in config,
        )
        for address in NAMES.values()
    )
    sorry = RealServer(key=ServerKey(ip_address("192.168.100.14"), 80)) if "sorry_server" in config else None
    return VirtualServer(
        service=VirtualService(key=SERVICE, scheduler="rr", persistence=600),
        members=members,
        sorry_server=sorry,
        alpha=re.search(r"^\s+alpha$", config, re.MULTILINE) is not None,
    )


@dataclass
class Simulated:
    """Our schedule for one recorded real server."""

    probes: list[float] = field(default_factory=list)
    verdicts: list[tuple[float, Verdict]] = field(default_factory=list)


def states(scenario: dict[str, Any], name: str) -> list[tuple[float, str]]:
    """Times at which the real server began to answer, to refuse, to be silent."""
    dead = scenario["name"] == f"start with {name} dead"
    found = [(0.0, "refuses" if dead else "answers")]
    for when, kind, *words in scenario["events"]:
        text = words[0] if words else ""
        if kind == "ACTION" and (name in text or "both" in text):
            found.append((when, next(state for word, state in LATE.items() if word in text)))
    if "TCP_CHECK" in scenario["name"]:
        # These two bring a server back as soon as they have seen it leave, without noting it.
        line = f"Removing service [{NAMES[name]}]"
        found += [(when + 0.1, "answers") for when, text in scenario["log"] if line in text]
    return found


def state_at(world: list[tuple[float, str]], moment: float) -> str:
    return [state for since, state in world if since <= moment][-1]


def simulate(timing: Timing, first: float, world: list[tuple[float, str]], end: float) -> Simulated:
    """Run a schedule against a world; the first probe is given."""
    schedule, seen = CheckSchedule(timing), Simulated()
    schedule.start(first - 1.0, 0.0)
    while schedule.deadline is not None and schedule.deadline < end:
        now = schedule.deadline
        schedule.advance(now)
        assert schedule.effects() == [StartProbe()]
        seen.probes.append(now)
        state = state_at(world, now)
        finished = now + CONNECT_TIMEOUT if state == "silent" else now
        schedule.on_result(finished, state == "answers", state)
        seen.verdicts += [(finished, effect) for effect in schedule.effects() if isinstance(effect, Verdict)]
    return seen


def end_of(scenario: dict[str, Any]) -> float:
    """The time at which the recorded keepalived was stopped."""
    told = [when for when, kind, *words in scenario["events"] if kind == "ACTION" and "SIG" in words[0]]
    return float(told[0] if told else scenario["events"][-1][0]) - TOLERANCE


def recorded_probes(scenario: dict[str, Any], name: str) -> list[float]:
    times: list[float] = []
    world = states(scenario, name)
    for when, kind, *words in scenario["events"]:
        if kind == "check SYN" and words[0] == name:
            repeats = times and when - times[-1] < RETRANSMISSION and state_at(world, times[-1]) == "silent"
            if not repeats:
                times.append(float(when))
    return times


def run_all(scenario: dict[str, Any]) -> dict[str, Simulated]:
    virtual = virtual_server(scenario["config"])
    check = virtual.members[0].checks[0]
    timing = Timing(
        delay_loop=check.delay_loop, delay_before_retry=check.delay_before_retry, retry=check.retry
    )
    return {
        name: simulate(timing, recorded_probes(scenario, name)[0], states(scenario, name), end_of(scenario))
        for name in NAMES
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_first_probes_lie_in_the_window_of_one_second_plus_warm_up(name: str) -> None:
    scenario = SCENARIOS[name]
    begun = next(when for when, line in scenario["log"] if "Activating healthchecker" in line)
    for server in NAMES:
        assert 1.0 <= recorded_probes(scenario, server)[0] - begun + 0.05 <= 1.0 + DELAY_LOOP + TOLERANCE


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_probe_comes_when_keepalived_s_came(name: str) -> None:
    scenario = SCENARIOS[name]
    for server, seen in run_all(scenario).items():
        recorded = [when for when in recorded_probes(scenario, server) if when < end_of(scenario)]
        assert seen.probes == pytest.approx(recorded, abs=TOLERANCE), server


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_log_of_the_pool_is_keepalived_s(name: str) -> None:
    scenario = SCENARIOS[name]
    expected = [
        (when, line[26:])
        for when, line in scenario["log"]
        if POOL_LINE.match(line[26:]) and when < end_of(scenario)
    ]
    lines = pool_story(scenario)
    assert [line for _, line in lines] == [line for _, line in expected]
    assert [when for when, _ in lines[1:]] == pytest.approx([w for w, _ in expected[1:]], abs=TOLERANCE)


def check_key(virtual: VirtualServer, name: str) -> CheckKey:
    """The one check of this real server."""
    key = ServerKey(ip_address(NAMES[name]), 80)
    (check,) = next(member.checks for member in virtual.members if member.server.key == key)
    return SERVICE, key, check.identity


def pool_story(scenario: dict[str, Any]) -> list[tuple[float, str]]:
    """Return the log lines of our director about the pool, with times."""
    virtual = virtual_server(scenario["config"])
    verdicts: dict[CheckKey, bool] = {}
    before: PoolState | None = None
    lines: list[tuple[float, str]] = []
    arrivals = sorted(
        (when, name, verdict) for name, seen in run_all(scenario).items() for when, verdict in seen.verdicts
    )
    for when, name, verdict in [(0.0, "", None), *arrivals]:
        if verdict is not None:
            verdicts[check_key(virtual, name)] = verdict.up
        after = desired([virtual], verdicts, None, {SERVICE: before} if before else None).pools[SERVICE]
        lines += [(when, item.text) for item in transitions(virtual, before, after)]
        before = after
    return lines


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_table_is_keepalived_s(name: str) -> None:
    scenario = SCENARIOS[name]
    # The recorder polled every 10 ms, so it may miss a table that lived shorter: compare where it stayed.
    recorded = [
        (when, sorted(line[3:] for line in words[0][1:]))
        for when, kind, *words in scenario["events"]
        if kind == "table" and words[0] and when < end_of(scenario)
    ]
    for (when, servers), (until, _) in zip(recorded, [*recorded[1:], (end_of(scenario), [])], strict=True):
        if until - when > 2 * TOLERANCE:
            assert table_at(scenario, (when + until) / 2) == servers


def table_at(scenario: dict[str, Any], moment: float) -> list[str]:
    virtual = virtual_server(scenario["config"])
    verdicts: dict[CheckKey, bool] = {}
    wanted = desired([virtual], verdicts)
    for when, name, verdict in sorted(
        (when, name, verdict) for name, seen in run_all(scenario).items() for when, verdict in seen.verdicts
    ):
        if when <= moment:
            verdicts[check_key(virtual, name)] = verdict.up
            wanted = desired([virtual], verdicts, None, wanted.pools)
    entry = wanted.table.get(SERVICE)
    assert entry is not None
    return sorted(f"{server.key} {server.forwarding.value} {server.weight}" for server in entry.servers)


WINDOWS = [
    ("classic DR", "refuses", 1, 3.0, (3.0, 9.0), "refused: death -> removal"),
    ("classic DR", "silent", 1, 3.0, (9.0, 15.0), "silent: death -> removal"),
    ("TCP_CHECK with the keyword `retry 3`", "refuses", 3, 3.0, (9.0, 15.0), "refused: death -> removal"),
    ("TCP_CHECK with the keyword `retry 3`", "silent", 3, 3.0, (21.0, 27.0), "silent: death -> removal"),
    ("TCP_CHECK without retry", "refuses", 1, 1.0, (1.0, 7.0), "refused: death -> removal"),
    ("TCP_CHECK without retry", "silent", 1, 1.0, (7.0, 13.0), "silent: death -> removal"),
]


@pytest.mark.parametrize(("scenario", "death", "retry", "pause", "window", "measured"), WINDOWS)
def test_removal_takes_what_was_measured(
    scenario: str, death: str, retry: int, pause: float, window: tuple[float, float], measured: str
) -> None:
    """Death at any moment between two probes: the window is used fully, and the measured time lies in it."""
    timing = Timing(delay_loop=DELAY_LOOP, delay_before_retry=pause, retry=retry)
    took = []
    for step in range(600):
        died = 20.005 + step * DELAY_LOOP / 600
        world = [(0.0, "answers"), (died, death)]
        down = [when for when, verdict in simulate(timing, 2.0, world, 90.0).verdicts if not verdict.up]
        took.append(down[0] - died)
    assert (min(took), max(took)) == pytest.approx(window, abs=0.02)
    recorded = next(item for name, item in SCENARIOS.items() if name.startswith(scenario))
    assert window[0] - 0.1 <= recorded["measured_s"][measured] <= window[1] + 0.1


def test_return_takes_at_most_one_delay_loop() -> None:
    timing = Timing(delay_loop=DELAY_LOOP, delay_before_retry=3.0, retry=3)
    for step in range(600):
        back = 60.005 + step * 0.05
        world = [(0.0, "answers"), (20.0, "refuses"), (back, "answers")]
        up = [when for when, verdict in simulate(timing, 2.0, world, 120.0).verdicts if verdict.up]
        assert 0.0 <= up[1] - back <= DELAY_LOOP
