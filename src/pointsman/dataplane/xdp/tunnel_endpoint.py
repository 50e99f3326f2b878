# SPDX-License-Identifier: Apache-2.0
"""The endpoint of a tunnel, or the address of a real server: struct remote."""

from __future__ import annotations

import ipaddress
import socket

from pointsman.dataplane.xdp.kernel.flags import TunnelFlag
from pointsman.dataplane.xdp.kernel.layout import Remote
from pointsman.model.address import Address
from pointsman.model.service import Forwarding, RealServer, Tunnel, TunnelChecksum, TunnelType

_KINDS = {TunnelType.IPIP: TunnelFlag.IPIP, TunnelType.GUE: TunnelFlag.GUE, TunnelType.GRE: TunnelFlag.GRE}
_TYPES = {int(number): kind for kind, number in _KINDS.items()}
_CHECKSUMS = {
    TunnelChecksum.NONE: 0,
    TunnelChecksum.FULL: TunnelFlag.CHECKSUM,
    # A packet from the network has its checksum already, so IPVS computes the outer one (ipvs_gue_encap()).
    TunnelChecksum.REMOTE: TunnelFlag.CHECKSUM | TunnelFlag.REMOTE_CHECKSUM,
}
_WORDS = {flags: checksum for checksum, flags in _CHECKSUMS.items()}


def write_address(remote: Remote, address: Address) -> None:
    """Write the server's address."""
    remote.address[:] = list(address.packed.ljust(16, b"\0"))
    remote.family = address.version


def address_at(remote: Remote) -> Address:
    """Return the server's address."""
    packed = bytes(remote.address)
    return ipaddress.IPv6Address(packed) if remote.family == 6 else ipaddress.IPv4Address(packed[:4])


def write_source(remote: Remote, address: Address | None) -> None:
    """Write the source address of a tunnel's packets."""
    packed = address.packed if address is not None else b""
    remote.source[:] = list(packed.ljust(16, b"\0"))


def tunnel_bits(server: RealServer) -> tuple[int, int]:
    """Return the fields `tunnel` and `tunnel_port` of this server."""
    if server.forwarding is not Forwarding.TUNNEL:
        return 0, 0
    tunnel = server.tunnel
    return _KINDS[tunnel.type] | _CHECKSUMS[tunnel.checksum], socket.htons(tunnel.port)


def tunnel_of(remote: Remote) -> Tunnel | None:
    """Return the tunnel of a server; None with direct routing."""
    if not remote.tunnel:
        return None
    checksum = _WORDS[remote.tunnel & (TunnelFlag.CHECKSUM | TunnelFlag.REMOTE_CHECKSUM)]
    return Tunnel(_TYPES[remote.tunnel & TunnelFlag.KIND], socket.ntohs(remote.tunnel_port), checksum)
