# SPDX-License-Identifier: Apache-2.0
"""Rows of the keyword table: words of global_defs that have no effect here, and why."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.conf.keywords.keyword import NEWER, Keyword, accepted, in_block
from pointsman.conf.keywords.values import EVERY_UNSIGNED, Anything, Boolean, Flag, Integer, Seconds, Text

_PROCESS = "Pointsman sets up its own processes: VRRP runs SCHED_FIFO and locked in memory, the others do not"
_PATHS = "scripts run by the path that is written"
_TIMEOUT = "only scripts that are refused would use it"
_COMPARISON = "an advert with other addresses is accepted, and logged"
_BUFFERS = "receive buffers have a fixed, ample size"
_FIREWALL = "no_accept has a table of its own here, inet pointsman_vrrp; nothing else needs a firewall"
_AT_STOP = "a stop that is asked for removes the table"
_SNMP = "there is no SNMP agent and no D-Bus here; status and metrics come from `pointsman status`"
_DUMPS = "there are no dump files; ask `pointsman status`"
_RELOAD = "a configuration is always checked as a whole before it is used"
_READ_ONCE = "the configuration is read once, and includes are always checked"
_NETLINK = "netlink sockets size themselves here"
_BYTES = Integer(0, EVERY_UNSIGNED, "bytes")


def _of_a_process(word: str, process: str) -> Iterator[Keyword]:
    """Yield the words that keepalived has for each of its processes."""
    microseconds = Integer(1, EVERY_UNSIGNED, "microseconds")
    whose = f"of the {process} process"
    yield accepted(f"{word}_process_name", Text(), f"name {whose}", why=_PROCESS)
    yield accepted(f"{word}_priority", Integer(-20, 19), f"nice value {whose}", why=_PROCESS)
    yield accepted(f"{word}_rt_priority", Integer(1, 99), f"real-time priority {whose}", why=_PROCESS)
    yield accepted(f"{word}_no_swap", Flag(), f"lock the {process} process in memory", why=_PROCESS)
    yield accepted(f"{word}_cpu_affinity", Anything("CPUs"), f"CPUs {whose}", why=_PROCESS)
    limit = f"longest CPU time {whose} without a pause"
    yield accepted(f"{word}_rlimit_rttime", microseconds, limit, "10000", why=_PROCESS)
    old = f"old spelling of {word}_rlimit_rttime"
    yield accepted(f"{word}_rlimit_rtime", microseconds, old, "10000", why=_PROCESS)


def _buffer(word: str, what: str) -> Iterator[Keyword]:
    """Yield the words that keepalived has for the size of a receive buffer."""
    yield accepted(word, _BYTES, f"receive buffer of {what}", why=_NETLINK)
    yield accepted(
        f"{word}_force", Boolean(), "the buffer may exceed the limit of the system", "off", why=_NETLINK
    )


_PROCESSES = [
    accepted("process_names", Flag(), "processes get the default names", why=_PROCESS),
    accepted("process_name", Text(), "name of the parent process", why=_PROCESS),
    *_of_a_process("vrrp", "VRRP"),
    *_of_a_process("checker", "checker"),
    accepted("lvs_process_name", Text(), "old spelling of checker_process_name", why=_PROCESS),
    *_of_a_process("bfd", "BFD"),
    accepted(
        "max_auto_priority",
        Integer(-1, 99),
        "highest real-time priority that late timers may raise a process to",
        "0",
        why=_PROCESS,
    ),
    accepted(
        "min_auto_priority_delay",
        Integer(1, 10_000_000, "microseconds"),
        "lateness that raises the priority",
        "1000000",
        why=_PROCESS,
    ),
    accepted("umask", Anything("mode"), "file mode creation mask", "0177", why=_PROCESS),
    accepted(
        "use_symlink_paths",
        Boolean(),
        "run scripts by the path with its links",
        "off",
        why=_PATHS,
        known_to=NEWER,
    ),
    accepted(
        "set_supplementary_groups", Flag(), "scripts get all groups of their user", why=_PATHS, known_to=NEWER
    ),
    accepted(
        "startup_script_timeout",
        Integer(1, 1000, "seconds"),
        "longest run of startup_script",
        "10",
        why=_TIMEOUT,
    ),
    accepted(
        "shutdown_script_timeout",
        Integer(1, 1000, "seconds"),
        "longest run of shutdown_script",
        "10",
        why=_TIMEOUT,
    ),
]

_VRRP = [
    accepted(
        "no_email_faults",
        Flag(),
        "no mails when an instance enters FAULT",
        why="alerts about faults are sent like all others",
    ),
    accepted(
        "vrrp_min_garp",
        Boolean(),
        "one packet in place of a burst",
        "off",
        why="a burst has as many packets as garp_master_repeat says",
    ),
    accepted(
        "vrrp_higher_prio_send_advert",
        Boolean(),
        "a master that gives way sends one more advert",
        "off",
        why="it cures stale ARP entries after a split; the winner always announces itself again here",
    ),
    accepted(
        "vrrp_skip_check_adv_addr",
        Flag(),
        "compare addresses in adverts once for each master",
        why=_COMPARISON,
    ),
    accepted(
        "log_unknown_vrids",
        Flag(),
        "log adverts of unknown virtual routers",
        why="adverts of unknown virtual routers are counted",
    ),
    accepted(
        "vrrp_rx_bufs_policy", Anything("MTU, ADVERT or bytes"), "size of receive buffers", why=_BUFFERS
    ),
    accepted(
        "vrrp_rx_bufs_multiplier",
        Integer(1, EVERY_UNSIGNED),
        "adverts that a receive buffer must hold",
        "3",
        why=_BUFFERS,
    ),
    accepted(
        "disable_local_igmp",
        Flag(),
        "no IGMP of this host on virtual MAC interfaces",
        why="virtual MAC interfaces send no group reports here",
    ),
    accepted(
        "vrrp_iptables",
        Anything("[chain [chain]]"),
        "iptables chains for no_accept and virtual MAC",
        why=_FIREWALL,
    ),
    accepted(
        "vrrp_ipsets",
        Anything("names"),
        "ipsets for no_accept and virtual MAC",
        why=_FIREWALL,
        known_to=NEWER,
    ),
    accepted(
        "nftables", Anything("[table]"), "nftables for no_accept and virtual MAC", "keepalived", why=_FIREWALL
    ),
    accepted(
        "nftables_priority", Integer(-(2**31), 2**31 - 1), "priority of the chains", "-1", why=_FIREWALL
    ),
    accepted("nftables_counters", Flag(), "counters in the rules", why=_FIREWALL),
    accepted("nftables_ifindex", Flag(), "rules name interfaces by index", why=_FIREWALL),
]

_LVS = [
    accepted(
        "nftables_ipvs_priority",
        Integer(-(2**31), 2**31 - 1),
        "priority of the chains of nftables_ipvs",
        why="the data plane knows the addresses itself, there is no chain",
    ),
    accepted(
        "lvs_flush",
        Flag(),
        "empty the IPVS table at the start",
        why="the table in force is always brought in line with the configuration",
    ),
    accepted("lvs_flush_on_stop", Anything("[VS]"), "empty the IPVS table at the stop", why=_AT_STOP),
    accepted("lvs_flush_onstop", Anything("[VS]"), "old spelling of lvs_flush_on_stop", why=_AT_STOP),
]

_QUERIES = [
    accepted("snmp_socket", Text(), "socket of the SNMP master agent", "unix:/var/agentx/master", why=_SNMP),
    accepted("enable_snmp_vrrp", Flag(), "SNMP of VRRP instances", why=_SNMP),
    accepted("enable_snmp_keepalived", Flag(), "old spelling of enable_snmp_vrrp", why=_SNMP),
    accepted("enable_snmp_checker", Flag(), "SNMP of virtual and real servers", why=_SNMP),
    accepted("enable_snmp_rfc", Flag(), "both VRRP MIBs of the RFCs", why=_SNMP),
    accepted("enable_snmp_rfcv2", Flag(), "MIB of RFC 2787", why=_SNMP),
    accepted("enable_snmp_rfcv3", Flag(), "MIB of RFC 6527", why=_SNMP),
    accepted("enable_traps", Flag(), "SNMP traps", why=_SNMP),
    accepted(
        "snmp_vs_stats_update_interval",
        Seconds(0.001, 30),
        "highest age of the counters of virtual servers",
        "5",
        why=_SNMP,
        known_to=NEWER,
    ),
    accepted(
        "snmp_rs_stats_update_interval",
        Seconds(0, 30),
        "highest age of the counters of real servers",
        "0",
        why=_SNMP,
        known_to=NEWER,
    ),
    accepted("enable_dbus", Flag(), "D-Bus interface", why=_SNMP),
    accepted("dbus_service_name", Text(), "name on the D-Bus", "org.keepalived.Vrrp1", why=_SNMP),
    accepted(
        "dbus_no_interface_name",
        Text(),
        "name of instances without an interface",
        "none",
        why=_SNMP,
        known_to=NEWER,
    ),
    accepted("data_use_instance", Boolean(), "names of dump files contain the instance", "off", why=_DUMPS),
    accepted(
        "state_dump_file", Text(), "file of SIGUSR1", "/tmp/keepalived.data", why=_DUMPS, known_to=NEWER
    ),
    accepted(
        "stats_dump_file", Text(), "file of SIGUSR2", "/tmp/keepalived.stats", why=_DUMPS, known_to=NEWER
    ),
    accepted(
        "json_dump_file", Text(), "file of the JSON dump", "/tmp/keepalived.json", why=_DUMPS, known_to=NEWER
    ),
    accepted("json_version", Integer(1, 2), "format of the JSON dump", "1", why=_DUMPS, known_to=NEWER),
]

_CONFIGURATION = [
    accepted(
        "reload_check_config",
        Anything("[log file]"),
        "test the configuration before a reload",
        "off",
        why=_RELOAD,
    ),
    accepted("reload_time_file", Text(), "file with the time of the next reload", why=_RELOAD),
    accepted("reload_repeat", Flag(), "reload_time_file counts every time it changes", why=_RELOAD),
    accepted("reload_file", Anything("[path]"), "reload when this file changes", why=_RELOAD),
    accepted("include_check", Anything("checks"), "missing include files that are errors", why=_READ_ONCE),
    accepted("tmp_config_directory", Text(), "directory for the copy of the configuration", why=_READ_ONCE),
    accepted("config_save_dir", Text(), "directory in which configurations are kept", why=_READ_ONCE),
    accepted("iproute_usr_dir", Text(), "directory of iproute2's names", why=_READ_ONCE, known_to=NEWER),
    accepted(
        "iproute_etc_dir", Text(), "directory of iproute2's local names", why=_READ_ONCE, known_to=NEWER
    ),
    accepted(
        "random_seed", Integer(0, EVERY_UNSIGNED), "seed that makes ${_RANDOM} reproducible", why=_READ_ONCE
    ),
    *_buffer("vrrp_netlink_cmd_rcv_bufs", "netlink commands, VRRP process"),
    *_buffer("vrrp_netlink_monitor_rcv_bufs", "netlink events, VRRP process"),
    *_buffer("lvs_netlink_cmd_rcv_bufs", "netlink commands, checker process"),
    *_buffer("lvs_netlink_monitor_rcv_bufs", "netlink events, checker process"),
    *_buffer("process_monitor_rcv_bufs", "process events"),
]

GLOBAL_NO_EFFECT = in_block("global_defs", *_PROCESSES, *_VRRP, *_LVS, *_QUERIES, *_CONFIGURATION)
