# SPDX-License-Identifier: Apache-2.0
"""Meanings of the kernel's drop reasons for direct routing, and remedies. Pure.

The names are those of include/net/dropreason-core.h. Names that have changed between kernels are here in
both forms.
"""

from __future__ import annotations

from pointsman.realserver.facts import ArpKey

MEANINGS: dict[str, tuple[str, str]] = {
    "IP_RPFILTER": (
        "the route to the client uses another interface than the one the request arrived on",
        "sysctl -w {loose}=2",
    ),
    "IP_INADDRERRORS": (
        "the VIP is not an address of this host",
        "if it is a real server, pointsman realserver up {vip}",
    ),
    "IP_LOCAL_SOURCE": (
        "the source is an address of this host itself",
        "look for the client's address on this host: ip address",
    ),
    "NETFILTER_DROP": ("a firewall rule", "nft -a list ruleset"),
    "NO_SOCKET": ("no program listens there", "start it, or let it listen at {vip} or at every address"),
    "TCP_CSUM": (
        "the TCP checksum is wrong: the sender left it to the "
        "hardware, and native XDP forwarded it unchanged",
        "ethtool -K INTERFACE tx off, on the sender; or pointsman run --xdp-mode generic",
    ),
    "IP_CSUM": ("the checksum of the IP header is wrong", "check the network card"),
    "NEIGH_FAILED": (
        "no host answers ARP or neighbour discovery for the next hop",
        "ip neigh; check that the gateway is right",
    ),
    "NEIGH_QUEUEFULL": (
        "the next hop's MAC address is not known yet",
        "ip neigh; check that the gateway is right",
    ),
    "IP_OUTNOROUTES": ("there is no route to the client", "ip route add default via GATEWAY"),
    "TC_INGRESS": ("a tc program; on a director it is the director's own", "pointsman doctor, on that host"),
    "NO_TX_TARGET": (
        "the switch has no port for that MAC address",
        "check that the interface with that MAC address is up: ip link",
    ),
    "PKT_TOO_BIG": ("the packet is longer than the MTU", "ip link; set the same MTU everywhere"),
    "TCP_LISTEN_OVERFLOW": ("the program's accept queue is full", "ss -ltn; raise its backlog"),
    "SOCKET_BACKLOG": ("the socket's queue is full", "ss -ltn; raise its backlog"),
}
MEANINGS["IP_INNOROUTES"] = MEANINGS["IP_INADDRERRORS"]
OF_ANSWERS: dict[str, tuple[str, str]] = {
    "IP_RPFILTER": (
        "the route to the VIP, the answer's source, uses another "
        "interface than the one the answer arrived on",
        "sysctl -w {loose}=2",
    ),
    "IP_INADDRERRORS": (
        "this host does not forward packets (ip_forward is 0)",
        "check on the real server that its gateway is right: ip route",
    ),
    "IP_LOCAL_SOURCE": (
        "the VIP, the answer's source, is an address of this host, which is a director",
        "give the real server another gateway: ip route replace default via GATEWAY",
    ),
    "NO_SOCKET": ("the client has closed the connection", "check the times: the answer may have been late"),
}
"""Meanings that are different for packets on their way to the client."""
UNREMARKABLE = frozenset({"OTHERHOST"})
"""Reasons without news: frames that a switch flooded to all ports."""

AFTER_THE_END = frozenset(
    {"NO_SOCKET", "TCP_CLOSE", "TCP_RESET", "TCP_OLD_DATA", "TCP_OLD_ACK", "TCP_OLD_SEQUENCE"}
    | {"TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE", "TCP_LINGER", "QUEUE_PURGE"}
    | {"TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_DATA", "TCP_ABORT_ON_LINGER"}
)
"""Reasons why TCP drops late packets after it has closed its side. Usual for a client that closes early."""


_UNNAMED = "NOT_SPECIFIED"
_BY_FUNCTION = {"neigh_invalidate": "NEIGH_FAILED"}
"""Reason by kernel function, for drops whose reason the kernel does not name."""
_RECEIVERS = ("tcp_v4_rcv", "tcp_v6_rcv")


def is_repeated_request(reason: str, function: str) -> bool:
    """True if this can be TCP dropping a repeated SYN that it has answered before."""
    return reason == _UNNAMED and function in _RECEIVERS


def explain(reason: str, function: str, interface: str, vip: str, *, answer: bool = False) -> str:
    """Return the reason with its meaning and remedy, or the name alone if it has no entry here."""
    known = _BY_FUNCTION.get(function, reason) if reason == _UNNAMED else reason
    meanings = MEANINGS | OF_ANSWERS if answer else MEANINGS
    if known not in meanings:
        return reason
    meaning, remedy = meanings[known]
    loose = ArpKey(interface, "rp_filter")
    return f"{reason}, {meaning}. Remedy: {remedy.format(loose=loose, vip=vip)}"
