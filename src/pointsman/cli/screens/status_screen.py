# SPDX-License-Identifier: Apache-2.0
"""The screen of `pointsman status`: lines of text that fit a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pointsman.cli.screens.coloured_lines import Line, Piece, fold
from pointsman.cli.wording import visible
from pointsman.control.status import (
    DataPlaneStatus,
    InstanceStatus,
    ServerStatus,
    ServiceStatus,
    Status,
    SyncPeerStatus,
)
from pointsman.control.status_verdict import (
    UNRESOLVED,
    find_wrong_state,
    hears_rival,
    is_deserted,
    is_meant,
    is_serving,
    is_unknown,
)
from pointsman.model.wording import count, duration

LOST = {
    "no_neighbour": "dropped; the real server's MAC address was not known",
    "connection_reset": "reset by the stack; the connection's real server was deleted (reset_on_removal)",
    "grace": "dropped; their connections may become known to this director",
    "not_tunnelled": "dropped; they could not be put into the tunnel to their real server",
    "server_removed": "dropped; the connection's real server was deleted",
    "ttl_exceeded": "answered by ICMP time exceeded; the TTL was used up",
    "no_destination": "answered by ICMP port unreachable; no real server could take a new connection",
    "too_big": "answered by ICMP fragmentation needed; too large for the path to the real server",
    "unanswered": "of the last three: not answered; the rate of ICMP answers is limited",
    "malformed": "left to the stack; cut short, or with a wrong checksum",
    "fragment": "left to the stack; fragments that came before the first one of their packet",
    "table_full": "forwarded by hash; the connection table was full",
    "untracked": "forwarded by hash; their connection had found no room in the table",
    "templates_full": "forwarded by hash; there was no room for a persistent client",
}
"""Exit reasons that an administrator should know about, by the names of bpf/abi.h."""

GOOD, BAD, ODD, MEANT = "green", "bold red", "yellow", "cyan"
STATE_STYLE = {"MASTER": "bold green", "BACKUP": "cyan", "INIT": ODD}


def screen(status: Status, wrong: list[str], width: int, wrong_first: bool = False) -> Iterator[Line]:
    """Yield the lines of the whole screen. `wrong_first`: for a terminal that shows only the beginning."""
    verdict = count(len(wrong), "thing is", "things are") + " wrong" if wrong else "all is well"
    yield [(f"{visible(status.router_id)}: ", ""), (verdict, BAD if wrong else "bold green")]
    marked = [line for text in wrong for line in _mark(text, width)]
    if wrong_first:
        yield from marked
    yield from _head(status, width)
    for instance in status.instances:
        yield from ([], *fold(_instance(instance), width, 4))
    for session in status.sessions:
        name, style = {True: ("up", "bold green"), False: ("DOWN", BAD), None: ("UNKNOWN", BAD)}[session.up]
        pieces = (f"BFD {visible(session.name)}", ""), (name, style), (str(session.neighbour), "")
        yield from ([], *fold([*pieces, (visible(session.reason), "")], width, 4))
    for peer in status.sync.peers if status.sync else ():
        yield from ([], *fold(_sync_peer(peer), width, 4))
    services = sorted(status.services, key=is_whole) if wrong_first else status.services
    for service in services:
        yield []
        yield from _service(service, width)
    if wrong and not wrong_first:
        yield from ([], *marked)


def _sync_peer(peer: SyncPeerStatus) -> list[Piece]:
    if peer.heard is None:
        state, style, age = "NOT ANSWERED", BAD, "never heard"
    else:
        state, style = ("in sync", "bold green") if peer.complete else ("getting its table", "yellow")
        age = f"heard {duration(peer.heard)} ago"
    return [
        (f"connection sync {peer.address}", ""),
        (state, style),
        (age, ""),
        (f"carries {count(peer.carried, 'connection')}", ""),
        *[(f"{count(peer.behind, 'datagram')} behind", "")] * bool(peer.behind),
    ]


def is_whole(service: ServiceStatus) -> bool:
    """True if each real server of a service serves, or is meant not to."""
    return service.standby or all(is_serving(each) or is_meant(each) for each in service.servers)


def _mark(text: str, width: int) -> list[Line]:
    lines = fold([(visible(text), "")], width - 2, 0)
    return [[("  " if number else "! ", BAD), *line] for number, line in enumerate(lines)]


def _head(status: Status, width: int) -> Iterator[Line]:
    configuration, plane = status.configuration, status.data_plane
    pieces = [
        (f"up {duration(status.uptime)}", ""),
        (f"configuration {configuration.generation} for {duration(configuration.seconds)}", ""),
        (visible(configuration.file or "no file"), ""),
    ]
    yield from fold([("  " + pieces[0][0], ""), *pieces[1:]], width, 2)
    yield from fold([(f"  data plane {plane.name}", ""), *_fill(status, plane)], width, 2)
    for each in plane.attachments:
        name = [(f"  {each.interface}: {each.mode}", ""), (f"({visible(each.reason)})", "")]
        yield from fold([*name[: 1 + bool(each.reason)], *[(each.link, BAD)] * bool(each.link)], width, 4)
    for exit_reason, text in LOST.items():
        if number := status.exits.get(exit_reason, 0):
            yield from fold([(f"  {count(number, 'packet')} {exit_reason}: {text}", "")], width, 4)


def _fill(status: Status, plane: DataPlaneStatus) -> Iterator[Piece]:
    active, inactive = _load(server for service in status.services for server in service.servers)
    if plane.connections is not None:
        yield f"connections: {active} active, {inactive} inactive", ""
        if plane.connection_limit:
            yield f"table {_of(plane.connections, plane.connection_limit)}", ""
    if plane.neighbours is not None and plane.neighbour_limit:
        yield f"neighbours {_of(plane.neighbours, plane.neighbour_limit)}", ""


def _load(servers: Iterable[ServerStatus]) -> tuple[int, int]:
    """Return the active and the inactive connections of all these real servers."""
    rows = list(servers)
    return sum(each.active or 0 for each in rows), sum(each.inactive or 0 for each in rows)


def _of(used: int, size: int) -> str:
    return f"{used}, made for {size}" if used > size else f"{used} of {size} ({100 * used // size} %)"


def _instance(each: InstanceStatus) -> Iterator[Piece]:
    yield f"VRRP {visible(each.instance)}", ""
    yield each.state, BAD if any(find_wrong_state(each)) else STATE_STYLE.get(each.state, "")
    yield f"priority {each.priority}", ""
    yield f"for {duration(each.seconds)}" + (f": {visible(each.reason)}" if each.reason else ""), ""
    heard = each.last_advert
    if each.state == "MASTER" and not hears_rival(each):
        return
    if heard is None:
        if each.state == "BACKUP":
            yield "no advert of a master yet", ODD
        return
    who = f"{heard.source} (priority {heard.priority}), last advert {duration(heard.age)} ago"
    if each.state == "MASTER":
        yield f"also master: {who}", BAD
    else:
        yield f"{'master' if each.state == 'BACKUP' else 'last master'}: {who}", ""


def _service(service: ServiceStatus, width: int) -> Iterator[Line]:
    yield from fold(_service_head(service), width, 4)
    longest = max((len(each.server) for each in service.servers), default=0)
    for server in service.servers:
        yield from fold(_server(server, service.managed, longest), width, 7)


def _service_head(service: ServiceStatus) -> Iterator[Piece]:
    persistent = f" persistent {duration(service.persistence)}" if service.persistence is not None else ""
    yield f"{service.service} {service.scheduler}{persistent}", ""
    if service.standby:
        yield "not in force while another director holds its VIP", ODD
        return
    if not service.managed:
        yield "by hand", MEANT
    if not service.servers:
        yield "no real server", BAD
    elif is_deserted(service):
        yield "no real server can take a connection", BAD
    if connections := _connections(*_load(service.servers)):
        yield connections, ""


def _connections(active: int | None, inactive: int | None) -> str:
    """Return `3 active, 1 inactive`; empty if there are none, or if they were not counted."""
    words = [f"{active} active"] * bool(active) + [f"{inactive} inactive"] * bool(inactive)
    return ", ".join(words)


def _server(server: ServerStatus, managed: bool, longest: int) -> Iterator[Piece]:
    """Yield the pieces of a real server. Green: clients are served; yellow: they may not be."""
    unknown = ("unchecked", ODD) if managed else ("by hand", MEANT)
    health, style = {True: ("up", GOOD), False: ("DOWN", BAD), None: unknown}[server.up]
    if is_unknown(server):
        health, style = "UNKNOWN", BAD
    elif server.up and not is_serving(server):
        style = MEANT if is_meant(server) else ODD
    yield f"  -> {server.server:{longest}}", ""
    yield f"{health:9}", style
    weight = "out" if server.weight is None else f"weight {server.weight}"
    yield f"{weight:8}", ""
    if connections := _connections(server.active, server.inactive):
        yield connections, ""
    if server.tunnel:
        yield f"in {server.tunnel}", ""
    if server.next_hop:
        yield server.next_hop, BAD if server.next_hop == UNRESOLVED else ""
    if server.reason:
        yield visible(server.reason), ""
    if server.by_hand:
        yield f"by hand: {server.by_hand}", MEANT
