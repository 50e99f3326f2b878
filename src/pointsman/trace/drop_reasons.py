"""What the kernel's drop reasons mean for direct routing, and what to do. Pure.

Names: include/net/dropreason-core.h; some have changed over the years, so both forms are here.
"""

from __future__ import annotations

MEANINGS: dict[str, tuple[str, str]] = {
    "IP_RPFILTER": (
        "the client is routed back by another interface than the request came in by",
        "sysctl -w net.ipv4.conf.{interface}.rp_filter=2",
    ),
    "IP_INADDRERRORS": (
        "the VIP is no address of this host",
        "if it is a real server, pointsman realserver up {vip}",
    ),
    "IP_LOCAL_SOURCE": (
        "the source is an address of this host itself",
        "look for the client's address on this host: ip address",
    ),
    "NETFILTER_DROP": ("a firewall rule", "nft -a list ruleset"),
    "NO_SOCKET": ("no program listens there", "start it, or let it listen at {vip} or everywhere"),
    "TCP_CSUM": (
        "the TCP checksum is wrong: the sender left it to the hardware, native XDP forwarded it as it was",
        "ethtool -K INTERFACE tx off, on the sender; or pointsman run --xdp-mode generic",
    ),
    "IP_CSUM": ("the checksum of the IP header is wrong", "look at the network card"),
    "NEIGH_FAILED": (
        "nobody answers ARP or neighbour discovery for the next hop",
        "ip neigh; is the gateway right?",
    ),
    "NEIGH_QUEUEFULL": ("the next hop's MAC address is not known yet", "ip neigh; is the gateway right?"),
    "IP_OUTNOROUTES": ("there is no route to the client", "ip route add default via GATEWAY"),
    "TC_INGRESS": ("a tc program there: on a director its own", "pointsman doctor, on that host"),
    "NO_TX_TARGET": (
        "the switch has no port for that MAC address",
        "is the interface of the host that it belongs to up? ip link",
    ),
    "PKT_TOO_BIG": ("it is longer than the MTU", "ip link; make the MTU the same everywhere"),
    "TCP_LISTEN_OVERFLOW": ("the program's accept queue is full", "ss -ltn; raise its backlog"),
    "SOCKET_BACKLOG": ("the socket's queue is full", "ss -ltn; raise its backlog"),
}
MEANINGS["IP_INNOROUTES"] = MEANINGS["IP_INADDRERRORS"]
OF_ANSWERS: dict[str, tuple[str, str]] = {
    "IP_RPFILTER": (
        "the VIP, the answer's source, is routed by another interface than the answer came in by",
        "sysctl -w net.ipv4.conf.{interface}.rp_filter=2",
    ),
    "IP_INADDRERRORS": (
        "this host does not route packets of others (ip_forward is 0)",
        "is it meant to be the real server's gateway? On the real server: ip route",
    ),
    "IP_LOCAL_SOURCE": (
        "the VIP, the answer's source, is an address of this host: a director",
        "give the real server another gateway: ip route replace default via GATEWAY",
    ),
    "NO_SOCKET": ("the client has closed the connection meanwhile", "was the answer late? See the times"),
}
"""What is different for packets on their way to the client."""
UNREMARKABLE = frozenset({"OTHERHOST"})
"""Frames that a switch flooded to everybody."""

AFTER_THE_END = frozenset(
    {"NO_SOCKET", "TCP_CLOSE", "TCP_RESET", "TCP_OLD_DATA", "TCP_OLD_ACK", "TCP_OLD_SEQUENCE"}
    | {"TCP_INVALID_SEQUENCE", "TCP_INVALID_END_SEQUENCE", "TCP_LINGER", "QUEUE_PURGE"}
    | {"TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_DATA", "TCP_ABORT_ON_LINGER"}
)
"""Why a host's TCP gives up what comes after it has closed its side: usual for a client that leaves early."""


_UNNAMED = "NOT_SPECIFIED"
_BY_FUNCTION = {"neigh_invalidate": "NEIGH_FAILED"}
"""What it means that a function of the kernel gives a packet up, where it does not say itself."""
_RECEIVERS = ("tcp_v4_rcv", "tcp_v6_rcv")


def is_repeated_request(reason: str, function: str) -> bool:
    """Whether this may be how TCP gives up a SYN that it has seen before and has answered."""
    return reason == _UNNAMED and function in _RECEIVERS


def explained(reason: str, function: str, interface: str, vip: str, *, answer: bool = False) -> str:
    """The reason, what it means and what to do; the name alone when it is not known here."""
    known = _BY_FUNCTION.get(function, reason) if reason == _UNNAMED else reason
    meanings = MEANINGS | OF_ANSWERS if answer else MEANINGS
    if known not in meanings:
        return reason
    meaning, remedy = meanings[known]
    return f"{reason}, {meaning}. Remedy: {remedy.format(interface=interface, vip=vip)}"
