# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: scripts, files and processes that VRRP tracks, and groups of instances."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import NO_VALUE, ONE, Keyword, accepted, honoured, in_block
from pointsman.conf.keywords.values import (
    COMMAND,
    COMMAND_LINE,
    OWNER,
    PATH,
    Anything,
    Boolean,
    Choice,
    Flag,
    Integer,
    Seconds,
    weight_up_to,
)


def program(name: str, help: str) -> Keyword:
    """Return the row of a program that runs at an event. If it is repeated, the first one counts."""
    return honoured(name, COMMAND, help, first_counts=True)


TRACKED = [
    honoured(
        "track_script",
        Flag(),
        "scripts that must succeed: NAME [weight N] [reverse]",
        opens="tracked",
        listing=True,
    ),
    honoured(
        "track_interface",
        Flag(),
        "interfaces that must be up: IF [weight N] [reverse]",
        opens="tracked",
        listing=True,
    ),
    honoured(
        "track_file",
        Flag(),
        "files that change the priority: NAME [weight N] [reverse]",
        opens="tracked",
        listing=True,
    ),
    honoured(
        "track_process",
        Flag(),
        "processes that must run: NAME [weight N] [reverse]",
        opens="tracked",
        listing=True,
    ),
    honoured(
        "track_bfd",
        Flag(),
        "BFD sessions that must be up: NAME [weight N] [reverse]",
        opens="tracked",
        listing=True,
    ),
]
"""Words of instances and of groups."""

TRACKING = [
    *in_block(
        "vrrp_script",
        honoured("script", COMMAND_LINE, "program to run; exit code 0 is success"),
        honoured(
            "interval",
            Seconds(0.001, 4294967),
            "time between two runs, which never overlap",
            "1",
            zero=ONE,
        ),
        honoured("timeout", Seconds(0.001, 4294967), "longest run; then it has failed", "interval", zero=ONE),
        honoured("weight", weight_up_to(253), "added to the priority; 0: a failure means FAULT", "0"),
        honoured("rise", Integer(1, 2147483647), "successes in a row until it is good", "1", zero=NO_VALUE),
        honoured("fall", Integer(1, 2147483647), "failures in a row until it is bad", "1", zero=NO_VALUE),
        honoured("user", OWNER, "owner of the program", "script_user"),
        honoured("init_fail", Flag(), "bad until the first success"),
    ),
    *in_block(
        "track_file",
        honoured("file", PATH, "file with the number"),
        honoured("weight", weight_up_to(254), "factor of the number, which is added to the priority", "1"),
        honoured("init_file", Anything("[VALUE] [overwrite]", words=2), "number to write at the start", "0"),
    ),
    *in_block(
        "vrrp_track_process",
        honoured("process", Anything("PROGRAM [ARGUMENTS]"), "program, and arguments it must have"),
        honoured(
            "param_match",
            Choice(("initial", "partial")),
            "initial: more arguments may follow; partial: the last one may be longer, too",
        ),
        honoured("weight", weight_up_to(254), "added to the priority; 0: too few processes mean FAULT", "0"),
        honoured("quorum", Integer(1, 65535), "fewest processes that must run", "1"),
        honoured("quorum_max", Integer(0, 65535), "most processes that may run"),
        honoured("fork_delay", Seconds(0, 3600), "wait after enough processes have started", "0"),
        honoured("terminate_delay", Seconds(0, 3600), "wait after too many processes have ended", "0"),
        honoured("delay", Seconds(0, 3600), "both waits", "0"),
        honoured("full_command", Flag(), "compare program and arguments as a whole"),
    ),
    *in_block(
        "vrrp_sync_group",
        honoured("group", Flag(), "names of the instances", opens="names", listing=True),
        *TRACKED,
        program("notify", "program to run at every change: GROUP, name, state and priority 0"),
        program("notify_master", "program to run when all have become master"),
        program("notify_backup", "program to run when they have become backup"),
        program("notify_fault", "program to run when one is in FAULT"),
        program("notify_stop", "program to run at the stop"),
        honoured("sync_group_tracking_weight", Flag(), "weights of trackers count in the group, too"),
        honoured("smtp_alert", Boolean(), "mail at a change of state", "smtp_alert_vrrp"),
        accepted(
            "notify_priority_changes",
            Boolean(),
            "changes of priority are told to scripts and pipes",
            "off",
            why="a group has no priority",
        ),
        accepted(
            "global_tracking",
            Flag(),
            "old, without effect",
            why="trackers of a group are those of its members anyway",
        ),
    ),
    *in_block(
        "track_group", honoured("group", Flag(), "names of the instances", opens="names", listing=True)
    ),
]
