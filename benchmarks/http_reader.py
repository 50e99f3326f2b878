# SPDX-License-Identifier: Apache-2.0
"""Compare the reader of HTTP answers with a reader that uses h11.

An answer is nginx's reply to a GET, in memory and in one piece. A probe is a whole HTTP_GET of the checker
over the loopback interface. The results are CPU time of the checker alone, the median of several alternating
runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from pointsman.daemon.checker.probes import http as prober
from pointsman.health.http import Answer, AnswerReader, BadAnswerError
from pointsman.model.checks import HttpCheck, HttpVersion, Url

RUNS, ANSWERS, PROBES = 9, 5_000, 1_000
AT_ONCE = 50
CHECKS, DELAY_LOOP = 10_000, 10.0

BODY = b"<!DOCTYPE html>\n<html>" + b"x" * 590
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 01 Dec 2026 06:00:00 GMT\r\n"
    b"Content-Type: text/html\r\nContent-Length: %d\r\nLast-Modified: Mon, 30 Nov 2026 06:00:00 GMT\r\n"
    b'Connection: close\r\nETag: "656a1f2c-264"\r\nAccept-Ranges: bytes\r\n\r\n' % len(BODY)
) + BODY

SERVER = f"""
import asyncio
async def answer(reader, writer):
    await reader.read(4096)
    writer.write({ANSWER!r})
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class H11Reader:
    """A minimal AnswerReader with h11, without a limit for the body."""

    def __init__(self, keep_body: bool) -> None:
        import h11

        self._h11: Any = h11
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=65536)
        self._connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._connection.send(h11.EndOfMessage())
        self._status = 0
        self._hash = hashlib.md5(usedforsecurity=False)
        self._body = bytearray() if keep_body else None
        self.done = False

    def feed(self, data: bytes) -> None:
        """Read more bytes. Raises BadAnswerError."""
        h11 = self._h11
        try:
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                elif isinstance(event, h11.Data):
                    self._hash.update(event.data)
                    if self._body is not None:
                        self._body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self.done = True
                    return
        except h11.RemoteProtocolError as error:
            raise BadAnswerError(str(error)) from None

    def finish(self) -> Answer:
        if not self.done:
            self.feed(b"")
        return Answer(self._status, self._hash.hexdigest(), bytes(self._body or b""))


READERS: dict[str, Callable[[bool], Any]] = {"own": AnswerReader, "h11": H11Reader}


def main() -> None:
    """Measure both readers and print the cost of h11 for the checker."""
    answers = _medians(_answers)
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        probes = _medians(lambda reader: asyncio.run(_probes(reader, port)))
    finally:
        server.kill()
        server.wait()
    print(f"median of {RUNS}           own      h11")
    more = probes["h11"] / probes["own"] - 1
    every = f"{CHECKS} checks at delay_loop {DELAY_LOOP:g}"
    share = CHECKS / DELAY_LOOP / 1e4
    for name, figures, remark in (
        ("us an answer", answers, ""),
        ("us a probe", probes, f"{more:+.0%}"),
        ("% of a CPU", {name: cost * share for name, cost in probes.items()}, every),
    ):
        print(f"{name:16}{figures['own']:10.1f}{figures['h11']:9.1f}   {remark}")


def _medians(measure: Callable[[Callable[[bool], Any]], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(RUNS):
        for name, reader in READERS.items():
            found[name].append(measure(reader))
    return {name: statistics.median(figures) for name, figures in found.items()}


def _answers(reader: Callable[[bool], Any]) -> float:
    began = time.process_time()
    for _ in range(ANSWERS):
        taken = reader(False)
        taken.feed(ANSWER)
        assert taken.finish().status == 200
    return (time.process_time() - began) / ANSWERS * 1e6


async def _probes(reader: Callable[[bool], Any], port: int) -> float:
    check = HttpCheck(
        connect_address=ip_address("127.0.0.1"),
        connect_port=port,
        urls=(Url(),),
        version=HttpVersion.V1_1,
        connect_timeout=30.0,
    )
    setattr(prober, "AnswerReader", reader)  # noqa: B010 (it is a class to the type checker)
    began = time.process_time()
    for _ in range(PROBES // AT_ONCE):
        await asyncio.gather(*(prober.probe(check, 0) for _ in range(AT_ONCE)))
    return (time.process_time() - began) / PROBES * 1e6


if __name__ == "__main__":
    main()
