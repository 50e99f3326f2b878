# SPDX-License-Identifier: Apache-2.0
"""A real server for many connections: `python echo_server.py PORT`.

The first byte of a connection says what the client wants: E: everything that follows comes back; S: numbered
lines come, LINES every PERIOD seconds.
"""

from __future__ import annotations

import contextlib
import heapq
import resource
import selectors
import socket
import sys
import time

LINES, PERIOD = 32, 0.1


class Stream:
    """A connection that gets numbered lines. What its socket does not take now waits here."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._number = 0
        self._waiting = b""

    def send(self) -> None:
        """Send the lines that are due. Raises OSError when the connection is over."""
        if len(self._waiting) < 65536:
            last = self._number + LINES
            self._waiting += b"".join(b"%015d\n" % number for number in range(self._number, last))
            self._number = last
        with contextlib.suppress(BlockingIOError):
            self._waiting = self._waiting[self.connection.send(self._waiting) :]


def serve(port: int) -> None:
    """Serve until the process is killed."""
    listener = socket.create_server(("", port), backlog=4096)
    listener.setblocking(False)
    waiting = selectors.EpollSelector()
    waiting.register(listener, selectors.EVENT_READ, "listener")
    due: list[tuple[float, int, Stream]] = []
    while True:
        pause = max(0.0, due[0][0] - time.monotonic()) if due else None
        for key, _ in waiting.select(pause):
            if key.data == "listener":
                with contextlib.suppress(BlockingIOError):
                    while True:
                        accepted, _ = listener.accept()
                        accepted.setblocking(False)
                        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        waiting.register(accepted, selectors.EVENT_READ, "new")
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                data = connection.recv(65536)
                if key.data == "new" and data:
                    if data[:1] == b"S":
                        stream = Stream(connection)
                        heapq.heappush(due, (time.monotonic(), id(stream), stream))
                    waiting.modify(connection, selectors.EVENT_READ, "known")
                    data, is_new = data[1:], True
                else:
                    is_new = False
                if data:
                    connection.sendall(data)
                elif not is_new:
                    raise ConnectionError
            except OSError:
                waiting.unregister(connection)
                connection.close()
        now = time.monotonic()
        while due and due[0][0] <= now:
            when, number, stream = heapq.heappop(due)
            with contextlib.suppress(OSError):
                stream.send()
                heapq.heappush(due, (max(when + PERIOD, now - PERIOD), number, stream))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    serve(int(sys.argv[1]))
