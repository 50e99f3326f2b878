# SPDX-License-Identifier: Apache-2.0
"""Objects that VRRP instances track besides their interface, and the receivers of notifications."""

from __future__ import annotations

import enum

import msgspec

from pointsman.model.location import Location


class TrackKind(enum.Enum):
    INTERFACE = "interface"
    SCRIPT = "script"
    FILE = "file"
    PROCESS = "process"
    BFD = "bfd"


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A tracked object of one instance."""

    kind: TrackKind
    name: str
    weight: int = 0
    """0: a failure of the object is a fault. Otherwise: change of the priority."""
    reverse: bool = False


class Command(msgspec.Struct, frozen=True):
    """A program with its arguments and its user."""

    words: tuple[str, ...]
    user: str = ""
    """Empty: the user of all scripts (script_user)."""
    group: str = ""


class TrackScript(msgspec.Struct, frozen=True, kw_only=True):
    """vrrp_script: a program whose exit code 0 means success."""

    name: str
    command: Command
    interval: float = 1.0
    timeout: float = 1.0
    """Seconds after which the program is killed and has failed."""
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    """Consecutive successes until a failed script is good again."""
    fall: int = 1
    init_fail: bool = False
    """Failed until the first success."""
    location: Location | None = None


class TrackFile(msgspec.Struct, frozen=True, kw_only=True):
    """track_file: a file that contains a number."""

    name: str
    path: str
    weight: int = 1
    reverse: bool = False
    initial: int | None = None
    """Written into the file at the start if it does not exist (or with `overwrite`)."""
    overwrite: bool = False
    location: Location | None = None


class TrackProcess(msgspec.Struct, frozen=True, kw_only=True):
    """vrrp_track_process: a minimum number of processes with this name."""

    name: str
    words: tuple[str, ...]
    """The program (name or path), and its required arguments if there are any."""
    arguments: str = "exact"
    """Comparison of arguments: exact, initial (the first ones) or partial (the last one may be a prefix)."""
    full_command: bool = False
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    quorum_max: int | None = None
    fork_delay: float = 0.0
    terminate_delay: float = 0.0
    location: Location | None = None


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """Programs that run when a state is entered."""

    every: Command | None = None
    """Gets INSTANCE or GROUP, name, state and priority after its own arguments."""
    master: Command | None = None
    backup: Command | None = None
    fault: Command | None = None
    stop: Command | None = None
    lower_priority: Command | None = None
    """notify_master_rx_lower_pri."""
    deleted: Command | None = None
    tells_deleted: bool = False
    """notify_deleted: an instance that a reload removes is reported as DELETED, not as FAULT."""


class NotifyFifo(msgspec.Struct, frozen=True, kw_only=True):
    """A named pipe that gets a line for every change."""

    word: str
    """notify_fifo, vrrp_notify_fifo or lvs_notify_fifo."""
    path: str
    user: str = ""
    """Owner of the pipe if it is created here. Empty: the user of the director."""
    group: str = ""
    reader: Command | None = None
    """Program that is started with the path as its last argument."""


class SyncGroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A vrrp_sync_group block."""

    name: str
    members: tuple[str, ...]
    notify: Notify = Notify()
    smtp_alert: bool = False
    location: Location | None = None


class AnnouncementPauses(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two announcements on an interface (garp_interval, gna_interval). 0: none."""

    interfaces: tuple[str, ...] = ()
    """Interfaces of a garp_group, which share the delays. Empty: every other interface on its own."""
    arp: float = 0.0
    na: float = 0.0


class VrrpSurroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that all instances share."""

    has_instances: bool = True
    """False: there is none to share them. Only the part for pm-scripts says so."""
    scripts: tuple[TrackScript, ...] = ()
    files: tuple[TrackFile, ...] = ()
    processes: tuple[TrackProcess, ...] = ()
    groups: tuple[SyncGroupSettings, ...] = ()
    script_user: str = ""
    """Empty: keepalived_script if this user exists, otherwise root."""
    script_group: str = ""
    script_security: bool = False
    """A program that other users than root can change is not run as root."""
    fifos: tuple[NotifyFifo, ...] = ()
    pauses: tuple[AnnouncementPauses, ...] = ()
    states_on_reload: bool = False
    """A reload writes all states to the pipes again (fifo_write_vrrp_states_on_reload)."""
    dynamic_interfaces: bool = False
    """An instance without its interface waits for it in FAULT. False: the start fails."""
