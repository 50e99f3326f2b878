"""Sockets of probes: bound as the check says, connected in time, errors told apart as health/tcp.py does."""

from __future__ import annotations

import asyncio
import os
import socket

from pointsman.daemon.checker.probes.probe import ProbeFailedError, ProbeUnableError
from pointsman.health import tcp
from pointsman.model.checks import NetworkCheck


def opened(check: NetworkCheck, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A socket that does not block, with the check's own source and mark. Raises OSError."""
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
    if check.bind_address is None and not check.bind_port:
        return
    wildcard = "0.0.0.0" if sock.family == socket.AF_INET else "::"
    # The port of the last probe may still be in TIME_WAIT.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((str(check.bind_address or wildcard), check.bind_port))


async def received(sock: socket.socket, most: int) -> bytes:
    """The next datagram, once everybody else has had a turn: a flood must not hold up other checks.

    Raises OSError.
    """
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().sock_recv(sock, most)


def source_of(sock: socket.socket) -> str:
    """The address that the check's packets come from, as far as the system has chosen one."""
    return str(sock.getsockname()[0])


def no_socket(check: NetworkCheck, error: OSError) -> ProbeUnableError:
    """The error of a socket that could not be had."""
    return ProbeUnableError(f"no socket to check {tcp.target(check)} from: {error.strerror}")


async def connected(check: NetworkCheck, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A connected socket, within `connect_timeout`. Raises ProbeFailedError and ProbeUnableError."""
    try:
        sock = opened(check, kind)
    except OSError as error:
        raise no_socket(check, error) from None
    address = (str(check.connect_address), check.connect_port)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, address), check.connect_timeout)
    except TimeoutError:
        reason = tcp.timeout(check, source_of(sock))
        sock.close()
        raise ProbeFailedError(reason) from None
    except OSError as error:
        sock.close()
        raise failure(check, error) from None
    except BaseException:
        sock.close()
        raise
    return sock


def failure(check: NetworkCheck, error: OSError) -> ProbeFailedError | ProbeUnableError:
    """What an error of a socket says: about the real server, or about our own host."""
    code = error.errno or 0
    reason = tcp.failure(check, code, os.strerror(code) if code else str(error))
    return ProbeUnableError(reason) if code in tcp.OUR_OWN_ERRORS else ProbeFailedError(reason)
