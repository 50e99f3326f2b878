# SPDX-License-Identifier: Apache-2.0
"""Parts of the status document, from the state of the director."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from pointsman.control.messages import CheckResult, InstanceChanged, SessionChanged
from pointsman.control.status import (
    AddressStatus,
    AdvertStatus,
    AttachmentStatus,
    DataPlaneStatus,
    DroppedStatus,
    InstanceStatus,
    ServerStatus,
    ServiceStatus,
    SessionStatus,
)
from pointsman.daemon.director.check_results import CheckResults
from pointsman.dataplane.interface import Capabilities, DataPlane
from pointsman.lvs.overrides import MemberKey, OverrideBook
from pointsman.model.config import Config
from pointsman.model.health import VirtualServer
from pointsman.model.next_hop import NextHop
from pointsman.model.service import Forwarding, ServerKey, ServiceEntry, ServiceKey, ServiceTable
from pointsman.model.wording import duration
from pointsman.net.links import Link, links
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.admission import ip_protocol

NOT_COUNTED = (None, None)


class ConnectionCounts:
    """The connections of real servers, and the sum over those that were asked for."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self.over_ipv4 = 0
        """IPv6 has a connection table of its own."""

    def of(self, key: ServiceKey) -> Mapping[ServerKey, tuple[int, int]]:
        """Return the active and the inactive connections of each real server of a service."""
        found = self._plane.connection_counts(key)
        if not key.ipv6:
            self.over_ipv4 += sum(map(sum, found.values()))
        return found


def data_plane(capabilities: Capabilities, counts: ConnectionCounts | None = None) -> DataPlaneStatus:
    """Return the data plane, and for each interface the cause why no packet can arrive."""
    try:
        with NetlinkSocket() as netlink:
            here = links(netlink)
    except OSError:
        here = {}
    return DataPlaneStatus(
        name=capabilities.name,
        schedulers=tuple(sorted(capabilities.schedulers)),
        forwarding=tuple(sorted(capabilities.forwarding)),
        attachments=tuple(
            AttachmentStatus(
                each.interface, each.index, each.mode, each.reason, _trouble(here.get(each.interface))
            )
            for each in capabilities.attachments
        ),
        connection_limit=capabilities.connection_limit,
        interfaces=capabilities.interfaces,
        connections=counts.over_ipv4 if counts else None,
    )


def _trouble(link: Link | None) -> str:
    if link is None or link.running:
        return ""
    return "no carrier" if link.up else "down"


def instance(
    config: Config,
    report: InstanceChanged,
    seconds: float,
    dropped: tuple[DroppedStatus, ...] = (),
    last_advert: AdvertStatus | None = None,
) -> InstanceStatus:
    """Return a VRRP instance, in its state for `seconds`. It has no password: every user may read it."""
    status = InstanceStatus(
        instance=report.instance,
        state=report.state,
        priority=report.priority,
        reason=report.reason,
        holds_addresses=report.holds_addresses,
        conflict=report.conflict,
        seconds=seconds,
        dropped=dropped,
        last_advert=last_advert,
    )
    known = next((item for item in config.instances if item.name == report.instance), None)
    if known is None:
        return status
    return msgspec.structs.replace(
        status,
        interface=known.interface,
        virtual_router_id=known.virtual_router_id,
        advert_interval=known.advert_interval,
        protocol=ip_protocol(known),
        unicast_peers=known.unicast_peers,
        addresses=tuple(
            AddressStatus(item.address, item.prefix_length, item.device) for item in known.addresses
        ),
    )


def sessions(config: Config, reports: Mapping[str, SessionChanged]) -> tuple[SessionStatus, ...]:
    """Return the BFD sessions. A session without a report is not up."""
    found: list[SessionStatus] = []
    for each in config.bfd:
        last = reports.get(each.name)
        up, reason = (last.up, last.reason) if last else (False, "not started yet")
        found.append(SessionStatus(each.name, each.neighbour, up, reason))
    return tuple(found)


def hop_text(hop: NextHop) -> str:
    """Return MAC address, interface and, if there is one, gateway: `52:54:00:ba:3d:b9 eth8`."""
    if hop.destination is None:
        return "not resolved"
    try:
        name = socket.if_indextoname(hop.index)
    except OSError:
        name = f"interface {hop.index}"
    through = f" through {hop.gateway}" if hop.gateway is not None else ""
    return f"{hop.destination.hex(':')} {name}{through}"


def services(
    configured: Mapping[ServiceKey, VirtualServer],
    table: ServiceTable,
    standby: Collection[ServiceKey],
    results: CheckResults,
    overrides: OverrideBook,
    next_hops: Mapping[str, str],
    now: float,
    counts: ConnectionCounts | None = None,
) -> Iterator[ServiceStatus]:
    """Yield the services in the table, and those in `standby`: another director has their address.

    Results and overrides may change meanwhile.
    """
    present = {entry.service.key for entry in table} if standby else ()
    waiting = [key for key in configured if key in standby and key not in present]
    for entry in (*table, *(ServiceEntry(configured[key].service) for key in waiting)):
        key = entry.service.key
        inside = {server.key for server in entry.servers}
        members = configured[key].members if key in configured else ()
        known = results.of(key)
        health = {
            member.server.key: [
                result
                for check in member.checks
                if (result := known.get((key, member.server.key, check.identity)))
            ]
            for member in members
        }
        connections = counts.of(key) if counts else {}
        outside = [member.server for member in members if member.server.key not in inside]
        yield ServiceStatus(
            service=str(key),
            scheduler=entry.service.scheduler,
            managed=key in configured,
            standby=key in waiting,
            flags=tuple(sorted(entry.service.flags)),
            persistence=entry.service.persistence,
            servers=tuple(
                ServerStatus(
                    server=str(server.key),
                    weight=server.weight if server.key in inside else None,
                    forwarding=server.forwarding.value,
                    tunnel=str(server.tunnel) if server.forwarding is Forwarding.TUNNEL else "",
                    next_hop=next_hops.get(str(server.key.address), ""),
                    up=_up(health.get(server.key, ())),
                    reason="; ".join(each.reason for each in health.get(server.key, ()) if not each.up),
                    by_hand=_by_hand(overrides, (key, server.key), now),
                    by_hand_left=overrides.left((key, server.key), now),
                    active=connections.get(server.key, NOT_COUNTED)[0],
                    inactive=connections.get(server.key, NOT_COUNTED)[1],
                )
                for server in (*entry.servers, *outside)
            ),
        )


def _up(results: Sequence[CheckResult]) -> bool | None:
    """Return True if all checks of one real server pass; None: there is no result."""
    return all(result.up for result in results) if results else None


def _by_hand(overrides: OverrideBook, key: MemberKey, now: float) -> str:
    override = overrides.active.get(key)
    left = overrides.left(key, now)
    if override is None:
        return ""
    return override.text() + (f" for another {duration(left)}" if left is not None else "")
