# SPDX-License-Identifier: Apache-2.0
"""Names of services and real servers in keepalived's log lines, mails and FIFO lines."""

from __future__ import annotations

from pointsman.model.address import Address
from pointsman.model.health import VirtualServer
from pointsman.model.service import ServerKey, ServiceKey, Transport


def _endpoint(address: Address, transport: Transport | None, port: int) -> str:
    return f"[{address}]:{transport.name.lower() if transport else 'none'}:{port}"


def service_name(key: ServiceKey) -> str:
    """Return `[192.0.2.9]:tcp:80`, or `FWM 5`."""
    if key.address is None:
        return f"FWM {key.fwmark}"
    return _endpoint(key.address, key.transport, key.port)


def virtual_name(virtual: VirtualServer) -> str:
    """Return the name of a service, or `[NAME]:0` for a group."""
    return f"[{virtual.group}]:0" if virtual.group else service_name(virtual.service.key)


def server_name(service: ServiceKey, server: ServerKey) -> str:
    """Return `[192.0.2.20]:tcp:80`, with the transport of the service."""
    return _endpoint(server.address, service.transport, server.port)
