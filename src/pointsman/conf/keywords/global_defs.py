"""Rows of the keyword table: outside blocks, and global_defs."""

from __future__ import annotations

from pointsman.conf.keywords.keyword import Keyword, accepted, honoured, refused
from pointsman.conf.keywords.values import (
    Anything,
    Boolean,
    Choice,
    Flag,
    HostPort,
    Integer,
    Interface,
    Ip,
    Seconds,
    Text,
)
from pointsman.conf.keywords.values_lvs import Timeouts

_G = "global_defs"
_SCRIPTS = "let the unit run it, by ExecStartPre= and ExecStopPost= of pointsman.service, and remove it here"
_PROCESS = "Pointsman sets up its own processes: VRRP runs SCHED_FIFO and locked in memory, the others do not"
_SNMP = "there is no SNMP agent and no D-Bus here; status and metrics come from `pointsman status`"
_FIREWALL = "no_accept has a table of its own here, inet pointsman_vrrp; nothing else needs a firewall"
_NETLINK = "netlink sockets size themselves here"

TOP: list[Keyword] = [
    honoured("", _G, Flag(), "Settings of the whole director.", opens=_G, repeats=True),
    honoured(
        "", "vrrp_instance", Text("a name", 255), "A virtual router.", opens="vrrp_instance", repeats=True
    ),
    honoured(
        "",
        "virtual_server",
        Anything("IP [port], fwmark N or group NAME", words=3),
        "A virtual service and its real servers.",
        opens="virtual_server",
        repeats=True,
    ),
    honoured(
        "",
        "virtual_server_group",
        Text("a name", 255),
        "Addresses, ranges and firewall marks that one virtual_server is for.",
        opens="targets",
        listing=True,
        repeats=True,
    ),
    honoured(
        "",
        "static_ipaddress",
        Flag(),
        "Addresses of this host.",
        opens="addresses",
        listing=True,
        repeats=True,
    ),
    honoured("", "static_routes", Flag(), "Routes of this host.", opens="routes", listing=True, repeats=True),
    honoured(
        "", "static_rules", Flag(), "Routing rules of this host.", opens="rules", listing=True, repeats=True
    ),
    honoured(
        "",
        "track_group",
        Text("a name", 255),
        "Instances that go into FAULT when something static is lost.",
        opens="track_group",
        repeats=True,
    ),
    honoured("track_group", "group", Flag(), "The instances.", opens="names", listing=True),
    *refused(
        "",
        "net_namespace net_namespace_ipvs namespace_with_ipsets",
        "start pointsman inside the network namespace instead",
    ),
    *refused("", "interface_up_down_delays", "interface state is followed without delay; remove it"),
    *accepted("", "instance use_pid_dir", "run files are kept by network namespace"),
    *accepted("", "linkbeat_use_polling linkbeat_interfaces", "link state comes from netlink"),
    *accepted("", "child_wait_time", _PROCESS),
    honoured(
        "",
        "garp_group",
        Flag(),
        "Interfaces that share pauses between announcements.",
        opens="garp_group",
        repeats=True,
    ),
    honoured("garp_group", "garp_interval", Seconds(0, 1_000_000), "Between gratuitous ARP packets.", 0.0),
    honoured("garp_group", "gna_interval", Seconds(0, 1_000_000), "Between neighbour advertisements.", 0.0),
    honoured("garp_group", "interface", Interface(), "One of them.", repeats=True),
    honoured("garp_group", "interfaces", Flag(), "Several of them.", opens="names", listing=True),
    honoured("", "SSL", Flag(), "What SSL_GET shows and trusts.", opens="SSL"),
    honoured("SSL", "certificate", Text("a path", 4095), "Shown to real servers that ask for one; PEM."),
    honoured("SSL", "key", Text("a path", 4095), "Its key; default: in the file of the certificate."),
    honoured("SSL", "password", Text(), "Password of the key."),
    honoured(
        "SSL",
        "ca",
        Text("a path", 4095),
        "Default of tls_ca, where tls_verify is on; keepalived reads it and verifies nothing.",
    ),
    *accepted("", "include_check", "every include is checked here"),
]

GLOBAL: list[Keyword] = [
    honoured(_G, "router_id", Text(), "Name of this director in mails.", "the host's name"),
    honoured(
        _G, "notification_email", Flag(), "Addresses that get the alerts.", opens="addresses", listing=True
    ),
    honoured(_G, "notification_email_from", Text("a mail address"), "Sender of the alerts.", "user@host"),
    honoured(
        _G, "smtp_server", HostPort(), "Mail server for the alerts, port 25 unless given; without it no mail."
    ),
    honoured(_G, "smtp_helo_name", Text("a host name"), "Name said to the mail server.", "the host's name"),
    honoured(_G, "smtp_connect_timeout", Integer(1, 3600, "seconds"), "How long a mail server may take.", 30),
    honoured(
        _G,
        "smtp_tls",
        Choice(("none", "starttls", "implicit")),
        "Ours: encryption towards the mail server; implicit is that of port 465.",
        "none",
    ),
    honoured(_G, "smtp_tls_verify", Boolean(), "Ours: the mail server's certificate has to be good.", True),
    honoured(_G, "smtp_tls_ca", Text("a path", 4095), "Ours: certificates to trust; default: the system's."),
    honoured(_G, "smtp_auth", Anything("USER PASSWORD", words=2), "Ours: log in to the mail server."),
    honoured(_G, "smtp_alert", Boolean(), "Mail alerts of all kinds."),
    honoured(
        _G, "smtp_alert_vrrp", Boolean(), "Mail alerts of VRRP instances; default: smtp_alert, else off."
    ),
    honoured(
        _G,
        "smtp_alert_checker",
        Boolean(),
        "Mail alerts of virtual and real servers; default: smtp_alert, else real servers only.",
    ),
    honoured(_G, "no_checker_emails", Flag(), "No alerts of virtual and real servers."),
    honoured(_G, "vrrp_version", Integer(2, 3), "VRRP version of instances that name none.", 2),
    honoured(
        _G,
        "vrrp_garp_master_delay",
        Integer(0, 3600, "seconds"),
        "Default of garp_master_delay: until the second burst of gratuitous ARP.",
        5,
    ),
    honoured(_G, "vrrp_garp_master_repeat", Integer(1, 255), "Default of garp_master_repeat.", 5),
    honoured(
        _G, "vrrp_garp_master_refresh", Integer(0, 86400, "seconds"), "Default of garp_master_refresh.", 0
    ),
    honoured(
        _G, "vrrp_garp_master_refresh_repeat", Integer(1, 255), "Default of garp_master_refresh_repeat.", 1
    ),
    *accepted(_G, "no_email_faults", "alerts about faults are sent like all others"),
    honoured(_G, "checker_log_all_failures", Boolean(), "Default of log_all_failures.", False),
    *accepted(
        _G,
        "process_names process_name vrrp_process_name checker_process_name lvs_process_name bfd_process_name "
        "vrrp_priority checker_priority bfd_priority "
        "vrrp_rt_priority checker_rt_priority bfd_rt_priority "
        "vrrp_no_swap checker_no_swap bfd_no_swap "
        "vrrp_cpu_affinity checker_cpu_affinity bfd_cpu_affinity "
        "vrrp_rlimit_rttime checker_rlimit_rttime bfd_rlimit_rttime "
        "vrrp_rlimit_rtime checker_rlimit_rtime bfd_rlimit_rtime "
        "max_auto_priority min_auto_priority_delay umask",
        _PROCESS,
    ),
    honoured(
        _G,
        "script_user",
        Anything("USER [GROUP]", words=2),
        "Who runs scripts that name nobody; default: keepalived_script if there is such a user, else root.",
    ),
    honoured(_G, "enable_script_security", Flag(), "Run nothing as root that others than root can change."),
    *accepted(_G, "use_symlink_paths set_supplementary_groups", "scripts run by the path that is written"),
    *accepted(
        _G, "startup_script_timeout shutdown_script_timeout", "only scripts that are refused would use it"
    ),
    *refused(_G, "startup_script shutdown_script", _SCRIPTS),
    *(
        row
        for prefix, of in (
            ("lvs_", " of a virtual or real server"),
            ("", ""),
            ("vrrp_", " of an instance or a group"),
        )
        for row in (
            honoured(
                _G,
                f"{prefix}notify_fifo",
                Anything("PATH [USER [GROUP]]", words=3),
                f"A named pipe that gets a line at every change{of}.",
            ),
            honoured(
                _G,
                f"{prefix}notify_fifo_script",
                Anything("a command line, in quotes when it has arguments", words=3),
                "Started with the path of that pipe as its last argument.",
            ),
        )
    ),
    honoured(_G, "vrrp_notify_priority_changes", Boolean(), "Default of notify_priority_changes."),
    honoured(_G, "fifo_write_vrrp_states_on_reload", Flag(), "The pipes are told all states at a reload."),
    honoured(
        _G,
        "rs_init_notifies",
        Boolean(),
        "notify_up and FIFOs hear of real servers at the start, too.",
        False,
    ),
    honoured(_G, "vrrp_mcast_group4", Ip(), "Default of mcast_dst_ip over IPv4.", "224.0.0.18"),
    honoured(_G, "vrrp_mcast_group6", Ip(), "Default of mcast_dst_ip over IPv6.", "ff02::12"),
    honoured(_G, "default_interface", Interface(), "Of static addresses that name none.", "eth0"),
    honoured(
        _G,
        "vrrp_garp_interval",
        Seconds(0, 1_000_000),
        "Between gratuitous ARP packets of an interface.",
        0.0,
    ),
    honoured(
        _G,
        "vrrp_gna_interval",
        Seconds(0, 1_000_000),
        "Between an interface's neighbour advertisements.",
        0.0,
    ),
    *accepted(_G, "vrrp_min_garp", "a burst has as many packets as garp_master_repeat says"),
    honoured(
        _G, "vrrp_garp_lower_prio_delay", Integer(0, 86400, "seconds"), "Default of garp_lower_prio_delay."
    ),
    honoured(_G, "vrrp_garp_lower_prio_repeat", Integer(0, 1000), "Default of garp_lower_prio_repeat."),
    honoured(_G, "vrrp_down_timer_adverts", Integer(1, 100), "Default of down_timer_adverts.", 3),
    honoured(_G, "vrrp_lower_prio_no_advert", Boolean(), "Default of lower_prio_no_advert."),
    *accepted(
        _G,
        "vrrp_higher_prio_send_advert",
        "it cures clients left with an old MAC address after a split; here the winner announces itself again",
    ),
    honoured(_G, "vrrp_owner_ignore_adverts", Boolean(), "Default of owner_ignore_adverts."),
    honoured(_G, "v3_checksum_as_v2", Boolean(), "Default of v3_checksum_as_v2 of the instances."),
    honoured(_G, "vrrp_check_unicast_src", Flag(), "check_unicast_src for every instance."),
    *accepted(_G, "vrrp_skip_check_adv_addr", "an advert with other addresses is accepted, and logged"),
    honoured(_G, "vrrp_strict", Flag(), "strict_mode for every instance."),
    honoured(_G, "vrrp_startup_delay", Seconds(0, 86400), "Added to the first wait of every instance.", 0.0),
    *refused(
        _G,
        "vrrp_delay_after_boot",
        "let the service manager delay the start",
        Seconds(0, 1e6),
        0.0,
    ),
    *accepted(_G, "log_unknown_vrids", "adverts of unknown virtual routers are counted"),
    *accepted(_G, "vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier", "receive buffers have a fixed, ample size"),
    *(
        honoured(
            _G,
            word,
            Anything("[all] SECONDS", words=2),
            "Default of garp_extra_if.",
            same_as="vrrp_garp_extra_if",
        )
        for word in ("vrrp_garp_extra_if", "vrrp_vmac_garp_intvl")
    ),
    honoured(_G, "vmac_prefix", Text("a word", 8), "Names of virtual MAC interfaces begin so.", "vrrp"),
    honoured(_G, "vmac_addr_prefix", Text("a word", 8), "The same for those of single addresses."),
    *accepted(_G, "disable_local_igmp", "virtual MAC interfaces send no group reports here"),
    honoured(
        _G,
        "dynamic_interfaces",
        Anything("[allow_if_changes]", words=1),
        "Interfaces of instances may come after the start; they may always be made anew as something else.",
    ),
    *accepted(
        _G,
        "vrrp_iptables vrrp_ipsets nftables nftables_priority nftables_counters nftables_ifindex",
        _FIREWALL,
    ),
    honoured(
        _G,
        "nftables_ipvs",
        Anything("[TABLE]", words=1),
        "The addresses of a virtual_server_group are one service with one mark; no nftables is needed.",
    ),
    honoured(_G, "nftables_ipvs_start_fwmark", Integer(1, 2**32 - 1), "The first of these marks.", 1000),
    *accepted(_G, "nftables_ipvs_priority", "the data plane knows the addresses itself, there is no chain"),
    *refused(
        _G, "lvs_sync_daemon", "connections are not synchronized yet; after a fail-over they would break"
    ),
    honoured(
        _G,
        "lvs_timeouts",
        Timeouts(),
        "How long connections are kept that nobody uses: TCP's, TCP's after a FIN, UDP's.",
    ),
    *accepted(_G, "lvs_flush", "the table in force is always brought in line with the configuration"),
    *accepted(_G, "lvs_flush_on_stop lvs_flush_onstop", "a stop that is asked for takes the table away"),
    *accepted(
        _G,
        "snmp_socket enable_snmp_vrrp enable_snmp_keepalived enable_snmp_checker enable_snmp_rfc "
        "enable_snmp_rfcv2 enable_snmp_rfcv3 enable_traps snmp_vs_stats_update_interval "
        "snmp_rs_stats_update_interval enable_dbus dbus_service_name dbus_no_interface_name",
        _SNMP,
    ),
    *accepted(
        _G,
        "data_use_instance state_dump_file stats_dump_file json_dump_file json_version",
        "there are no dump files; ask `pointsman status`",
    ),
    *accepted(
        _G,
        "reload_check_config reload_time_file reload_repeat reload_file",
        "a configuration is always checked as a whole before it is used",
    ),
    *accepted(
        _G,
        "include_check tmp_config_directory config_save_dir iproute_usr_dir iproute_etc_dir random_seed",
        "the configuration is read once, and includes are always checked",
    ),
    *accepted(
        _G,
        "vrrp_netlink_cmd_rcv_bufs vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs "
        "vrrp_netlink_monitor_rcv_bufs_force lvs_netlink_cmd_rcv_bufs lvs_netlink_cmd_rcv_bufs_force "
        "lvs_netlink_monitor_rcv_bufs lvs_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs "
        "process_monitor_rcv_bufs_force",
        _NETLINK,
    ),
]
