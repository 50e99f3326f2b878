# SPDX-License-Identifier: Apache-2.0
"""Reports of single hosts about a connection, and their merge into one trace. Pure.

Clocks of hosts differ. A frame that was received before it was sent shows a minimum difference; the
receiver's times are shifted by it.
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
    is_opening,
)
from pointsman.trace.frames import TCP, Frame
from pointsman.trace.host_verdict import judge_host
from pointsman.trace.verdict import drop_findings

_A_MOMENT = 1e-6
"""Shortest time in seconds between sending and receiving."""
_ROUNDS = 16


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one host saw of VIP:port during its trace."""

    host: str
    role: str
    vip: str
    port: int
    protocol: str = TCP
    sightings: tuple[Sighting, ...] = ()
    drops: tuple[Drop, ...] = ()
    decisions: tuple[Decision, ...] = ()
    exits: dict[str, int] = {}
    """Number of packets that the data plane dropped during the trace, by the name of the exit."""
    hosts: dict[str, str] = {}
    """Names or addresses by MAC address."""
    own: tuple[str, ...] = ()
    """The host's own MAC addresses."""
    remark: str = ""
    """Parts of the trace that were not possible, and the reasons."""


def rename_host(report: HostReport, name: str) -> HostReport:
    """Return the report under another host name. Containers and labs share the name of their machine."""

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
    """One trace merged from several reports."""

    trace: Trace
    sightings: tuple[Sighting, ...]
    hosts: dict[str, str]
    remark: str


def judge_report(report: HostReport) -> Trace:
    """Return the verdict of one host about the first connection it saw."""
    return _build_trace([report], _find_connection([report]))


def merge(reports: Sequence[HostReport]) -> Merged:
    """Merge the reports into one trace of the connection that most of the hosts saw.

    Raises ValueError if the reports are about different services, or two are from one host.
    """
    services = {(report.vip, report.port, report.protocol) for report in reports}
    names = Counter(report.host for report in reports)
    if len(services) != 1:
        raise ValueError("the reports are about different services: " + ", ".join(sorted(map(str, services))))
    if max(names.values()) > 1:
        raise ValueError(f"two reports are from one host: {', '.join(names)}")
    shifts = _clock_shifts(reports)
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
        f"the clock of {name} is at least {shift * 1e3:.1f} ms behind"
        for name, shift in shifts.items()
        if shift > _A_MOMENT * _ROUNDS
    ]
    remarks = [f"{report.host}: {report.remark}" for report in reports if report.remark]
    return Merged(
        trace=_build_trace(aligned, _find_connection(aligned), hosts),
        sightings=tuple(
            sorted((item for each in aligned for item in each.sightings), key=lambda item: item.time)
        ),
        hosts=hosts,
        remark="; ".join([*remarks, *shifted]),
    )


def _clock_shifts(reports: Iterable[HostReport]) -> dict[str, float]:
    """Return the seconds to add to each host's times, so that no frame is received before it was sent."""
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


def _find_connection(reports: Sequence[HostReport]) -> tuple[str, int] | None:
    """Return client and port of the connection that most hosts saw. Of several, the first."""
    known: Counter[tuple[str, int]] = Counter()
    for report in reports:
        begun = {
            (item.frame.source, item.frame.source_port): None
            for item in report.sightings
            if is_opening(item.frame, report.vip, report.port)
        }
        begun |= {(item.client, item.client_port): None for item in report.decisions}
        known.update(begun.keys())
    return known.most_common(1)[0][0] if known else None


def _build_trace(
    reports: Sequence[HostReport], connection: tuple[str, int] | None, hosts: dict[str, str] | None = None
) -> Trace:
    def is_in_it(client: str, port: int) -> bool:
        return connection is None or (client, port) == connection

    vip, port = reports[0].vip, reports[0].port
    sightings = [
        item
        for report in reports
        for item in report.sightings
        if is_in_it(item.frame.source, item.frame.source_port)
        or is_in_it(item.frame.destination, item.frame.destination_port)
    ]
    request, answer = follow(sightings, vip, port)
    drops = [drop for report in reports for drop in report.drops if is_in_it(drop.client, drop.client_port)]
    trace = Trace(
        request=request,
        answer=answer,
        findings=(),
        drops=tuple(dict.fromkeys(drop for drop in drops if drop.reason not in drop_reasons.UNREMARKABLE)),
        decisions=tuple(
            item for report in reports for item in report.decisions if is_in_it(item.client, item.client_port)
        ),
    )
    several = len(reports) > 1
    findings = []
    for report in reports:
        if several and not _took_part(report, trace):
            continue
        names = report.hosts | (hosts or {})
        for finding in judge_host(_part_of_host(trace, report.host), report.role, names, report.exits):
            if several and finding.note:
                continue
            text = f"{report.host}: {finding.text}" if several else finding.text
            findings.append(msgspec.structs.replace(finding, text=text))
    if several:
        findings += _compare_hosts(trace, reports)
    if not all(finding.ok for finding in findings):
        findings += drop_findings(trace, vip)
    return msgspec.structs.replace(trace, findings=tuple(findings))


def _part_of_host(trace: Trace, host: str) -> Trace:
    """Return the part of the trace that one host saw."""
    return msgspec.structs.replace(
        trace,
        request=tuple(hop for hop in trace.request if hop.place.host == host),
        answer=tuple(hop for hop in trace.answer if hop.place.host == host),
        drops=tuple(drop for drop in trace.drops if drop.host == host),
        decisions=tuple(item for item in trace.decisions if item.director == host),
    )


def _took_part(report: HostReport, trace: Trace) -> bool:
    """True if the connection reached this host. There are no findings about a real server that was not
    chosen."""
    part = _part_of_host(trace, report.host)
    return bool(part.request or part.answer or part.drops or part.decisions)


def _compare_hosts(trace: Trace, reports: Sequence[HostReport]) -> Iterable[Finding]:
    """Yield findings from the comparison of hosts: the director's changes, and frames lost between hosts."""
    if not trace.request and not trace.decisions:
        yield Finding(False, "none of these hosts saw a connection")
        return
    arrival, departure = _find_hop(trace.request, DIRECTOR, False), _find_hop(trace.request, DIRECTOR, True)
    delivery = _find_hop(trace.request, REAL_SERVER, False)
    before, after = arrival, departure or delivery
    if before is not None and after is not None:
        yield _judge_changes(before, after)
    if delivery is not None:
        return
    targets = {departure.frame.destination_mac} if departure is not None else _chosen_macs(trace, reports)
    for report in reports:
        if report.role == REAL_SERVER and targets & set(report.own):
            yield Finding(
                False,
                f"{report.host} did not receive what was sent to its MAC address: lost between the hosts",
            )


def _chosen_macs(trace: Trace, reports: Iterable[HostReport]) -> set[str]:
    """Return the MAC addresses of the chosen real server, from its director's neighbour table."""
    addresses = {(item.director, item.server.rpartition(":")[0].strip("[]")) for item in trace.decisions}
    return {
        mac for report in reports for mac, name in report.hosts.items() if (report.host, name) in addresses
    }


def _judge_changes(before: Hop, after: Hop) -> Finding:
    found = {change.field: change for change in changes(before.frame, after.frame)}
    wrong = [change for name, change in found.items() if name not in DIRECTED_FIELDS]
    if "ttl" in found and after.frame.ttl != before.frame.ttl - 1:
        wrong.append(found["ttl"])
    if wrong or "destination_mac" not in found:
        what = "; ".join(map(str, wrong)) or "no MAC address"
        return Finding(False, f"{before.place.host} changed the request: {what}")
    if after.frame.tunnel:
        return Finding(True, f"{before.place.host} put the request into a tunnel: {after.frame.tunnel}")
    return Finding(True, f"{before.place.host} changed only the MACs and the TTL of the request")


def _find_hop(hops: Iterable[Hop], role: str, sends: bool) -> Hop | None:
    return next((hop for hop in hops if hop.place.role == role and hop.place.sends is sends), None)
