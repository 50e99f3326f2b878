# SPDX-License-Identifier: Apache-2.0
"""Records when keepalived's checkers probe: `python -m tests.guest.record_checks`, in a guest with IPVS.

Servers of each kind answer by a script, one outcome a probe, and note when they are asked. The result is
tests/golden/check_kinds.json, which tests/machines/test_check_kinds_golden.py holds our schedules against.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

from tests.guest import machine

GOLDEN = Path(__file__).parents[1] / "golden" / "check_kinds.json"
SECONDS = 55
OUTCOMES = "ppffffffpppppfppffffpfpppp"
"""Results of consecutive probes, passed or failed; later probes pass."""
TIMES = "delay_loop 2\ndelay_before_retry 0.6\nretry 2\nwarmup 0\nconnect_timeout 1\n"
_URLS = "url {\npath /a\n}\nurl {\npath /b\n}"
CASES = {
    "HTTP_GET, one URL": ("http", "HTTP_GET {\nurl {\npath /a\n}\n}"),
    "HTTP_GET, two URLs": ("http", f"HTTP_GET {{\n{_URLS}\n}}"),
    "HTTP_GET, fast_recovery": ("http", f"HTTP_GET {{\n{_URLS}\nfast_recovery\n}}"),
    "SMTP_CHECK": ("smtp", "SMTP_CHECK {\n}"),
    "DNS_CHECK": ("dns", "DNS_CHECK {\nname test\n}"),
    "UDP_CHECK": ("udp", "UDP_CHECK {\npayload 01\nrequire_reply 01\n}"),
    "PING_CHECK": ("ping", "PING_CHECK {\n}"),
    "MISC_CHECK": ("misc", "MISC_CHECK {\nmisc_path {script}\n}"),
}
_SCRIPT = """#!/bin/sh
date +%s.%N >> {log}
outcome=$(printf %s {outcomes} | cut -c "$(wc -l < {log})")
[ "$outcome" != f ]
"""


_ECHO_REQUEST = 8
_IGNORE = Path("/proc/sys/net/ipv4/icmp_echo_ignore_all")
_VERDICT = re.compile(
    r"^(?P<date>.{24}): (?P<word>Removing|Adding) service .* VS \[192\.0\.2\.(?P<number>\d+)\]", re.MULTILINE
)


def block(name: str, number: int, script: str = "/bin/true") -> str:
    """The virtual server of a case."""
    checker = CASES[name][1].replace("{script}", script)
    return (
        f"virtual_server 192.0.2.{number + 1} 80 {{\nprotocol TCP\nlvs_method DR\nlvs_sched rr\n{TIMES}"
        f"real_server 127.1.0.1 {8000 + number} {{\n{checker}\n}}\n}}\n"
    )


class Server:
    """Answers by the script; `asked` are the moments, and what for."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []

    def passes(self, what: str = "") -> bool:
        """The outcome of the probe that has just come."""
        self.asked.append((time.time(), what))
        return len(self.asked) > len(OUTCOMES) or OUTCOMES[len(self.asked) - 1] == "p"

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = "200 OK" if self.passes(head.split()[1].decode()) else "503 No"
        writer.write(f"HTTP/1.0 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
        writer.close()

    async def smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        good = self.passes()
        for answer in (b"220 here", b"250 hello", b"221 bye") if good else (b"554 no",):
            writer.write(answer + b"\r\n")
            await reader.readline()
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """The same for DNS and UDP."""

    def __init__(self, server: Server, kind: str) -> None:
        self._server, self._kind = server, kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # It is one by its methods, but in Python 3.11 not by its class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        good = self._server.passes()
        if self._kind == "dns":
            self._transport.sendto(data[:2] + (b"\x81\x80" if good else b"\x81\x82") + data[4:], addr)
        elif good:
            self._transport.sendto(data, addr)


class Echoes:
    """Lets the kernel answer echo requests, or not; a raw socket tells of each."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._heard)

    def _heard(self) -> None:
        if self._socket.recv(2048)[20] != _ECHO_REQUEST:
            return
        self._server.passes()
        done = len(self._server.asked)
        # The next one is not there before a pause of keepalived's is over.
        _IGNORE.write_text("1" if OUTCOMES[done : done + 1] == "f" else "0")


async def record(folder: Path) -> dict[str, object]:
    """keepalived beside all the servers, for SECONDS."""
    loop, log, script = asyncio.get_running_loop(), folder / "asked", folder / "script"
    servers: dict[str, Server] = {}
    log.touch()
    script.write_text(_SCRIPT.format(log=log, outcomes=OUTCOMES))
    script.chmod(0o755)
    for number, (name, (kind, _)) in enumerate(CASES.items()):
        server = servers[name] = Server()
        if kind in ("http", "smtp"):
            await asyncio.start_server(getattr(server, kind), "127.1.0.1", 8000 + number)
        elif kind == "ping":
            Echoes(server)
        elif kind in ("dns", "udp"):
            made = partial(Datagrams, server, kind)
            await loop.create_datagram_endpoint(made, ("127.1.0.1", 8000 + number))
    text = "global_defs {\nrouter_id record\nscript_user root\n}\n"
    text += "".join(block(name, number, str(script)) for number, name in enumerate(CASES))
    (folder / "conf").write_text(text)
    with (folder / "log").open("wb") as out:
        words = f"keepalived -n -l -D -C -f {folder}/conf -p {folder}/p -c {folder}/c"
        process = subprocess.Popen(words.split(), stdout=out, stderr=out)
        await asyncio.sleep(SECONDS)
        process.terminate()
        process.wait(30)
    servers["MISC_CHECK"].asked = [(float(line), "") for line in log.read_text().split()]
    asked = {name: server.asked for name, server in servers.items()}
    return told(asked, (folder / "log").read_text())


def told(asked: dict[str, list[tuple[float, str]]], log: str) -> dict[str, object]:
    """Return times and targets of probes by case, and when keepalived removed and added the real server.

    Seconds since the first probe of all; keepalived's log has whole ones.
    """
    began = min(moments[0][0] for moments in asked.values())
    verdicts: dict[str, list[tuple[float, str]]] = {name: [] for name in asked}
    for match in re.finditer(_VERDICT, log):
        when = datetime.strptime(match["date"], "%a %b %d %H:%M:%S %Y").astimezone().timestamp()
        verdicts[list(CASES)[int(match["number"]) - 1]].append((when - began, match["word"]))
    return {
        name: {
            "asked": [(round(when - began, 3), what) for when, what in moments],
            "verdicts": [(round(when, 3), word) for when, word in verdicts[name]],
        }
        for name, moments in asked.items()
    }


def _laid_out(rows: dict[str, dict[str, object]]) -> str:
    """A line for each list."""
    cases = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in row.items())
        + "\n}"
        for name, row in rows.items()
    ]
    return "{\n" + ",\n".join(cases) + "\n}\n"


def main() -> None:
    """Run it in a guest, and keep what it brings."""
    if reason := machine.missing():
        sys.exit(f"no guest: {reason}")
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name) / "rows.json"
        command = [sys.executable, "-m", "tests.guest.record_checks", str(rows)]
        outcome = machine.run(machine.kernels()[-1], command, Path(name), 600, ["ip_vs", "ip_vs_rr"])
        if outcome.code:
            sys.exit(f"the recording failed:\n{outcome.output}")
        GOLDEN.write_text(_laid_out(json.loads(rows.read_text())))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            Path(sys.argv[1]).write_text(json.dumps(asyncio.run(record(Path(place)))))
