"""Makes faults in a lab, asks the doctor, follows its remedy, and looks whether all is well again."""

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
"""Until the doctor names a fault, on a busy machine, too."""
SETTLE_SECONDS = 60.0
"""Until the doctor is silent after the remedy: VRRP and neighbour tables need their time."""
_LONGEST = 120.0
"""Seconds that a command of a fault may take: some start a director and wait for it."""
BAD = ("fault", "warning")
WENT_WELL = "this connection went well"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the fault table."""

    fault: str
    node: str
    doctor: str
    """What it said; empty when it did not name the fault."""
    trace: str = ""
    """What the trace showed; empty when none was made."""
    mended: str
    """`by the remedy`, `by hand` (the doctor could give advice only), or why not."""
    healthy: bool
    """The doctor had nothing to say afterwards."""
    seconds: float

    @property
    def ok(self) -> bool:
        return bool(self.doctor) and self.healthy


def examine(lab: Lab, node: str, arguments: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What the doctor finds on a node, as in its --json. Raises LabError when it cannot be asked."""
    done = lab.node(node).run(["pointsman", "doctor", "--json", *arguments], check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise LabError(f"{node}: pointsman doctor: {done.stderr.strip() or error}") from error
    return [finding for diagnosis in document["diagnoses"] for finding in diagnosis["findings"]]


def complaints(lab: Lab, node: str, arguments: Iterable[str] = ()) -> list[str]:
    """Everything the doctor has against a node, one text each; empty on a healthy one."""
    return [
        f"{node}: {finding['check']}: {finding['found']}"
        for finding in examine(lab, node, arguments)
        if finding["verdict"] in BAD
    ]


def patients(lab: Lab) -> list[str]:
    """The nodes that the doctor can look at."""
    roles = (Role.DIRECTOR, Role.REAL_SERVER)
    return [spec.name for spec in lab.topology.nodes if spec.role in roles]


def break_(lab: Lab, fault: Fault) -> None:
    """Make it. Raises LabError when one of its commands fails; then what was done is undone."""
    _require(lab, fault)
    _notes(lab).mkdir(exist_ok=True)
    (_notes(lab) / fault.name).touch()
    try:
        for command in fault.commands:
            _shell(lab, fault.node, command)
    except LabError:
        mend(lab, fault)
        raise


def mend(lab: Lab, fault: Fault) -> None:
    """Take it back, whatever of it is left."""
    _require(lab, fault)
    for command in fault.undo:
        _shell(lab, fault.node, command, check=False)
    (_notes(lab) / fault.name).unlink(missing_ok=True)


def broken(lab: Lab) -> list[Fault]:
    """The faults that were made with `break_` and not taken back with `mend`."""
    names = {path.name for path in _notes(lab).iterdir()} if _notes(lab).is_dir() else set()
    return [fault for fault in cluster_faults.FAULTS if fault.name in names]


def question(lab: Lab, fault: Fault) -> str:
    """The command that asks the doctor about it."""
    return f"{lab.command} exec {fault.patient} -- {' '.join(['pointsman doctor', *fault.arguments])}"


def demonstrate(lab: Lab, fault: Fault, *, traced: bool = False) -> Outcome:
    """Break, ask the doctor, follow its remedy, ask again. The fault is taken back in any case."""
    begun = time.monotonic()
    source = _client_of(lab, fault.through or fault.node) if traced else ""
    break_(lab, fault)
    try:
        finding = _named(lab, fault)
        seen = _trace(lab, source) if traced else ""
        commands = finding["remedy"] if finding else []
        for command in commands:
            _shell(lab, fault.patient, command, check=False)
        if not commands:
            mend(lab, fault)
        left = _settle(lab, fault)
    finally:
        mend(lab, fault)
    return Outcome(
        fault=fault.name,
        node=fault.node,
        doctor=f"{finding['check']}: {finding['found']}" if finding else "",
        trace=seen,
        mended="; ".join(left) or ("by the remedy" if commands else "by hand"),
        healthy=not left,
        seconds=time.monotonic() - begun,
    )


def run_all(
    chosen: Iterable[Fault], prefix: str, xdp_mode: str, tell: Callable[[Outcome], None], *, traced: bool
) -> list[Outcome]:
    """Demonstrate faults one after the other, on a fresh lab of each topology and mode they need.

    One that could not be made or looked at is a row that is not right; the others go on in a new lab.
    """
    wanted = list(chosen)
    outcomes = []
    for topology, mode in dict.fromkeys((fault.topology, fault.xdp_mode) for fault in wanted):
        left = [fault for fault in wanted if (fault.topology, fault.xdp_mode) == (topology, mode)]
        while left:
            with Lab(topology, prefix=prefix, xdp_mode=mode or xdp_mode) as lab:
                waiting.until(partial(healthy, lab), SETTLE_SECONDS, f"the doctor is content with {topology}")
                usable = True
                while left and usable:
                    outcome, usable = _row(lab, left.pop(0), traced=traced)
                    outcomes.append(outcome)
                    tell(outcome)
    return outcomes


def _row(lab: Lab, fault: Fault, *, traced: bool) -> tuple[Outcome, bool]:
    """The fault's row, and whether the lab can be used for others after it."""
    begun = time.monotonic()
    try:
        outcome = demonstrate(lab, fault, traced=traced)
    except LabError as error:
        outcome = Outcome(
            fault=fault.name,
            node=fault.node,
            doctor="",
            mended=f"not shown: {error}",
            healthy=False,
            seconds=time.monotonic() - begun,
        )
    return outcome, outcome.healthy


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """What was said against a healthy lab, in so many examinations of each of its nodes."""

    topology: str
    runs: int
    examinations: int
    traces: int
    alarms: tuple[str, ...]
    """Every fault and warning of the doctor, and everything a trace found wrong; all of them false."""
    seconds: float


def false_alarms(
    topology: str, runs: int, prefix: str, xdp_mode: str, tell: Callable[[int, list[str]], None]
) -> Quiet:
    """Examine every node of a fresh, healthy lab again and again, and trace a connection each time."""
    begun = time.monotonic()
    alarms: list[str] = []
    with Lab(topology, prefix=prefix, xdp_mode=xdp_mode) as lab, ThreadPoolExecutor() as pool:
        waiting.until(partial(healthy, lab), SETTLE_SECONDS, f"the doctor is content with {topology}")
        nodes = patients(lab)
        for number in range(runs):
            said = [text for found in pool.map(partial(complaints, lab), nodes) for text in found]
            traced = _trace(lab, "")
            said += [f"trace: {traced}"] if traced != WENT_WELL else []
            alarms += said
            tell(number + 1, said)
    return Quiet(
        topology=topology,
        runs=runs,
        examinations=runs * len(nodes),
        traces=runs,
        alarms=tuple(alarms),
        seconds=time.monotonic() - begun,
    )


def healthy(lab: Lab) -> bool:
    """The doctor has nothing to say about any node."""
    return not any(complaints(lab, node) for node in patients(lab))


def _named(lab: Lab, fault: Fault) -> dict[str, Any] | None:
    """The doctor's finding about it; some come only after a moment (an advert, a state)."""

    def look() -> list[dict[str, Any]]:
        return [
            finding
            for finding in examine(lab, fault.patient, fault.arguments)
            if finding["verdict"] in BAD and finding["check"] == fault.check
        ]

    try:
        return waiting.until(look, NAMING_SECONDS, f"the doctor on {fault.patient} names {fault.name}")[0]
    except LabError:
        return None


def _settle(lab: Lab, fault: Fault) -> list[str]:
    """What the doctor still has to say when it should be silent again."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := complaints(lab, fault.patient, fault.arguments)) and time.monotonic() < deadline:
        time.sleep(waiting.STEP)
    return left


def _client_of(lab: Lab, node: str) -> str:
    """The client address whose connections this web server gets (they persist); any, if none does."""
    if lab.topology is not ha_pair.TOPOLOGY:
        return ""
    client = lab.node("client")
    for source in ha_pair.CLIENT_ADDRESSES:
        with contextlib.suppress(OSError):
            if fetch(client, ha_pair.VIP, source=source) == node:
                return source
    return ""


def _trace(lab: Lab, source: str) -> str:
    """What a trace of a connection from this client address finds wrong."""
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


def _notes(lab: Lab) -> Path:
    """One empty file for each fault that was made and not taken back."""
    return lab.directory / "faults"


def typed(lab: Lab, node: str, command: str) -> tuple[str, str]:
    """The node on which a fault's command is run, and the command as a shell gets it there."""
    if command.startswith("@"):
        node, _, command = command.removeprefix("@").partition(" ")
    text = command.replace("{directory}", str(lab.directory)).replace("{xdp_mode}", lab.xdp_mode)
    return node, text.replace("{{", "{").replace("}}", "}")


def _shell(lab: Lab, node: str, command: str, check: bool = True) -> None:
    node, text = typed(lab, node, command)
    lab.node(node).run(["sh", "-c", text], check=check, timeout=_LONGEST)


__all__ = [
    "Outcome",
    "break_",
    "broken",
    "complaints",
    "demonstrate",
    "examine",
    "false_alarms",
    "fetch",
    "mend",
    "question",
    "run_all",
]
