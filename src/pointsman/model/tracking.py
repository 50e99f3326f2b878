"""What a VRRP instance depends on besides its own interface, and who is told of its states."""

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
    """One thing that one instance depends on."""

    kind: TrackKind
    name: str
    weight: int = 0
    """0: it must be good. Otherwise it changes the priority."""
    reverse: bool = False


class Command(msgspec.Struct, frozen=True):
    """A program with its arguments, and as whom it runs."""

    words: tuple[str, ...]
    user: str = ""
    """Empty: the user of all scripts (script_user)."""
    group: str = ""


class TrackScript(msgspec.Struct, frozen=True, kw_only=True):
    """vrrp_script: a program whose exit code 0 means good."""

    name: str
    command: Command
    interval: float = 1.0
    timeout: float = 1.0
    """Seconds after which it is ended and has failed."""
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    """Successes in a row until bad becomes good."""
    fall: int = 1
    init_fail: bool = False
    """Bad until the first success."""
    location: Location | None = None


class TrackFile(msgspec.Struct, frozen=True, kw_only=True):
    """track_file: a file with a number in it."""

    name: str
    path: str
    weight: int = 1
    reverse: bool = False
    initial: int | None = None
    """Written into the file at the start when it does not exist (or `overwrite`)."""
    overwrite: bool = False
    location: Location | None = None


class TrackProcess(msgspec.Struct, frozen=True, kw_only=True):
    """vrrp_track_process: so many processes of this name must run."""

    name: str
    words: tuple[str, ...]
    """The program (its name, or its path), and the arguments that it must have if any are written."""
    arguments: str = "exact"
    """How arguments are compared: exact, initial (they begin so) or partial (the last word begins so)."""
    full_command: bool = False
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    quorum_max: int | None = None
    fork_delay: float = 0.0
    terminate_delay: float = 0.0
    location: Location | None = None


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """Programs that are run when a state is entered."""

    every: Command | None = None
    """Gets INSTANCE or GROUP, name, state and priority as arguments behind its own."""
    master: Command | None = None
    backup: Command | None = None
    fault: Command | None = None
    stop: Command | None = None
    lower_priority: Command | None = None
    """notify_master_rx_lower_pri."""
    deleted: Command | None = None
    tells_deleted: bool = False
    """notify_deleted: an instance that a reload removes is told of as DELETED, not as FAULT."""


class NotifyFifo(msgspec.Struct, frozen=True, kw_only=True):
    """A named pipe that gets a line at every change."""

    word: str
    """notify_fifo, vrrp_notify_fifo or lvs_notify_fifo."""
    path: str
    user: str = ""
    """Who owns it, if it is made here; empty: whoever runs the director."""
    group: str = ""
    reader: Command | None = None
    """Started with the path as its last argument."""


class SyncGroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """vrrp_sync_group."""

    name: str
    members: tuple[str, ...]
    notify: Notify = Notify()
    smtp_alert: bool = False
    location: Location | None = None


class AnnouncementPauses(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two announcements on an interface (garp_interval, gna_interval); 0: none."""

    interfaces: tuple[str, ...] = ()
    """A garp_group: they share the pauses. Empty: every other interface, each by itself."""
    arp: float = 0.0
    na: float = 0.0


class VrrpSurroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all instances share."""

    scripts: tuple[TrackScript, ...] = ()
    files: tuple[TrackFile, ...] = ()
    processes: tuple[TrackProcess, ...] = ()
    groups: tuple[SyncGroupSettings, ...] = ()
    script_user: str = ""
    """Empty: keepalived_script when there is such a user, else root."""
    script_group: str = ""
    script_security: bool = False
    """A program that others than root can change is not run as root."""
    fifos: tuple[NotifyFifo, ...] = ()
    pauses: tuple[AnnouncementPauses, ...] = ()
    states_on_reload: bool = False
    """The pipes are told all states again at a reload (fifo_write_vrrp_states_on_reload)."""
    dynamic_interfaces: bool = False
    """Instances whose interface does not exist wait for it, in FAULT; otherwise nothing starts."""
