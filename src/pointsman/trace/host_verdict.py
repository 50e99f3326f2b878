"""One connection as a single host saw it: what arrived, what left, and the verdict about this host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pointsman.trace.connection import DIRECTOR, Finding, Hop, Trace

UNDECIDED = {
    "no_destination": "no real server can take a new connection: the client is told, port unreachable",
    "no_connection": "not the first packet of a connection, and none is known: the stack refuses it",
    "fragment": "a fragment that came before its packet's first one is left to the stack",
    "malformed": "cut short or malformed",
}
DROPPED = {
    "connection_reset": "the connection's real server was deleted (reset_on_removal)",
    "server_removed": "the connection's real server was deleted",
    "no_neighbour": "the real server's MAC address is not known: pointsman doctor",
    "not_tunnelled": "it could not be put into the tunnel to the real server",
    "ttl_exceeded": "the TTL was used up",
    "too_big": "larger than the way to the real server takes: the client is told",
}
"""Exits of the data plane (bpf/abi.h) that end a request's way."""


def judge_host(
    trace: Trace, role: str, hosts: Mapping[str, str], exits: Mapping[str, int]
) -> Iterable[Finding]:
    """What one host's part of a connection says about it.

    `exits`: how often the data plane gave up a packet meanwhile, by the name of its reason.
    """
    return (_director if role == DIRECTOR else _server)(trace, hosts, exits)


def _server(trace: Trace, hosts: Mapping[str, str], _exits: Mapping[str, int]) -> Iterable[Finding]:
    arrival = next((hop for hop in trace.request if not hop.place.sends), None)
    if arrival is None:
        yield Finding(
            False,
            "no request arrived here: does the director send any to this host? On it: pointsman trace --here",
        )
        return
    origin = _named(arrival.frame.source_mac, hosts)
    tunnel = arrival.frame.tunnel
    yield Finding(True, f"the request arrived on {arrival.place.interface} from {origin}{_within(tunnel)}")
    departure = next((hop for hop in trace.answer if hop.place.sends), None)
    if departure is None:
        yield Finding(False, "no answer left this host")
    elif "R" in departure.frame.flags:
        yield Finding(False, "this host refused the connection (RST): no program listens there")
    elif departure.frame.source != arrival.frame.destination:
        yield Finding(
            False, f"the answer left with the source {departure.frame.source}, which is not the VIP"
        )
    elif departure.frame.destination_mac == arrival.frame.source_mac and not tunnel:
        yield Finding(
            False,
            f"the answer left on {departure.place.interface} to {origin}, which the request came from: the "
            "director, or a client that reached this host past it",
        )
    else:
        target = _named(departure.frame.destination_mac, hosts)
        yield Finding(True, f"the answer left on {departure.place.interface} to {target}")


def _within(tunnel: str) -> str:
    return f" in {tunnel}" if tunnel else ""


def _director(trace: Trace, hosts: Mapping[str, str], exits: Mapping[str, int]) -> Iterable[Finding]:
    departure = next((hop for hop in trace.request if hop.place.sends), None)
    lost = {name: text for name, text in DROPPED.items() if exits.get(name)}
    if not trace.decisions:
        lost |= {name: text for name, text in UNDECIDED.items() if exits.get(name)}
    if departure is not None:
        target = _named(departure.frame.destination_mac, hosts)
        within = _within(departure.frame.tunnel)
        yield Finding(True, f"the request left on {departure.place.interface} to {target}{within}")
    elif trace.decisions and not lost:
        yield Finding(
            True,
            f"the request was sent to {trace.decisions[0].server} (XDP forwards past packet sockets: the "
            "connection table tells it)",
        )
    elif not lost:
        yield Finding(False, "no new connection to this service was seen")
    for name, text in lost.items():
        yield Finding(False, f"the data plane counted {name} {exits[name]} times meanwhile: {text}")
    yield from _own_answers(trace.answer)


def _own_answers(answer: Iterable[Hop]) -> Iterable[Finding]:
    hop = next(iter(answer), None)
    if hop is None:
        return
    what = "refused the connection itself (RST)" if "R" in hop.frame.flags else "saw the answer pass"
    yield Finding(False, f"this director {what}: answers should go past it")


def _named(mac: str, hosts: Mapping[str, str]) -> str:
    return f"{mac} ({hosts[mac]})" if mac in hosts else mac
