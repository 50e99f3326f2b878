# SPDX-License-Identifier: Apache-2.0
"""Check the meaning of a configuration: contradictions, and what cannot work with direct routing.

The checks need only the model, and neither root nor interfaces.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pointsman.conf.check.onlink import check_on_link
from pointsman.conf.text.corrections import Change, Choice, Edit
from pointsman.conf.text.problems import Findings
from pointsman.model.address import Address
from pointsman.model.checks import DirectCheck, FileCheck, MiscCheck, NetworkCheck
from pointsman.model.config import Config, MailTls
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import SCHEDULERS, Forwarding, ServiceKey
from pointsman.model.vrrp import VrrpInstance

_INSTANCE = len("vrrp_instance")
_SERVICE = len("virtual_server")
_MEMBER = len("real_server")


def check_config(config: Config, findings: Findings) -> None:
    """Report the mistakes in the meaning of a configuration."""
    _check_duplicate_instances(config, findings)
    for instance in config.instances:
        _check_advert_interval(instance, findings)
        _check_unicast(instance, findings)
        _check_addresses(instance, findings)
    _check_duplicate_services(config, findings)
    for server in config.virtual_servers:
        _check_service(server, findings)
        _check_real_servers(server, findings)
    _check_carried(config, findings)
    check_on_link(config, findings)
    _check_mail(config, findings)


def _check_duplicate_instances(config: Config, findings: Findings) -> None:
    names: dict[str, VrrpInstance] = {}
    routers: dict[tuple[str, int, int], list[VrrpInstance]] = {}
    for instance in config.instances:
        same_name = names.setdefault(instance.name.lower(), instance)
        if same_name.name == instance.name and same_name is not instance:
            text = f"vrrp_instance {instance.name} is repeated{_format_first(same_name)}"
            findings.error(instance.location, text, "give each instance its own name", _INSTANCE)
        elif same_name is not instance:
            text = f"vrrp_instance {instance.name} differs from {same_name.name} only in case"
            findings.warning(instance.location, text, "choose names that cannot be confused", _INSTANCE)
        if not instance.virtual_router_id or instance.interface == "?":
            continue
        others = routers.setdefault((instance.interface, instance.virtual_router_id, instance.family), [])
        same_router = next((each for each in others if _shares_adverts(each, instance)), None)
        others.append(instance)
        if same_router is not None:
            place, width = findings.find_place(instance.location, "virtual_router_id")
            findings.error(
                place,
                f"virtual_router_id {instance.virtual_router_id} on {instance.interface} is already used by "
                f"{same_router.name}{_format_first(same_router)}; their adverts cannot be told apart",
                "give one of them another virtual_router_id, on all routers",
                width,
            )


def _shares_adverts(one: VrrpInstance, other: VrrpInstance) -> bool:
    """True if adverts for one of two instances with the same VRID would be taken for the other's."""
    if one.unicast_peers and other.unicast_peers:
        return not set(one.unicast_peers).isdisjoint(other.unicast_peers)
    if one.unicast_peers or other.unicast_peers:
        return False
    return one.multicast_group == other.multicast_group


def _format_first(item: VrrpInstance | VirtualServer) -> str:
    return f" (line {item.location.line})" if item.location else ""


def _check_advert_interval(instance: VrrpInstance, findings: Findings) -> None:
    interval = instance.advert_interval
    place, width = findings.find_place(instance.location, "advert_int")
    if instance.version == 2 and interval != int(interval):
        findings.error(
            place,
            f"{instance.name}: advert_int {interval:g}: VRRP version 2 allows only whole seconds (RFC 3768)",
            f"write advert_int {max(1, round(interval))}, or version 3 on all routers",
            width,
        )
    if instance.version == 3 and (interval > 40.95 or round(interval * 100, 6) % 1):
        findings.error(
            place,
            f"{instance.name}: advert_int {interval:g}: VRRP version 3 allows steps of 1/100 s up to 40.95 s",
            "write such a value",
            width,
        )


def _check_unicast(instance: VrrpInstance, findings: Findings) -> None:
    source = instance.unicast_source
    own: dict[Address | None, str] = {address.address: "a virtual address" for address in instance.addresses}
    own[source] = "its own address"
    for peer in instance.unicast_peers:
        place, width = findings.find_place(instance.location, "unicast_peer", str(peer))
        if peer in own:
            text = f"{instance.name} lists {peer}, {own[peer]}, among its unicast peers"
            findings.error(place, text, "list only the other routers", width)
        elif source is not None and peer.version != source.version:
            text = (
                f"{instance.name}: unicast peer {peer} and unicast_src_ip {source} are of different families"
            )
            findings.error(place, text, "use addresses of one family", width)
    _check_own_network(instance, findings)
    if source is not None and not instance.unicast_peers:
        place, width = findings.find_place(instance.location, "unicast_src_ip")
        text = f"{instance.name} has a unicast_src_ip but no unicast_peer, so it sends multicast"
        edits = (Edit(Change.REPLACE, place, width, "mcast_src_ip"),) if place else ()
        findings.warning(place, text, "add unicast_peer, or write mcast_src_ip", width, edits)


def _check_own_network(instance: VrrpInstance, findings: Findings) -> None:
    """Warn if no virtual address with a prefix is in the network of the director's own address."""
    source = instance.unicast_source or instance.multicast_source
    networks = {
        str(address.address): ipaddress.ip_network((address.address, address.prefix_length), strict=False)
        for address in instance.addresses
        if address.device == instance.interface
        and address.prefix_length < address.address.max_prefixlen
        and source is not None
        and address.address.version == source.version
    }
    if source is None or any(source in network for network in networks.values()):
        return
    for address, network in networks.items():
        place, width = findings.find_place(instance.location, address)
        text = (
            f"{instance.name}: the virtual address {address} is in {network}, but the director's own address "
            f"{source} on {instance.interface} is not"
        )
        findings.warning(place, text, "correct the address or its prefix, or name another dev", width)
        return


def _check_addresses(instance: VrrpInstance, findings: Findings) -> None:
    if not instance.addresses and not findings.has_error_in(instance.location):
        text = f"{instance.name} has no virtual_ipaddress, so it moves no address"
        findings.warning(instance.location, text, "add a virtual_ipaddress block", _INSTANCE)
    if _check_families(instance, findings):
        return
    every: Iterator[Address | None] = (address.address for address in instance.addresses)
    for address in (*every, instance.unicast_source, instance.multicast_source, *instance.unicast_peers):
        if address is not None and address.version == 6 and instance.version == 2:
            place, width = findings.find_place(instance.location, str(address))
            text = f"{instance.name}: {address}: VRRP version 2 has no IPv6 (RFC 3768)"
            findings.error(place, text, "write version 3 on all routers", width)
            return


def _check_families(instance: VrrpInstance, findings: Findings) -> bool:
    """Report virtual addresses of another family than the first. keepalived does not move them."""
    first = instance.addresses[0].address if instance.addresses else None
    others = [each.address for each in instance.addresses if first and each.address.version != first.version]
    if not others:
        return False
    place, width = findings.find_place(instance.location, "virtual_ipaddress", str(others[0]))
    listed = f"{others[0]}" + (f" and {len(others) - 1} more" if len(others) > 1 else "")
    text = (
        f"{instance.name}: adverts carry addresses of one family, and the first is {first}; keepalived "
        f"ignores {listed}, so nobody would have it"
    )
    remedy = "move it to virtual_ipaddress_excluded, or to a vrrp_instance of its own"
    removed = (Edit(Change.REMOVE, place),) if place else ()
    block = findings.find_place(instance.location, "virtual_ipaddress").location
    moved = (Edit(Change.ABOVE, block, 0, f"virtual_ipaddress_excluded {{ {others[0]} }}"),) if block else ()
    choices = (
        Choice("move it to virtual_ipaddress_excluded", removed + moved),
        Choice("remove it, as keepalived does", removed),
    )
    findings.error(place, text, remedy, width, choices=choices if removed else ())
    return True


def _check_duplicate_services(config: Config, findings: Findings) -> None:
    seen: dict[ServiceKey, VirtualServer] = {}
    for server in config.virtual_servers:
        first = seen.setdefault(server.service.key, server)
        if first is not server:
            text = f"virtual server {server.service.key} is repeated{_format_first(first)}"
            findings.error(server.location, text, "put all its real servers into one block", _SERVICE)


def _check_service(server: VirtualServer, findings: Findings) -> None:
    key = server.service.key
    if server.service.scheduler not in SCHEDULERS:
        text = f"{key}: scheduler {server.service.scheduler} is not implemented yet"
        findings.error(server.location, text, f"use one of {', '.join(sorted(SCHEDULERS))}", _SERVICE)
    _check_quorum(server, findings)
    if not server.members and server.sorry_server is None and not findings.has_error_in(server.location):
        findings.warning(server.location, f"{key} has no real server", "add one", _SERVICE)


def _check_quorum(server: VirtualServer, findings: Findings) -> None:
    """Warn of a hysteresis with which all real servers together cannot gain the quorum."""
    total = sum(member.server.weight for member in server.members)
    needed = server.quorum + server.hysteresis
    if not server.hysteresis or total >= needed or any(map(_may_gain_weight, server.members)):
        return
    place, width = findings.find_place(server.location, "hysteresis")
    text = (
        f"quorum {server.quorum} + hysteresis {server.hysteresis} exceeds the weight of all real servers "
        f"({total}), so the quorum cannot be gained"
    )
    findings.warning(place, text, "lower the quorum or the hysteresis, or raise weights", width)


def _may_gain_weight(member: PoolMember) -> bool:
    """True if a check can raise the weight of this real server."""
    return any(isinstance(check, FileCheck | MiscCheck) for check in member.checks)


def _check_real_servers(server: VirtualServer, findings: Findings) -> None:
    virtual = server.service.key.address
    for member in server.members:
        address = member.server.key.address
        direct = member.server.forwarding is not Forwarding.TUNNEL
        if direct and virtual is not None and type(address) is not type(virtual):
            text = f"real server {address} and virtual server {server.service.key} are of different families"
            findings.error(member.location, text, "use addresses of one family, or lvs_method TUN", _MEMBER)
        if _is_not_unicast(address):
            text = f"the real server {address} is not a unicast address"
            findings.error(member.location, text, "write the real server's own address (RIP)", _MEMBER)
        if address == virtual:
            text = f"the real server {address} is the virtual address itself"
            findings.error(member.location, text, "write the real server's own address (RIP)", _MEMBER)
        if server.sorry_server is not None and member.server.key == server.sorry_server.key:
            place, width = findings.find_place(server.location, "sorry_server")
            text = f"{member.server.key} is both real server and sorry server of {server.service.key}"
            findings.warning(place, text, "choose another sorry server", width)
        for probe in member.checks:
            if isinstance(probe, DirectCheck) and not direct:
                text = f"DR_CHECK needs {address} on the same link; it does not use the tunnel"
                findings.warning(
                    probe.location,
                    text,
                    "use another checker if there is a router between them",
                    len("DR_CHECK"),
                )
            if isinstance(probe, NetworkCheck) and probe.connect_timeout > probe.delay_loop:
                text = (
                    f"connect_timeout {probe.connect_timeout:g} exceeds delay_loop {probe.delay_loop:g}; "
                    "checks of a silent server take longer than the time between them"
                )
                place, width = findings.find_place(probe.location, "connect_timeout")
                findings.warning(place, text, "lower connect_timeout, or raise delay_loop", width)


def _is_not_unicast(address: Address) -> bool:
    """True for multicast, broadcast and unspecified. The properties of ipaddress are too slow."""
    number = int(address)
    if isinstance(address, ipaddress.IPv4Address):
        return 0xE0000000 <= number <= 0xEFFFFFFF or number in (0, 0xFFFFFFFF)
    return number >> 120 == 0xFF or number == 0


def _check_carried(config: Config, findings: Findings) -> None:
    """Warn of virtual servers whose address no instance has. Without instances another program moves them."""
    if not config.instances or any(findings.has_error_in(each.location) for each in config.instances):
        return
    carried = {address.address for instance in config.instances for address in instance.addresses}
    for server in config.virtual_servers:
        key = server.service.key
        if key.address is not None and key.address not in carried:
            text = f"no vrrp_instance has {key.address}; unless another program adds it, nobody reaches {key}"
            findings.warning(server.location, text, "add it to a virtual_ipaddress block", _SERVICE)


def _check_mail(config: Config, findings: Findings) -> None:
    mail = config.mail
    if mail.recipients and not mail.server:
        text = "notification_email without smtp_server: no mail is sent"
        findings.warning(mail.location, text, "add smtp_server to global_defs", len("notification_email"))
    if mail.user and mail.tls is MailTls.NONE:
        text = "smtp_auth without smtp_tls: the password goes over the network unencrypted"
        findings.warning(mail.location, text, "add smtp_tls starttls", len("notification_email"))
    if mail.server and not mail.recipients:
        text = "smtp_server without notification_email: no mail is sent"
        remedy = "add notification_email { name@host } to global_defs"
        findings.warning(mail.location, text, remedy, len("smtp_server"))
