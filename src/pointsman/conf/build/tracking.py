# SPDX-License-Identifier: Apache-2.0
"""Build trackers, sync groups, and programs to run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from pointsman.conf.keywords.settings import Setting, Settings, read_block, unknown_name
from pointsman.conf.keywords.values import BadValueError, Interface
from pointsman.conf.text.commands import split_command
from pointsman.conf.text.corrections import Choice, remove
from pointsman.conf.text.problems import Findings
from pointsman.conf.text.tree import Node
from pointsman.model.bfd import BfdSession
from pointsman.model.tracking import (
    Command,
    Notify,
    NotifyFifo,
    Tracked,
    TrackFile,
    TrackKind,
    TrackProcess,
    TrackScript,
)

_MOST_INITIAL = 254
"""Largest magnitude of the number that init_file writes."""
_LARGEST = {
    TrackKind.FILE: 254,
    TrackKind.PROCESS: 254,
    TrackKind.SCRIPT: 253,
    TrackKind.INTERFACE: 253,
    TrackKind.BFD: 253,
}
_BLOCKS = {
    TrackKind.SCRIPT: "track_script",
    TrackKind.INTERFACE: "track_interface",
    TrackKind.FILE: "track_file",
    TrackKind.PROCESS: "track_process",
    TrackKind.BFD: "track_bfd",
}
_DEFINED_BY = {
    TrackKind.SCRIPT: "vrrp_script",
    TrackKind.FILE: "track_file",
    TrackKind.PROCESS: "vrrp_track_process",
    TrackKind.BFD: "bfd_instance for VRRP named",
}


_DEFINITIONS = {
    TrackKind.SCRIPT: "vrrp_script",
    TrackKind.FILE: "track_file",
    TrackKind.PROCESS: "vrrp_track_process",
    TrackKind.BFD: "bfd_instance",
}
"""The keyword that defines each kind."""

_FIFOS = {
    "vrrp_notify_fifo": "vrrp_notify_fifo_script",
    "lvs_notify_fifo": "lvs_notify_fifo_script",
    "notify_fifo": "notify_fifo_script",
}


class Trackers(NamedTuple):
    """The trackers defined outside the instances, by name."""

    scripts: dict[str, TrackScript]
    files: dict[str, TrackFile]
    processes: dict[str, TrackProcess]
    sessions: dict[str, BfdSession]
    blocks: Mapping[tuple[TrackKind, str], Node]
    """The first definition of each name, also if it has an error."""
    order: Mapping[int, int]
    """Number of each block of the top level in the text, by id()."""

    def is_above(self, kind: TrackKind, name: str, user: Node) -> bool:
        """True if the tracker is defined above the block that uses it, as keepalived requires."""
        block = self.blocks.get((kind, name))
        return block is None or self.order[id(block)] < self.order[id(user)]

    def default_weights(self, kind: TrackKind) -> dict[str, tuple[int, bool]]:
        """Return the default (weight, reverse) of all trackers of a kind by name. Interfaces have none."""
        known: dict[TrackKind, list[TrackScript | TrackFile | TrackProcess | BfdSession]] = {
            TrackKind.SCRIPT: [*self.scripts.values()],
            TrackKind.FILE: [*self.files.values()],
            TrackKind.PROCESS: [*self.processes.values()],
            TrackKind.BFD: [each for each in self.sessions.values() if each.for_vrrp],
        }
        return {each.name: (each.weight, each.reverse) for each in known[kind]}


def build_command(setting: Setting | None, findings: Findings) -> Command | None:
    """Build `"PROGRAM ARGUMENTS" [USER [GROUP]]`. None: there is none, or it has an error.

    A program without a slash is a name to look up in PATH (`conf/check/programs.py`).
    """
    if setting is None:
        return None
    words = cast("tuple[str, ...]", setting.value)
    keyword = setting.node.keyword
    try:
        parts = split_command(words[0]) if words else ()
    except ValueError as error:
        findings.error(
            keyword.location, f"{keyword.text}: {error}", "correct the quotes and escapes", keyword.width
        )
        return None
    if not parts or not parts[0]:
        findings.error(keyword.location, f"{keyword.text} names no program", "write one", keyword.width)
        return None
    if "/" in parts[0].lstrip("/") and not parts[0].startswith("/"):
        text = f"{keyword.text}: {parts[0]} is relative, and nobody knows to which directory"
        remedy = "write a path that begins with /, or the bare name of a program in PATH"
        findings.error(keyword.location, text, remedy, keyword.width)
        return None
    return Command(parts, *words[1:3])


def build_notify(block: Settings, findings: Findings) -> Notify:
    """Return the notify programs of an instance or a group."""
    return Notify(
        every=build_command(block.last("notify"), findings),
        master=build_command(block.last("notify_master"), findings),
        backup=build_command(block.last("notify_backup"), findings),
        fault=build_command(block.last("notify_fault"), findings),
        stop=build_command(block.last("notify_stop"), findings),
        lower_priority=build_command(block.last("notify_master_rx_lower_pri"), findings),
        deleted=_build_deleted(block, findings),
        tells_deleted=block.has("notify_deleted"),
    )


def _build_deleted(block: Settings, findings: Findings) -> Command | None:
    """Return the program of notify_deleted; None: the keyword has no value."""
    setting = block.last("notify_deleted")
    return build_command(setting, findings) if setting is not None and setting.value else None


def build_trackers(top: Settings, order: Mapping[int, int], findings: Findings) -> Trackers:
    """Return all trackers that have a name, without BFD sessions."""
    blocks: dict[tuple[TrackKind, str], Node] = {}
    for kind, word in _DEFINITIONS.items():
        for setting in top.all(word):
            blocks.setdefault((kind, str(setting.value)), setting.node)
    found = Trackers({}, {}, {}, {}, blocks, order)
    for setting in top.all("vrrp_script"):
        script = _build_script(setting, findings)
        if script is not None:
            found.scripts[script.name] = script
    for setting in top.all("track_file"):
        file = _build_file(setting, findings)
        if file is not None:
            found.files[file.name] = file
    for setting in top.all("vrrp_track_process"):
        process = _build_process(setting, findings)
        if process is not None:
            found.processes[process.name] = process
    return found


def _build_script(setting: Setting, findings: Findings) -> TrackScript | None:
    block = read_block(setting.block, "vrrp_script", findings)
    program = _required(setting, block, "script", findings)
    run = build_command(program, findings)
    if run is None:
        return None
    user = cast("tuple[str, ...]", block.get("user", tuple) or ())
    interval = block.get("interval", float) or 1.0
    added, reverse = read_weight(block, TrackKind.SCRIPT, 0, findings)
    return TrackScript(
        name=str(setting.value),
        command=Command(run.words, *(user[:2] or (run.user, run.group))),
        interval=interval,
        timeout=block.get("timeout", float) or interval,
        weight=added,
        reverse=reverse,
        rise=block.get("rise", int) or 1,
        fall=block.get("fall", int) or 1,
        init_fail=block.has("init_fail"),
        location=setting.location,
    )


def _build_file(setting: Setting, findings: Findings) -> TrackFile | None:
    block = read_block(setting.block, "track_file", findings)
    if _required(setting, block, "file", findings) is None:
        return None
    added, reverse = read_weight(block, TrackKind.FILE, 1, findings)
    initial: int | None = None
    words = cast("tuple[str, ...]", block.get("init_file", tuple) or ())
    if (written := block.last("init_file")) is not None:
        numbers = [word for word in words if re.fullmatch(r"-?[0-9]{1,10}", word)]
        initial = int(numbers[0]) if numbers else 0
        if abs(initial) > _MOST_INITIAL:
            text = f"init_file {initial} must be from -{_MOST_INITIAL} to {_MOST_INITIAL}"
            findings.error(written.location, text, width=len("init_file"))
    return TrackFile(
        name=str(setting.value),
        path=block.get("file", str) or "",
        weight=added,
        reverse=reverse,
        initial=initial,
        overwrite="overwrite" in words,
        location=setting.location,
    )


def _build_process(setting: Setting, findings: Findings) -> TrackProcess | None:
    block = read_block(setting.block, "vrrp_track_process", findings)
    program = _required(setting, block, "process", findings)
    if program is None:
        return None
    words = tuple(part for word in cast("tuple[str, ...]", program.value) for part in word.split())
    added, reverse = read_weight(block, TrackKind.PROCESS, 0, findings)
    both = block.get("delay", float) or 0.0
    fork, terminate = block.get("fork_delay", float), block.get("terminate_delay", float)
    return TrackProcess(
        name=str(setting.value),
        words=words,
        arguments=block.get("param_match", str) or "exact",
        full_command=block.has("full_command"),
        weight=added,
        reverse=reverse,
        quorum=block.get("quorum", int) or 1,
        quorum_max=block.get("quorum_max", int),
        fork_delay=both if fork is None else fork,
        terminate_delay=both if terminate is None else terminate,
        location=setting.location,
    )


def _required(setting: Setting, block: Settings, word: str, findings: Findings) -> Setting | None:
    found = block.last(word)
    if found is not None and found.value != ():
        return found
    if found is not None or block.absent(word):
        keyword = setting.node.keyword
        text = f"{keyword.text} {setting.value} has no {word}"
        findings.error(keyword.location, text, f"add a line with {word}", keyword.width)
    return None


def read_weight(block: Settings, kind: TrackKind, usual: int, findings: Findings) -> tuple[int, bool]:
    """Return `weight N [reverse]` of a block. Its default is (usual, False)."""
    setting = block.last("weight")
    if setting is None:
        return usual, False
    words = ["weight", *cast("tuple[str, ...]", setting.value)]
    try:
        return _parse_weight(words, 0, kind, (usual, False))
    except BadValueError as error:
        word = setting.node.words[error.index]
        findings.error(word.location, f"weight: {error}", width=word.width)
        return usual, False


def _parse_weight(words: list[str], start: int, kind: TrackKind, usual: tuple[int, bool]) -> tuple[int, bool]:
    """Parse `[weight N] [reverse|noreverse]`. Raises BadValueError."""
    added, reverse = usual
    most = _LARGEST[kind]
    position = start
    while position < len(words):
        word = words[position]
        if word == "weight":
            text = words[position + 1] if position + 1 < len(words) else ""
            if not re.fullmatch(r"[+-]?[0-9]{1,4}", text) or abs(int(text)) > most:
                index = min(position + 1, len(words) - 1)
                raise BadValueError(f"the weight must be a number from -{most} to {most}", index)
            added, position = int(text), position + 1
        elif word in ("reverse", "noreverse"):
            reverse = word == "reverse"
        else:
            raise BadValueError(
                f"{word} is not an option; the options are weight N, reverse and noreverse", position
            )
        position += 1
    return added, reverse


def build_tracked(user: Setting, block: Settings, known: Trackers, findings: Findings) -> tuple[Tracked, ...]:
    """Return the trackers that the track_ blocks of an instance or a group (`user`) name.

    If one is named twice, the first line counts, as in keepalived.
    """
    found: dict[tuple[TrackKind, str], Tracked] = {}
    for kind, word in _BLOCKS.items():
        for node in block_lines(block, word):
            one = _build_tracked(user, node, kind, known, findings)
            if one is None:
                continue
            if (kind, one.name) in found:
                text = f"{word}: {one.name} is listed twice; the first line counts"
                place = node.keyword.location
                edits = remove(node.keyword)
                findings.warning(place, text, "remove one of them", node.keyword.width, edits)
            found.setdefault((kind, one.name), one)
    return tuple(found.values())


def block_lines(block: Settings, name: str) -> Iterator[Node]:
    return (node for setting in block.all(name) for node in setting.block)


def _build_tracked(
    user: Setting, node: Node, kind: TrackKind, known: Trackers, findings: Findings
) -> Tracked | None:
    words = [word.text for word in node.words]
    name = words[0]
    try:
        if kind is TrackKind.INTERFACE:
            Interface().read(words[:1])
        usual = {name: (0, False)} if kind is TrackKind.INTERFACE else known.default_weights(kind)
        if not known.is_above(kind, name, user.node):
            _report_order(node, kind, known.blocks[kind, name], findings)
            return None
        if name not in usual and (kind, name) in known.blocks and kind is not TrackKind.BFD:
            return None
        if name not in usual:
            text = f"{_BLOCKS[kind]}: there is no {_DEFINED_BY[kind]} {name}"
            unknown_name(node.words[0], text, usual, findings)
            return None
        added, reverse = _parse_weight(words, 1, kind, usual[name])
    except BadValueError as error:
        word = node.words[error.index]
        findings.error(word.location, f"{_BLOCKS[kind]} {name}: {error}", width=word.width)
        return None
    return Tracked(kind=kind, name=name, weight=added, reverse=reverse)


def _report_order(node: Node, kind: TrackKind, block: Node, findings: Findings) -> None:
    place, word = block.keyword.location, node.keyword
    text = (
        f"{_BLOCKS[kind]}: {_DEFINITIONS[kind]} {word.text} is defined below its use ({place}), "
        "so keepalived ignores it here, and so does Pointsman"
    )
    choices = (Choice("remove the line, so that it stays untracked", remove(word)),)
    findings.warning(word.location, text, f"move the {_DEFINITIONS[kind]} up", word.width, choices=choices)


def build_fifos(defaults: Settings, findings: Findings) -> tuple[NotifyFifo, ...]:
    """Return the notify FIFOs of global_defs: for VRRP, for real servers, for both."""
    found: dict[str, NotifyFifo] = {}
    who = cast("tuple[str, ...]", defaults.get("script_user", tuple) or ())
    for word, script in _FIFOS.items():
        reader = defaults.last(script)
        written = cast("tuple[str, ...]", defaults.get(word, tuple) or ())
        if written:
            path, user, group = (*written, "", "")[:3]
            run = build_command(reader, findings)
            if run is not None and not run.user:
                run = Command(run.words, *who[:2])
            found[word] = NotifyFifo(word=word, path=path, user=user, group=group, reader=run)
        elif reader is not None:
            findings.error(
                reader.location, f"{script} without {word} has no effect", f"add {word} PATH", len(script)
            )
    return tuple(found.values())
