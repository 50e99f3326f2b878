# SPDX-License-Identifier: Apache-2.0
"""Explain the choice of a director's data plane for a connection from its tables. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator

from pointsman.model.address import Address, format_endpoint
from pointsman.model.service import RealServer, ServiceEntry
from pointsman.model.traffic import Connection, Counters
from pointsman.trace.connection import Decision
from pointsman.trace.frames import NUMBERS, TCP

_FEWEST = {
    "lc": "the fewest connections",
    "wlc": "the fewest connections for its weight",
    "sed": "the shortest expected delay",
    "nq": "an idle real server, else the shortest expected delay",
    "lblc": "the real server of this destination, else the fewest connections for its weight",
    "lblcr": "the fewest connections for its weight among the real servers of this destination, else among "
    "all",
}
_OTHERS = {
    "rr": "one after the other",
    "wrr": "one after the other in proportion to their weights",
    "sh": "by the client's address",
    "dh": "by the destination's address",
    "mh": "by a hash of the client",
    "fo": "the highest weight",
    "ovf": "the highest weight whose connection limit is not reached",
    "twos": "the better of two chosen at random",
}


def find_decisions(
    table: Iterable[ServiceEntry],
    counters: Counters,
    connections: Iterable[Connection],
    director: str,
    vip: Address,
    port: int,
    protocol: str = TCP,
    own: Collection[Address] = (),
) -> Iterator[Decision]:
    """Yield one decision for each connection to VIP:port in the table. `own`: the director's addresses."""
    listed = [item for item in connections if int(item.transport) == NUMBERS[protocol] or item.fwmark]
    entries = list(table)
    for item in listed:
        if (item.virtual, item.virtual_port) != (vip, port) or not item.client_port:
            continue
        entry = _find_service(entries, item)
        yield Decision(
            director=director,
            client=str(item.client),
            client_port=item.client_port,
            server=format_endpoint(item.server, item.server_port),
            state=item.state,
            scheduler=entry.service.scheduler if entry else "",
            persistent=entry is not None and entry.service.persistence is not None,
            expires=item.expires,
            why=_explain(entry, item, listed, counters) if entry else "",
            local=item.server in own,
        )


def _find_service(entries: Iterable[ServiceEntry], item: Connection) -> ServiceEntry | None:
    """Return the service with this port, else the one for every port, else the one of the firewall mark."""
    keys: dict[object, int] = {
        (item.virtual, item.virtual_port, item.transport, 0): 0,
        (item.virtual, 0, item.transport, 0): 1,
    }
    if item.fwmark:
        keys[None, 0, None, item.fwmark] = 2
    found = [
        (rank, entry)
        for entry in entries
        for key in [entry.service.key]
        if (rank := keys.get((key.address, key.port, key.transport, key.fwmark))) is not None
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _explain(entry: ServiceEntry, item: Connection, listed: Iterable[Connection], counters: Counters) -> str:
    service = entry.service
    if service.persistence is not None:
        template = _find_template(entry, item, listed)
        if template is not None:
            return f"the client's persistence template, valid for {template.expires:.0f} s more"
    usable = [server for server in entry.servers if server.weight > 0]
    if len(usable) == 1:
        return f"{service.scheduler}, and it is the only real server with a weight"
    if service.scheduler in _FEWEST:
        seen = {counted.key: counted for counted in counters.of(service.key).servers}

        def load(server: RealServer) -> str:
            counted = seen.get(server.key)
            numbers = f"{counted.active}+{counted.inactive}" if counted else "0+0"
            return f"{server.key.address} {numbers}/{server.weight}"

        return (
            f"{service.scheduler}, {_FEWEST[service.scheduler]} (active+inactive/weight now: "
            f"{', '.join(map(load, usable))})"
        )
    how = _OTHERS.get(service.scheduler, "")
    return f"{service.scheduler}{f', {how}' if how else ''}, among {len(usable)} real servers"


def _find_template(entry: ServiceEntry, item: Connection, listed: Iterable[Connection]) -> Connection | None:
    """Return the persistence template that applies to this client, if it has the same real server."""
    width = entry.service.persistence_prefix
    width = item.client.max_prefixlen if width is None else width
    network = ipaddress.ip_network(f"{item.client}/{width}", strict=False)
    return next(
        (
            other
            for other in listed
            if not other.client_port
            and other.client == network.network_address
            and (other.virtual, other.server) == (item.virtual, item.server)
        ),
        None,
    )
