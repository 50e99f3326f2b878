# SPDX-License-Identifier: Apache-2.0
"""keepalived 2.2.7's checkers of each kind as recorded: the same probes in their order, pauses and verdicts.

The recording is made by tests/guest/record_checks.py in an emulated guest, whose one CPU was busy with all of
them at once: pauses are as exact as that allows. All the configured times can be told apart but 1.6 and 2 s.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from tests.guest.record_checks import CASES, GOLDEN, OUTCOMES, block

from pointsman.conf.load import load_text
from pointsman.health import check_types
from pointsman.health.schedule import StartProbe, Verdict
from pointsman.model.checks import HttpCheck, PingCheck, UdpCheck
from pointsman.model.health import AnyCheck

RECORDING: dict[str, dict[str, list[Any]]] = json.loads(GOLDEN.read_text())
SLOW = 0.8
"""Seconds that a probe came late at most, as the guest's CPU was with another one."""
WHOLE = 1.0
"""The resolution of keepalived's log."""
SPINS = {("HTTP_GET, fast_recovery", 22)}
"""Known differences: with fast_recovery keepalived repeats a failure during recovery without a pause, again
and again until it passes; we wait for delay_before_retry."""


class Predicted(NamedTuple):
    """Our schedule for probes with the recorded results."""

    starts: list[float]
    what: list[str]
    verdicts: list[tuple[int, str]]
    """After which probe, and keepalived's word for it."""


def check_of(name: str) -> AnyCheck:
    number = list(CASES).index(name)
    (server,) = load_text(
        f"global_defs {{\nscript_user root\n}}\n{block(name, number)}"
    ).config.virtual_servers
    ((check,),) = [member.checks for member in server.members]
    return check


def silence(check: AnyCheck) -> float:
    """Seconds that a probe takes to fail: where no answer is the failure, all that it may take."""
    return check.connect_timeout if isinstance(check, UdpCheck | PingCheck) else 0.0


def predict(check: AnyCheck, probes: int) -> Predicted:
    schedule = check_types.build_schedule(check)
    schedule.start(-1.0, 0.0)
    found = Predicted([], [], [])
    for number in range(probes):
        now = schedule.deadline
        assert now is not None
        schedule.advance(now)
        (probe,) = schedule.effects()
        assert isinstance(probe, StartProbe)
        found.starts.append(now)
        found.what.append(check.urls[probe.step].path if isinstance(check, HttpCheck) else "")
        good = number >= len(OUTCOMES) or OUTCOMES[number] == "p"
        took = 0.0 if good else silence(check)
        schedule.on_result(now + took, good, "")
        for verdict in schedule.effects():
            assert isinstance(verdict, Verdict)
            found.verdicts.append((number, "Adding" if verdict.up else "Removing"))
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_probe_asks_what_keepalived_asked_and_when(name: str) -> None:
    recorded = RECORDING[name]["asked"]
    assert len(recorded) > 20
    predicted = predict(check_of(name), len(recorded))
    assert predicted.what == [what for _, what in recorded]
    moments = [when for when, _ in recorded]
    for number in range(1, len(recorded)):
        ours = predicted.starts[number] - predicted.starts[number - 1]
        theirs = moments[number] - moments[number - 1]
        if (name, number) in SPINS:
            assert (round(ours, 3), theirs < 0.4) == (0.6, True)
            continue
        early = min(0.5, ours / 2)
        assert ours - early <= theirs <= ours + (SLOW if ours else 0.4), (number, ours, theirs)


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_follows_the_probe_that_keepalived_s_followed(name: str) -> None:
    """Without the first one, which only confirms that the real server is up."""
    recorded = RECORDING[name]
    check = check_of(name)
    (_, first), *predicted = predict(check, len(recorded["asked"])).verdicts
    assert first == "Adding"
    assert [word for _, word in predicted] == [word for _, word in recorded["verdicts"]]
    for (number, word), (when, _) in zip(predicted, recorded["verdicts"], strict=True):
        probed = recorded["asked"][number][0] + (silence(check) if word == "Removing" else 0.0)
        assert probed - WHOLE <= when <= probed + SLOW, (number, word, probed, when)
