# SPDX-License-Identifier: Apache-2.0
"""Cause faults in a lab, run the doctor and its remedy, and check that the lab is healthy again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pointsman.lab import waiting
from pointsman.lab.errors import LabError
from pointsman.lab.faults import cluster as cluster_faults
from pointsman.lab.faults.fault import Fault
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import ha_pair
from pointsman.lab.topologies.topology import Role
from pointsman.lab.tracing import trace
from pointsman.lab.traffic import fetch

NAMING_SECONDS = 30.0
"""Seconds until the doctor must find a fault, also on a busy machine."""
SETTLE_SECONDS = 60.0
"""Seconds until the doctor must find nothing after the remedy. VRRP and neighbour tables need time."""
_LONGEST = 120.0
"""Most seconds for a command of a fault. Some start a director and wait for it."""
BAD = ("fault", "warning")
WENT_WELL = "this connection went well"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the fault table."""

    fault: str
    node: str
    doctor: str
    """First finding of the doctor. Empty: it did not find the fault."""
    trace: str = ""
    """Result of the trace. Empty: there was none."""
    mended: str
    """`by the remedy`, `by hand` (the doctor has only advice), or the reason why not."""
    healthy: bool
    """True if the doctor found nothing afterwards."""
    seconds: float

    @property
    def ok(self) -> bool:
        return bool(self.doctor) and self.healthy


def examine(lab: Lab, node: str, arguments: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return the doctor's findings on a node, from its --json. Raises LabError if it fails."""
    done = lab.node(node).run(["pointsman", "doctor", "--json", *arguments], check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise LabError(f"{node}: pointsman doctor: {done.stderr.strip() or error}") from error
    return [finding for diagnosis in document["diagnoses"] for finding in diagnosis["findings"]]


def complaints(lab: Lab, node: str, arguments: Iterable[str] = ()) -> list[str]:
    """Return the doctor's faults and warnings on a node, one text each. Empty on a healthy node."""
    return [
        f"{node}: {finding['check']}: {finding['found']}"
        for finding in examine(lab, node, arguments)
        if finding["verdict"] in BAD
    ]


def examined_nodes(lab: Lab) -> list[str]:
    """Return the nodes that the doctor can examine."""
    roles = (Role.DIRECTOR, Role.REAL_SERVER)
    return [spec.name for spec in lab.topology.nodes if spec.role in roles]


def break_(lab: Lab, fault: Fault) -> None:
    """Cause the fault. If a command fails, undo it and raise LabError."""
    _require(lab, fault)
    _marks_directory(lab).mkdir(exist_ok=True)
    (_marks_directory(lab) / fault.name).touch()
    try:
        for command in fault.commands:
            _shell(lab, fault.node, command)
    except LabError:
        mend(lab, fault)
        raise


def mend(lab: Lab, fault: Fault) -> None:
    """Undo what is left of the fault."""
    _require(lab, fault)
    for command in fault.undo:
        _shell(lab, fault.node, command, check=False)
    (_marks_directory(lab) / fault.name).unlink(missing_ok=True)


def caused_faults(lab: Lab) -> list[Fault]:
    """Return the faults that `break_` caused and `mend` has not undone."""
    names = (
        {path.name for path in _marks_directory(lab).iterdir()} if _marks_directory(lab).is_dir() else set()
    )
    return [fault for fault in cluster_faults.FAULTS if fault.name in names]


def doctor_command(lab: Lab, fault: Fault) -> str:
    """Return the command that runs the doctor for this fault."""
    return f"{lab.command} exec {fault.patient} -- {' '.join(['pointsman doctor', *fault.arguments])}"


def demonstrate(lab: Lab, fault: Fault, *, traced: bool = False) -> Outcome:
    """Cause the fault, run the doctor, apply its remedies, run the doctor again. Always undo the fault."""
    begun = time.monotonic()
    source = _find_client(lab, fault.through or fault.node) if traced else ""
    break_(lab, fault)
    try:
        findings = _wait_for_findings(lab, fault)
        seen = _trace(lab, source) if traced else ""
        commands = list(dict.fromkeys(command for finding in findings for command in finding["remedy"]))
        for command in commands:
            _shell(lab, fault.patient, command, check=False)
        if not commands:
            mend(lab, fault)
        left = _wait_for_silence(lab, fault)
    finally:
        mend(lab, fault)
    return Outcome(
        fault=fault.name,
        node=fault.node,
        doctor=f"{findings[0]['check']}: {findings[0]['found']}" if findings else "",
        trace=seen,
        mended="; ".join(left) or ("by the remedy" if commands else "by hand"),
        healthy=not left,
        seconds=time.monotonic() - begun,
    )


def run_all(
    chosen: Iterable[Fault], prefix: str, xdp_mode: str, tell: Callable[[Outcome], None], *, traced: bool
) -> list[Outcome]:
    """Demonstrate faults one after the other, in a fresh lab for each topology and mode.

    If one cannot be caused or examined, its row is a failure and the others continue in a new lab.
    """
    wanted = list(chosen)
    outcomes = []
    for topology, mode in dict.fromkeys((fault.topology, fault.xdp_mode) for fault in wanted):
        left = [fault for fault in wanted if (fault.topology, fault.xdp_mode) == (topology, mode)]
        while left:
            with Lab(topology, prefix=prefix, xdp_mode=mode or xdp_mode) as lab:
                _wait_until_healthy(lab)
                usable = True
                while left and usable:
                    outcome, usable = _demonstrate_safely(lab, left.pop(0), traced=traced)
                    outcomes.append(outcome)
                    tell(outcome)
    return outcomes


def _demonstrate_safely(lab: Lab, fault: Fault, *, traced: bool) -> tuple[Outcome, bool]:
    """Return the fault's row, and True if the lab can be used for other faults."""
    begun = time.monotonic()
    try:
        outcome = demonstrate(lab, fault, traced=traced)
    except LabError as error:
        outcome = Outcome(
            fault=fault.name,
            node=fault.node,
            doctor="",
            mended=f"not possible: {error}",
            healthy=False,
            seconds=time.monotonic() - begun,
        )
    return outcome, outcome.healthy


class HealthyRun(msgspec.Struct, frozen=True, kw_only=True):
    """Result of repeated examinations of a healthy lab."""

    topology: str
    runs: int
    examinations: int
    traces: int
    alarms: tuple[str, ...]
    """All faults and warnings of the doctor, and all bad findings of traces. Each is a false alarm."""
    seconds: float


def false_alarms(
    topology: str, runs: int, prefix: str, xdp_mode: str, tell: Callable[[int, list[str]], None]
) -> HealthyRun:
    """Examine every node of a fresh, healthy lab repeatedly, and trace a connection each time."""
    begun = time.monotonic()
    alarms: list[str] = []
    with Lab(topology, prefix=prefix, xdp_mode=xdp_mode) as lab, ThreadPoolExecutor() as pool:
        _wait_until_healthy(lab)
        nodes = examined_nodes(lab)
        for number in range(runs):
            said = [text for found in pool.map(partial(complaints, lab), nodes) for text in found]
            traced = _trace(lab, "")
            said += [f"trace: {traced}"] if traced != WENT_WELL else []
            alarms += said
            tell(number + 1, said)
    return HealthyRun(
        topology=topology,
        runs=runs,
        examinations=runs * len(nodes),
        traces=runs,
        alarms=tuple(alarms),
        seconds=time.monotonic() - begun,
    )


def _wait_until_healthy(lab: Lab) -> None:
    waiting.until(
        partial(is_healthy, lab), SETTLE_SECONDS, f"the doctor finds nothing in {lab.topology.name}"
    )


def is_healthy(lab: Lab) -> bool:
    """True if the doctor finds nothing on any node."""
    return not any(complaints(lab, node) for node in examined_nodes(lab))


def _wait_for_findings(lab: Lab, fault: Fault) -> list[dict[str, Any]]:
    """Wait for the doctor's findings about the fault. Some need a moment (an advert, a state)."""

    def find() -> list[dict[str, Any]]:
        return [
            finding
            for finding in examine(lab, fault.patient, fault.arguments)
            if finding["verdict"] in BAD and finding["check"] == fault.check
        ]

    try:
        return waiting.until(find, NAMING_SECONDS, f"the doctor on {fault.patient} finds {fault.name}")
    except LabError:
        return []


def _wait_for_silence(lab: Lab, fault: Fault) -> list[str]:
    """Wait until the doctor finds nothing, and return what is left when the time is over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := complaints(lab, fault.patient, fault.arguments)) and time.monotonic() < deadline:
        time.sleep(waiting.STEP)
    return left


def _find_client(lab: Lab, node: str) -> str:
    """Return the client address whose connections this web server gets (they persist). Empty: none."""
    if lab.topology is not ha_pair.TOPOLOGY:
        return ""
    client = lab.node("client")
    for source in ha_pair.CLIENT_ADDRESSES:
        with contextlib.suppress(OSError):
            if fetch(client, ha_pair.VIP, source=source) == node:
                return source
    return ""


def _trace(lab: Lab, source: str) -> str:
    """Return the bad findings of a trace of a connection from this client address."""
    found = trace(lab, lab.topology.vip, lab.topology.port, source=source)
    wrong = [finding.text for finding in found.trace.findings if not finding.ok]
    return "; ".join(wrong) or WENT_WELL


def _require(lab: Lab, fault: Fault) -> None:
    if lab.topology.name != fault.topology:
        raise LabError(f"{fault.name} is a fault of {fault.topology}, not of {lab.topology.name}")
    if fault.xdp_mode not in ("", lab.xdp_mode):
        raise LabError(
            f"{fault.name} needs directors attached in {fault.xdp_mode} mode: "
            f"pointsman lab up {fault.topology} --xdp-mode {fault.xdp_mode}"
        )


def _marks_directory(lab: Lab) -> Path:
    """Return the directory with one empty file for each fault that is not undone."""
    return lab.directory / "faults"


def shell_command(lab: Lab, node: str, command: str) -> tuple[str, str]:
    """Return the node on which a fault's command runs, and the command for its shell."""
    if command.startswith("@"):
        node, _, command = command.removeprefix("@").partition(" ")
    text = command.replace("{directory}", str(lab.directory)).replace("{xdp_mode}", lab.xdp_mode)
    return node, text.replace("{{", "{").replace("}}", "}")


def _shell(lab: Lab, node: str, command: str, check: bool = True) -> None:
    node, text = shell_command(lab, node, command)
    lab.node(node).run(["sh", "-c", text], check=check, timeout=_LONGEST)


__all__ = [
    "Outcome",
    "break_",
    "caused_faults",
    "complaints",
    "demonstrate",
    "doctor_command",
    "examine",
    "false_alarms",
    "fetch",
    "mend",
    "run_all",
]
