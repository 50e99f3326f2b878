# SPDX-License-Identifier: Apache-2.0
"""Check that real servers are on the director's link, as far as the configuration shows it.

Direct routing writes the real server's MAC address into the frame, so there must be no router between them.
The prefixes of the director's interfaces decide (`live`). They are not in the configuration, so these are
warnings.
The configuration shows a network only where a virtual address has a prefix shorter than the address. It shows
none of a family that has only addresses of a link or for a host, as most IPv6 addresses of keepalived are.
"""

from __future__ import annotations

import contextlib
import ipaddress

from pointsman.conf.text.problems import Findings
from pointsman.model.address import Address, Network
from pointsman.model.config import Config
from pointsman.model.location import Location
from pointsman.model.service import Forwarding
from pointsman.model.vrrp import VrrpInstance

_MEMBER = len("real_server")
_NEIGHBOURHOOD = 24
"""Prefix length. An IPv4 real server in the same /24 as the virtual address should be on the same link.

Others may be on the link of another interface of the director.
"""


def check_on_link(config: Config, findings: Findings) -> None:
    """Report real servers outside all networks of the director, once for each address."""
    networks = [network for instance in config.instances for network in _networks(instance)]
    if not networks:
        return
    outside: dict[Address, list[Location | None]] = {}
    for server in config.virtual_servers:
        for member in server.members:
            if member.server.forwarding is not Forwarding.ROUTE:
                continue
            address = member.server.key.address
            shown = [network for network in networks if network.version == address.version]
            if shown and not any(address in network for network in shown):
                outside.setdefault(address, []).append(member.location)
    for address, places in outside.items():
        near = next((network for network in networks if _is_near(address, network)), None)
        if near is None:
            findings.warning(
                places[0],
                f"{address} is in none of the networks of the configuration ({_format_list(networks)})",
                "give the director an interface in its network: direct routing cannot pass a router",
                _MEMBER,
            )
            continue
        findings.warning(
            places[0], _format_reason(address, near, places), _format_remedy(config, near), _MEMBER
        )


def _networks(instance: VrrpInstance) -> list[Network]:
    return [
        ipaddress.ip_network((address.address, address.prefix_length), strict=False)
        for address in instance.addresses
        if address.prefix_length < address.address.max_prefixlen and not address.address.is_link_local
    ]


def _is_near(address: Address, network: Network) -> bool:
    if address.version != 4 or network.version != 4 or network.prefixlen <= _NEIGHBOURHOOD:
        return False
    return address in ipaddress.ip_network((network.network_address, _NEIGHBOURHOOD), strict=False)


def _format_list(networks: list[Network]) -> str:
    return ", ".join(sorted({str(network) for network in networks}))


def _format_reason(address: Address, network: Network, places: list[Location | None]) -> str:
    others = [str(place.line) for place in places[1:] if place is not None]
    also = f" (also line {', '.join(others)})" if others else ""
    return (
        f"{address} is not in the network of the virtual addresses, {network}{also}. Unless the director's "
        "interface has a wider prefix, it is not on the link. Direct routing writes the MAC address of the "
        "real server into the frame, so no packet would arrive behind a router"
    )


def _format_remedy(config: Config, network: Network) -> str:
    """Return the remedy: the longest prefix for all hosts of the configuration in this /24."""
    wide = ipaddress.ip_network((network.network_address, _NEIGHBOURHOOD), strict=False)
    hosts = {host for host in _named_hosts(config) if host.version == 4 and host in wide}
    for length in range(network.prefixlen - 1, _NEIGHBOURHOOD - 1, -1):
        candidate = ipaddress.ip_network((network.network_address, length), strict=False)
        ends = (candidate.network_address, candidate.broadcast_address)
        if all(host in candidate and host not in ends for host in hosts):
            return (
                f"widen the prefix from /{network.prefixlen} to /{length} ({candidate}), here and on the "
                f"interfaces of directors and real servers, or give the real servers addresses in {network}"
            )
    return f"give director and real servers addresses in one network, such as {network}"


def _named_hosts(config: Config) -> set[Address]:
    hosts: set[Address] = set()
    for instance in config.instances:
        hosts |= {address.address for address in instance.addresses}
        hosts |= set(instance.unicast_peers)
        if instance.unicast_source is not None:
            hosts.add(instance.unicast_source)
    for server in config.virtual_servers:
        hosts |= {member.server.key.address for member in server.members}
    with contextlib.suppress(ValueError):
        hosts.add(ipaddress.ip_address(config.mail.server))
    return hosts
