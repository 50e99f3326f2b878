# SPDX-License-Identifier: Apache-2.0
"""A client with many TCP connections: `python client.py VIP PORT COUNT SOURCE...`.

Half of the connections ask for an echo every PERIOD seconds, a tenth gets a stream, the others are idle.
Lines of standard input are commands, each answered by a line: `idle`: every idle connection asks once;
`report`: what happened since the last report, as JSON.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import selectors
import socket
import sys
import time

PERIOD = 0.1
LINE = 16
STALL = 1.0
"""Seconds without an answer, or without the next lines of a stream, that count as a stall."""


class Conversation:
    """One connection. Every line that comes has the next number, or bytes were lost or doubled."""

    def __init__(self, kind: str, number: int, count: int, target: tuple[str, int], source: str) -> None:
        self.kind = kind
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.bind((source, 0))
        failure = self.socket.connect_ex(target)
        if failure not in (0, errno.EINPROGRESS):
            raise OSError(failure, os.strerror(failure))
        self.next_at = time.monotonic() + PERIOD * number / count
        self.trouble = ""
        self.lost = self.doubled = 0
        self._asked = self._answered = 0
        self._rest = b""
        self._waits_since: float | None = None
        self._longest = 0.0

    def begin(self, now: float) -> None:
        """Say what the connection is for; the first answer shows that it is established."""
        if self.kind == "stream":
            self.socket.send(b"S")
            self._waits_since = now
        else:
            self.socket.send(b"E")
            self.ask(now)

    def ask(self, now: float) -> None:
        """Send the next line, unless an answer is awaited."""
        self.next_at = max(self.next_at + PERIOD, now)
        if self._waits_since is None and not self.trouble:
            self.send(b"%015d\n" % self._asked, now)

    def send(self, line: bytes, now: float) -> None:
        self._asked += 1
        self._waits_since = now
        try:
            self.socket.send(line)
        except OSError as error:
            self.fail(error)

    def on_data(self, now: float) -> None:
        """Read what has come."""
        try:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "closed by the other side")
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(error)
            return
        self._rest += data
        whole = len(self._rest) // LINE * LINE
        for at in range(0, whole, LINE):
            self._on_line(int(self._rest[at : at + LINE]))
        self._rest = self._rest[whole:]
        if whole:
            self._longest = max(self._longest, self.silence(now))
            self._waits_since = now if self.kind == "stream" else None

    def _on_line(self, number: int) -> None:
        if number > self._answered:
            self.lost += (number - self._answered) * LINE
        elif number < self._answered:
            self.doubled += LINE
        self._answered = max(self._answered, number + 1)

    def silence(self, now: float) -> float:
        """Return for how many seconds an answer is awaited."""
        return 0.0 if self._waits_since is None else now - self._waits_since

    def fail(self, error: OSError) -> None:
        self.trouble = errno.errorcode.get(error.errno or 0, "?")

    def longest_silence(self, now: float) -> float:
        """Return the longest wait since the last call, in seconds."""
        longest, self._longest = max(self._longest, self.silence(now)), 0.0
        return longest


class Client:
    """All connections, and the loop that serves them."""

    def __init__(self, target: tuple[str, int], count: int, sources: list[str]) -> None:
        self._waiting = selectors.EpollSelector()
        kinds = ["ask"] * 5 + ["stream"] + ["idle"] * 4
        self._all: list[Conversation] = []
        for number in range(count):
            source = sources[number % len(sources)]
            self._all.append(Conversation(kinds[number % 10], number, count, target, source))
            self._waiting.register(self._all[-1].socket, selectors.EVENT_WRITE, self._all[-1])
        self._asking = [each for each in self._all if each.kind == "ask"]

    def establish(self, seconds: float) -> None:
        """Wait until every connection has got its first answer. Raises OSError."""
        end, missing = time.monotonic() + seconds, set(self._all)
        while missing:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(missing)} of {len(self._all)} connections are not established")
            for key, mask in self._waiting.select(0.1):
                each = key.data
                if mask & selectors.EVENT_WRITE:
                    if failure := each.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        raise OSError(failure, os.strerror(failure))
                    self._waiting.modify(each.socket, selectors.EVENT_READ, each)
                    each.begin(time.monotonic())
                else:
                    each.on_data(time.monotonic())
                    missing.discard(each)
        for each in self._all:
            each.longest_silence(time.monotonic())

    def run(self) -> None:
        """Ask and read until standard input ends."""
        os.set_blocking(sys.stdin.fileno(), False)
        self._waiting.register(sys.stdin, selectors.EVENT_READ, "command")
        while True:
            now = time.monotonic()
            for each in self._asking:
                if each.next_at <= now:
                    each.ask(now)
            for key, _ in self._waiting.select(0.005):
                if key.data == "command":
                    words = sys.stdin.readline().split()
                    if not words:
                        return
                    self._command(words[0])
                else:
                    key.data.on_data(time.monotonic())
                    if key.data.trouble:
                        self._waiting.unregister(key.data.socket)

    def _command(self, word: str) -> None:
        now = time.monotonic()
        if word == "idle":
            for each in self._all:
                if each.kind == "idle":
                    each.ask(now)
            print("asked", flush=True)
        else:
            print(json.dumps(self._report(now)), flush=True)

    def _report(self, now: float) -> dict[str, object]:
        waiting = [each.silence(now) > STALL for each in self._all if not each.trouble]
        silences = {each: each.longest_silence(now) for each in self._all}
        living = [each for each in self._all if not each.trouble]
        troubles = sorted({each.trouble for each in self._all} - {""})
        return {
            "connections": len(self._all),
            "reset": len(self._all) - len(living),
            "stalled": sum(silences[each] > STALL for each in living),
            "longest": round(max((silences[each] for each in living), default=0.0), 3),
            "lost": sum(each.lost for each in self._all),
            "doubled": sum(each.doubled for each in self._all),
            "waiting": sum(waiting),
            "errors": troubles,
        }


def main(words: list[str]) -> None:
    vip, port, count, *sources = words
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    client = Client((vip, int(port)), int(count), sources)
    client.establish(60.0)
    print("established", flush=True)
    client.run()


if __name__ == "__main__":
    main(sys.argv[1:])
