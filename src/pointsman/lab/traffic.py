# SPDX-License-Identifier: Apache-2.0
"""Clients: single requests, and a steady prober that measures how long a service does not answer."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import threading
import time
from itertools import pairwise
from types import TracebackType

from pointsman.lab.node import Node

_MAX_PAGE = 65536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER that closes with RST, so that probes do not fill the client with TIME_WAIT."""


def fetch(node: Node, address: str, port: int = 80, source: str = "", timeout: float = 2.0) -> str:
    """Send GET / on a new connection, from `source` if given. Return the page, stripped. Raises OSError."""
    with node.socket() as connection:
        connection.settimeout(timeout)
        if source:
            connection.bind((source, 0))
        connection.connect((address, port))
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = b""
        while len(answer) < _MAX_PAGE and (more := connection.recv(_MAX_PAGE)):
            answer += more
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()


class Prober:
    """Prober: opens a connection every `interval` seconds, records those accepted within `patience` seconds.

    with Prober(client, VIP, 80) as prober:
        ...
    prober.longest_silence()
    """

    def __init__(
        self, node: Node, address: str, port: int, *, interval: float = 0.01, patience: float = 0.1
    ) -> None:
        self._node = node
        self._target = (address, port)
        self._interval = interval
        self._patience = patience
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._begun: list[float] = []
        self._answered: list[float] = []
        self._waiting: dict[socket.socket, float] = {}

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def answered_since(self, moment: float) -> bool:
        """True if a probe that began after this moment (time.monotonic) was accepted."""
        return bool(self._answered) and self._answered[-1] > moment

    def longest_silence(self) -> float:
        """Return the longest time in seconds between two successive accepted probes. Infinite for fewer than
        two."""
        begun = sorted(self._answered)
        return max((later - earlier for earlier, later in pairwise(begun)), default=float("inf"))

    def longest_pause(self) -> float:
        """Seconds between the two successive probes that lie farthest apart: how late they were made.

        Of those up to the last accepted one. As long as every probe is accepted, no silence is longer.
        """
        last = max(self._answered, default=0.0)
        begun = [moment for moment in self._begun if moment <= last]
        return max((later - earlier for earlier, later in pairwise(begun)), default=0.0)

    def _work(self) -> None:
        with self._node.entered(), selectors.DefaultSelector() as selector:
            following = time.monotonic()
            while not self._stopping.is_set():
                now = time.monotonic()
                if now >= following:
                    self._begin(selector, now)
                    following = max(following + self._interval, now)
                for key, _ in selector.select(max(0.0, following - time.monotonic())):
                    assert isinstance(key.fileobj, socket.socket)
                    self._finish(selector, key.fileobj)
                self._give_up(selector, now)
            for probe in list(self._waiting):
                self._close(selector, probe)

    def _begin(self, selector: selectors.BaseSelector, now: float) -> None:
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.setblocking(False)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._begun.append(now)
        self._waiting[probe] = now
        selector.register(probe, selectors.EVENT_WRITE)
        if probe.connect_ex(self._target) not in (0, errno.EINPROGRESS):
            self._close(selector, probe)

    def _finish(self, selector: selectors.BaseSelector, probe: socket.socket) -> None:
        if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            self._answered.append(self._waiting[probe])
        self._close(selector, probe)

    def _give_up(self, selector: selectors.BaseSelector, now: float) -> None:
        for probe, begun in list(self._waiting.items()):
            if now - begun > self._patience:
                self._close(selector, probe)

    def _close(self, selector: selectors.BaseSelector, probe: socket.socket) -> None:
        del self._waiting[probe]
        with contextlib.suppress(KeyError):
            selector.unregister(probe)
        probe.close()
