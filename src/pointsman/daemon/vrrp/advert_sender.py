# SPDX-License-Identifier: Apache-2.0
"""Encode, authenticate and send the adverts of one instance."""

from __future__ import annotations

from time import time as wall_clock

from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance
from pointsman.vrrp.admission import Guard, build_advert
from pointsman.vrrp.wire import GROUP, GROUP6, TTL, ChecksumForm, encode

MAX_ENCODED = 64
"""Encoded adverts in the cache of one instance."""


class AdvertSender:
    """Sender of one instance's adverts. Most are equal to an earlier one, so it keeps the encoded bytes."""

    def __init__(self, instance: VrrpInstance, guard: Guard) -> None:
        self.checksum_form: ChecksumForm | None = None
        """Form of the checksum in the last accepted advert. Sent adverts have the same."""
        self._instance = instance
        self._guard = guard
        self._encoded: dict[tuple[int, Address, ChecksumForm | None], bytes] = {}
        """Encoded adverts by priority, destination and checksum form."""

    def reconfigure(self, instance: VrrpInstance, guard: Guard) -> None:
        """Use other settings."""
        self._instance, self._guard = instance, guard
        self._encoded.clear()

    def destinations(self, source: Address) -> tuple[Address, ...]:
        """Return the unicast peers, otherwise the multicast group."""
        group = self._instance.multicast_group or (GROUP if source.version == 4 else GROUP6)
        return self._instance.unicast_peers or (group,)

    def send(self, tx_socket: AdvertSocket, priority: int, source: Address, destination: Address) -> None:
        """Send an advert with the configured authentication. Raises OSError."""
        advert = self._encode(priority, source, destination)
        settings, ttl = self._instance.hmac, self._instance.unicast_ttl
        if self._guard.signer is not None and settings is not None and settings.mode != "receive-only":
            advert = self._guard.signer.sign(advert, source, destination, wall_clock())
        if self._guard.wrapper is not None:
            lifetime = TTL if destination.is_multicast else ttl
            packet = self._guard.wrapper.wrap(advert, source, destination, lifetime, wall_clock())
            tx_socket.send_packet(packet, destination)
        else:
            tx_socket.send(advert, source, destination, ttl)

    def _encode(self, priority: int, source: Address, destination: Address) -> bytes:
        key = priority, destination, self.checksum_form
        if key not in self._encoded:
            if len(self._encoded) >= MAX_ENCODED:
                self._encoded.clear()
            advert = build_advert(self._instance, priority, self.checksum_form)
            self._encoded[key] = encode(advert, source, destination)
        return self._encoded[key]
