"""keepalived's words of virtual servers and checkers; the columns are explained in `vocabulary`."""

from __future__ import annotations

LVS = """
[virtual_server]
lvs_sched | one of rr wrr lc wlc lblc lblcr dh sh mh sed nq fo ovf twos | wlc | scheduler
lb_algo | one of rr wrr lc wlc lblc lblcr dh sh mh sed nq fo ovf twos | wlc | old spelling of lvs_sched
lvs_method | any NAT, DR or TUN [options] | NAT | how packets reach the real server
lb_kind | any NAT, DR or TUN [options] | NAT | old spelling of lvs_method
protocol | one of TCP UDP SCTP | UDP | transport
persistence_timeout | int 1..2678400 s | off; bare: 360 | a client stays with its real server so long
persistence_granularity | mask | the whole address | clients of a network so large count as one
persistence_engine | text | | another criterion than the address
ops | flag | | each UDP packet is scheduled for itself
sh-port | flag | | source hashing takes the port in, too
sh-fallback | flag | | source hashing goes on when its server is down
mh-port | flag | | Maglev hashing takes the port in, too
mh-fallback | flag | | Maglev hashing goes on when its server is down
flag-1 | flag | | first flag of the scheduler
flag-2 | flag | | second flag of the scheduler
flag-3 | flag | | third flag of the scheduler
hashed | flag | | old, without effect
alpha | flag | off | real servers are down until their first check succeeds
omega | flag | off | down notifiers and mails at the stop, too
quorum | int 1..2147483647 | 1 | weight of living servers that the service needs
hysteresis | int 0..2147483647 | 0 | by so much around the quorum nothing changes
quorum_up | script | | runs when the quorum is reached
quorum_down | script | | runs when the quorum is lost
ha_suspend | flag | | no checks while the VIP is not here
inhibit_on_failure | flag | off | a failed real server gets weight 0
virtualhost | text | | Host header of HTTP checks
delay_loop | sec 0.000001..4294967 | 60 | between two checks of a server
connect_timeout | sec 0.000001..4294967 | 5 | how long a connection may take
retry | int 1..4294967295 | that of the checker | failed checks that are repeated
delay_before_retry | sec 0..4294967 | that of the checker | before a failed check is repeated
warmup | sec 0..4294967 | delay_loop | the first check comes within it
weight | int 0..2147483647 | 1 | weight of real servers that name none
smtp_alert | bool | off | mail when the quorum is reached or lost
snmp_name | text | | name in SNMP
ip_family | one of inet inet6 | | family of a firewall mark
sorry_server | endpoint | | serves when too few real servers live
sorry_server_inhibit | flag | | the sorry server is kept with weight 0
sorry_server_lvs_method | any NAT, DR or TUN [options] | lvs_method | how packets reach the sorry server
real_server | block real_server IP [port] | | a real server

[real_server]
weight | int 0..2147483647 | weight of the virtual server | share of the connections
lvs_method | any NAT, DR or TUN [options] | that of the virtual server | how packets reach it
uthreshold | int 0..2147483647 | 0 | no new connections above so many
lthreshold | int 0..2147483647 | 0 | new connections again below so many
inhibit_on_failure | bool | that of the virtual server | on failure: weight 0, not removal
notify_up | script | | runs when it comes up
notify_down | script | | runs when it goes down
alpha | bool | that of the virtual server | down until the first check succeeds
delay_loop | sec 0.000001..4294967 | that of the virtual server | between two checks
connect_timeout | sec 0.000001..4294967 | that of the virtual server | how long a connection may take
retry | int 1..4294967295 | that of the virtual server | failed checks that are repeated
delay_before_retry | sec 0..4294967 | that of the virtual server | before a check is repeated
warmup | sec 0..4294967 | that of the virtual server | the first check comes within it
log_all_failures | bool | checker_log_all_failures | log every failed check
smtp_alert | bool | on | mail when it goes down or comes back
virtualhost | text | that of the virtual server | Host header of HTTP checks
snmp_name | text | | name in SNMP
TCP_CHECK | block TCP_CHECK | | check by a TCP connection
HTTP_GET | block HTTP_GET | | check by pages over HTTP
SSL_GET | block SSL_GET | | check by pages over HTTPS
SMTP_CHECK | block SMTP_CHECK | | check by a dialogue with a mail server
DNS_CHECK | block DNS_CHECK | | check by a DNS query
PING_CHECK | block PING_CHECK | | check by ICMP echo
UDP_CHECK | block UDP_CHECK | | check by a UDP datagram
MISC_CHECK | block MISC_CHECK | | check by a script
FILE_CHECK | block FILE_CHECK | | check by the number in a file
BFD_CHECK | block BFD_CHECK | | check by a BFD session

[HTTP_GET]
url | block url | | a page to get
virtualhost | text | that of the real server | Host header
http_protocol | one of 1.0 1.0C 1.1 | 1.0 | HTTP version; 1.0C with Connection: close
enable_sni | flag | | send the virtual host as server name (SSL_GET)
sni_name | text | | send this server name (SSL_GET)
fast_recovery | bool | off | all pages are checked at once when the server comes back
tls_compliant | bool | off | the server must end TLS properly (SSL_GET)
nb_get_retry | int 0..4294967295 | | old spelling of retry

[url]
path | text | / | path of the page
digest | text | | MD5 sum of the page
status_code | any N or N-N | 200-299 | HTTP status that is success
virtualhost | text | that of the checker | Host header
regex | text | | pattern that the page must match
regex_no_match | flag | | the page must not match
regex_options | any options | | options of the pattern (PCRE)
regex_min_offset | int 0..4294967295 | 0 | where a match may begin
regex_max_offset | int 0..4294967295 | | where a match must have begun
regex_stack | any start max | | memory for the pattern
tls_compliant | flag | | the server must end TLS properly

[SMTP_CHECK]
helo_name | text | smtpchecker.keepalived.org | name said to the mail server
host | block host | | another address to check, old way

[DNS_CHECK]
type | one of A NS CNAME SOA MX TXT AAAA | SOA | type of the query
name | text | . | name to ask for

[UDP_CHECK]
payload | text | | bytes to send, hexadecimal
require_reply | any [hexadecimal] | | an answer must come; x stands for any digit
min_reply_length | int 0..65535 bytes | 0 | length of the answer at least
max_reply_length | int 0..65535 bytes | 255 | length of the answer at most

[MISC_CHECK]
misc_path | script | | command to run; exit code 0 is success
misc_timeout | int 1..4294967 s | delay_loop | how long it may run
misc_dynamic | flag | | exit codes 2 to 255 set the weight to 0 to 253
user | any user [group] | script_user | who runs it

[FILE_CHECK]
track_file | text | | name of the track_file
weight | weight 2147483647 | 1 | times the number in the file, added to the weight

[BFD_CHECK]
name | text | | name of the bfd_instance
alpha | bool | off | down until the session is up

[SSL]
password | text | | password of the key
ca | text | | file of the authority
certificate | text | | file of the certificate
key | text | | file of the key
"""

RETRYING = """
alpha | bool | that of the real server | down until this check succeeds
delay_loop | sec 0.000001..4294967 | that of the real server | between two checks
retry | int 0..4294967295 | that of the real server | failed checks that are repeated
delay_before_retry | sec 0..4294967 | that of the real server | before a failed check is repeated
warmup | sec 0..4294967 | that of the real server | the first check comes within it
log_all_failures | bool | that of the real server | log every failed check
"""
"""Words of every checker that repeats its checks."""

CONNECTING = """
connect_ip | ip | the real server's | address to connect to
connect_port | int 1..65535 | the real server's | port to connect to
bindto | ip | | source address
bind_port | int 1..65535 | | source port
bind_if | if | | interface to leave by
fwmark | int 0..4294967295 | | firewall mark of the packets
connect_timeout | sec 0.000001..4294967 | that of the real server | how long it may take
"""
"""Words of every checker that connects to something."""
