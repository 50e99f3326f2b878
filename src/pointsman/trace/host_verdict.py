# SPDX-License-Identifier: Apache-2.0
"""Judge one connection as one host saw it: arrival, departure, and the verdict about this host. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pointsman.model.wording import count
from pointsman.trace.connection import DIRECTOR, Decision, Finding, Hop, Trace

UNDECIDED = {
    "no_destination": "no real server accepts new connections; the client gets ICMP port unreachable",
    "no_connection": "not the first packet of a connection, and there is no entry for it: the network "
    "stack refuses it",
    "fragment": "a fragment that arrived before the first one of its packet goes to the network stack",
    "malformed": "truncated or malformed",
}
DROPPED = {
    "connection_reset": "the connection's real server was deleted (reset_on_removal)",
    "server_removed": "the connection's real server was deleted",
    "no_neighbour": "the real server's MAC address is unknown: run pointsman doctor",
    "grace": "the connection is not known here yet; its packets are dropped for a moment, not refused",
    "not_tunnelled": "the packet could not be encapsulated for the tunnel to the real server",
    "ttl_exceeded": "the TTL is exceeded",
    "too_big": "larger than the MTU of the path to the real server; the client gets an ICMP message",
}
"""Data plane exits (bpf/abi.h) that drop a request."""
_CONFIRMED = ("ESTABLISHED", "FIN_WAIT", "TIME_WAIT", "SCTP_ESTABLISHED")
"""States of a connection to which the client brings it only after it got an answer."""


def judge_host(
    trace: Trace, role: str, hosts: Mapping[str, str], exits: Mapping[str, int]
) -> Iterable[Finding]:
    """Yield the findings about one host's part of a connection.

    `exits`: how often the data plane dropped a packet during the trace, by the name of the exit.
    """
    return (_judge_director if role == DIRECTOR else _judge_server)(trace, hosts, exits)


def _judge_server(trace: Trace, hosts: Mapping[str, str], _exits: Mapping[str, int]) -> Iterable[Finding]:
    arrival = next((hop for hop in trace.request if not hop.place.sends), None)
    if arrival is None:
        yield Finding(
            False,
            "no request arrived here; check on the director whether it sends any: pointsman trace --here",
        )
        return
    origin = _with_name(arrival.frame.source_mac, hosts)
    tunnel = arrival.frame.tunnel
    yield Finding(True, f"the request arrived on {arrival.place.interface} from {origin}{_in_tunnel(tunnel)}")
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
            f"the answer left on {departure.place.interface} to {origin}, the sender of the request: the "
            "director, or a client that reached this host without the director",
        )
    else:
        target = _with_name(departure.frame.destination_mac, hosts)
        yield Finding(True, f"the answer left on {departure.place.interface} to {target}")


def _in_tunnel(tunnel: str) -> str:
    return f" in {tunnel}" if tunnel else ""


def _judge_director(trace: Trace, hosts: Mapping[str, str], exits: Mapping[str, int]) -> Iterable[Finding]:
    departure = next((hop for hop in trace.request if hop.place.sends), None)
    lost = {name: text for name, text in DROPPED.items() if exits.get(name)}
    if not trace.decisions:
        lost |= {name: text for name, text in UNDECIDED.items() if exits.get(name)}
    if departure is not None:
        target = _with_name(departure.frame.destination_mac, hosts)
        within = _in_tunnel(departure.frame.tunnel)
        yield Finding(True, f"the request left on {departure.place.interface} to {target}{within}")
    elif trace.decisions and not lost:
        yield Finding(
            True,
            f"the request was sent to {trace.decisions[0].server} (from the connection table: packet sockets "
            "do not see what XDP forwards)",
        )
    elif not lost:
        yield Finding(False, "no new connection to this service was seen")
    if not lost and not trace.answer and (departure is not None or trace.decisions):
        yield from _beyond_this_host(trace.decisions)
    for name, text in lost.items():
        times = count(exits[name], "time")
        yield Finding(False, f"the data plane counted {name} {times} during the trace: {text}")
    yield from _judge_answer(trace.answer)


def _beyond_this_host(decisions: Sequence[Decision]) -> Iterable[Finding]:
    """Say that the director does not see the answer, and where to look for it."""
    decision = decisions[0] if decisions else None
    if decision is not None and decision.local:
        return
    if decision is not None and decision.state in _CONFIRMED:
        yield Finding(True, f"the client went on ({decision.state}), so the answer reached it")
        return
    place = decision.server.rpartition(":")[0] if decision else "the real server"
    yield Finding(
        ok=True,
        text="no answer is seen here, as answers go past the director. If the client gets none, look on "
        f"{place}: pointsman trace --here",
        note=True,
    )


def _judge_answer(answer: Iterable[Hop]) -> Iterable[Finding]:
    hop = next(iter(answer), None)
    if hop is None:
        return
    what = "refused the connection itself (RST)" if "R" in hop.frame.flags else "received the answer"
    yield Finding(False, f"this director {what}: answers should not go through it")


def _with_name(mac: str, hosts: Mapping[str, str]) -> str:
    return f"{mac} ({hosts[mac]})" if mac in hosts else mac
