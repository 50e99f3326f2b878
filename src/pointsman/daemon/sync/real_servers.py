# SPDX-License-Identifier: Apache-2.0
"""Ask real servers for the connections that they hold (sync.ask), many at a time and for a bounded time."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from pointsman.dataplane.interface import RecordExchange, TakeCounts
from pointsman.model.address import Address
from pointsman.model.config import Config
from pointsman.model.service import Forwarding, RealServer, ServiceKey, Transport
from pointsman.model.wording import count
from pointsman.packets.record import RECORD_SIZE, Record
from pointsman.sync import ask

log = logging.getLogger("sync")

ASKED_AT_ONCE = 32
_ASKED = (Transport.TCP, Transport.UDP)
_WITH_VIP = (Forwarding.ROUTE, Forwarding.TUNNEL)
_RECEIVE = 1 << 18
PATIENCE = 1.0
"""Seconds in which real servers must have answered."""
PAUSE = 10.0
"""Seconds between two questions at least."""
MOST_NAMED = 3


def targets_of(services: Iterable[tuple[ServiceKey, Sequence[RealServer]]]) -> dict[Address, list[bytes]]:
    """Return what to ask each real server: records without client.

    Services by firewall mark and of SCTP are left out: no socket tells of a mark, nor is SCTP asked for.
    """
    found: dict[Address, list[bytes]] = {}
    for key, servers in services:
        if key.transport not in _ASKED or key.address is None:
            continue
        for server in servers:
            if server.forwarding in _WITH_VIP:
                target = _target(key.transport, key.address, key.port, server)
                found.setdefault(server.key.address, []).append(target)
    return found


def _target(transport: Transport, virtual: Address, port: int, server: RealServer) -> bytes:
    return Record(
        client=ipaddress.ip_address("::" if virtual.version == 6 else "0.0.0.0"),
        virtual=virtual,
        virtual_port=port,
        server=server.key.address,
        server_port=server.key.port,
        protocol=transport,
        seconds=0,
    ).encode()


def ask_all(
    questions: Mapping[Address, Sequence[bytes]],
    key: bytes,
    port: int,
    seconds: float,
    take: Callable[[bytes], object],
) -> dict[Address, int | str]:
    """Ask all real servers, and give runs of records to `take`. Return for each how many, or an error.

    It ends after about `seconds`. What has arrived by then is taken.
    """
    lock, deadline = Lock(), time.monotonic() + seconds

    def ask_one(server: Address) -> int | str:
        total, targets = 0, questions[server]
        try:
            for start in range(0, len(targets), ask.PAGE):
                for records in ask_server(server, port, key, targets[start : start + ask.PAGE], deadline):
                    with lock:
                        take(records)
                    total += len(records) // RECORD_SIZE
        except OSError as error:
            return (error.strerror or str(error)).lower()
        except ask.BadMessageError as error:
            return str(error)
        return total

    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return dict(zip(questions, pool.map(ask_one, questions), strict=True))


def ask_server(
    server: Address, port: int, key: bytes, targets: Sequence[bytes], deadline: float
) -> Iterator[bytes]:
    """Yield runs of records as they arrive from one real server. Raises OSError, BadMessageError."""
    with socket.create_connection((str(server), port), timeout=_left(deadline)) as connection:
        hello = b""
        while len(hello) < ask.CHALLENGE_SIZE:
            hello += _receive(connection, ask.CHALLENGE_SIZE - len(hello), deadline)
        nonce = secrets.token_bytes(ask.NONCE_SIZE)
        talk = ask.Conversation(key, ask.decode_challenge(hello), nonce)
        connection.sendall(ask.encode_question(talk, targets))
        answer = ask.Answer(talk, targets)
        while not answer.complete:
            yield from answer.receive(_receive(connection, _RECEIVE, deadline))


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    connection.settimeout(_left(deadline))
    data = connection.recv(size)
    if not data:
        raise ConnectionResetError("it closed the connection; compare the keys, and its --director")
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


class Question:
    """One question to all real servers at a time, in a thread with tables of its own."""

    def __init__(self, open_tables: Callable[[], RecordExchange]) -> None:
        """`open_tables` may raise OSError."""
        self._open_tables = open_tables
        self._thread: threading.Thread | None = None
        self._asked_at = float("-inf")

    @property
    def is_open(self) -> bool:
        """True while answers may still come."""
        return self._thread is not None and self._thread.is_alive()

    def ask(self, config: Config, now: float) -> None:
        """Ask, unless connection_sync does not say so, or it was done just now."""
        if config.sync is None or not config.sync.ask_port or self.is_open or now - self._asked_at < PAUSE:
            return
        self._asked_at = now
        self._thread = threading.Thread(target=self._ask, args=(config,), daemon=True)
        self._thread.start()

    def _ask(self, config: Config) -> None:
        assert config.sync is not None
        services = (
            (virtual.service.key, [member.server for member in virtual.members])
            for virtual in config.virtual_servers
        )
        counts: list[TakeCounts] = []
        try:
            tables = self._open_tables()
            answers = ask_all(
                targets_of(services),
                ask.key_of(config.sync.secret),
                config.sync.ask_port,
                PATIENCE,
                lambda records: counts.append(tables.take(records)),
            )
        except OSError as error:
            log.error("cannot ask the real servers for connections: %s", error)
            return
        added = sum(each.added for each in counts)
        log.info("%s told of %s, %d were new", *_told(answers.values()), added)
        failed = [f"{server}: {answer}" for server, answer in answers.items() if isinstance(answer, str)]
        if failed:
            more = f" and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
            log.warning("no answer from real servers: %s%s", "; ".join(failed[:MOST_NAMED]), more)


def _told(answers: Iterable[int | str]) -> tuple[str, str]:
    numbers = [answer for answer in answers if isinstance(answer, int)]
    return count(len(numbers), "real server"), count(sum(numbers), "connection")
