# SPDX-License-Identifier: Apache-2.0
"""Requirements of instances on the host: before the VRRP process changes anything, and while it runs."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable, Mapping, Set

from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance, VrrpState
from pointsman.net import virtual_links
from pointsman.net.addresses import InterfaceAddress
from pointsman.net.links import Link
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.machine import VrrpMachine


class EnvironmentProblemError(Exception):
    """A requirement of the configuration is missing on this host. The text says which, and what to do."""


def check_devices(instances: Iterable[VrrpInstance], present: dict[str, Link]) -> None:
    """Raise EnvironmentProblemError for the first interface that does not exist."""
    for instance in instances:
        own = {each.name for each in instance.virtual_interfaces}
        for device in (instance.interface, *_devices(instance)):
            if device not in present and device not in own:
                known = ", ".join(sorted(present))
                raise EnvironmentProblemError(
                    f"vrrp_instance {instance.name}: interface {device} does not exist (there are: {known})"
                )


def check_link_types(
    instances: Iterable[VrrpInstance], present: dict[str, Link], netlink: NetlinkSocket
) -> None:
    """Raise EnvironmentProblemError if the kernel lacks a type of virtual interface, or if a VRF is wrong."""
    for instance in instances:
        for each in instance.virtual_interfaces:
            kind = "macvlan" if each.has_mac else "ipvlan"
            if not virtual_links.supports_kind(netlink, kind):
                word, instead = ("use_vmac", "") if each.has_mac else ("use_ipvlan", ", or write use_vmac")
                raise EnvironmentProblemError(
                    f"vrrp_instance {instance.name}: this kernel has no {kind} ({word}); "
                    f"use a kernel with CONFIG_{kind.upper()}, or remove {word}{instead}"
                )
        link, vrf = present.get(instance.interface), present.get(instance.vrf)
        if not instance.vrf or link is None:
            continue
        if vrf is None or virtual_links.vrf_of(netlink, link) != vrf.index:
            raise EnvironmentProblemError(
                f"vrrp_instance {instance.name}: interface {link.name} is not in VRF {instance.vrf}; "
                f"do: ip link set {link.name} master {instance.vrf}"
            )


def _devices(instance: VrrpInstance) -> list[str]:
    """Return the interfaces of all addresses and routes of an instance."""
    devices = [entry.device for entry in instance.moving_addresses]
    devices += [each.base for each in instance.virtual_interfaces]
    return [name for name in (*devices, *(route.device for route in instance.routes)) if name]


def find_own_address(
    instance: VrrpInstance, link: Link | None, present: Iterable[InterfaceAddress], virtual: Set[Address]
) -> Address:
    """Return the source address of an instance's adverts.

    It is the configured one, otherwise one of the interface that is not in `virtual`.
    Raises EnvironmentProblemError if there is none.
    """
    if instance.source is not None:
        return instance.source
    possible = instance.possible_sources(
        ipaddress.ip_interface((found.address, found.prefix_length))
        for found in present
        if link is not None and found.index == link.index and found.address not in virtual
    )
    if possible:
        return possible[0]
    if link is None:
        raise EnvironmentProblemError(
            f"vrrp_instance {instance.name}: interface {instance.interface} does not exist"
        )
    local = all(peer.is_link_local for peer in instance.unicast_peers)
    kind = "IPv4" if instance.family == 4 else "link-local IPv6" if local else "global IPv6"
    raise EnvironmentProblemError(
        f"vrrp_instance {instance.name}: interface {link.name} has no {kind} address to send adverts from; "
        "give it one, or write unicast_src_ip or mcast_src_ip"
    )


def explain(error: OSError) -> str:
    """Return the text of an error, and for frequent ones what to do."""
    if isinstance(error, PermissionError):
        return "permission denied; VRRP needs root, or CAP_NET_ADMIN and CAP_NET_RAW"
    if error.errno == errno.EADDRNOTAVAIL:
        return "it is no address of this host; correct unicast_src_ip or add the address"
    return error.strerror or str(error)


def find_network_fault(
    instance: VrrpInstance,
    machine: VrrpMachine,
    links: Mapping[str, Link],
    has_source: bool,
    has_socket: bool,
) -> str:
    """Return the reason why adverts cannot be sent and received, or addresses not served. Empty: they can.

    A master can send without its source address, as in keepalived, and still receives multicast adverts.
    A backup must not become master without it, because it would not receive the unicast adverts of one.
    """
    link, own_address = links.get(instance.interface), machine.own_address
    if link is None or (instance.tracks_interface and not link.running):
        return "interface down"
    for name in instance.needed_interfaces:
        needed = links.get(name)
        if needed is None or not needed.running:
            return f"interface {name} {'does not exist' if needed is None else 'is down'}"
    if own_address.is_unspecified:
        return f"{link.name} has no address to send adverts from (virtual ones do not count)"
    if not has_source and (instance.track_source or machine.state is not VrrpState.MASTER):
        return f"source address {own_address} is missing"
    return "" if has_socket else f"no socket for adverts from {own_address}"
