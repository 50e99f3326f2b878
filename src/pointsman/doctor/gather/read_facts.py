# SPDX-License-Identifier: Apache-2.0
"""Gather the doctor's facts from the kernel, the running director and the network.

Acts on the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from pointsman.control import paths
from pointsman.control.client import ControlError, ProtocolError, request
from pointsman.control.client_messages import (
    Reply,
    Request,
    StatusReply,
    StatusRequest,
    TableReply,
    TableRequest,
)
from pointsman.control.status import InstanceStatus, ServerStatus, ServiceStatus, Status
from pointsman.doctor.facts import (
    DirectorFacts,
    Host,
    HostRoute,
    InstanceFact,
    RealServerFacts,
    SeenAdvert,
    ServerFact,
    ServiceFact,
    VirtualFact,
)
from pointsman.doctor.gather import firewall as firewall_facts
from pointsman.doctor.gather import kernel as kernel_facts
from pointsman.doctor.gather import probe as wire_probe
from pointsman.doctor.gather import system as system_facts
from pointsman.doctor.gather.backlog import listen_overflows
from pointsman.doctor.gather.syn_probe import SynProbe, probe_all
from pointsman.model.address import Address, format_endpoint
from pointsman.model.service import ServiceEntry, Transport
from pointsman.net.host import read_host as read_network
from pointsman.net.neighbour_table import kernel_limit, kernel_overflows
from pointsman.net.other_balancers import other_balancers

Kind = TypeVar("Kind", bound=Reply)

_SETTINGS = ("arp_ignore", "arp_announce", "rp_filter")
_LONGEST_LISTEN = 5.0
"""Longest time in seconds to listen for adverts."""
_MOST_PROBES = 256
"""Most real servers, and most SYNs, that are probed."""


def read_host() -> Host:
    """Read this host from its kernel. Raises OSError."""
    here = read_network(routes=True, neighbours_too=True, settings=_SETTINGS)
    cards = tuple(
        card
        if card.loopback
        else msgspec.structs.replace(card, offloads=system_facts.read_offloads(card.name))
        for card in kernel_facts.read_interfaces(here)
    )
    firewall = firewall_facts.read()
    return Host(
        name=socket.gethostname(),
        cards=cards,
        routes=tuple(kernel_facts.read_routes(here)),
        neighbours=tuple(kernel_facts.read_neighbours(here)),
        settings={f"{place}.{key}": value for (place, key), value in here.settings.items()},
        ruleset=firewall.ruleset,
        rules_problem=firewall.problem,
        neighbour_limit=kernel_limit() or 0,
        system=system_facts.read_system(),
        other_balancers=tuple(other_balancers()),
        redirected=firewall.redirected,
        undiscovered=firewall.undiscovered,
    )


def read_director(probing: bool = True) -> DirectorFacts:
    """Gather the facts about this host as a director, from the running director and the network. Raises
    OSError.
    """
    offset, full_before = system_facts.wall_clock_offset(), kernel_overflows()
    here = read_host()
    try:
        status = _ask(StatusRequest(), StatusReply)
        table = _ask(TableRequest(), TableReply)
    except (ControlError, ProtocolError) as error:
        pins = paths.pin_directory()
        left = pins.is_dir() and any(pins.iterdir())
        return DirectorFacts(host=here, problem=str(error), left_in_force=left)
    known = _from_replies(here, status.status, table)
    if not probing:
        return known
    known = _probe(known)
    return msgspec.structs.replace(
        known,
        pins=system_facts.read_pins(paths.pin_directory()),
        sources=kernel_facts.read_sources(known.real_servers()[:_MOST_PROBES]),
        fresh_overflows=kernel_overflows() - full_before,
        clock_jump=system_facts.wall_clock_offset() - offset,
        lacks=system_facts.missing_capabilities(),
        vrrp_is_slow=system_facts.is_vrrp_slow() if known.instances else None,
    )


def read_real_server(vips: Sequence[Address], ports: dict[Address, tuple[int, ...]]) -> RealServerFacts:
    """Gather the facts about this host as a real server of these VIPs. Raises OSError."""
    offset, full_before = system_facts.wall_clock_offset(), kernel_overflows()
    _, wrong_before = kernel_facts.read_tcp_checksums()
    queues_before, overflows_before = kernel_facts.read_full_queues(), listen_overflows()
    here = read_host()
    asked = [(card.name, vip) for vip in vips for card in here.links_of(vip)]
    asked += [
        (card.name, held.ip)
        for card in here.cards
        if card.running and card.mac and not card.loopback
        for held in card.addresses
    ]
    gateways = [
        (item.interface, item.gateway)
        for item in here.routes
        if item.gateway is not None and _is_usable(here, item)
    ]
    answers = wire_probe.who_has([*asked, *gateways], {*vips, *(address for _, address in gateways)})
    mtus = {card.name: card.mtu for card in here.cards}
    echoes = wire_probe.ping(
        {
            address: (name, mtus[name])
            for name, address in gateways
            if address is not None and answers.macs(address, name)
        }
    )
    segments, wrong = kernel_facts.read_tcp_checksums()
    return RealServerFacts(
        host=here,
        vips=tuple(vips),
        ports=ports,
        listeners=frozenset(kernel_facts.read_listeners()),
        full_listen_queues=tuple(
            each
            for each in kernel_facts.read_full_queues()
            if any(each[:2] == before[:2] for before in queues_before)
        ),
        fresh_listen_overflows=listen_overflows() - overflows_before,
        answers=answers,
        segments_in=segments,
        bad_checksums=wrong,
        fresh_bad_checksums=wrong - wrong_before,
        echoes=echoes,
        fresh_overflows=kernel_overflows() - full_before,
        clock_jump=system_facts.wall_clock_offset() - offset,
    )


def _ask(message: Request, kind: type[Kind]) -> Kind:
    reply = request(message, paths.control_socket())
    if not isinstance(reply, kind):
        raise ProtocolError(f"the director answered {reply}")
    return reply


def _from_replies(here: Host, status: Status, table: TableReply) -> DirectorFacts:
    described = {item.service: item for item in status.services}
    return DirectorFacts(
        host=here,
        services=tuple(_service(entry, described.get(str(entry.service.key))) for entry in table.table),
        instances=tuple(_instance(item) for item in status.instances),
        bfd_neighbours=tuple(session.neighbour for session in status.sessions),
        attachments={item.interface: (item.mode, item.reason) for item in status.data_plane.attachments},
        standby=tuple(item.service for item in status.services if item.standby),
        problems=status.problems,
        connections=table.counters.connections_over_ipv4(),
        connection_limit=table.connection_table_size,
        exits=status.exits,
    )


def _service(entry: ServiceEntry, described: ServiceStatus | None) -> ServiceFact:
    key = entry.service.key
    option = f"-f {key.fwmark}" + (" -6" if key.ipv6 else "")
    if key.address is not None and key.transport is not None:
        letter = {Transport.TCP: "-t", Transport.UDP: "-u"}.get(key.transport, "--sctp-service")
        option = f"{letter} {format_endpoint(key.address, key.port)}"
    forwarding = {str(server.key): server.forwarding.value for server in entry.servers}
    listed = (described.servers if described else ()) or tuple(
        ServerStatus(server=str(server.key), weight=server.weight, up=None, reason="")
        for server in entry.servers
    )
    return ServiceFact(
        name=str(key),
        option=option,
        address=key.address,
        port=key.port,
        tcp=key.transport is Transport.TCP,
        managed=described is not None and described.managed,
        scheduler=entry.service.scheduler,
        persistence=entry.service.persistence,
        servers=tuple(_server(item, forwarding.get(item.server, item.forwarding)) for item in listed),
    )


def _server(item: ServerStatus, forwarding: str) -> ServerFact:
    address, _, port = item.server.rpartition(":")
    return ServerFact(
        address=ipaddress.ip_address(address.strip("[]")),
        port=int(port),
        forwarding=forwarding,
        weight=item.weight,
        up=item.up,
        reason=item.reason,
        by_hand=item.by_hand,
    )


def _instance(item: InstanceStatus) -> InstanceFact:
    return InstanceFact(
        name=item.instance,
        state=item.state,
        reason=item.reason,
        interface=item.interface or "",
        virtual_router_id=item.virtual_router_id or 0,
        priority=item.priority,
        advert_interval=1.0 if item.advert_interval is None else item.advert_interval,
        protocol=item.protocol,
        peers=item.unicast_peers or (),
        virtual=tuple(
            VirtualFact(
                address=held.address,
                prefix_length=held.prefix_length,
                device=held.device,
            )
            for held in item.addresses or ()
        ),
        dropped=item.dropped,
    )


def _probe(known: DirectorFacts) -> DirectorFacts:
    """Probe the network. A thread listens for adverts while the other probes run one after the other."""
    here = known.host
    heard: list[SeenAdvert] = []
    with _listening(known, heard):
        servers = [
            (route.interface, address)
            for address in known.real_servers()[:_MOST_PROBES]
            if not here.holders(address)
            and (route := here.route(address)) is not None
            and route.gateway is None
            and _is_usable(here, route)
        ]
        gateways = [
            (route.interface, route.gateway)
            for route in here.routes
            if route.gateway is not None and _is_usable(here, route)
        ]
        vips = [(card.name, vip) for vip in known.vips() for card in here.links_of(vip)]
        answers = wire_probe.who_has(
            [*servers, *gateways, *vips], {address for _, address in [*servers, *gateways]}
        )
        reached = {address: name for name, address in servers if len(answers.macs(address, name)) == 1}
        probes = [
            item
            for address, name in reached.items()
            for item in _syn_probes(known, address, name, answers.macs(address, name)[0])
        ]
        ethernets = [card.name for card in here.cards if card.running and card.mac and not card.loopback]
        responses = probe_all(probes[:_MOST_PROBES], ethernets)
        mtus = {card.name: card.mtu for card in here.cards}
        echoes = wire_probe.ping({address: (name, mtus[name]) for address, name in reached.items()})
    return msgspec.structs.replace(
        known, answers=answers, responses=responses, echoes=echoes, adverts=tuple(heard)
    )


@contextlib.contextmanager
def _listening(known: DirectorFacts, heard: list[SeenAdvert]) -> Any:
    """Listen for adverts in a thread of this namespace."""
    instances = [item for item in known.instances if item.interface and known.host.card(item.interface)]
    waits = {
        item.interface: min(_LONGEST_LISTEN, item.advert_interval * (3.5 if item.state == "BACKUP" else 1.3))
        for item in instances
    }
    backups = {item.virtual_router_id for item in instances if item.state == "BACKUP"}
    only_backups = bool(instances) and all(item.state == "BACKUP" for item in instances)

    def enough(seen: list[SeenAdvert]) -> bool:
        return only_backups and backups <= {advert.virtual_router_id for advert in seen}

    def listen() -> None:
        heard.extend(wire_probe.listen_for_adverts(waits, enough))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _syn_probes(known: DirectorFacts, address: Address, interface: str, mac: str) -> Iterable[SynProbe]:
    """Yield one SYN for every TCP service that has this real server in its table."""
    card = known.host.card(interface)
    vips = known.vips()
    own = next(
        (
            held.ip
            for held in (card.addresses if card else ())
            if address in held.network and held.ip not in vips and not held.ip.is_link_local
        ),
        None,
    )
    if card is None or own is None:
        return
    for service in known.services:
        member = next((server for server in service.servers if server.address == address), None)
        if (
            member is not None
            and member.weight is not None
            and member.forwarding == "Route"
            and service.tcp
            and service.port
            and service.address is not None
            and service.address.version == own.version
        ):
            yield SynProbe(
                service=service.name,
                vip=service.address,
                port=service.port,
                server=address,
                mac=mac,
                interface=interface,
                own_mac=card.mac,
                own_address=own,
            )


def _is_usable(here: Host, route: HostRoute) -> bool:
    card = here.card(route.interface)
    return card is not None and card.running and bool(card.mac) and not card.loopback
