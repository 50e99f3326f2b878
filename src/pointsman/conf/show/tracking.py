"""Trackers, sync groups and notify scripts as canonical keepalived.conf."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.show.checks import command_line
from pointsman.conf.show.layout import block, number, on, text
from pointsman.conf.text.commands import quoted
from pointsman.model.bfd import BfdSession
from pointsman.model.config import Config
from pointsman.model.tracking import (
    AnnouncementPauses,
    Notify,
    SyncGroupSettings,
    Tracked,
    TrackFile,
    TrackKind,
    TrackProcess,
    TrackScript,
    VrrpSurroundings,
)


def global_words(shared: VrrpSurroundings) -> Iterator[str]:
    """What stands in global_defs."""
    if shared.script_user:
        yield " ".join(["script_user", *map(text, filter(None, (shared.script_user, shared.script_group)))])
    if shared.script_security:
        yield "enable_script_security"
    for each in shared.pauses:
        if not each.interfaces:
            yield f"vrrp_garp_interval {number(each.arp)}"
            yield f"vrrp_gna_interval {number(each.na)}"
    if shared.states_on_reload:
        yield "fifo_write_vrrp_states_on_reload"
    if shared.dynamic_interfaces:
        yield "dynamic_interfaces"


def fifo_words(config: Config) -> Iterator[str]:
    """The notify FIFOs; one that VRRP and servers share is written once."""
    for fifo in dict.fromkeys((*config.vrrp.fifos, *config.server_fifos)):
        yield " ".join([fifo.word, *map(text, filter(None, (fifo.path, fifo.user, fifo.group)))])
        if fifo.reader is not None:
            yield f"{fifo.word}_script {command_line(fifo.reader)}"


def definitions(shared: VrrpSurroundings) -> list[Iterator[str]]:
    """The blocks of everything that can be tracked."""
    return [
        *(block("garp_group", _pauses(each)) for each in shared.pauses if each.interfaces),
        *(block(f"vrrp_script {text(each.name)}", _script(each)) for each in shared.scripts),
        *(block(f"track_file {text(each.name)}", _file(each)) for each in shared.files),
        *(block(f"vrrp_track_process {text(each.name)}", _process(each)) for each in shared.processes),
    ]


def sessions(every: tuple[BfdSession, ...]) -> list[Iterator[str]]:
    """The bfd_instance blocks."""
    return [block(f"bfd_instance {text(each.name)}", _session(each)) for each in every]


def groups(shared: VrrpSurroundings) -> list[Iterator[str]]:
    """The sync groups; their trackers are shown with the members, to which they have been given."""
    return [block(f"vrrp_sync_group {text(each.name)}", _group(each)) for each in shared.groups]


def tracked(every: tuple[Tracked, ...]) -> Iterator[str]:
    """The track_ blocks of an instance."""
    for kind in TrackKind:
        lines = [
            f"{text(each.name)} weight {each.weight} {'reverse' if each.reverse else 'noreverse'}"
            for each in every
            if each.kind is kind
        ]
        if lines:
            yield from block(f"track_{kind.value}", iter(lines))


def notify(wanted: Notify) -> Iterator[str]:
    """The notify words of an instance or a group."""
    for word, command in (
        ("notify", wanted.every),
        ("notify_master", wanted.master),
        ("notify_backup", wanted.backup),
        ("notify_fault", wanted.fault),
        ("notify_stop", wanted.stop),
        ("notify_master_rx_lower_pri", wanted.lower_priority),
    ):
        if command is not None:
            yield f"{word} {command_line(command)}"
    if wanted.tells_deleted:
        yield f"notify_deleted {command_line(wanted.deleted) if wanted.deleted else ''}".rstrip()


def _weight(weight: int, reverse: bool) -> str:
    return f"weight {weight}{' reverse' if reverse else ''}"


def _pauses(group: AnnouncementPauses) -> Iterator[str]:
    yield from block("interfaces", iter(group.interfaces))
    yield f"garp_interval {number(group.arp)}"
    yield f"gna_interval {number(group.na)}"


def _script(script: TrackScript) -> Iterator[str]:
    yield f"script {quoted(script.command.words)}"
    yield f"interval {number(script.interval)}"
    yield f"timeout {number(script.timeout)}"
    yield _weight(script.weight, script.reverse)
    yield f"rise {script.rise}"
    yield f"fall {script.fall}"
    if script.command.user:
        yield " ".join(["user", *map(text, filter(None, (script.command.user, script.command.group)))])
    if script.init_fail:
        yield "init_fail"


def _file(file: TrackFile) -> Iterator[str]:
    yield f"file {text(file.path)}"
    yield _weight(file.weight, file.reverse)
    if file.initial is not None:
        yield f"init_file {file.initial}{' overwrite' if file.overwrite else ''}"


def _process(process: TrackProcess) -> Iterator[str]:
    yield f"process {' '.join(map(text, process.words))}"
    if process.arguments != "exact":
        yield f"param_match {process.arguments}"
    if process.full_command:
        yield "full_command"
    yield _weight(process.weight, process.reverse)
    yield f"quorum {process.quorum}"
    if process.quorum_max is not None:
        yield f"quorum_max {process.quorum_max}"
    yield f"fork_delay {number(process.fork_delay)}"
    yield f"terminate_delay {number(process.terminate_delay)}"


def _session(session: BfdSession) -> Iterator[str]:
    yield f"neighbor_ip {session.neighbour}"
    if session.source is not None:
        yield f"source_ip {session.source}"
    yield f"min_rx {number(session.min_rx * 1000)}"
    yield f"min_tx {number(session.min_tx * 1000)}"
    yield f"idle_tx {number(session.idle_tx * 1000)}"
    yield f"multiplier {session.multiplier}"
    if session.passive:
        yield "passive"
    yield f"ttl {session.ttl}"
    yield f"max_hops {-1 if session.max_hops is None else session.max_hops}"
    yield f"multihop {on(session.multihop)}"
    yield _weight(session.weight, session.reverse)
    if not session.for_checker:
        yield "vrrp"
    if not session.for_vrrp:
        yield "checker"


def _group(group: SyncGroupSettings) -> Iterator[str]:
    yield from block("group", (text(name) for name in group.members))
    yield "sync_group_tracking_weight"
    yield f"smtp_alert {on(group.smtp_alert)}"
    yield from notify(group.notify)
