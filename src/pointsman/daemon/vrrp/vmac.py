"""The virtual interfaces of one instance, and the sysctls it needs, from its start to its end.

They are up as long as it is master. keepalived leaves them up all the time; here a backup's are down, so that
nothing ever leaves it with the MAC address that the switch is to see at the master only, not even a listener
report of the kernel.
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
from pointsman.net.addresses import VRRP_MARK, addresses, remove
from pointsman.net.links import Link
from pointsman.net.netlink import NetlinkSocket
from pointsman.net.sysctls import Sysctls, Wish
from pointsman.vrrp.admission import ip_protocol

log = logging.getLogger("vrrp")


class Ear(Protocol):
    """What hands arriving packets to their routers."""

    def listen(self, advert_socket: AdvertSocket) -> None: ...

    def ignore(self, advert_socket: AdvertSocket) -> None: ...


class Macvlans:
    """Of one instance; without any, every method does nothing."""

    def __init__(
        self,
        instance: VrrpInstance,
        netlink: NetlinkSocket,
        links: dict[str, Link],
        sysctls: Sysctls,
        ear: Callable[[], Ear | None],
    ) -> None:
        self._instance = instance
        self._netlink = netlink
        self._links = links
        self._sysctls = sysctls
        self._ear = ear
        self._listener: Ear | None = None
        self._indexes: dict[str, int] = {}
        """Of those that are there and are ours; a stranger of the same name is left alone."""
        self._up = False
        self._socket: AdvertSocket | None = None
        self._socket_index = 0
        self._once = LogOnce(log)

    @property
    def _owner(self) -> str:
        return f"{self._instance.interface} {self._instance.virtual_router_id} {self._instance.family}"

    def ensure(self) -> bool:
        """Have them all, as far as their bases are there. Whether one had to be made."""
        made = False
        for wanted in self._instance.virtual_interfaces:
            base = self._links.get(wanted.base)
            if base is None:
                continue
            try:
                link, new = virtual_links.ensure(self._netlink, wanted, base)
            except (OSError, virtual_links.NotOursError) as problem:
                self._complain(("make", wanted.name), f"cannot make {wanted.name}: {problem}")
                continue
            self._once.forget(("make", wanted.name))
            made = made or new
            self._links[link.name] = link
            self._indexes[link.name] = link.index
        if made:
            self._sysctls.wish(self._owner, self._wishes())
            if self._up:
                self._switch(True)
        return made

    def begin(self, residual: bool) -> None:
        """Have them: up, if a former process has left addresses on them; else down."""
        if self._instance.virtual_interfaces:
            self.ensure()
            self._up = residual
            self._switch(residual)
            self.voice()
        if wishes := self._wishes():
            self._sysctls.wish(self._owner, wishes)

    def adopt(self, instance: VrrpInstance) -> None:
        """The same virtual interfaces with other addresses."""
        self._instance = instance
        self._sysctls.wish(self._owner, self._wishes())

    def switch(self, up: bool) -> None:
        """Up before the first advert as master, down when its addresses are gone."""
        if self._instance.virtual_interfaces and up is not self._up:
            self._up = up
            self._switch(up)
            if not up:
                self.hush()

    def remove(self) -> None:
        """For good."""
        self.hush()
        for name in self._present():
            try:
                virtual_links.remove(self._netlink, self._links.pop(name).index)
            except OSError as error:
                log.error("(%s) cannot remove %s: %s", self._instance.name, name, error)
        self._up = False
        self._sysctls.withdraw(self._owner)

    def voice(self) -> AdvertSocket | None:
        """What adverts are sent through while the interfaces are up; None: through the base.

        It listens, too: what another master sends with the same MAC address comes in here, and not below.
        """
        wanted = self._instance.own_interface
        if not self._up or wanted is None or self._instance.advertises_by_base:
            return None
        if wanted.name not in self._present():
            return None
        link = self._links[wanted.name]
        if self._socket is None or self._socket_index != link.index:
            self.hush()
            try:
                self._socket = AdvertSocket(
                    *(link, None, self._instance.family),
                    virtual=True,
                    protocol=ip_protocol(self._instance),
                    group=self._instance.multicast_group,
                )
            except OSError as error:
                self._complain(("send", link.name), f"cannot send on {link.name}: {error.strerror}")
                return None
            self._once.forget(("send", link.name))
            self._socket_index = link.index
            self._listener = self._ear()
            if self._listener is not None:
                self._listener.listen(self._socket)
        return self._socket

    def hush(self) -> None:
        """Close what adverts are sent through; it is opened again when it is needed."""
        if self._socket is not None:
            if self._listener is not None:
                self._listener.ignore(self._socket)
            self._socket.close()
            self._socket = self._listener = None

    def _present(self) -> list[str]:
        links = self._links
        return [name for name, index in self._indexes.items() if name in links and links[name].index == index]

    def _switch(self, up: bool) -> None:
        for name in self._present():
            try:
                virtual_links.switch(self._netlink, self._links[name].index, up)
            except OSError as error:
                self._complain(("switch", name), f"cannot switch {name}: {error}")
            else:
                self._once.forget(("switch", name))

    def _wishes(self) -> list[Wish]:
        wishes: list[Wish] = []
        if self._instance.promote_secondaries:
            wishes.append(Wish(f"ipv4/conf/{self._instance.interface}/promote_secondaries", 1))
        for each in self._instance.virtual_interfaces:
            wishes += _settings(each, self._families(each))
        return wishes

    def _families(self, interface: VirtualInterface) -> set[int]:
        entries = self._instance.moving_addresses
        found = {entry.address.version for entry in entries if entry.device == interface.name}
        return found | ({self._instance.family} if interface is self._instance.own_interface else set())

    def _complain(self, key: tuple[str, str], text: str) -> None:
        self._once.error(key, "(%s) %s", self._instance.name, text)


def _settings(interface: VirtualInterface, families: set[int]) -> list[Wish]:
    """What the two interfaces of one segment need, so that each answers for its own addresses only.

    The base: arp_ignore 1 as in keepalived, lest it answers for the virtual addresses with its own MAC
    address; arp_announce 2, lest it teaches the neighbours so in its own questions, or asks with the address
    of an ipvlan, to which the kernel then hands the answer. keepalived's arp_filter is left out: with it the
    base may not answer for its own address. rp_filter 2 (loose) on the virtual one and not 0, because the
    kernel takes the larger of this and all.rp_filter, which can then stay as it is.
    """
    name, base = interface.name, interface.base
    wishes = [Wish(f"ipv4/conf/{base}/arp_ignore", 1), Wish(f"ipv4/conf/{base}/arp_announce", 2)]
    wishes += [
        Wish(f"ipv4/conf/{name}/arp_ignore", 1),
        Wish(f"ipv4/conf/{name}/accept_local", 1),
        Wish(f"ipv4/conf/{name}/rp_filter", 2),
        Wish(f"ipv4/conf/{name}/promote_secondaries", 1),
    ]
    quiet = [("disable_ipv6", 1)] if 6 not in families else [("accept_ra", 0), ("router_solicitations", 0)]
    return wishes + [Wish(f"ipv6/conf/{name}/{word}", value) for word, value in quiet]


def remove_strays(netlink: NetlinkSocket, links: dict[str, Link], wanted: set[str]) -> None:
    """Virtual interfaces that are ours and that no instance of this configuration has."""
    for link in virtual_links.ours(netlink):
        if link.name in wanted:
            continue
        log.info("removing %s: left by a former configuration", link.name)
        links.pop(link.name, None)
        try:
            virtual_links.remove(netlink, link.index)
        except OSError as error:
            log.error("cannot remove %s: %s", link.name, error)


def remove_remains(run_directory: Path) -> None:
    """What a VRRP process that is gone has left here: virtual interfaces, addresses, sysctls, a table.

    Raises OSError.
    """
    with NetlinkSocket() as netlink:
        remove_strays(netlink, {}, set())
        for found in addresses(netlink):
            if found.mark == VRRP_MARK and (error := remove(netlink, found)):
                log.error("cannot remove %s: %s", found.address, error)
    sysctls(run_directory).put_back_unwanted()
    shield(run_directory).begin()


def sysctls(run_directory: Path) -> Sysctls:
    """The settings that the instances of this network namespace change."""
    return Sysctls(run_directory / "sysctls.state")


def shield(run_directory: Path) -> AcceptFilter:
    """The addresses here that drop what is sent to them."""
    return AcceptFilter(run_directory / "shield.state")
