# SPDX-License-Identifier: Apache-2.0
"""Virtual interfaces (macvlan, ipvlan) of one instance, and the sysctls that it needs.

They are up while it is master. keepalived keeps them up all the time. Here a backup's interfaces are down, so
that it sends nothing with the virtual MAC address, not even a multicast listener report of the kernel. The
switch must see that address at the master only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.daemon.vrrp.no_accept import AcceptFilter
from pointsman.model.vrrp import VirtualInterface, VrrpInstance
from pointsman.net import virtual_links
from pointsman.net.addresses import IFA_PROTO_OURS, addresses, remove
from pointsman.net.links import Link, is_missing
from pointsman.net.neighbour_table import keep_groups, remove_groups
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.sysctls import Setting, Sysctls
from pointsman.vrrp.admission import ip_protocol

log = logging.getLogger("vrrp")


class PacketReader(Protocol):
    """An object that reads packets of a socket and gives them to their instances."""

    def watch(self, advert_socket: AdvertSocket) -> None: ...

    def unwatch(self, advert_socket: AdvertSocket) -> None: ...


class Macvlans:
    """Virtual interfaces of one instance. If it has none, every method does nothing."""

    def __init__(
        self,
        instance: VrrpInstance,
        netlink: NetlinkSocket,
        links: dict[str, Link],
        sysctls: Sysctls,
        reader: Callable[[], PacketReader | None],
    ) -> None:
        self._instance = instance
        self._netlink = netlink
        self._links = links
        self._sysctls = sysctls
        self._find_reader = reader
        self._reader: PacketReader | None = None
        self._indexes: dict[str, int] = {}
        """Index of each present interface that is ours. A foreign one with the same name is not used."""
        self._set_up_for: dict[str, int] = {}
        """Index of each interface whose sysctls are set."""
        self._up = False
        self._socket: AdvertSocket | None = None
        self._socket_index = 0
        self._once = LogOnce(log)

    @property
    def _owner(self) -> str:
        return f"{self._instance.interface} {self._instance.virtual_router_id} {self._instance.family}"

    def ensure(self) -> bool:
        """Create the missing interfaces whose base exists. Return True if one was created."""
        created = False
        for wanted in self._instance.virtual_interfaces:
            base = self._links.get(wanted.base)
            if base is None:
                continue
            try:
                link, new = virtual_links.ensure(self._netlink, wanted, base)
            except (OSError, virtual_links.NotOursError) as problem:
                if is_missing(problem):
                    continue
                self._log_error(("create", wanted.name), f"cannot create {wanted.name}: {problem}")
                continue
            self._once.forget(("create", wanted.name))
            created = created or new
            self._links[link.name] = link
            self._indexes[link.name] = link.index
        self._restore_sysctls()
        if created and self._up:
            self._switch_links(True)
        return created

    def start(self, residual: bool) -> None:
        """Create the interfaces: up if an earlier process has left addresses on them, otherwise down."""
        if self._instance.virtual_interfaces:
            self.ensure()
            self._up = residual
            self._switch_links(residual)
            self.tx_socket()
        self._restore_sysctls()

    def reconfigure(self, instance: VrrpInstance) -> None:
        """Use the addresses of a new configuration. The virtual interfaces are the same."""
        self._instance = instance
        self._sysctls.require(self._owner, self._sysctl_values())

    def set_up(self, up: bool) -> None:
        """Switch up before the first advert as master, and down after its addresses were removed."""
        if self._instance.virtual_interfaces and up is not self._up:
            self._up = up
            self._switch_links(up)
            if not up:
                self.close_tx()

    def remove(self) -> None:
        """Remove the interfaces, and restore the sysctls."""
        self.close_tx()
        for name in self._present():
            try:
                virtual_links.remove(self._netlink, self._links.pop(name).index)
            except OSError as error:
                log.error("(%s) cannot remove %s: %s", self._instance.name, name, error)
        self._up = False
        self._sysctls.release(self._owner)

    def tx_socket(self) -> AdvertSocket | None:
        """Return the socket for sending adverts while the interfaces are up. None: use the base interface.

        It is also read: adverts of another master with the same MAC address arrive here, not at the base.
        """
        wanted = self._instance.own_interface
        if not self._up or wanted is None or self._instance.advertises_by_base:
            return None
        if wanted.name not in self._present():
            return None
        link = self._links[wanted.name]
        if self._socket is None or self._socket_index != link.index:
            self.close_tx()
            try:
                self._socket = AdvertSocket(
                    *(link, None, self._instance.family),
                    virtual=True,
                    protocol=ip_protocol(self._instance),
                    group=self._instance.multicast_group,
                )
            except OSError as error:
                if not is_missing(error):
                    self._log_error(("send", link.name), f"cannot send on {link.name}: {error.strerror}")
                return None
            self._once.forget(("send", link.name))
            if self._socket.group_entry is not None:
                keep_groups(self._netlink, [self._socket.group_entry])
            self._socket_index = link.index
            self._reader = self._find_reader()
            if self._reader is not None:
                self._reader.watch(self._socket)
        return self._socket

    def close_tx(self) -> None:
        """Close the socket for sending. `tx_socket` opens it again."""
        if self._socket is not None:
            if self._reader is not None:
                self._reader.unwatch(self._socket)
            self._socket.close()
            self._socket = self._reader = None

    def _present(self) -> list[str]:
        links = self._links
        return [name for name, index in self._indexes.items() if name in links and links[name].index == index]

    def _switch_links(self, up: bool) -> None:
        for name in self._present():
            try:
                virtual_links.set_state(self._netlink, self._links[name].index, up)
            except OSError as error:
                if not is_missing(error):
                    self._log_error(("switch", name), f"cannot switch {name}: {error}")
            else:
                self._once.forget(("switch", name))

    def _restore_sysctls(self) -> None:
        """Set the sysctls of interfaces that have been made, also of those that are made again."""
        wishes = self._sysctl_values()
        names = {wish.name.split("/")[2] for wish in wishes}
        present = {name: self._links[name].index for name in names if name in self._links}
        if present != self._set_up_for:
            self._set_up_for = present
            self._sysctls.require(self._owner, wishes)

    def _sysctl_values(self) -> list[Setting]:
        wishes: list[Setting] = []
        if self._instance.promote_secondaries:
            wishes.append(Setting(f"ipv4/conf/{self._instance.interface}/promote_secondaries", 1))
        for each in self._instance.virtual_interfaces:
            wishes += _sysctls_of(each, self._families(each))
        return wishes

    def _families(self, interface: VirtualInterface) -> set[int]:
        entries = self._instance.moving_addresses
        found = {entry.address.version for entry in entries if entry.device == interface.name}
        return found | ({self._instance.family} if interface is self._instance.own_interface else set())

    def _log_error(self, key: tuple[str, str], text: str) -> None:
        self._once.error(key, "(%s) %s", self._instance.name, text)


def _sysctls_of(interface: VirtualInterface, families: set[int]) -> list[Setting]:
    """Return the sysctls with which a virtual interface and its base answer only for their own addresses.

    The base gets arp_ignore 1, as in keepalived: it must not answer for the virtual addresses with its own
    MAC address. It gets arp_announce 2: its ARP requests must not contain a virtual address. Neighbours would
    learn the wrong MAC address, and the kernel would deliver the answer to an ipvlan. keepalived's arp_filter
    is not set: with it the base may not answer for its own address. The virtual interface gets rp_filter 2
    (loose) and not 0: the kernel uses the larger of it and all.rp_filter, which need not change then.
    """
    name, base = interface.name, interface.base
    wishes = [Setting(f"ipv4/conf/{base}/arp_ignore", 1), Setting(f"ipv4/conf/{base}/arp_announce", 2)]
    wishes += [
        Setting(f"ipv4/conf/{name}/arp_ignore", 1),
        Setting(f"ipv4/conf/{name}/accept_local", 1),
        Setting(f"ipv4/conf/{name}/rp_filter", 2),
        Setting(f"ipv4/conf/{name}/promote_secondaries", 1),
    ]
    quiet = [("disable_ipv6", 1)] if 6 not in families else [("accept_ra", 0), ("router_solicitations", 0)]
    return wishes + [Setting(f"ipv6/conf/{name}/{word}", value) for word, value in quiet]


def remove_unconfigured(netlink: NetlinkSocket, links: dict[str, Link], wanted: set[str]) -> None:
    """Remove our virtual interfaces that are not in `wanted`."""
    for link in virtual_links.list_ours(netlink):
        if link.name in wanted:
            continue
        log.info("removing %s: it is left from an earlier configuration", link.name)
        links.pop(link.name, None)
        try:
            virtual_links.remove(netlink, link.index)
        except OSError as error:
            log.error("cannot remove %s: %s", link.name, error)


def clean_up(run_directory: Path) -> None:
    """Remove what a dead VRRP process has left, and restore sysctls. Raises OSError.

    It leaves virtual interfaces, addresses, neighbour entries of multicast groups, and the nf_tables table.
    """
    with NetlinkSocket() as netlink:
        remove_unconfigured(netlink, {}, set())
        for found in addresses(netlink):
            if found.proto == IFA_PROTO_OURS and (error := remove(netlink, found)):
                log.error("cannot remove %s: %s", found.address, error)
        remove_groups(netlink)
    sysctls(run_directory).restore_unneeded()
    accept_filter(run_directory).activate()


def sysctls(run_directory: Path) -> Sysctls:
    """Return the sysctls that instances change in this network namespace, with their old values on disk."""
    return Sysctls(run_directory / "sysctls.state")


def accept_filter(run_directory: Path) -> AcceptFilter:
    """Return the filter of addresses with no_accept in this network namespace."""
    return AcceptFilter(run_directory / "shield.state")
