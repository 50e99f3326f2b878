"""What single hosts saw of a service, and how their views fit together into one trace. Pure.

Clocks of hosts differ: a frame that was received before it was sent shows by how much at least, and the
receiver's times are shifted by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from pointsman.trace import drop_reasons
from pointsman.trace.connection import (
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
    opens,
)
from pointsman.trace.frames import TCP, Frame
from pointsman.trace.host_verdict import judge_host
from pointsman.trace.verdict import drop_findings

_A_MOMENT = 1e-6
"""Seconds between sending and receiving, at the least."""
_ROUNDS = 16


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that one host saw of VIP:port while it watched."""

    host: str
    role: str
    vip: str
    port: int
    protocol: str = TCP
    sightings: tuple[Sighting, ...] = ()
    drops: tuple[Drop, ...] = ()
    decisions: tuple[Decision, ...] = ()
    exits: dict[str, int] = {}
    """How often the data plane gave up a packet meanwhile, by the name of its reason."""
    hosts: dict[str, str] = {}
    """Names, or addresses, by MAC address."""
    own: tuple[str, ...] = ()
    """The host's own MAC addresses."""
    remark: str = ""
    """What could not be looked at, and why."""


def renamed(report: HostReport, name: str) -> HostReport:
    """The report under another name: containers and labs share that of their machine."""

    def place(item: Sighting) -> Sighting:
        return msgspec.structs.replace(item, place=msgspec.structs.replace(item.place, host=name))

    return msgspec.structs.replace(
        report,
        host=name,
        sightings=tuple(map(place, report.sightings)),
        drops=tuple(msgspec.structs.replace(drop, host=name) for drop in report.drops),
        decisions=tuple(msgspec.structs.replace(item, director=name) for item in report.decisions),
        hosts=report.hosts | dict.fromkeys(report.own, name),
    )


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """One trace out of several reports."""

    trace: Trace
    sightings: tuple[Sighting, ...]
    hosts: dict[str, str]
    remark: str


def alone(report: HostReport) -> Trace:
    """The verdict of one host about the first connection it saw."""
    return _trace([report], _connection([report]))


def merge(reports: Sequence[HostReport]) -> Merged:
    """The connection that most of the hosts saw, followed through all of them. Raises ValueError when the
    reports are of different services, or two of one host."""
    services = {(report.vip, report.port, report.protocol) for report in reports}
    names = Counter(report.host for report in reports)
    if len(services) != 1:
        raise ValueError("the reports are of different services: " + ", ".join(sorted(map(str, services))))
    if max(names.values()) > 1:
        raise ValueError(f"two reports are of one host: {', '.join(names)}")
    shifts = _shifts(reports)
    aligned = [
        msgspec.structs.replace(
            report,
            sightings=tuple(
                msgspec.structs.replace(item, time=item.time + shifts[report.host])
                for item in report.sightings
            ),
        )
        for report in reports
    ]
    hosts = {mac: name for report in reports for mac, name in report.hosts.items()}
    hosts |= {mac: report.host for report in reports for mac in report.own}
    shifted = [
        f"the clock of {name} is behind by {shift * 1e3:.1f} ms at least"
        for name, shift in shifts.items()
        if shift > _A_MOMENT * _ROUNDS
    ]
    remarks = [f"{report.host}: {report.remark}" for report in reports if report.remark]
    return Merged(
        trace=_trace(aligned, _connection(aligned), hosts),
        sightings=tuple(
            sorted((item for each in aligned for item in each.sightings), key=lambda item: item.time)
        ),
        hosts=hosts,
        remark="; ".join([*remarks, *shifted]),
    )


def _shifts(reports: Iterable[HostReport]) -> dict[str, float]:
    """Seconds to add to each host's times so that nothing is received before it was sent."""
    listed = list(reports)
    shifts = {report.host: 0.0 for report in listed}
    sent: dict[Frame, tuple[str, float]] = {}
    for report in listed:
        for item in report.sightings:
            if item.place.sends:
                sent.setdefault(item.frame, (report.host, item.time))
    for _ in range(_ROUNDS):
        settled = True
        for report in listed:
            for item in report.sightings:
                origin = sent.get(item.frame)
                if item.place.sends or origin is None or origin[0] == report.host:
                    continue
                late = origin[1] + shifts[origin[0]] + _A_MOMENT - (item.time + shifts[report.host])
                if late > 0:
                    shifts[report.host] += late
                    settled = False
        if settled:
            break
    return shifts


def _connection(reports: Sequence[HostReport]) -> tuple[str, int] | None:
    """Client and port of the connection that most hosts know; the first one of those."""
    known: Counter[tuple[str, int]] = Counter()
    for report in reports:
        begun = {
            (item.frame.source, item.frame.source_port): None
            for item in report.sightings
            if opens(item.frame, report.vip, report.port)
        }
        begun |= {(item.client, item.client_port): None for item in report.decisions}
        known.update(begun.keys())
    return known.most_common(1)[0][0] if known else None


def _trace(
    reports: Sequence[HostReport], connection: tuple[str, int] | None, hosts: dict[str, str] | None = None
) -> Trace:
    def of_it(client: str, port: int) -> bool:
        return connection is None or (client, port) == connection

    vip, port = reports[0].vip, reports[0].port
    sightings = [
        item
        for report in reports
        for item in report.sightings
        if of_it(item.frame.source, item.frame.source_port)
        or of_it(item.frame.destination, item.frame.destination_port)
    ]
    request, answer = follow(sightings, vip, port)
    drops = [drop for report in reports for drop in report.drops if of_it(drop.client, drop.client_port)]
    trace = Trace(
        request=request,
        answer=answer,
        findings=(),
        drops=tuple(dict.fromkeys(drop for drop in drops if drop.reason not in drop_reasons.UNREMARKABLE)),
        decisions=tuple(
            item for report in reports for item in report.decisions if of_it(item.client, item.client_port)
        ),
    )
    several = len(reports) > 1
    findings = []
    for report in reports:
        if several and not _took_part(report, trace):
            continue
        names = report.hosts | (hosts or {})
        for finding in judge_host(_part(trace, report.host), report.role, names, report.exits):
            text = f"{report.host}: {finding.text}" if several else finding.text
            findings.append(msgspec.structs.replace(finding, text=text))
    if several:
        findings += _between(trace, reports)
    if not all(finding.ok for finding in findings):
        findings += drop_findings(trace, vip)
    return msgspec.structs.replace(trace, findings=tuple(findings))


def _part(trace: Trace, host: str) -> Trace:
    """What one host saw of it."""
    return msgspec.structs.replace(
        trace,
        request=tuple(hop for hop in trace.request if hop.place.host == host),
        answer=tuple(hop for hop in trace.answer if hop.place.host == host),
        drops=tuple(drop for drop in trace.drops if drop.host == host),
        decisions=tuple(item for item in trace.decisions if item.director == host),
    )


def _took_part(report: HostReport, trace: Trace) -> bool:
    """Whether the connection came to this host; a real server that was not chosen has nothing to say."""
    part = _part(trace, report.host)
    return bool(part.request or part.answer or part.drops or part.decisions)


def _between(trace: Trace, reports: Sequence[HostReport]) -> Iterable[Finding]:
    """What only shows when hosts are compared: the director's changes, and what got lost on a wire."""
    if not trace.request and not trace.decisions:
        yield Finding(False, "no connection was seen by any of these hosts")
        return
    arrival, departure = _hop(trace.request, DIRECTOR, False), _hop(trace.request, DIRECTOR, True)
    delivery = _hop(trace.request, REAL_SERVER, False)
    before, after = arrival, departure or delivery
    if before is not None and after is not None:
        yield _changed(before, after)
    if delivery is not None:
        return
    targets = {departure.frame.destination_mac} if departure is not None else _chosen(trace, reports)
    for report in reports:
        if report.role == REAL_SERVER and targets & set(report.own):
            yield Finding(
                False, f"{report.host} did not receive what was sent to its MAC address: lost on the way"
            )


def _chosen(trace: Trace, reports: Iterable[HostReport]) -> set[str]:
    """The MAC address of the real server that was chosen, as its director's neighbour table has it."""
    addresses = {(item.director, item.server.rpartition(":")[0].strip("[]")) for item in trace.decisions}
    return {
        mac for report in reports for mac, name in report.hosts.items() if (report.host, name) in addresses
    }


def _changed(before: Hop, after: Hop) -> Finding:
    found = {change.field: change for change in changes(before.frame, after.frame)}
    wrong = [change for name, change in found.items() if name not in DIRECTED_FIELDS]
    if "ttl" in found and after.frame.ttl != before.frame.ttl - 1:
        wrong.append(found["ttl"])
    if wrong or "destination_mac" not in found:
        what = "; ".join(map(str, wrong)) or "no MAC address"
        return Finding(False, f"on its way through {before.place.host} the request changed: {what}")
    if after.frame.tunnel:
        return Finding(True, f"{before.place.host} put the request into a tunnel: {after.frame.tunnel}")
    return Finding(True, f"{before.place.host} changed only the MACs and the TTL of the request")


def _hop(hops: Iterable[Hop], role: str, sends: bool) -> Hop | None:
    return next((hop for hop in hops if hop.place.role == role and hop.place.sends is sends), None)
