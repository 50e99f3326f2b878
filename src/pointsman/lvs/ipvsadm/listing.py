# SPDX-License-Identifier: Apache-2.0
"""Format listings, connections and saved rules exactly as ipvsadm 1.31 does.

`Names` translates numbers to names. None in its place is ipvsadm's -n.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Protocol

from pointsman.lvs.ipvsadm.commands import View
from pointsman.lvs.ipvsadm.order import sort_servers, sort_services
from pointsman.lvs.ipvsadm.values import PLAIN_FLAGS, SCHEDULER_FLAGS
from pointsman.model.address import Address
from pointsman.model.service import (
    Forwarding,
    RealServer,
    ServerKey,
    ServiceEntry,
    ServiceKey,
    ServiceTable,
    Transport,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)
from pointsman.model.traffic import Connection, Counters, ServerCounters, ServiceCounters, Traffic

IPVS_VERSION = "1.2.1"
"""IPVS version whose behaviour and listing this is."""

SERVER_COLUMN = 28
"""Columns of an IPv4 real server's name. Longer names are cut."""
SERVICE_COLUMN = 33

HEADINGS = {
    View.TABLE: (
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
    ),
    View.STATS: (
        "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n"
        "  -> RemoteAddress:Port\n"
    ),
    View.RATE: (
        "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n"
        "  -> RemoteAddress:Port\n"
    ),
    View.THRESHOLDS: (
        "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n"
        "  -> RemoteAddress:Port\n"
    ),
    View.PERSISTENT: (
        "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n"
        "  -> RemoteAddress:Port\n"
    ),
    View.TUNNEL: (
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n"
    ),
}
METHOD_OPTION = {
    Forwarding.ROUTE: "-g",
    Forwarding.LOCAL: "-g",
    Forwarding.TUNNEL: "-i",
    Forwarding.MASQ: "-m",
}
CHECKSUM_MARK = {TunnelChecksum.NONE: "-c", TunnelChecksum.FULL: "+c", TunnelChecksum.REMOTE: "r+c"}
SERVICE_OPTION = {Transport.TCP: "-t", Transport.UDP: "-u", Transport.SCTP: "--sctp-service"}


class Names(Protocol):
    """Translation of numbers to names, as by gethostbyaddr(3) and getservbyport(3)."""

    def host(self, address: Address) -> str | None: ...

    def service(self, port: int, transport: Transport) -> str | None: ...


def first_line(connection_table_size: int) -> str:
    """Return the line above a listing of all services."""
    return f"IP Virtual Server version {IPVS_VERSION} (size={connection_table_size})\n"


Text = tuple[ServiceKey, str]
"""A service, and the lines of it and its real servers."""


def service_texts(
    table: ServiceTable,
    counters: Counters,
    view: View = View.TABLE,
    *,
    names: Names | None = None,
    exact: bool = False,
    sort: bool = True,
) -> Iterator[Text]:
    """Yield the lines of each service, in the order of the table.

    For View.RATE, `counters` hold rates per second. Without `sort` the newest real servers come first, as in
    the kernel's lists.
    """
    for entry, counted in _with_counters(table, counters):
        key = entry.service.key
        lines = [_service_line(entry.service, counted.traffic, view, names, exact)]
        newest_first = _servers_with_counters(entry, counted)[::-1]
        pairs = sort_servers(newest_first, _key_of_pair) if sort else newest_first
        for server, found in pairs:
            name = _server_name(server, key.transport, names)
            lines.append(_server_line(server, found, name, view, exact))
        yield key, "".join(lines)


def _with_counters(table: ServiceTable, counters: Counters) -> Iterator[tuple[ServiceEntry, ServiceCounters]]:
    """Yield each service with its counters. A director gives both in one order."""
    if [entry.service.key for entry in table] == [counted.key for counted in counters.services]:
        yield from zip(table, counters.services, strict=True)
        return
    counts = counters.by_service()
    for entry in table:
        yield entry, counts.get(entry.service.key, ServiceCounters(entry.service.key))


def _servers_with_counters(
    entry: ServiceEntry, counted: ServiceCounters
) -> list[tuple[RealServer, ServerCounters]]:
    if [server.key for server in entry.servers] == [server.key for server in counted.servers]:
        return list(zip(entry.servers, counted.servers, strict=True))
    known = {server.key: server for server in counted.servers}
    return [(each, known.get(each.key) or ServerCounters(each.key)) for each in entry.servers]


def _key_of_pair(pair: tuple[RealServer, ServerCounters]) -> ServerKey:
    return pair[0].key


def rule_texts(table: ServiceTable, names: Names | None = None) -> Iterator[Text]:
    """Yield the lines of each service for -R (-S). Thresholds are not included, as with ipvsadm."""
    for entry in table:
        yield entry.service.key, "".join(_rules(entry, names))


def in_order(texts: Iterable[Text], sort: bool = True) -> Iterator[str]:
    """Yield the lines of services that are given in the order of their addition as ipvsadm lists them.

    Without `sort` the newest come first, as in the kernel's lists.
    """
    newest_first = list(texts)[::-1]
    ordered = sort_services(newest_first, lambda text: text[0]) if sort else newest_first
    return (lines for _, lines in ordered)


def connections(entries: Iterable[Connection], names: Names | None = None, engine_data: bool = False) -> str:
    """Format connections and persistence templates (-L -c) in the given order."""
    heading = "pro expire state       source             virtual            destination"
    if engine_data:
        heading += "        pe name          pe_data"
    return "\n".join(
        ["IPVS connection entries", heading, *(_connection(item, names) for item in entries), ""]
    )


def timeouts(tcp: int, tcp_fin: int, udp: int) -> str:
    """Format the timeouts in seconds (-L --timeout)."""
    return f"Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n"


def _service_line(
    service: VirtualService, traffic: Traffic, view: View, names: Names | None, exact: bool
) -> str:
    key = service.key
    if key.transport is None or key.address is None:
        title = f"FWM  {_signed(key.fwmark)}" + (" IPv6" if key.ipv6 else "")
    else:
        title = f"{key.transport.name:<4} {_place(key.address, key.port, key.transport, names)}"
        if not key.ipv6:
            title = title[:SERVICE_COLUMN]
    if view in (View.STATS, View.RATE):
        return f"{title:<{SERVICE_COLUMN}}{_numbers(traffic, exact)}\n"
    flags = _flags(service)
    text = f"{title} {service.scheduler}" + (f" ({flags})" if flags else "")
    if service.persistence is not None:
        text += f" persistent {service.persistence}"
        mask = _mask(service)
        text += f" mask {mask}" if mask else ""
    return text + (" ops" if service.one_packet else "") + "\n"


def _server_name(server: RealServer, transport: Transport | None, names: Names | None) -> str:
    name = _place(server.key.address, server.key.port, transport, names)
    return name if server.key.address.version == 6 else name[:SERVER_COLUMN]


def _server_line(server: RealServer, counted: ServerCounters, name: str, view: View, exact: bool) -> str:
    head = f"  -> {name:<{SERVER_COLUMN}}"
    connected = f"{counted.active:<10} {counted.inactive:<10}\n"
    match view:
        case View.STATS | View.RATE:
            return f"{head}{_numbers(counted.traffic, exact)}\n"
        case View.THRESHOLDS:
            return f"{head} {server.upper_threshold:<10} {server.lower_threshold:<10} {connected}"
        case View.PERSISTENT:
            return f"{head} {server.weight:<9} {counted.persistent:<11} {connected}"
        case View.TUNNEL:
            info = _tunnel_info(server)
            return f"{head} {server.forwarding.value:<7} {info:<13} {server.weight:<6} {connected}"
        case View.TABLE:
            return f"{head} {server.forwarding.value:<7} {server.weight:<6} {connected}"


def _rules(entry: ServiceEntry, names: Names | None) -> Iterator[str]:
    service, key = entry.service, entry.service.key
    if key.transport is None or key.address is None:
        where = f"-f {_signed(key.fwmark)}" + (" -6" if key.ipv6 else "")
    else:
        where = f"{SERVICE_OPTION[key.transport]} {_place(key.address, key.port, key.transport, names)}"
    rule = f"-A {where} -s {service.scheduler}"
    if service.persistence is not None:
        mask = _mask(service)
        rule += f" -p {service.persistence}" + (f" -M {mask}" if mask else "")
    rule += " -o" if service.one_packet else ""
    flags = _flags(service)
    yield rule + (f" -b {flags}" if flags else "") + "\n"
    for server in sort_servers(list(entry.servers[::-1]), lambda server: server.key):
        place = _place(server.key.address, server.key.port, key.transport, names)
        method = METHOD_OPTION[server.forwarding]
        yield f"-a {where} -r {place} {method} -w {server.weight}{_tunnel_options(server)}\n"


def _tunnel_info(server: RealServer) -> str:
    if server.forwarding is not Forwarding.TUNNEL:
        return "n/a"
    parts = [server.tunnel.type.value]
    if server.tunnel.type is TunnelType.GUE:
        parts.append(str(server.tunnel.port))
    if server.tunnel.type is not TunnelType.IPIP:
        parts.append(CHECKSUM_MARK[server.tunnel.checksum])
    return ":".join(parts)


def _tunnel_options(server: RealServer) -> str:
    if server.forwarding is not Forwarding.TUNNEL:
        return ""
    tunnel = server.tunnel
    options = f" --tun-type {tunnel.type.value}"
    options += f" --tun-port {tunnel.port}" if tunnel.type is TunnelType.GUE else ""
    return options + (f" --tun-{tunnel.checksum.value}" if tunnel.type is not TunnelType.IPIP else "")


def _connection(item: Connection, names: Names | None) -> str:
    minutes, seconds = divmod(int(item.expires), 60)
    if item.fwmark and item.client_port == 0:
        # The template of a firewall mark: the kernel shows the mark in place of the virtual address.
        protocol, transport = "IP", None
        virtual: Address = ipaddress.IPv4Address(item.fwmark)
        if item.client.version == 6:
            virtual = ipaddress.IPv6Address(item.fwmark << 96)
    else:
        protocol, transport, virtual = item.transport.name, item.transport, item.virtual
    source = _place(item.client, item.client_port, transport, names)
    target = _place(virtual, item.virtual_port, transport, names)
    server = _place(item.server, item.server_port, transport, names)
    return f"{protocol:<3} {minutes:02}:{seconds:02}  {item.state:<11} {source:<18} {target:<18} {server}"


def _place(address: Address, port: int, transport: Transport | None, names: Names | None) -> str:
    host: str | None = None
    service: str | None = None
    if names is not None:
        host = names.host(address)
        service = names.service(port, transport) if transport is not None and port else None
    host = host or _address(address)
    return f"[{host}]:{service or port}" if address.version == 6 else f"{host}:{service or port}"


def _address(address: Address) -> str:
    """Format an address as inet_ntop(3), which writes an IPv4-mapped address with dots."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    return str(address)


def _mask(service: VirtualService) -> str:
    prefix = service.persistence_prefix
    if prefix is None:
        return ""
    return str(prefix) if service.key.ipv6 else str(ipaddress.IPv4Network((0, prefix)).netmask)


def _flags(service: VirtualService) -> str:
    order = SCHEDULER_FLAGS.get(service.scheduler, PLAIN_FLAGS)
    return ",".join(name for name in order if name in service.flags)


def _numbers(traffic: Traffic, exact: bool) -> str:
    counted = (traffic.connections, traffic.packets, traffic.packets_out, traffic.octets, traffic.octets_out)
    return "".join(_large(number, exact) for number in counted)


def _large(number: int, exact: bool) -> str:
    """Format a number in nine columns, with K, M, G or T from 100 million on."""
    if exact:
        return f"{number:>9}" if number < 10**8 else f" {number}"
    for limit, divisor, unit in (
        (10**8, 1, ""),
        (10**9, 10**3, "K"),
        (10**11, 10**6, "M"),
        (10**14, 10**9, "G"),
    ):
        if number < limit:
            return f"{number // divisor:>8}{unit}" if unit else f"{number:>9}"
    return f"{number // 10**12:>8}T"


def _signed(fwmark: int) -> int:
    """Return a firewall mark as a signed number, as ipvsadm prints it."""
    return fwmark - 2**32 if fwmark >= 2**31 else fwmark
