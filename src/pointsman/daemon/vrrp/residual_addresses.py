# SPDX-License-Identifier: Apache-2.0
"""Virtual interfaces and addresses that an earlier process has left. They have our mark."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from pointsman.daemon.vrrp.vmac import remove_unconfigured
from pointsman.model.vrrp import StaticSettings, VrrpInstance
from pointsman.net.addresses import IFA_PROTO_OURS, InterfaceAddress, remove
from pointsman.net.links import Link
from pointsman.net.netlink import NetlinkSocket

log = logging.getLogger("vrrp")


class ResidualAddresses:
    """Addresses with our mark among all addresses of this host (`present`)."""

    def __init__(
        self,
        netlink: NetlinkSocket,
        links: dict[str, Link],
        present: Iterable[InterfaceAddress],
        instances: Sequence[VrrpInstance],
    ) -> None:
        self._netlink = netlink
        self._links = links
        self._instances = instances
        self._moving = {
            (entry.device, entry.address) for each in instances for entry in each.moving_addresses
        }
        names = {link.index: link.name for link in links.values()}
        self._found = [
            ((names.get(each.index, ""), each.address), each)
            for each in present
            if each.proto == IFA_PROTO_OURS
        ]

    @property
    def has_virtual(self) -> bool:
        """True if an instance has left a virtual address."""
        return any(key in self._moving for key, _ in self._found)

    def remove_unconfigured(self, static: StaticSettings) -> None:
        """Remove interfaces and addresses that are not configured."""
        virtual = {each.name for instance in self._instances for each in instance.virtual_interfaces}
        remove_unconfigured(self._netlink, self._links, virtual)
        wanted = self._moving | {(entry.device, entry.address) for entry in static.addresses}
        for key, found in self._found:
            if key not in wanted:
                log.info("removing %s: it is left from an earlier configuration", found.address)
                if error := remove(self._netlink, found):
                    log.error("cannot remove %s: %s", found.address, error)
