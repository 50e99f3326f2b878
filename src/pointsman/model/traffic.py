"""What a data plane has seen: counters of services and servers, connections, reasons of exits."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address
from pointsman.model.service import ServerKey, ServiceKey, Transport


class Traffic(msgspec.Struct, frozen=True):
    """Totals since the last zeroing. Packets and bytes are those from the client; bytes are IP lengths."""

    connections: int = 0
    packets: int = 0
    octets: int = 0
    packets_out: int = 0
    octets_out: int = 0


class ServerCounters(msgspec.Struct, frozen=True):
    """One real server of one service."""

    key: ServerKey
    active: int = 0
    """Connections in an active state (IPVS: SYN_RECV and ESTABLISHED)."""
    inactive: int = 0
    persistent: int = 0
    """Persistence templates that point here."""
    traffic: Traffic = Traffic()


class ServiceCounters(msgspec.Struct, frozen=True):
    key: ServiceKey
    traffic: Traffic = Traffic()
    servers: tuple[ServerCounters, ...] = ()


class Counters(msgspec.Struct, frozen=True):
    """Everything a data plane counts, at one moment."""

    services: tuple[ServiceCounters, ...] = ()
    exits: dict[str, int] = {}
    """Packets by the name of the step that ended their way, e.g. no_service, no_destination, fragment."""

    def of(self, key: ServiceKey) -> ServiceCounters:
        """The counters of one service; zeros when it is unknown."""
        return next((item for item in self.services if item.key == key), ServiceCounters(key))


class Signs(msgspec.Struct, frozen=True):
    """What a data plane has seen of a real server that may mean that it does not answer; counted ever."""

    connections: int = 0
    repeated: int = 0
    """SYNs of clients who were waiting for an answer already; modulo 2^32 for each CPU."""
    aborted: int = 0
    """Established connections that were reset by their client; the same."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection entry, or a persistence template (client_port 0), as `ipvsadm -Lc` shows it."""

    transport: Transport
    client: Address
    client_port: int
    virtual: Address
    virtual_port: int
    server: Address
    server_port: int
    state: str
    """IPVS's name of the state: NONE, SYN_RECV, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE, UDP, ASSURED ..."""
    expires: float
    """Seconds until the entry is due to leave."""
    fwmark: int = 0
