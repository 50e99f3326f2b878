"""What the hops of a connection mean: is this direct routing as it should be, and if not, where it breaks.

The rules are those of the second document's tcpdump analysis: the director changes the MAC addresses of the
request and (as IPVS does) takes one off its TTL, nothing else, or puts that into a tunnel; the real server
answers the client itself, with the VIP as source, past the director.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from pointsman.model.address import resolution
from pointsman.trace import drop_reasons
from pointsman.trace.connection import (
    CLIENT,
    DIRECTED_FIELDS,
    DIRECTOR,
    REAL_SERVER,
    Decision,
    Drop,
    Finding,
    Hop,
    Sighting,
    Trace,
    changes,
    follow,
)


def analyse(
    sightings: Iterable[Sighting],
    vip: str,
    port: int,
    hosts: dict[str, str],
    client_port: int | None = None,
    drops: Iterable[Drop] = (),
    decisions: Iterable[Decision] = (),
) -> Trace:
    """Follow the first connection to VIP:port that the sightings show (the one from `client_port`, if given).

    `hosts` names MAC addresses.
    """
    request, answer = follow(sightings, vip, port, client_port)
    trace = Trace(
        request=request,
        answer=answer,
        findings=(),
        drops=tuple(dict.fromkeys(drop for drop in drops if drop.reason not in drop_reasons.UNREMARKABLE)),
        decisions=tuple(decisions),
    )
    findings = tuple(_judge(trace, hosts))
    if not all(finding.ok for finding in findings):
        findings += tuple(drop_findings(trace, vip))
    return msgspec.structs.replace(trace, findings=findings)


def drop_findings(trace: Trace, vip: str) -> Iterable[Finding]:
    """One sentence for each drop; none for what belongs to the end of a connection."""
    for drop in trace.drops:
        if drop.reason in drop_reasons.AFTER_THE_END and _has_begun(trace, drop):
            continue
        if drop_reasons.is_repeated_request(drop.reason, drop.function) and _has_answered(trace, drop):
            continue
        packet = "answer" if drop.answer else "request"
        place = f" on {drop.interface}" if drop.interface else ""
        function = f" (in {drop.function})" if drop.function else ""
        reason = drop_reasons.explained(drop.reason, drop.function, drop.interface, vip, answer=drop.answer)
        yield Finding(False, f"the kernel of {drop.host} dropped the {packet}{place}{function}: {reason}")


def _has_answered(trace: Trace, drop: Drop) -> bool:
    """Whether the same host answered the request, though the answer may have been lost, there or later."""
    lost = any(other.answer and other.host == drop.host for other in trace.drops)
    return lost or any(hop.place.host == drop.host and hop.place.sends for hop in trace.answer)


def _has_begun(trace: Trace, drop: Drop) -> bool:
    """Whether the host that dropped the packet had its part of the connection, or has refused it openly: then
    a late packet for a socket that is closed by now says nothing about the way."""
    if trace.answer and "R" in trace.answer[0].frame.flags:
        return True
    if drop.answer:
        return _find(trace.answer, CLIENT, sends=False) is not None
    return any(hop.place.host == drop.host and hop.place.sends for hop in trace.answer)


def _judge(trace: Trace, hosts: dict[str, str]) -> Iterable[Finding]:
    if not trace.request:
        yield Finding(False, "no connection was seen: the client sent no SYN for this address and port")
        return
    arrival = _find(trace.request, DIRECTOR, sends=False)
    if arrival is None:
        yield _not_directed(trace, hosts)
        return
    director = arrival.place.host
    departure = next((hop for hop in trace.request if hop.place.host == director and hop.place.sends), None)
    if departure is None:
        yield from _not_forwarded(trace, arrival, hosts)
        return
    yield _director_finding(arrival, departure, hosts)
    delivery = _delivery(trace.request, director)
    if delivery is None:
        yield _lost(departure, "no real server received it", hosts)
        return
    yield from _judge_answer(trace, delivery, hosts)


def _delivery(request: Iterable[Hop], director: str) -> Hop | None:
    """Where a real server received it; another director may be one."""
    return next(
        (
            hop
            for hop in request
            if hop.place.role in (REAL_SERVER, DIRECTOR)
            and hop.place.host != director
            and not hop.place.sends
        ),
        None,
    )


def _not_directed(trace: Trace, hosts: dict[str, str]) -> Finding:
    delivery = _find(trace.request, REAL_SERVER, sends=False)
    last = trace.request[-1]
    if delivery is None and trace.answer and trace.answer[0].place.host == last.place.host:
        return Finding(
            False,
            f"the request went past the directors, to {last.place.host} (hop {last.number}), which answered "
            "itself: it has the VIP, too",
        )
    if delivery is None:
        return _lost(last, "it did not reach a director", hosts)
    searched = resolution(ipaddress.ip_address(trace.request[0].frame.destination))
    return Finding(
        False,
        f"the request went past the directors, straight to {delivery.place.host} (hop {delivery.number}): "
        f"does that real server answer {searched} for the VIP?",
    )


def _not_forwarded(trace: Trace, arrival: Hop, hosts: dict[str, str]) -> Iterable[Finding]:
    director = arrival.place.host
    reply = _find(trace.answer, DIRECTOR, sends=True)
    if reply is None:
        yield _lost(arrival, f"the director {director} received it and sent nothing on", hosts)
    elif _chose_itself(trace, director):
        yield Finding(True, f"the director {director} chose itself, and changed nothing")
        yield from _judge_answer(trace, arrival, hosts)
    elif "R" in reply.frame.flags:
        yield Finding(
            False,
            f"the director {director} itself refused the connection (RST): no service, or no real server",
        )
    else:
        yield Finding(False, f"the director {director} answered itself and forwarded nothing")


def _director_finding(arrival: Hop, departure: Hop, hosts: dict[str, str]) -> Finding:
    director = departure.place.host
    changed = {change.field: change for change in changes(arrival.frame, departure.frame)}
    wrong = [change for name, change in changed.items() if name not in DIRECTED_FIELDS]
    if "ttl" in changed and departure.frame.ttl != arrival.frame.ttl - 1:
        wrong.append(changed["ttl"])
    if wrong:
        return Finding(
            False, f"the director {director} changed more than MACs and TTL: {'; '.join(map(str, wrong))}"
        )
    if "destination_mac" not in changed:
        return Finding(
            False, f"the director {director} sent the request on without a real server's MAC as destination"
        )
    tunnel = departure.frame.tunnel
    target = hosts.get(departure.frame.destination_mac, departure.frame.destination_mac)
    ttl = (
        f" (and the TTL {arrival.frame.ttl} -> {departure.frame.ttl}, as IPVS does)"
        if "ttl" in changed
        else ""
    )
    if tunnel:
        chosen = tunnel.rpartition(" ")[2]
        way = f"{tunnel} through {target}; it chose {chosen}"
        return Finding(True, f"the director {director} put it into a tunnel{ttl}: {way}")
    return Finding(True, f"the director {director} changed only the MACs{ttl}; it chose {target}")


def _judge_answer(trace: Trace, delivery: Hop, hosts: dict[str, str]) -> Iterable[Finding]:
    server = delivery.place.host
    passed = next(
        (hop for hop in trace.answer if hop.place.role == DIRECTOR and hop.place.host != server), None
    )
    if not trace.answer:
        yield Finding(
            False,
            f"{server} received the request at hop {delivery.number} and sent no answer"
            + (
                ""
                if trace.drops
                else ": is the VIP on its lo, does the service listen, does rp_filter drop it?"
            ),
        )
        return
    if passed is not None:
        yield Finding(False, f"the answer passed the director {passed.place.host} (hop {passed.number})")
    first, opening = trace.answer[0], trace.request[0].frame
    if (first.frame.source, first.frame.source_port) != (opening.destination, opening.destination_port):
        yield Finding(
            False,
            f"{server} answered from {first.frame.source}:{first.frame.source_port}, which is not the VIP: "
            "the client cannot know this connection",
        )
    if "R" in first.frame.flags:
        yield Finding(False, f"{first.place.host} refused the connection (RST): no program listens there")
    elif _find(trace.answer, CLIENT, sends=False) is None:
        yield _lost(trace.answer[-1], "the client did not receive the answer", hosts)
    elif passed is None:
        yield Finding(
            True,
            f"the answer went from {server} to the client with the VIP as source"
            + ("" if _chose_itself(trace, server) else ", past the director"),
        )


def _chose_itself(trace: Trace, director: str) -> bool:
    return any(item.local and item.director == director for item in trace.decisions)


def _find(hops: Iterable[Hop], role: str, sends: bool) -> Hop | None:
    return next((hop for hop in hops if hop.place.role == role and hop.place.sends is sends), None)


def _lost(last: Hop, where: str, hosts: dict[str, str]) -> Finding:
    mac = last.frame.destination_mac
    target = f"{mac} ({hosts[mac]})" if mac in hosts else mac
    if last.place.sends and mac == last.frame.source_mac:
        where += f"; it was sent to its own sender: does {last.place.interface} speak ARP? ip link set arp on"
    return Finding(False, f"lost after hop {last.number} ({last.place}, to {target}): {where}")
