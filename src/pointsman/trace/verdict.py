# SPDX-License-Identifier: Apache-2.0
"""Judge the hops of a connection: correct direct routing, or the hop where it fails.

The director changes the MAC addresses of the request and decrements its TTL as IPVS does, or puts the
request into a tunnel. It changes nothing else. The real server sends the answer to the client without the
director, with the VIP as source.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from pointsman.model.address import resolution_protocol
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
    """Follow the first connection to VIP:port in the sightings (from `client_port`, if given) and judge it.

    `hosts`: names by MAC address.
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
    """Yield one finding for each drop, except drops that belong to the end of a connection."""
    for drop in trace.drops:
        if drop.reason in drop_reasons.AFTER_THE_END and _has_begun(trace, drop):
            continue
        if drop_reasons.is_repeated_request(drop.reason, drop.function) and _has_answered(trace, drop):
            continue
        packet = "answer" if drop.answer else "request"
        place = f" on {drop.interface}" if drop.interface else ""
        function = f" (in {drop.function})" if drop.function else ""
        reason = drop_reasons.explain(drop.reason, drop.function, drop.interface, vip, answer=drop.answer)
        yield Finding(False, f"the kernel of {drop.host} dropped the {packet}{place}{function}: {reason}")


def _has_answered(trace: Trace, drop: Drop) -> bool:
    """True if the same host answered the request, even if the answer was lost later."""
    lost = any(other.answer and other.host == drop.host for other in trace.drops)
    return lost or any(hop.place.host == drop.host and hop.place.sends for hop in trace.answer)


def _has_begun(trace: Trace, drop: Drop) -> bool:
    """True if the host that dropped the packet took part in the connection, or has refused it openly.

    A late packet for a closed socket is then no fault of the path.
    """
    if trace.answer and "R" in trace.answer[0].frame.flags:
        return True
    if drop.answer:
        return _find(trace.answer, CLIENT, sends=False) is not None
    return any(hop.place.host == drop.host and hop.place.sends for hop in trace.answer)


def _judge(trace: Trace, hosts: dict[str, str]) -> Iterable[Finding]:
    if not trace.request:
        yield Finding(False, "no connection was seen: the client sent no SYN to this address and port")
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
    """Return the hop where a real server received the request. Another director can be the real server."""
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
            f"the request did not reach a director, but {last.place.host} (hop "
            f"{last.number}), which answered itself: it has the VIP too",
        )
    if delivery is None:
        return _lost(last, "it did not reach a director", hosts)
    searched = resolution_protocol(ipaddress.ip_address(trace.request[0].frame.destination))
    return Finding(
        False,
        f"the request went directly to {delivery.place.host} (hop {delivery.number}), not to a director: "
        f"check whether that real server answers {searched} for the VIP",
    )


def _not_forwarded(trace: Trace, arrival: Hop, hosts: dict[str, str]) -> Iterable[Finding]:
    director = arrival.place.host
    reply = _find(trace.answer, DIRECTOR, sends=True)
    if reply is None:
        yield _lost(arrival, f"the director {director} received it and did not forward it", hosts)
    elif _chose_itself(trace, director):
        yield Finding(True, f"the director {director} chose itself and changed nothing")
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
            False, f"the director {director} forwarded the request without a real server's MAC as destination"
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
                else ": check that the VIP is on its lo, that the service listens, and rp_filter"
            ),
        )
        return
    if passed is not None:
        yield Finding(
            False, f"the answer went through the director {passed.place.host} (hop {passed.number})"
        )
    first, opening = trace.answer[0], trace.request[0].frame
    if (first.frame.source, first.frame.source_port) != (opening.destination, opening.destination_port):
        yield Finding(
            False,
            f"{server} answered from {first.frame.source}:{first.frame.source_port}, which is not the VIP: "
            "the client has no connection with this address",
        )
    if "R" in first.frame.flags:
        yield Finding(False, f"{first.place.host} refused the connection (RST): no program listens there")
    elif _find(trace.answer, CLIENT, sends=False) is None:
        yield _lost(trace.answer[-1], "the client did not receive the answer", hosts)
    elif passed is None:
        yield Finding(
            True,
            f"the answer went from {server} to the client with the VIP as source"
            + ("" if _chose_itself(trace, server) else ", not through the director"),
        )


def _chose_itself(trace: Trace, director: str) -> bool:
    return any(item.local and item.director == director for item in trace.decisions)


def _find(hops: Iterable[Hop], role: str, sends: bool) -> Hop | None:
    return next((hop for hop in hops if hop.place.role == role and hop.place.sends is sends), None)


def _lost(last: Hop, where: str, hosts: dict[str, str]) -> Finding:
    mac = last.frame.destination_mac
    target = f"{mac} ({hosts[mac]})" if mac in hosts else mac
    if last.place.sends and mac == last.frame.source_mac:
        where += (
            f"; it was sent to its own sender: check that ARP is on for {last.place.interface} "
            "(ip link set arp on)"
        )
    return Finding(False, f"lost after hop {last.number} ({last.place}, to {target}): {where}")
