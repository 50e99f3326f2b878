# SPDX-License-Identifier: Apache-2.0
"""Adverts that one VRRP instance drops: counted, logged once for each reason, and reported by sender."""

from __future__ import annotations

import collections
from socket import inet_ntoa
from time import time as wall_clock

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance
from pointsman.vrrp import prefilter
from pointsman.vrrp.admission import Drop, Guard, Verdict
from pointsman.vrrp.dropped import DroppedAdverts, is_of_another_group
from pointsman.vrrp.wire import Datagram


class AdvertDrops:
    """The drops of one instance. It shares `counters` and `once` with the instance's controller."""

    def __init__(
        self,
        instance: VrrpInstance,
        guard: Guard,
        counters: collections.Counter[str],
        once: LogOnce,
        dropped: DroppedAdverts,
    ) -> None:
        self._instance, self._guard = instance, guard
        self._counters = counters
        self._once = once
        self._dropped = dropped
        self._settings_filter = prefilter.SettingsFilter(instance)

    def reconfigure(self, instance: VrrpInstance, guard: Guard) -> None:
        """Use other settings, and report anew what they drop."""
        self._instance, self._guard = instance, guard
        self._settings_filter = prefilter.SettingsFilter(instance)
        self._dropped.forget(instance.name)

    def drop_cheaply(self, packet: bytes, time: float) -> bool:
        """Drop and count a plain packet with an error that was logged. Return False if it must be decoded."""
        length = packet[2] << 8 | packet[3]
        drop = self._settings_filter.reject(packet) or self._find_forgery(
            packet[:20], packet[20:length], packet[12:16], time
        )
        return drop is not None and self._drop_again(drop, inet_ntoa(packet[12:16]))

    def drop_forged(self, datagram: Datagram, time: float) -> bool:
        """Drop and count a packet that is not authentic, if this was logged before."""
        drop = self._find_forgery(datagram.header, datagram.payload, datagram.source.packed, time)
        return drop is not None and self._drop_again(drop, str(datagram.source))

    def is_plausible(self, datagram: Datagram, packet: bytes, time: float) -> bool:
        """True if a sender's packet is authentic, or has the plain form without any error in it."""
        if prefilter.is_plain(packet) and self._settings_filter.reject(packet):
            return False
        if self._guard.is_stateless:
            return prefilter.is_plain(packet)
        source = datagram.source.packed
        return self._find_forgery(datagram.header, datagram.payload, source, time) is None

    def _find_forgery(self, header: bytes, payload: bytes, source: bytes, time: float) -> Drop | None:
        if self._guard.is_stateless:
            return None
        return self._guard.find_forgery(header, payload, source, time, wall_clock())

    def _drop_again(self, drop: Drop, sender: str) -> bool:
        if drop.value not in self._once:
            return False
        self._counters["received"] += 1
        self._counters[drop.value] += 1
        self._dropped.note_again(self._instance.name, sender, drop.value)
        return True

    def on_verdict(self, verdict: Verdict, datagram: Datagram) -> None:
        """Count and log why an advert is dropped, and what is odd about one that is accepted."""
        for kind in (*((verdict.drop,) if verdict.drop else ()), *verdict.oddities):
            self._counters[kind.value] += 1
            self._warn(kind.value, verdict.text)
        if verdict.drop is not None and not is_of_another_group(self._instance, datagram):
            text = verdict.text.removeprefix(f"from {datagram.source}: ")
            self._note(datagram.source, verdict.drop, text)

    def on_unread_packet(self) -> None:
        """Count a packet that is dropped unread because of a flood."""
        self._counters["received"] += 1
        self._counters["flood"] += 1
        self._warn("flood", "too many packets, refused or of unknown senders: some are dropped unread")

    def on_foreign_advert(self, source: Address, number: int) -> None:
        """Process an advert of another virtual router id that seems to be meant for this instance."""
        self._counters[Drop.VIRTUAL_ROUTER_ID.value] += 1
        text = f"virtual_router_id {number}, expecting {self._instance.virtual_router_id}"
        self._warn(f"{Drop.VIRTUAL_ROUTER_ID.value} {number}", f"from {source}: {text}")
        self._note(source, Drop.VIRTUAL_ROUTER_ID, text)

    def count_foreign_again(self, sender: str) -> None:
        """Count one more advert of another virtual router id of this sender."""
        self._dropped.note_again(self._instance.name, sender, Drop.VIRTUAL_ROUTER_ID.value)

    def _note(self, source: Address, drop: Drop, text: str) -> None:
        self._dropped.note(self._instance.name, str(source), drop.value, text)

    def _warn(self, kind: str, text: str) -> None:
        self._once.warning(kind, "(%s) %s", self._instance.name, text)
