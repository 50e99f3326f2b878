# SPDX-License-Identifier: Apache-2.0
"""Faults of a whole director or of the network: killed, full, two masters, lost checksums and messages."""

from __future__ import annotations

import shlex

from pointsman.lab.faults.fault import Fault, nft_drop_commands
from pointsman.lab.topologies import dual_homed

_KILL = (
    "for pid in $(ip netns pids $(ip netns identify)); do "
    "if tr '\\0' ' ' < /proc/$pid/cmdline | grep -q 'pointsman [r]un'; then kill -9 $pid; fi; done"
)
"""Kill the supervisor. The other processes end with it."""
_RUN = (
    "setsid pointsman run --interface eth7 --interface eth8 --xdp-mode {xdp_mode} "
    "%s </dev/null >>{directory}/fault.log 2>&1 &"
)
_LISTENS = "ss -Hxl | grep -q pointsman/.*/control.sock"
_READY = f"for try in $(seq 900); do {_LISTENS} && exit; sleep 0.1; done; exit 1"
_GONE = f"for try in $(seq 900); do {_LISTENS} || exit 0; sleep 0.1; done; exit 1"
_DEAF = nft_drop_commands("input", "ip protocol 112")
_SERVICE = f"{dual_homed.VIP}:{dual_homed.PORT}"
_TABLE = (
    f"pointsman ipvsadm -A -t {_SERVICE} -s rr",
    f"pointsman ipvsadm -a -t {_SERVICE} -r {dual_homed.REAL_SERVER}:{dual_homed.PORT} -g",
)
_FEW = 1024
"""Connections of the small table."""
_STRANGERS = f"""
import socket, struct
from pointsman.doctor.gather.syn_probe import SynProbe, segment
import ipaddress
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("br_e", 0))
for number in range({_FEW}):
    knock = SynProbe(service="", vip=ipaddress.ip_address("{dual_homed.VIP}"), port={dual_homed.PORT},
                  server=ipaddress.ip_address("{dual_homed.REAL_SERVER}"), mac="de:ad:be:ef:24:46",
                  interface="br_e", own_mac="00:1a:a0:21:21:65",
                  own_address=ipaddress.ip_address("192.168.7.128") + number % 100)
    out.send(segment(knock, 1024 + number, number, 2))
"""
"""SYNs of clients that never answer. Each occupies a table entry for a minute."""
_BROWSE = (
    f"(while :; do curl -s -m 1 -o /dev/null http://{_SERVICE}/; sleep 0.1; done) >/dev/null 2>&1 & "
    "echo $! > {directory}/browse.pid"
)

WHOLE = (
    Fault(
        "two-masters",
        "lb-01",
        "the directors do not receive each other's adverts: both are master",
        "one-master",
        (*_DEAF, *(f"@lb-02 {line}" for line in _DEAF)),
        ("nft delete table inet fault", "@lb-02 nft delete table inet fault"),
    ),
    Fault(
        "gateway-mtu",
        "gw-01",
        "the MTU of a real server's gateway is smaller than the real server's",
        "mtu",
        ("ip link set ens224 mtu 1400",),
        ("ip link set ens224 mtu 1500",),
        seen_on="web-01",
    ),
    Fault(
        "icmp-dropped",
        "web-01",
        "the real server's firewall drops ICMP, also the messages about a smaller MTU on the path",
        "path-mtu",
        nft_drop_commands("input", "ip protocol icmp"),
        ("nft delete table inet fault",),
    ),
    Fault(
        "checksum-offload",
        "server",
        "a client leaves checksums to absent hardware, and native XDP forwards its frames unchanged",
        "checksum",
        ("@client ethtool -K br_e tx on", f"@client {_BROWSE}", "sleep 1"),
        ("@client kill $(cat {directory}/browse.pid)", "@client ethtool -K br_e tx off"),
        topology=dual_homed.TOPOLOGY.name,
        xdp_mode="native",
    ),
    Fault(
        "full-table",
        "lvs",
        "the director's connection table is full",
        "connection-table",
        (
            _KILL,
            _GONE,
            "pointsman detach",
            _RUN % f"--connections {_FEW}",
            _READY,
            *_TABLE,
            f"@client python3 -c {shlex.quote(_STRANGERS)}",
        ),
        (_KILL, _GONE, "pointsman detach", _RUN % "", _READY, *_TABLE),
        topology=dual_homed.TOPOLOGY.name,
    ),
    Fault(
        "director-killed",
        "lvs",
        "the director was killed; its program and table in the kernel still forward",
        "director",
        (_KILL, _GONE),
        (_KILL, _GONE, _RUN % "", _READY),
        topology=dual_homed.TOPOLOGY.name,
    ),
)
"""These faults come last, because some of them restart the director."""
