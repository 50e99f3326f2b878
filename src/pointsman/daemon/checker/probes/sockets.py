# SPDX-License-Identifier: Apache-2.0
"""Sockets of probes: bind, connect with a timeout, and sort errors as health/tcp.py does."""

from __future__ import annotations

import asyncio
import os
import socket

from pointsman.daemon.checker.probes.probe import ProbeFailedError, ProbeUnableError
from pointsman.daemon.checker.probes.probe_source import probe_sources
from pointsman.health import tcp
from pointsman.model.checks import NetworkCheck

_IP_BIND_ADDRESS_NO_PORT = 24


def open_socket(check: NetworkCheck, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """Return a non-blocking socket with the source address and mark of the check. Raises OSError."""
    family = socket.AF_INET if check.connect_address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        _prepare(sock, check)
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, check: NetworkCheck) -> None:
    if check.bind_interface:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, check.bind_interface.encode())
    if check.fwmark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, check.fwmark)
    source = check.bind_address or probe_sources().choose(check).source
    if source is None and not check.bind_port:
        return
    wildcard = "0.0.0.0" if sock.family == socket.AF_INET else "::"
    if check.bind_port:
        # The port of the last probe may still be in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    elif sock.type != socket.SOCK_RAW:  # it has no ports, and over IPv6 refuses the option
        # The kernel chooses the port when it connects. Many probes can then use the same one.
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((str(source or wildcard), check.bind_port))


async def receive(sock: socket.socket, most: int) -> bytes:
    """Return the next datagram, after other tasks have run: a flood must not delay other checks.

    Raises OSError.
    """
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().sock_recv(sock, most)


def source_address(sock: socket.socket) -> str:
    """Return the local address of a socket, as far as the kernel has chosen one. Raises OSError."""
    return str(sock.getsockname()[0])


def socket_error(check: NetworkCheck, error: OSError) -> ProbeUnableError:
    """Return the error for a socket that could not be opened."""
    return ProbeUnableError(f"cannot open a socket to check {tcp.target(check)}: {error.strerror}")


async def connect(check: NetworkCheck, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket, connected within `connect_timeout`. Raises ProbeFailedError and ProbeUnableError."""
    try:
        sock = open_socket(check, kind)
    except OSError as error:
        raise socket_error(check, error) from None
    address = (str(check.connect_address), check.connect_port)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, address), check.connect_timeout)
    except TimeoutError:
        reason = tcp.timeout(check, source_address(sock))
        sock.close()
        raise ProbeFailedError(reason) from None
    except OSError as error:
        sock.close()
        raise probe_error(check, error) from None
    except BaseException:
        sock.close()
        raise
    return sock


def probe_error(check: NetworkCheck, error: OSError) -> ProbeFailedError | ProbeUnableError:
    """Return ProbeUnableError for an error of this host, else ProbeFailedError."""
    code = error.errno or 0
    reason = tcp.failure(check, code, os.strerror(code) if code else str(error))
    return ProbeUnableError(reason) if code in tcp.OUR_OWN_ERRORS else ProbeFailedError(reason)
