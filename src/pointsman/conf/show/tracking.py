# SPDX-License-Identifier: Apache-2.0
"""Format trackers, sync groups and notify scripts as canonical keepalived.conf."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.show.checks import format_command
from pointsman.conf.show.layout import format_block, format_seconds, format_switch, format_text
from pointsman.conf.text.commands import quote_command
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


def show_global_words(shared: VrrpSurroundings) -> Iterator[str]:
    """Yield the lines of global_defs."""
    if shared.script_user:
        yield " ".join(
            ["script_user", *map(format_text, filter(None, (shared.script_user, shared.script_group)))]
        )
    if shared.script_security:
        yield "enable_script_security"
    for each in shared.pauses:
        if not each.interfaces:
            yield f"vrrp_garp_interval {format_seconds(each.arp)}"
            yield f"vrrp_gna_interval {format_seconds(each.na)}"
    if shared.states_on_reload:
        yield "fifo_write_vrrp_states_on_reload"
    if shared.dynamic_interfaces:
        yield "dynamic_interfaces"


def show_fifos(config: Config) -> Iterator[str]:
    """Yield the notify FIFOs. One that VRRP and real servers share is written once."""
    for fifo in dict.fromkeys((*config.vrrp.fifos, *config.server_fifos)):
        yield " ".join([fifo.word, *map(format_text, filter(None, (fifo.path, fifo.user, fifo.group)))])
        if fifo.reader is not None:
            yield f"{fifo.word}_script {format_command(fifo.reader)}"


def show_trackers(shared: VrrpSurroundings) -> list[Iterator[str]]:
    """Return the blocks of trackers, and garp_group blocks."""
    return [
        *(format_block("garp_group", _show_pauses(each)) for each in shared.pauses if each.interfaces),
        *(
            format_block(f"vrrp_script {format_text(each.name)}", _show_script(each))
            for each in shared.scripts
        ),
        *(format_block(f"track_file {format_text(each.name)}", _show_file(each)) for each in shared.files),
        *(
            format_block(f"vrrp_track_process {format_text(each.name)}", _show_process(each))
            for each in shared.processes
        ),
    ]


def show_sessions(every: tuple[BfdSession, ...]) -> list[Iterator[str]]:
    """Return the bfd_instance blocks."""
    return [format_block(f"bfd_instance {format_text(each.name)}", _show_session(each)) for each in every]


def show_groups(shared: VrrpSurroundings) -> list[Iterator[str]]:
    """Return the sync groups. Their trackers are shown with the members, which have them."""
    return [
        format_block(f"vrrp_sync_group {format_text(each.name)}", _show_group(each)) for each in shared.groups
    ]


def show_tracked(every: tuple[Tracked, ...]) -> Iterator[str]:
    """Yield the track_ blocks of an instance."""
    for kind in TrackKind:
        lines = [
            f"{format_text(each.name)} {_format_tracked_weight(each)}" for each in every if each.kind is kind
        ]
        if lines:
            yield from format_block(f"track_{kind.value}", iter(lines))


def show_notify(wanted: Notify) -> Iterator[str]:
    """Yield the notify lines of an instance or a group."""
    for word, command in (
        ("notify", wanted.every),
        ("notify_master", wanted.master),
        ("notify_backup", wanted.backup),
        ("notify_fault", wanted.fault),
        ("notify_stop", wanted.stop),
        ("notify_master_rx_lower_pri", wanted.lower_priority),
    ):
        if command is not None:
            yield f"{word} {format_command(command)}"
    if wanted.tells_deleted:
        yield f"notify_deleted {format_command(wanted.deleted) if wanted.deleted else ''}".rstrip()


def _format_tracked_weight(tracked: Tracked) -> str:
    """Return the weight; noreverse only where a definition can say reverse."""
    text = _format_weight(tracked.weight, tracked.reverse)
    return text if tracked.reverse or tracked.kind is TrackKind.INTERFACE else f"{text} noreverse"


def _format_weight(weight: int, reverse: bool) -> str:
    return f"weight {weight}{' reverse' if reverse else ''}"


def _show_pauses(group: AnnouncementPauses) -> Iterator[str]:
    yield from format_block("interfaces", iter(group.interfaces))
    yield f"garp_interval {format_seconds(group.arp)}"
    yield f"gna_interval {format_seconds(group.na)}"


def _show_script(script: TrackScript) -> Iterator[str]:
    yield f"script {quote_command(script.command.words)}"
    yield f"interval {format_seconds(script.interval)}"
    yield f"timeout {format_seconds(script.timeout)}"
    yield _format_weight(script.weight, script.reverse)
    yield f"rise {script.rise}"
    yield f"fall {script.fall}"
    if script.command.user:
        yield " ".join(["user", *map(format_text, filter(None, (script.command.user, script.command.group)))])
    if script.init_fail:
        yield "init_fail"


def _show_file(file: TrackFile) -> Iterator[str]:
    yield f"file {format_text(file.path)}"
    yield _format_weight(file.weight, file.reverse)
    if file.initial is not None:
        yield f"init_file {file.initial}{' overwrite' if file.overwrite else ''}"


def _show_process(process: TrackProcess) -> Iterator[str]:
    yield f"process {' '.join(map(format_text, process.words))}"
    if process.arguments != "exact":
        yield f"param_match {process.arguments}"
    if process.full_command:
        yield "full_command"
    yield _format_weight(process.weight, process.reverse)
    yield f"quorum {process.quorum}"
    if process.quorum_max is not None:
        yield f"quorum_max {process.quorum_max}"
    yield f"fork_delay {format_seconds(process.fork_delay)}"
    yield f"terminate_delay {format_seconds(process.terminate_delay)}"


def _show_session(session: BfdSession) -> Iterator[str]:
    yield f"neighbor_ip {session.neighbour}"
    if session.source is not None:
        yield f"source_ip {session.source}"
    yield f"min_rx {format_seconds(session.min_rx * 1000)}"
    yield f"min_tx {format_seconds(session.min_tx * 1000)}"
    yield f"idle_tx {format_seconds(session.idle_tx * 1000)}"
    yield f"multiplier {session.multiplier}"
    if session.passive:
        yield "passive"
    yield f"ttl {session.ttl}"
    yield f"max_hops {-1 if session.max_hops is None else session.max_hops}"
    yield f"multihop {format_switch(session.multihop)}"
    yield _format_weight(session.weight, session.reverse)
    if not session.for_checker:
        yield "vrrp"
    if not session.for_vrrp:
        yield "checker"


def _show_group(group: SyncGroupSettings) -> Iterator[str]:
    yield from format_block("group", (format_text(name) for name in group.members))
    yield "sync_group_tracking_weight"
    yield f"smtp_alert {format_switch(group.smtp_alert)}"
    yield from show_notify(group.notify)
