"""What a host must have before its VRRP process may change anything."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Set

from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance
from pointsman.net import virtual_links
from pointsman.net.addresses import InterfaceAddress
from pointsman.net.links import Link
from pointsman.net.netlink import NetlinkSocket


class EnvironmentProblemError(Exception):
    """This host lacks what the configuration needs; the text says what and what to do."""


def check_devices(instances: Iterable[VrrpInstance], present: dict[str, Link]) -> None:
    """Raises EnvironmentProblemError for the first instance that this host cannot run."""
    for instance in instances:
        own = {each.name for each in instance.virtual_interfaces}
        for device in (instance.interface, *_devices(instance)):
            if device not in present and device not in own:
                known = ", ".join(sorted(present))
                raise EnvironmentProblemError(
                    f"vrrp_instance {instance.name}: interface {device} does not exist (there are: {known})"
                )


def check_kinds(instances: Iterable[VrrpInstance], present: dict[str, Link], netlink: NetlinkSocket) -> None:
    """Raises EnvironmentProblemError: virtual interfaces that this kernel cannot make, another VRF."""
    for instance in instances:
        for each in instance.virtual_interfaces:
            kind = "macvlan" if each.has_mac else "ipvlan"
            if not virtual_links.has_kind(netlink, kind):
                word, instead = ("use_vmac", "") if each.has_mac else ("use_ipvlan", ", or write use_vmac")
                raise EnvironmentProblemError(
                    f"vrrp_instance {instance.name}: this kernel has no {kind} ({word}); "
                    f"take one that has it (CONFIG_{kind.upper()}), or remove {word}{instead}"
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
    """The interfaces of everything that moves with an instance."""
    bearers = [entry.device for entry in instance.moving_addresses]
    bearers += [each.base for each in instance.virtual_interfaces]
    return [name for name in (*bearers, *(route.device for route in instance.routes)) if name]


def find_own_address(
    instance: VrrpInstance, link: Link | None, present: Iterable[InterfaceAddress], virtual: Set[Address]
) -> Address:
    """The source of this instance's adverts: as configured, else the first real address of its interface.

    Over IPv6 it is the link-local address (RFC 5798 section 5.1.2.1). `virtual`: those that are none.
    Raises EnvironmentProblemError.
    """
    if instance.source is not None:
        return instance.source
    for found in present:
        if (
            link is not None
            and found.index == link.index
            and found.address.version == instance.family
            and (instance.family == 4 or found.address.is_link_local)
            and found.address not in virtual
        ):
            return found.address
    if link is None:
        raise EnvironmentProblemError(
            f"vrrp_instance {instance.name}: interface {instance.interface} does not exist"
        )
    kind = "IPv4" if instance.family == 4 else "link-local IPv6"
    raise EnvironmentProblemError(
        f"vrrp_instance {instance.name}: interface {link.name} has no {kind} address to send adverts from; "
        "give it one, or write unicast_src_ip or mcast_src_ip"
    )


def way_out(error: OSError) -> str:
    """The error, and what to do about the frequent ones."""
    if isinstance(error, PermissionError):
        return "permission denied; VRRP needs root, or CAP_NET_ADMIN and CAP_NET_RAW"
    if error.errno == errno.EADDRNOTAVAIL:
        return "it is no address of this host; correct unicast_src_ip or add the address"
    return error.strerror or str(error)
