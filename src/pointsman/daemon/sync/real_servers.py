# SPDX-License-Identifier: Apache-2.0
"""Ask real servers for the connections that they hold (sync.ask), many at a time and for a bounded time."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from pointsman.model.address import Address
from pointsman.model.service import Forwarding, RealServer, ServiceKey, Transport
from pointsman.packets.record import RECORD_SIZE, Record
from pointsman.sync import ask

ASKED_AT_ONCE = 32
_ASKED = (Transport.TCP, Transport.UDP)
_WITH_VIP = (Forwarding.ROUTE, Forwarding.TUNNEL)
_RECEIVE = 1 << 18


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
