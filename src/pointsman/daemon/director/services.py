# SPDX-License-Identifier: Apache-2.0
"""Services and real servers of a configuration by key, so that no event has to search a list."""

from __future__ import annotations

from collections import defaultdict

from pointsman.lvs.overrides import MemberKey
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import ServerKey, ServiceKey


class ServiceIndex:
    """Index of one configuration. That of a service's real servers is made when it is first needed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.services = {virtual.service.key: virtual for virtual in config.virtual_servers}
        """In the order of the configuration."""
        self._members: dict[ServiceKey, dict[ServerKey, PoolMember]] = {}
        self._by_address: dict[Address, list[MemberKey]] | None = None

    def member(self, service: ServiceKey, server: ServerKey) -> PoolMember | None:
        """Return a real server of a service; None: the configuration has none."""
        members = self._members.get(service)
        if members is None:
            virtual = self.services.get(service)
            if virtual is None:
                return None
            members = self._members[service] = {each.server.key: each for each in virtual.members}
        return members.get(server)

    def __contains__(self, key: object) -> bool:
        """True for the key of a configured real server."""
        return isinstance(key, tuple) and self.member(*key) is not None

    def members_at(self, address: Address) -> list[MemberKey]:
        """Return the real servers of all services with this address."""
        if self._by_address is None:
            self._by_address = defaultdict(list)
            for key, virtual in self.services.items():
                for member in virtual.members:
                    self._by_address[member.server.key.address].append((key, member.server.key))
        return self._by_address.get(address, [])

    def changed_since(self, before: ServiceIndex) -> list[VirtualServer]:
        """Return the services that are new, or differ from those of another configuration."""
        return [
            virtual
            for key, virtual in self.services.items()
            if (known := before.services.get(key)) is not virtual and known != virtual
        ]
