"""keepalived's words of VRRP: instances, groups and trackers; the columns are explained in `vocabulary`."""

from __future__ import annotations

VRRP = """
[vrrp_instance]
state | one of MASTER BACKUP | BACKUP | state at the start, until adverts decide
interface | if | | interface that speaks VRRP
virtual_router_id | int 1..255 | | number of the virtual router on its link (VRID)
priority | int 1..255 | 100, with state MASTER 255 | the highest one is master
advert_int | sec 0.01..255 | 1 | between two adverts; whole seconds in version 2
version | int 2..3 | vrrp_version | VRRP version
virtual_ipaddress | lines | | addresses that move with mastership
virtual_ipaddress_excluded | lines | | the same, but not in the adverts
virtual_routes | lines | | routes that move with mastership
virtual_rules | lines | | routing rules that move with mastership
authentication | block authentication | | authentication of version 2
auth_hmac | block auth_hmac | | adverts with an HMAC-SHA256
unicast_src_ip | ip | the interface's address | source address of unicast adverts
unicast_peer | lines | | who gets the adverts, in place of multicast
mcast_src_ip | ip | the interface's address | source address of multicast adverts
mcast_dst_ip | ip | vrrp_mcast_group4, vrrp_mcast_group6 | multicast group of the adverts
nopreempt | flag | | a higher priority lets the present master be
preempt | flag | | the opposite of nopreempt
preempt_delay | sec 0..1000 | 0 | wait before taking over from a lower priority
track_script | lines | | scripts that must succeed: NAME [weight N] [reverse]
track_interface | lines | | interfaces that must be up: IF [weight N] [reverse]
track_file | lines | | files that change the priority: NAME [weight N] [reverse]
track_process | lines | | processes that must run: NAME [weight N] [reverse]
track_bfd | lines | | BFD sessions that must be up: NAME [weight N] [reverse]
track_src_ip | flag | | FAULT without the source address
notify | script | | runs at every change of state
notify_master | script | | runs on becoming master
notify_backup | script | | runs on becoming backup
notify_fault | script | | runs on entering FAULT
notify_stop | script | | runs at the stop
notify_deleted | any [script] | | runs when a reload has removed the instance
notify_master_rx_lower_pri | script | | runs when a master hears a lower priority
notify_priority_changes | bool | vrrp_notify_priority_changes | scripts and pipes are told of priorities
smtp_alert | bool | smtp_alert_vrrp | mail at a change of state
use_vmac | any [name] [IF] [MAC] [options] | | the addresses have a MAC address of their own
vmac_xmit_base | flag | | adverts leave by the base interface
use_vmac_addr | flag | | every address gets a virtual MAC interface
use_ipvlan | any [name] [IF] [IP] [options] | | the addresses live on an ipvlan interface
vrf | if | | VRF of a virtual MAC interface
dont_track_primary | flag | | go on when the interface is down
accept | flag | | the master takes packets to the addresses
no_accept | flag | | the master drops packets to the addresses
strict_mode | bool | vrrp_strict | only what the RFC allows
check_unicast_src | flag | | unicast adverts are taken from peers only
skip_check_adv_addr | bool | vrrp_skip_check_adv_addr | compare addresses once for each master
promote_secondaries | flag | | sysctl promote_secondaries of the interface
lower_prio_no_advert | bool | vrrp_lower_prio_no_advert | a master does not answer a lower priority
higher_prio_send_advert | bool | vrrp_higher_prio_send_advert | one more advert on giving way
down_timer_adverts | int 1..100 | vrrp_down_timer_adverts | missing adverts before the master is down
owner_ignore_adverts | bool | vrrp_owner_ignore_adverts | the owner ignores adverts of others
garp_master_delay | int 0..86400 s | vrrp_garp_master_delay | until the second burst of gratuitous ARP
garp_master_repeat | int 1..1000 | vrrp_garp_master_repeat | packets of a burst, for each address
garp_master_refresh | int 0..86400 s | vrrp_garp_master_refresh | between announcements; 0: none
garp_master_refresh_repeat | int 1..1000 | vrrp_garp_master_refresh_repeat | packets of such one
garp_lower_prio_delay | int 0..86400 s | vrrp_garp_lower_prio_delay | second burst after a lower priority
garp_lower_prio_repeat | int 0..1000 | vrrp_garp_lower_prio_repeat | packets after a lower priority
garp_extra_if | any [all] seconds | vrrp_garp_extra_if | announce on the base interface, too
vmac_garp_intvl | any [all] seconds | | old spelling of garp_extra_if
unicast_fault_no_peer | flag | | FAULT when no unicast peer can be reached
unicast_ttl | int 0..255 | 255 | TTL of unicast adverts
old_unicast_checksum | any [never] | | checksum of keepalived before 1.3.7
v3_checksum_as_v2 | bool | off | version 3 checksums over IPv4 without pseudo header
no_virtual_ipaddress | flag | | an instance without addresses is meant
native_ipv6 | flag | | VRRP over IPv6
debug | int 0..4 | 0 | level of messages
linkbeat_use_polling | flag | | poll the interface for carrier
timer_expired_backup | any [priority] | | a master whose timers are late becomes backup
thread_timer_expired | any [priority] | | old spelling of timer_expired_backup
kernel_rx_buf_size | int 1..2147483647 bytes | | size of the receive buffer
lvs_sync_daemon_interface | if | | old way to write lvs_sync_daemon

[authentication]
auth_type | one of PASS AH | | PASS: a password in clear text; AH: IPsec (RFC 2402)
auth_pass | text | | the password; only 8 bytes travel

[auth_hmac]
key | any ID key | | a key of 32 to 64 bytes: hex:, file: or plain
active_key | text | | the key to sign with
anti_replay | one of time monotonic | time | how replayed adverts are known
time_window | int 1..300 s | 3 adverts, at least 5 | how far clocks may differ
mode | one of enforce permissive receive-only | enforce | what becomes of adverts without HMAC

[vrrp_script]
script | script | | command to run; exit code 0 is success
interval | sec 0.001..4294967 | 1 | between two runs
timeout | sec 0.001..4294967 | interval | how long a run may take
weight | weight 253 | 0 | added to the priority; 0: a failure means FAULT
rise | int 1..2147483647 | 1 | successes in a row that count
fall | int 1..2147483647 | 1 | failures in a row that count
user | any user [group] | script_user | who runs it
init_fail | flag | | failed until it has succeeded

[track_file]
file | text | | path of the file
weight | weight 254 | 1 | times the number in the file, added to the priority
init_file | any [value] [overwrite] | 0 | write this number first

[vrrp_track_process]
process | any program [arguments] | | the process to look for
param_match | one of initial partial | | how its arguments are compared
weight | weight 254 | 0 | added to the priority; 0: its absence means FAULT
quorum | int 1..65535 | 1 | processes that must run
quorum_max | int 0..65535 | | processes that may run
fork_delay | sec 0.000001..3600 | 0 | wait after a process has come
terminate_delay | sec 0.000001..3600 | 0 | wait after a process has gone
delay | sec 0.000001..3600 | 0 | both waits
full_command | flag | | compare the whole command line

[bfd_instance]
neighbor_ip | ip | | address of the neighbour
neighbour_ip | ip | | the same
source_ip | ip | | own address
min_rx | int 1..4294967 ms | 10 | interval of packets we want at least
min_tx | int 1..4294967 ms | 10 | interval of packets we send
idle_tx | int 1000..4294967 ms | 1000 | interval while the session is down
multiplier | int 1..255 | 5 | missing packets before the session is down
passive | flag | | the neighbour begins
ttl | int 1..255 | 255 | TTL of packets
hoplimit | int 1..255 | 64 | hop limit of packets
max_hops | int -1..255 | 0 | hops the neighbour may be away
multihop | bool | off | RFC 5883
weight | weight 253 | 0 | added to the priority
vrrp | flag | | for VRRP only
checker | flag | | for checkers only

[vrrp_sync_group]
group | lines | | the instances
track_script | lines | | scripts that must succeed: NAME [weight N] [reverse]
track_interface | lines | | interfaces that must be up: IF [weight N] [reverse]
track_file | lines | | files that change the priority: NAME [weight N] [reverse]
track_process | lines | | processes that must run: NAME [weight N] [reverse]
track_bfd | lines | | BFD sessions that must be up: NAME [weight N] [reverse]
notify | script | | runs at every change of state
notify_master | script | | runs on becoming master
notify_backup | script | | runs on becoming backup
notify_fault | script | | runs on entering FAULT
notify_stop | script | | runs at the stop
notify_priority_changes | bool | off | scripts and pipes are told of priorities
smtp_alert | bool | smtp_alert_vrrp | mail at a change of state
sync_group_tracking_weight | flag | | weights count in the group, too
global_tracking | flag | | old, without effect

[track_group]
group | lines | | the sync groups

[garp_group]
garp_interval | sec 0..1000000 | 0 | pause between gratuitous ARP packets
gna_interval | sec 0..1000000 | 0 | pause between unsolicited NA packets
interface | if | | an interface it is for
interfaces | lines | | interfaces it is for
"""
