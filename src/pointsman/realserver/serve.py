# SPDX-License-Identifier: Apache-2.0
"""Answer directors that ask which connections this real server holds (sync.ask)."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from pointsman.model.address import Address
from pointsman.model.config import ASK_PORT
from pointsman.packets.record import RECORD_SIZE
from pointsman.realserver.sockets import connections
from pointsman.sync import ask

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PORT = ASK_PORT
MOST_AT_ONCE = 16
"""Directors that are answered at the same time."""
QUESTION_TIME = 2.0
"""Seconds for which a question may take to arrive."""
ANSWER_TIME = 30.0
"""Seconds for which an answer may take to be sent."""


class ConnectionServer:
    """TCP service that answers questions. Nothing is told to somebody without the key."""

    def __init__(
        self,
        key: bytes,
        directors: Collection[Network],
        tell: Callable[[str], None],
        port: int = PORT,
        everywhere: bool = False,
    ) -> None:
        """`directors`: who may ask; empty: everybody who has the key. `everywhere`: tell of sockets in other
        network namespaces of this host, too. Raises OSError.
        """
        self._key = key
        self._directors = directors
        self._tell = tell
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._listener = _listen(port)
        self.port: int = self._listener.getsockname()[1]
        self._find = partial(connections, everywhere=everywhere)

    def start(self) -> None:
        """Answer in the background until `close`."""
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """Take no more questions."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError:
                if self._listener.fileno() < 0:
                    return
                time.sleep(0.1)  # out of descriptors
                continue
            address = _address(peer[0])
            if not self._may_ask(address) or not self._free.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()

    def _may_ask(self, address: Address) -> bool:
        return not self._directors or any(address in network for network in self._directors)

    def _serve(self, connection: socket.socket, peer: Address) -> None:
        try:
            with connection:
                count = answer(connection, self._key, self._find)
            self._tell(f"told {peer} of {count} connections")
        except (OSError, ask.BadMessageError) as error:
            self._tell(f"did not answer {peer}: {error}")
        finally:
            self._free.release()


def _address(text: str) -> Address:
    """Return the address of a peer, without zone; IPv4 as such."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def answer(
    connection: socket.socket,
    key: bytes,
    find: Callable[[Sequence[bytes]], Iterator[bytes]],
) -> int:
    """Answer one question. Return the number of connections. Raises OSError, BadMessageError."""
    deadline = time.monotonic() + QUESTION_TIME
    challenge = secrets.token_bytes(ask.NONCE_SIZE)
    connection.settimeout(QUESTION_TIME)
    connection.sendall(ask.encode_challenge(challenge))
    header = _read(connection, ask.HEADER_SIZE, deadline)
    data = header + _read(connection, ask.question_rest(header), deadline)
    talk, targets = ask.decode_question(key, challenge, data)
    deadline = time.monotonic() + ANSWER_TIME
    total, number = 0, 0
    for number, page in enumerate(ask.pages(find(targets)), 1):
        total += len(page) // RECORD_SIZE
        _send(connection, ask.encode_page(talk, number - 1, page), deadline)
    _send(connection, ask.encode_page(talk, number, b""), deadline)
    return total


def _send(connection: socket.socket, data: bytes, deadline: float) -> None:
    connection.settimeout(_left(deadline))
    connection.sendall(data)


def _read(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(_left(deadline))
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("it closed the connection")
        data += part
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left


def _listen(port: int) -> socket.socket:
    """Return a listener for IPv4 and IPv6, or for IPv4 alone if this host has no IPv6."""
    try:
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=MOST_AT_ONCE, dualstack_ipv6=True
        )
    except OSError:
        return socket.create_server(("", port), backlog=MOST_AT_ONCE)
