# SPDX-License-Identifier: Apache-2.0
"""Counters and connections of a data plane."""

from __future__ import annotations

import msgspec

from pointsman.model.address import Address
from pointsman.model.service import ServerKey, ServiceKey, Transport


class Traffic(msgspec.Struct, frozen=True, gc=False):
    """Totals since the last zeroing. Packets and octets are those from the client; octets are IP lengths."""

    connections: int = 0
    packets: int = 0
    octets: int = 0
    packets_out: int = 0
    octets_out: int = 0


class ServerCounters(msgspec.Struct, frozen=True, gc=False):
    """Counters of one real server of one service."""

    key: ServerKey
    active: int = 0
    """Connections in an active state (IPVS: SYN_RECV and ESTABLISHED)."""
    inactive: int = 0
    persistent: int = 0
    """Persistence templates of this real server."""
    traffic: Traffic = Traffic()


class ServiceCounters(msgspec.Struct, frozen=True):
    key: ServiceKey
    traffic: Traffic = Traffic()
    servers: tuple[ServerCounters, ...] = ()


class Counters(msgspec.Struct, frozen=True):
    """All counters of a data plane at one moment."""

    services: tuple[ServiceCounters, ...] = ()
    exits: dict[str, int] = {}
    """Packets by the name of the exit that ended their path, e.g. no_service, no_destination, fragment."""

    def by_service(self) -> dict[ServiceKey, ServiceCounters]:
        """Return the counters of each service by its key."""
        return {item.key: item for item in self.services}

    def of(self, key: ServiceKey) -> ServiceCounters:
        """Return the counters of one service. They are 0 if it is unknown. For many, use `by_service`."""
        return next((item for item in self.services if item.key == key), ServiceCounters(key))

    def connections_over_ipv4(self) -> int:
        """Return the entries of the connection table of IPv4. IPv6 has a table of its own."""
        return sum(
            server.active + server.inactive
            for service in self.services
            if not service.key.ipv6
            for server in service.servers
        )


class PassiveCounters(msgspec.Struct, frozen=True):
    """Counts of signs that a real server does not answer (passive_check). They are never set to 0."""

    connections: int = 0
    repeated: int = 0
    """SYNs of clients that were already waiting for an answer. Modulo 2^32 per CPU."""
    aborted: int = 0
    """Established connections that their client reset. Modulo 2^32 per CPU."""


class Unanswered(msgspec.Struct, frozen=True):
    """TCP connections that a real server left half open, since the last client that it answered."""

    repeating: int
    """Connections whose client repeated its SYN."""
    expired: int
    """Connections that expired half open (SYN_RECV), 60 s after their last SYN."""
    age: float
    """Seconds since the last of either was counted."""


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
    """Seconds until the entry expires."""
    fwmark: int = 0
