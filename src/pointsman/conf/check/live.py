# SPDX-License-Identifier: Apache-2.0
"""Check a configuration against this host's interfaces, addresses and networks (`check --live`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Set
from typing import NamedTuple

from pointsman.conf.text.problems import Findings
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.service import Forwarding
from pointsman.model.vrrp import VirtualAddress, VrrpInstance

_MEMBER = len("real_server")

InterfaceNetwork = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class HostInterface(NamedTuple):
    """An interface and its present state."""

    up: bool
    addresses: tuple[InterfaceNetwork, ...]


Host = Mapping[str, HostInterface]
"""Interfaces by name."""


def check_live(config: Config, host: Host, findings: Findings) -> None:
    """Report what this host lacks to run the configuration."""
    virtual = {entry.address for instance in config.instances for entry in instance.moving_addresses}
    for instance in config.instances:
        _check_interfaces(instance, host, config.vrrp.dynamic_interfaces, findings)
        _check_own_address(instance, host, virtual, findings)
        for address in instance.addresses:
            _check_virtual_address(instance, address, host, findings)
    _check_on_link(config, host, findings)


def _check_interfaces(instance: VrrpInstance, host: Host, dynamic: bool, findings: Findings) -> None:
    place, width = findings.find_place(instance.location, "interface")
    for name in instance.arrivals:
        if name not in host:
            text = f"{instance.name}: there is no interface {name} here"
            listed = f"the interfaces are: {', '.join(sorted(host)) or 'none'}"
            if dynamic:
                findings.warning(
                    place, f"{text}: the instance would be in FAULT until it appears", listed, width
                )
            else:
                findings.error(place, text, listed, width)
        elif not host[name].up:
            text = f"{instance.name}: the interface {name} is down: the instance would be in FAULT"
            findings.warning(place, text, f"ip link set {name} up", width)


def _check_own_address(instance: VrrpInstance, host: Host, virtual: Set[Address], findings: Findings) -> None:
    own = {each.ip for interface in host.values() for each in interface.addresses}
    source = instance.source
    if source is not None and source not in own:
        word = "unicast_src_ip" if instance.unicast_peers else "mcast_src_ip"
        place, width = findings.find_place(instance.location, word)
        text = f"{instance.name}: {word} {source} is not an address of this host"
        findings.error(place, text, f"write one of {_format_list(own)}", width)
    if source is None and instance.interface in host:
        _check_implicit_source(instance, host[instance.interface], virtual, findings)
    for peer in instance.unicast_peers:
        if peer in own:
            place, width = findings.find_place(instance.location, "unicast_peer", str(peer))
            text = f"{instance.name}: unicast peer {peer} is this host itself"
            findings.error(place, text, "list only the other routers", width)


def _check_implicit_source(
    instance: VrrpInstance, interface: HostInterface, virtual: Set[Address], findings: Findings
) -> None:
    """Report if there is no source of adverts to choose, or one of several, which the peers may not know."""
    possible = instance.possible_sources(each for each in interface.addresses if each.ip not in virtual)
    word = "unicast_src_ip" if instance.unicast_peers else "mcast_src_ip"
    place, width = findings.find_place(instance.location, "interface")
    if not possible:
        text = f"{instance.name}: {instance.interface} has no address to send adverts from"
        if any(each.ip in virtual for each in interface.addresses):
            text += " (virtual ones do not count)"
        findings.error(place, text, f"give it an address of its own, or write {word}", width)
    elif instance.unicast_peers and len(possible) > 1:
        text = f"{instance.name}: of several addresses, {possible[0]} would send and receive the adverts"
        remedy = "write it as unicast_src_ip, or the address that the peers have in unicast_peer"
        findings.warning(place, text, remedy, width)


def _check_virtual_address(
    instance: VrrpInstance, address: VirtualAddress, host: Host, findings: Findings
) -> None:
    """Warn of a virtual address outside the networks of its interface: clients need a route to it."""
    bases = {each.name: each.base for each in instance.virtual_interfaces}
    device = bases.get(address.device, address.device)
    if device not in host:
        return
    networks = [
        each.network for each in host[device].addresses if each.ip != address.address and _is_network(each)
    ]
    if not any(
        address.address in network for network in networks if network.version == address.address.version
    ):
        listed = _format_list(set(networks))
        text = f"{instance.name}: {address.address} is in none of the networks of {device} ({listed})"
        remedy = "correct the address or dev, or make sure that the router has a route to it"
        place, width = findings.find_place(instance.location, str(address.address))
        findings.warning(place, text, remedy, width)


def _is_network(interface: InterfaceNetwork) -> bool:
    return interface.network.prefixlen < interface.max_prefixlen


def _check_on_link(config: Config, host: Host, findings: Findings) -> None:
    networks = {
        each.network for interface in host.values() for each in interface.addresses if _is_network(each)
    }
    networks |= {
        ipaddress.ip_network((each.address, each.prefix_length), strict=False)
        for each in config.static.addresses
        if each.prefix_length < each.address.max_prefixlen
    }
    told: set[Address] = set()
    for virtual in config.virtual_servers:
        for member in virtual.members:
            address = member.server.key.address
            if (
                member.server.forwarding is not Forwarding.ROUTE
                or address in told
                or any(address.version == network.version and address in network for network in networks)
            ):
                continue
            told.add(address)
            text = f"{address} is on no link of this host: direct routing cannot pass a router"
            remedy = f"give this host an address in its network (it has {_format_list(networks)})"
            findings.error(member.location, text, remedy, _MEMBER)


def _format_list(things: set[Address] | set[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    return ", ".join(sorted(str(thing) for thing in things)) or "none"
