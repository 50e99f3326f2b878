"""What the VRRP process has to say to the director and to the process that runs programs; it never waits."""

from __future__ import annotations

import collections
import socket
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pointsman.control.messages import GroupChanged, InstanceChanged, encode
from pointsman.control.vrrp_messages import NotifyMessage

_MOST_PENDING = 1024
"""Messages kept while nobody reads; the oldest go first, the director can ask again."""

_T = TypeVar("_T")


class ReportChannel:
    """Two queues, and the channels that they go to when these have room."""

    def __init__(self, director: socket.socket, helper: socket.socket | None) -> None:
        self.helped = False
        """True if a process runs programs (`needs_scripts_process`). Otherwise notices are not sent."""
        self._director = director
        self._helper = helper
        self._reports: collections.deque[InstanceChanged | GroupChanged] = collections.deque(
            maxlen=_MOST_PENDING
        )
        self._notices: collections.deque[NotifyMessage] = collections.deque(maxlen=_MOST_PENDING)

    def report(self, message: InstanceChanged | GroupChanged) -> None:
        """To the director, at once."""
        self._reports.append(message)
        self.flush()

    def notify(self, message: NotifyMessage) -> None:
        """To the helper, with the next `flush`: what is done first is said later."""
        self._notices.append(message)

    def flush(self) -> None:
        """Send what is waiting. What does not fit goes another time."""
        _send_all(self._director, self._reports, encode)
        if self._helper is None or not self.helped:
            self._notices.clear()
        else:
            _send_all(self._helper, self._notices, msgspec.json.encode)


def _send_all(channel: socket.socket, pending: collections.deque[_T], encoder: Callable[[_T], bytes]) -> None:
    while pending:
        try:
            channel.send(encoder(pending[0]), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            pass  # nobody is there to be told
        pending.popleft()
