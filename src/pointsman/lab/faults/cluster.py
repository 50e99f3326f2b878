# SPDX-License-Identifier: Apache-2.0
"""Common faults of direct routing, as commands that cause them in a lab."""

from __future__ import annotations

import shlex

from pointsman.lab.faults.fault import Fault, nft_drop_commands, sysctl_commands
from pointsman.lab.faults.whole_host import WHOLE
from pointsman.lab.topologies import dual_homed, ha_pair

_VIP = ha_pair.VIP
_WEB = ha_pair.WEB_SERVERS["web-01"]
_UP = f"pointsman realserver up {_VIP} --interface ens224"
_UP_DUAL = f"pointsman realserver up {dual_homed.VIP} --interface eth14 --interface eth12"
_SERVICE = f"{dual_homed.VIP}:{dual_homed.PORT}"
_SERVER = f"{dual_homed.REAL_SERVER}:{dual_homed.PORT}"
_FORGET = f"@router ip neigh flush to {_VIP} dev ens224"
"""Remove what the router may have learnt about a second host with the VIP."""
_NGINX = "nginx -e {directory}/web-01/error.log -c {directory}/web-01/nginx.conf"
_DROP_TABLE = ("nft delete table inet fault",)
_DEFAULT_DENY = (
    "nft add table inet fault",
    "nft add chain inet fault input '{{ type filter hook input priority 0; policy drop; }}'",
    "nft add rule inet fault input ct state established,related accept",
    "nft add rule inet fault input tcp dport 22 accept",
)
_STRANGER = """
import ipaddress, socket, time
from pointsman.vrrp import wire
source = ipaddress.ip_address("192.168.100.33")
advert = wire.Advert(version=2, virtual_router_id=51, priority=1, interval=100,
                     addresses=(ipaddress.ip_address("192.168.100.40"),))
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, wire.PROTOCOL)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, source.packed)
while True:
    out.sendto(wire.encode(advert, source, wire.GROUP), (str(wire.GROUP), 0))
    time.sleep(0.1)
"""
"""Another group of routers with the directors' virtual_router_id."""


def _dual(
    name: str,
    node: str,
    text: str,
    check: str,
    commands: tuple[str, ...],
    undo: tuple[str, ...],
    arguments: tuple[str, ...] = (),
) -> Fault:
    return Fault(
        name, node, text, check, commands, undo, arguments=arguments, topology=dual_homed.TOPOLOGY.name
    )


FAULTS = (
    Fault(
        "no-vip",
        "web-01",
        "the VIP is not on the real server's lo",
        "vip-on-lo",
        (f"ip address del {_VIP}/32 dev lo",),
        (_UP,),
    ),
    Fault(
        "no-vip-delivery",
        "web-01",
        "the same, seen from the director",
        "delivery",
        (f"ip address del {_VIP}/32 dev lo",),
        (_UP,),
        seen_on="lb-01",
    ),
    Fault(
        "vip-on-nic",
        "web-02",
        "the VIP is on the real server's Ethernet interface",
        "vip-on-lo",
        (f"ip address del {_VIP}/32 dev lo", f"ip address add {_VIP}/26 dev ens224"),
        (f"ip address del {_VIP}/26 dev ens224", _UP, _FORGET),
    ),
    Fault(
        "vip-wide",
        "web-01",
        "the VIP is on lo with the prefix of its network",
        "vip-on-lo",
        (f"ip address del {_VIP}/32 dev lo", f"ip address add {_VIP}/26 dev lo"),
        (f"ip address del {_VIP}/26 dev lo", _UP),
    ),
    Fault("lo-down", "web-01", "lo is down", "link", ("ip link set lo down",), ("ip link set lo up",)),
    Fault(
        "arp-ignore",
        "web-01",
        "arp_ignore is 0: the real server answers ARP for the VIP",
        "arp-ignore",
        sysctl_commands("arp_ignore=0", "all", "ens224"),
        (_UP, _FORGET),
    ),
    Fault(
        "arp-conflict",
        "web-01",
        "the same, seen from the director",
        "vip-unique",
        sysctl_commands("arp_ignore=0", "all", "ens224"),
        (_UP, _FORGET),
        seen_on="lb-01",
    ),
    Fault(
        "arp-ignore-8",
        "web-01",
        "arp_ignore is 8: the real server does not answer for its own address either",
        "arp-ignore",
        sysctl_commands("arp_ignore=8", "all", "ens224"),
        (*sysctl_commands("arp_ignore=1", "all", "ens224"), _UP),
    ),
    Fault(
        "arp-announce",
        "web-01",
        "arp_announce is 0: the real server sends ARP requests with the VIP as sender",
        "arp-announce",
        sysctl_commands("arp_announce=0", "all", "ens224"),
        (_UP, _FORGET),
    ),
    Fault(
        "wrong-mac",
        "lb-01",
        "the director's neighbour table has a wrong MAC address for a real server",
        "mac",
        (f"ip neigh replace {_WEB} lladdr 02:00:00:00:00:66 nud permanent dev ens224",),
        (f"ip neigh del {_WEB} dev ens224",),
        through="web-01",
    ),
    Fault(
        "mtu",
        "web-01",
        "the real server's MTU is smaller than the director's",
        "mtu",
        ("ip link set ens224 mtu 1400",),
        ("ip link set ens224 mtu 1500",),
    ),
    Fault(
        "mtu-black-hole",
        "web-01",
        "the same, seen from the director",
        "mtu",
        ("ip link set ens224 mtu 1400",),
        ("ip link set ens224 mtu 1500",),
        seen_on="lb-01",
    ),
    Fault(
        "firewall",
        "web-01",
        "the real server's firewall drops requests for the VIP",
        "firewall",
        nft_drop_commands("input", f"ip daddr {_VIP}"),
        _DROP_TABLE,
    ),
    Fault(
        "firewall-answers",
        "web-01",
        "the real server's firewall drops answers from the VIP",
        "firewall",
        nft_drop_commands("output", f"ip saddr {_VIP}"),
        _DROP_TABLE,
    ),
    Fault(
        "dead-service",
        "web-01",
        "no program listens on the real server",
        "listening",
        (f"{_NGINX} -s stop", "sleep 0.3"),
        (f"{_NGINX} >/dev/null 2>&1 &", "sleep 0.5"),
        arguments=(f"{_VIP}:80",),
    ),
    Fault(
        "wrong-gateway",
        "web-01",
        "the real server's default gateway does not exist",
        "gateway",
        ("ip route replace default via 192.168.100.50",),
        ("ip route replace default via 192.168.100.2",),
    ),
    Fault(
        "director-as-gateway",
        "web-01",
        "the real server's default gateway is the director",
        "gateway",
        ("ip route replace default via 192.168.100.10",),
        ("ip route replace default via 192.168.100.2",),
    ),
    Fault(
        "duplicate-address",
        "mail",
        "another host has the real server's own address",
        "rip-unique",
        (f"ip address add {_WEB}/26 dev ens224",),
        (f"ip address del {_WEB}/26 dev ens224",),
        seen_on="lb-01",
        through="web-01",
    ),
    Fault(
        "second-holder",
        "mail",
        "another host has the VIP",
        "vip-unique",
        (f"ip address add {_VIP}/26 dev ens224",),
        (f"ip address del {_VIP}/26 dev ens224", _FORGET),
        seen_on="lb-01",
    ),
    Fault(
        "noarp",
        "web-01",
        "ARP is off on the real server's interface",
        "link",
        ("ip link set ens224 arp off",),
        ("ip link set ens224 arp on",),
    ),
    Fault(
        "backup-holds-vip",
        "lb-02",
        "the backup director has the VIP too",
        "vip-held",
        (f"ip address add {_VIP}/26 dev ens224",),
        (f"ip address del {_VIP}/26 dev ens224", _FORGET),
    ),
    Fault(
        "same-vrid",
        "mail",
        "another group of routers uses the same virtual_router_id",
        "vrid-unique",
        (f"python3 -c {shlex.quote(_STRANGER)} >/dev/null 2>&1 & echo $! > {{directory}}/stranger.pid",),
        ("kill $(cat {directory}/stranger.pid)",),
        seen_on="lb-01",
    ),
    Fault(
        "wrong-password",
        "lb-02",
        "the directors have different VRRP passwords: each drops the adverts of the other",
        "adverts-dropped",
        ("sed -i 's/auth_pass gen/auth_pass other/' {directory}/lb-02.conf", "pointsman reload"),
        ("sed -i 's/auth_pass other/auth_pass gen/' {directory}/lb-02.conf", "pointsman reload"),
    ),
    Fault(
        "adverts-filtered",
        "lb-02",
        "the backup director's firewall drops VRRP: it becomes master too",
        "firewall",
        nft_drop_commands("input", "ip protocol 112"),
        _DROP_TABLE,
    ),
    Fault(
        "default-deny",
        "web-02",
        "the real server's firewall drops everything that no rule accepts",
        "firewall",
        _DEFAULT_DENY,
        _DROP_TABLE,
        arguments=(f"{_VIP}:80",),
    ),
    Fault(
        "default-deny-director",
        "lb-02",
        "the backup director's iptables drop everything that no rule accepts, also VRRP",
        "firewall",
        (
            "iptables-nft -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "iptables-nft -P INPUT DROP",
        ),
        ("iptables-nft -P INPUT ACCEPT", "iptables-nft -F INPUT", "nft delete table ip filter"),
    ),
    _dual(
        "rp-filter",
        "server",
        "strict rp_filter where the director's requests arrive",
        "rp-filter",
        sysctl_commands("rp_filter=1", "eth12"),
        sysctl_commands("rp_filter=0", "eth12"),
    ),
    _dual(
        "real-server-link",
        "server",
        "the real server's interface to the director is down",
        "link",
        ("ip link set eth12 down",),
        ("ip link set eth12 up",),
    ),
    _dual(
        "director-link",
        "lvs",
        "the director's interface to the real server is down",
        "link",
        ("ip link set eth8 down",),
        ("ip link set eth8 up",),
    ),
    _dual(
        "director-noarp",
        "lvs",
        "ARP is off on the director's interface",
        "link",
        ("ip link set eth8 arp off",),
        ("ip link set eth8 arp on",),
    ),
    _dual(
        "director-mtu",
        "lvs",
        "the director's MTU to the real server is smaller than to the clients",
        "mtu",
        ("ip link set eth8 mtu 1300",),
        ("ip link set eth8 mtu 1500",),
    ),
    _dual(
        "vip-missing",
        "lvs",
        "the director does not have the VIP",
        "vip-held",
        (f"ip address del {dual_homed.VIP}/24 dev eth7",),
        (f"ip address add {dual_homed.VIP}/24 dev eth7",),
    ),
    _dual(
        "off-link",
        "lvs",
        "a real server that is not on the director's Ethernet",
        "on-link",
        (f"pointsman ipvsadm -a -t {_SERVICE} -r 203.0.113.5:{dual_homed.PORT} -g",),
        (f"pointsman ipvsadm -d -t {_SERVICE} -r 203.0.113.5:{dual_homed.PORT}",),
    ),
    _dual(
        "weight-0",
        "lvs",
        "the only real server has weight 0",
        "service",
        (f"pointsman ipvsadm -e -t {_SERVICE} -r {_SERVER} -g -w 0",),
        (f"pointsman ipvsadm -e -t {_SERVICE} -r {_SERVER} -g -w 1",),
    ),
    _dual(
        "no-real-server",
        "lvs",
        "the service has no real server",
        "service",
        (f"pointsman ipvsadm -d -t {_SERVICE} -r {_SERVER}",),
        (f"pointsman ipvsadm -a -t {_SERVICE} -r {_SERVER} -g",),
    ),
    _dual(
        "empty-table",
        "lvs",
        "the director's table is empty",
        "service",
        ("pointsman ipvsadm -C",),
        (
            f"pointsman ipvsadm -A -t {_SERVICE} -s rr",
            f"pointsman ipvsadm -a -t {_SERVICE} -r {_SERVER} -g",
        ),
    ),
    _dual(
        "vip-not-silent",
        "server",
        "the second document's conflict: director and real server answer ARP for the VIP",
        "arp-ignore",
        sysctl_commands("arp_ignore=0", "all", "eth14", "eth12"),
        (_UP_DUAL,),
    ),
    *WHOLE,
)
"""Every fault, in an order in which one can follow the other."""


def find_fault(name: str) -> Fault:
    """Return the fault with this name. Raises KeyError."""
    found = next((fault for fault in FAULTS if fault.name == name), None)
    if found is None:
        raise KeyError(name)
    return found
