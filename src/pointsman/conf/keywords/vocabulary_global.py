"""keepalived's words outside blocks and in global_defs; the columns are explained in `vocabulary`."""

from __future__ import annotations

GLOBAL = """
[]
global_defs | block global_defs | | settings of the whole director
vrrp_instance | block vrrp_instance NAME | | a virtual router
vrrp_sync_group | block vrrp_sync_group NAME | | instances that are master together or not at all
vrrp_script | block vrrp_script NAME | | a script whose exit code says whether this director is fit
track_file | block track_file NAME | | a file whose number changes a priority
vrrp_track_file | block track_file NAME | | old spelling of track_file
vrrp_track_process | block vrrp_track_process NAME | | a process that has to run
track_group | block track_group NAME | | addresses and routes that belong to several sync groups
bfd_instance | block bfd_instance NAME | | a BFD session with a neighbour
virtual_server | block virtual_server IP [port] | | a virtual service: IP [port], fwmark N or group NAME
virtual_server_group | lines NAME | | addresses that one virtual_server serves
static_ipaddress | lines | | addresses that this host always has
static_routes | lines | | routes that this host always has
static_rules | lines | | routing rules that this host always has
garp_group | block garp_group | | limits the rate of gratuitous ARP on some interfaces
linkbeat_interfaces | lines | | interfaces that are polled for carrier, and how
linkbeat_use_polling | flag | | poll all interfaces for carrier
interface_up_down_delays | lines | | debounce times of interfaces: IF down-seconds [up-seconds]
SSL | block SSL | | keys and certificates of SSL_GET
net_namespace | text | | network namespace to run in
net_namespace_ipvs | text | | network namespace whose IPVS is used
namespace_with_ipsets | flag | | ipsets exist in the namespace, too
instance | text | | name of this keepalived among several
use_pid_dir | flag | | PID files in a directory of their own
child_wait_time | int 0..4294 s | 5 | how long a child process has to end
include_check | any checks | | which kinds of missing include files are errors

[global_defs]
router_id | text | the host's name | name of this director in mails
notification_email | lines | | addresses that get the alerts
notification_email_from | text | user@host | sender of the alerts
smtp_server | hostport | | mail server, port 25 unless given
smtp_helo_name | text | the host's name | name said to the mail server
smtp_connect_timeout | int 1..4294967 s | 30 | how long a mail server may take
smtp_alert | bool | | mails of all kinds
smtp_alert_vrrp | bool | | mails about VRRP instances
smtp_alert_checker | bool | | mails about virtual and real servers
no_email_faults | flag | | no mails when an instance enters FAULT
no_checker_emails | flag | | no mails about virtual and real servers
checker_log_all_failures | bool | off | log every failed check, not only the one that takes a server down
process_names | flag | | processes get the default names
process_name | text | | name of the parent process
vrrp_process_name | text | | name of the VRRP process
checker_process_name | text | | name of the checker process
lvs_process_name | text | | old spelling of checker_process_name
bfd_process_name | text | | name of the BFD process
vrrp_priority | int -20..19 | | nice value of the VRRP process
checker_priority | int -20..19 | | nice value of the checker process
bfd_priority | int -20..19 | | nice value of the BFD process
vrrp_rt_priority | int 1..99 | | real-time priority of the VRRP process
checker_rt_priority | int 1..99 | | real-time priority of the checker process
bfd_rt_priority | int 1..99 | | real-time priority of the BFD process
vrrp_no_swap | flag | | lock the VRRP process in memory
checker_no_swap | flag | | lock the checker process in memory
bfd_no_swap | flag | | lock the BFD process in memory
vrrp_cpu_affinity | any CPUs | | CPUs of the VRRP process
checker_cpu_affinity | any CPUs | | CPUs of the checker process
bfd_cpu_affinity | any CPUs | | CPUs of the BFD process
vrrp_rlimit_rttime | int 1..2147483647 us | 10000 | CPU time of the VRRP process without a pause
checker_rlimit_rttime | int 1..2147483647 us | 10000 | CPU time of the checker process without a pause
bfd_rlimit_rttime | int 1..2147483647 us | 10000 | CPU time of the BFD process without a pause
vrrp_rlimit_rtime | int 1..2147483647 us | 10000 | old spelling of vrrp_rlimit_rttime
checker_rlimit_rtime | int 1..2147483647 us | 10000 | old spelling of checker_rlimit_rttime
bfd_rlimit_rtime | int 1..2147483647 us | 10000 | old spelling of bfd_rlimit_rttime
max_auto_priority | int -1..99 | 0 | real-time priority that late timers may raise the process to
min_auto_priority_delay | int 1..10000000 us | 1000000 | lateness that raises the priority
umask | any mode | 0177 | file mode creation mask
script_user | any user [group] | keepalived_script, else root | who runs scripts
enable_script_security | flag | | no scripts that others than root could change
use_symlink_paths | bool | off | scripts are called by the path with its links
set_supplementary_groups | flag | | scripts get all groups of their user
startup_script | script | | runs before everything else
startup_script_timeout | int 1..1000 s | 10 | how long startup_script may run
shutdown_script | script | | runs after everything else
shutdown_script_timeout | int 1..1000 s | 10 | how long shutdown_script may run
notify_fifo | any FIFO [user [group]] | | named pipe that is told of every change
notify_fifo_script | script | | reads notify_fifo
vrrp_notify_fifo | any FIFO [user [group]] | | named pipe that is told of VRRP changes
vrrp_notify_fifo_script | script | | reads vrrp_notify_fifo
lvs_notify_fifo | any FIFO [user [group]] | | named pipe that is told of changes of servers
lvs_notify_fifo_script | script | | reads lvs_notify_fifo
vrrp_notify_priority_changes | bool | off | the pipes are told of changed priorities, too
fifo_write_vrrp_states_on_reload | flag | | the pipes are told all states at a reload
rs_init_notifies | flag | | notify_up and notify_down run for the first state, too
vrrp_version | int 2..3 | 2 | VRRP version of instances that name none
vrrp_mcast_group4 | ip | 224.0.0.18 | multicast group of adverts over IPv4
vrrp_mcast_group6 | ip | ff02::12 | multicast group of adverts over IPv6
default_interface | if | eth0 | interface of static addresses that name none
vrrp_garp_master_delay | int 0..86400 s | 5 | until the second burst of gratuitous ARP
vrrp_garp_master_repeat | int 1..1000 | 5 | packets of a burst, for each address
vrrp_garp_master_refresh | int 0..86400 s | 0 | between announcements while master; 0: none
vrrp_garp_master_refresh_repeat | int 1..1000 | 1 | packets of such an announcement
vrrp_garp_lower_prio_delay | int 0..86400 s | that of the master | second burst after a lower-priority advert
vrrp_garp_lower_prio_repeat | int 0..1000 | that of the master | packets after a lower-priority advert
vrrp_garp_interval | sec 0..1000000 | 0 | pause between gratuitous ARP packets of an interface
vrrp_gna_interval | sec 0..1000000 | 0 | pause between unsolicited NA packets of an interface
vrrp_min_garp | bool | off | one packet in place of a burst
vrrp_garp_extra_if | any [all] seconds | | announce on the base interface of a virtual MAC, too
vrrp_vmac_garp_intvl | any [all] seconds | | old spelling of vrrp_garp_extra_if
vrrp_down_timer_adverts | int 1..100 | 3 | adverts that must be missing before the master is down
vrrp_lower_prio_no_advert | bool | off | a master does not answer a lower priority
vrrp_higher_prio_send_advert | bool | off | a master that gives way sends one more advert
vrrp_owner_ignore_adverts | bool | off | the owner of the addresses ignores adverts of others
v3_checksum_as_v2 | bool | off | version 3 checksums over IPv4 without pseudo header
vrrp_check_unicast_src | flag | | unicast adverts are taken from peers only
vrrp_skip_check_adv_addr | flag | | addresses in adverts are compared once for each master
vrrp_strict | flag | | only what the RFC allows
vrrp_startup_delay | sec 0..86400 | 0 | wait before VRRP starts
vrrp_delay_after_boot | sec 0..86400 | 0 | VRRP starts so long after the boot
log_unknown_vrids | flag | | log adverts of unknown virtual routers
vrrp_rx_bufs_policy | any MTU, ADVERT or bytes | | size of receive buffers
vrrp_rx_bufs_multiplier | int 1..2147483647 | 3 | receive buffers for so many adverts
vmac_prefix | text | vrrp | first part of names of virtual MAC interfaces
vmac_addr_prefix | text | | the same for use_vmac on addresses
dynamic_interfaces | any [allow_if_changes] | off | interfaces may come and go
disable_local_igmp | flag | | no IGMP of this host on virtual MAC interfaces
vrrp_iptables | any [chain [chain]] | | iptables chains for no_accept and virtual MAC
vrrp_ipsets | any names | | ipsets for no_accept and virtual MAC
nftables | any [table] | keepalived | nftables for no_accept and virtual MAC
nftables_priority | int -2147483648..2147483647 | -1 | priority of the chains
nftables_counters | flag | | counters in the rules
nftables_ifindex | flag | | rules name interfaces by index
nftables_ipvs | any [table] | keepalived_ipvs | nftables that set the marks of virtual_server_group
nftables_ipvs_priority | int -2147483648..2147483647 | | priority of these chains
nftables_ipvs_start_fwmark | int 1..4294967295 | 1000 | first mark to use
lvs_sync_daemon | any IF [VRRP] [id N] [maxlen N] [port N] [ttl N] [group IP] | | copies connections
lvs_timeouts | any tcp N tcpfin N udp N | | connection timeouts in seconds
lvs_flush | flag | | empty the IPVS table at the start
lvs_flush_on_stop | any [VS] | | empty the IPVS table at the stop
lvs_flush_onstop | any [VS] | | old spelling of lvs_flush_on_stop
snmp_socket | text | unix:/var/agentx/master | socket of the SNMP master agent
enable_snmp_vrrp | flag | | SNMP of VRRP instances
enable_snmp_keepalived | flag | | old spelling of enable_snmp_vrrp
enable_snmp_checker | flag | | SNMP of servers
enable_snmp_rfc | flag | | both VRRP MIBs of the RFCs
enable_snmp_rfcv2 | flag | | MIB of RFC 2787
enable_snmp_rfcv3 | flag | | MIB of RFC 6527
enable_traps | flag | | SNMP traps
snmp_vs_stats_update_interval | sec 0.001..30 | 5 | age of the numbers of virtual servers
snmp_rs_stats_update_interval | sec 0..30 | 0 | age of the numbers of real servers
enable_dbus | flag | | D-Bus interface
dbus_service_name | text | org.keepalived.Vrrp1 | name on the D-Bus
dbus_no_interface_name | text | none | name of instances without an interface
data_use_instance | bool | off | names of dump files contain the instance
state_dump_file | text | /tmp/keepalived.data | file of SIGUSR1
stats_dump_file | text | /tmp/keepalived.stats | file of SIGUSR2
json_dump_file | text | /tmp/keepalived.json | file of the JSON dump
json_version | int 1..2 | 1 | format of the JSON dump
reload_check_config | any [log file] | off | test the configuration before a reload
reload_time_file | text | | file with the time of the next reload
reload_repeat | flag | | reload_time_file counts every time it changes
reload_file | any [path] | | reload when this file changes
include_check | any checks | | which kinds of missing include files are errors
tmp_config_directory | text | | where the copy of the configuration lies
config_save_dir | text | | where configurations are kept
iproute_usr_dir | text | | where iproute2 keeps its names
iproute_etc_dir | text | | where iproute2 keeps local names
random_seed | int 0..4294967295 | | makes ${_RANDOM} reproducible
vrrp_netlink_cmd_rcv_bufs | int 1..2147483647 bytes | | netlink buffer of commands, VRRP
vrrp_netlink_cmd_rcv_bufs_force | bool | off | beyond the limit of the system
vrrp_netlink_monitor_rcv_bufs | int 1..2147483647 bytes | | netlink buffer of events, VRRP
vrrp_netlink_monitor_rcv_bufs_force | bool | off | beyond the limit of the system
lvs_netlink_cmd_rcv_bufs | int 1..2147483647 bytes | | netlink buffer of commands, checker
lvs_netlink_cmd_rcv_bufs_force | bool | off | beyond the limit of the system
lvs_netlink_monitor_rcv_bufs | int 1..2147483647 bytes | | netlink buffer of events, checker
lvs_netlink_monitor_rcv_bufs_force | bool | off | beyond the limit of the system
process_monitor_rcv_bufs | int 1..2147483647 bytes | | buffer of process events
process_monitor_rcv_bufs_force | bool | off | beyond the limit of the system
"""
