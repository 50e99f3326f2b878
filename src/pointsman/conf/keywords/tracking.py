"""Rows of the keyword table: scripts, files and processes that VRRP tracks, and sync groups."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import Keyword, accepted, honoured
from pointsman.conf.keywords.values import Anything, Boolean, Choice, Flag, Integer, Seconds, Text

_S, _F, _P, _G = "vrrp_script", "track_file", "vrrp_track_process", "vrrp_sync_group"
_WEIGHT = Anything("a number, and perhaps reverse", words=2)
_COMMAND = Anything("a command line, in quotes when it has arguments", words=3)
_NAME = Text("a name", 255)

TRACKING_TOP: list[Keyword] = [
    honoured("", _S, _NAME, "A program whose exit code says whether to be master.", opens=_S, repeats=True),
    honoured("", _F, _NAME, "A file whose number changes priorities.", opens=_F, repeats=True),
    honoured("", "vrrp_track_file", _NAME, "The old word.", opens=_F, repeats=True, same_as="track_file"),
    honoured("", _P, _NAME, "Processes that must run.", opens=_P, repeats=True),
    honoured("", _G, _NAME, "Instances that are master together or not at all.", opens=_G, repeats=True),
]

TRACKING: list[Keyword] = [
    honoured(_S, "script", _COMMAND, "The program; exit code 0 is success."),
    honoured(_S, "interval", Seconds(0.001, 4294967), "Between two runs; they never overlap.", 1.0),
    honoured(_S, "timeout", Seconds(0.001, 4294967), "Longest run; then it has failed. Default: interval."),
    honoured(_S, "weight", _WEIGHT, "Added to the priority on success, or on failure when negative."),
    honoured(_S, "rise", Integer(1, 2147483647), "Successes in a row until it is good.", 1),
    honoured(_S, "fall", Integer(1, 2147483647), "Failures in a row until it is bad.", 1),
    honoured(_S, "user", Anything("USER [GROUP]", words=2), "Who runs it; default: script_user."),
    honoured(_S, "init_fail", Flag(), "Bad until the first success."),
    honoured(_F, "file", Text("a path", 4095), "The file with the number."),
    honoured(_F, "weight", _WEIGHT, "Times the number in the file, added to the priority."),
    honoured(_F, "init_file", Anything("[VALUE] [overwrite]", words=2), "The number written at the start."),
    honoured(_P, "process", Anything("PROGRAM [ARGUMENTS]"), "The program, and arguments it must have."),
    honoured(_P, "param_match", Choice(("initial", "partial")), "Arguments may go on behind those written."),
    honoured(_P, "weight", _WEIGHT, "Added to the priority while enough run, or do not when negative."),
    honoured(_P, "quorum", Integer(1, 65535), "At least so many must run.", 1),
    honoured(_P, "quorum_max", Integer(0, 65535), "At most so many may run."),
    honoured(_P, "fork_delay", Seconds(0, 3600), "Wait after enough have started.", 0.0),
    honoured(_P, "terminate_delay", Seconds(0, 3600), "Wait after too many have ended.", 0.0),
    honoured(_P, "delay", Seconds(0, 3600), "Both waits."),
    honoured(_P, "full_command", Flag(), "Compare program and arguments as a whole."),
    honoured(_G, "group", Flag(), "Names of the instances.", opens="names", listing=True),
    honoured(_G, "track_script", Flag(), "For every member.", opens="tracked", listing=True),
    honoured(_G, "track_interface", Flag(), "For every member.", opens="tracked", listing=True),
    honoured(_G, "track_file", Flag(), "For every member.", opens="tracked", listing=True),
    honoured(_G, "track_process", Flag(), "For every member.", opens="tracked", listing=True),
    honoured(_G, "track_bfd", Flag(), "For every member.", opens="tracked", listing=True),
    honoured(_G, "notify", _COMMAND, "Run at every change with GROUP, name, state and priority 0."),
    honoured(_G, "notify_master", _COMMAND, "Run when all have become master."),
    honoured(_G, "notify_backup", _COMMAND, "Run when they have become backup."),
    honoured(_G, "notify_fault", _COMMAND, "Run when one cannot work."),
    honoured(_G, "notify_stop", _COMMAND, "Run at the end."),
    honoured(_G, "sync_group_tracking_weight", Flag(), "Weights of trackers count in the group, too."),
    honoured(_G, "smtp_alert", Boolean(), "Mail when the state of the group changes."),
    *accepted(_G, "notify_priority_changes", "a group has no priority"),
    *accepted(_G, "global_tracking", "trackers of a group are those of its members anyway"),
]
