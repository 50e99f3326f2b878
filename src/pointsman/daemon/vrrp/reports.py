# SPDX-License-Identifier: Apache-2.0
"""Non-blocking outgoing queues of the VRRP process: reports to the director, notify events to pm-scripts."""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from pointsman.control.messages import AdvertHeard, AdvertsHeard, VrrpReport, encode
from pointsman.control.vrrp_messages import NotifyMessage
from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance

_MAX_PENDING = 1024
"""Messages in a queue while nobody reads. The oldest are dropped: the director can request all again."""
_MAX_HEARD = 128
"""Adverts in one message."""

INTERVAL = 0.5
"""Minimum seconds between two reports, however many adverts arrive."""

LastAdvert = tuple[Address, int, float]
"""Source, priority and time of arrival."""

_T = TypeVar("_T")


class ReportChannel:
    """Two queues, and the channels to which they are sent."""

    def __init__(self, director: socket.socket, scripts: socket.socket | None) -> None:
        self.has_scripts_process = False
        """True if pm-scripts runs (`needs_scripts_process`). Otherwise notify events are dropped."""
        self._director = director
        self._scripts = scripts
        self._reports: collections.deque[VrrpReport] = collections.deque(maxlen=_MAX_PENDING)
        self._events: collections.deque[NotifyMessage] = collections.deque(maxlen=_MAX_PENDING)

    def send_report(self, message: VrrpReport) -> None:
        """Send a report to the director, at once if the channel has room."""
        self._reports.append(message)
        self.flush()

    def send_heard(self, adverts: Sequence[AdvertHeard]) -> None:
        """Send the last adverts to the director, unless reports wait: later ones replace them."""
        for first in range(0, len(adverts), _MAX_HEARD):
            if self._reports:
                return
            self.send_report(AdvertsHeard(tuple(adverts[first : first + _MAX_HEARD])))

    def notify(self, message: NotifyMessage) -> None:
        """Queue a message for pm-scripts. `flush` sends it, after the work of this turn is done."""
        self._events.append(message)

    def flush(self) -> None:
        """Send the queued messages. Those that do not fit into the channel stay queued."""
        _send_all(self._director, self._reports, encode)
        if self._scripts is None or not self.has_scripts_process:
            self._events.clear()
        else:
            _send_all(self._scripts, self._events, msgspec.json.encode)


def _send_all(channel: socket.socket, pending: collections.deque[_T], encoder: Callable[[_T], bytes]) -> None:
    while pending:
        try:
            channel.send(encoder(pending[0]), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            pass  # the other end is closed
        pending.popleft()


class Receiver(Protocol):
    """An instance that receives adverts."""

    instance: VrrpInstance
    last_advert: LastAdvert | None


class AdvertReports:
    """Selects the adverts to report. An advert itself wakes the VRRP process, so there is no timer."""

    def __init__(self) -> None:
        self._reported: dict[str, float] = {}
        self._next = float("-inf")

    def forget(self) -> None:
        """Report all again: the director has just started."""
        self._reported.clear()
        self._next = float("-inf")

    def take(self, now: float, receivers: Sequence[Receiver]) -> list[AdvertHeard]:
        """Return the adverts that have arrived since they were last reported."""
        if now < self._next:
            return []
        self._next = now + INTERVAL
        found = []
        for each in receivers:
            name, heard = each.instance.name, each.last_advert
            if heard is not None and self._reported.get(name) != heard[2]:
                self._reported[name] = heard[2]
                found.append(AdvertHeard(name, str(heard[0]), heard[1], heard[2]))
        return found
