# SPDX-License-Identifier: Apache-2.0
"""HTTP_GET and SSL_GET against Debian's nginx, and against servers that misbehave in every way we know."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from tests.lab.checker_process import QUICK, CheckerProcess, virtual_server
from tests.lab.nginx import HOST, PAGE, Nginx

from pointsman.model.checks import HttpCheck, HttpVersion, Pattern, Url
from pointsman.model.service import ServerKey


def http_check(port: int, *urls: Url, **changes: object) -> HttpCheck:
    fields = {**QUICK, "retry": 0, **changes}
    return HttpCheck(connect_address=ip_address(HOST), connect_port=port, urls=urls or (Url(),), **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    yield server
    server.stop()


def test_every_option_sees_what_it_is_for(nginx: Nginx) -> None:
    """One checker, many checks of the same nginx: what each says, in the order of the list."""
    digest = hashlib.md5(PAGE).hexdigest()
    other = hashlib.md5(b"").hexdigest()
    plain, secure = f"http://{HOST}:{nginx.plain}", f"https://{HOST}:{nginx.tls}"
    cases: list[tuple[HttpCheck, bool, str]] = [
        (http_check(nginx.plain), True, f"status 200 from {plain}/"),
        (http_check(nginx.plain, Url(digest=digest)), True, f"status 200 from {plain}/"),
        (http_check(nginx.plain, Url(digest=other)), False, f"MD5 digest {digest} instead of {other} from"),
        (
            http_check(nginx.plain, Url(path="/none")),
            False,
            f"status 404 instead of 200-299 from {plain}/none",
        ),
        (http_check(nginx.plain, Url(path="/none", status=((404, 404),))), True, "status 404"),
        (http_check(nginx.plain, Url(path="/old", status=((300, 399),))), True, "status 301"),
        (http_check(nginx.plain, Url(pattern=Pattern(text="from nginx"))), True, "status 200"),
        (
            http_check(nginx.plain, Url(pattern=Pattern(text="apache"))),
            False,
            "regex 'apache' does not match from",
        ),
        (
            http_check(nginx.plain, Url(pattern=Pattern(text="hello", wanted=False))),
            False,
            "regex 'hello' matches from",
        ),
        (http_check(nginx.plain, Url(digest=digest), version=HttpVersion.V1_1), True, "status 200"),
        (http_check(nginx.plain, tls=True), False, "TLS handshake with"),
        (http_check(nginx.tls, Url(digest=digest), tls=True), True, f"status 200 from {secure}/"),
        (http_check(nginx.tls), False, "status 400 instead of 200-299"),
        (
            http_check(nginx.tls, Url(path="/s", virtualhost="a.test"), tls=True, sni_from_host=True),
            False,
            "status 404",
        ),
    ]
    service = virtual_server(*(check for check, _, _ in cases))
    members = tuple(
        msgspec.structs.replace(
            member, server=msgspec.structs.replace(member.server, key=_numbered(member.server.key, number))
        )
        for number, member in enumerate(service.members)
    )
    with CheckerProcess([msgspec.structs.replace(service, members=members)]) as checker:
        verdicts = {verdict.server.port: verdict for verdict in (checker.verdict() for _ in cases)}
        assert checker.stop()[0] == 0
    for number, (check, up, reason) in enumerate(cases):
        assert (verdicts[number].up, verdicts[number].reason.startswith(reason)) == (up, True), (
            check,
            verdicts[number],
        )
    names = (nginx.directory / "names").read_text()
    assert "a.test a.test HTTP/1.0 /s" in names
    assert f"- {HOST} HTTP/1.1 /" in names


def _numbered(key: ServerKey, number: int) -> ServerKey:
    return msgspec.structs.replace(key, port=number)


@pytest.mark.parametrize("tls", [False, True])
def test_a_killed_web_server_is_down_and_back_again(nginx: Nginx, tls: bool) -> None:
    check = http_check(nginx.tls if tls else nginx.plain, tls=tls, retry=1)
    with CheckerProcess([virtual_server(check)]) as checker:
        assert checker.verdict().up
        nginx.stop()
        down = checker.verdict()
        assert not down.up
        assert down.reason == f"2 of 2 failed: connection refused by {HOST}:{check.connect_port}"
        nginx.start()
        assert checker.verdict().up
        log = checker.stop()[1]
    name = f"[{HOST}]:tcp:{check.connect_port}"
    word = "SSL_CHECK" if tls else "HTTP_CHECK"
    assert log.count(f"Remote Web server {name} succeed on service.") == 2
    assert f"{word} on service {name} failed after 1 retries." in log


def _silent(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(3)


def _dripping(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for _ in range(100):
            connection.send(b"H" if _ else b"HTTP/1.0 200 OK\r\nX: ")
            time.sleep(0.1)


def _says(data: bytes) -> Callable[[socket.socket], None]:
    def say(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)

    return say


def _resetting(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _cutting(connection: socket.socket) -> None:
    """Ends a TLS connection without saying so, which tells nobody whether the answer was whole."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Le")
    connection.shutdown(socket.SHUT_RDWR)


_SHORT = b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nx"


def _endless(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))


PLAIN, ODD, SECURED = "plain", "a TLS check of a plain server", "TLS"
MISBEHAVIOUR = [
    (_silent, PLAIN, "read timeout after 1.0 s from"),
    (_silent, ODD, "TLS handshake timeout after 1.0 s with"),
    (_dripping, PLAIN, "answer not complete after 4.0 s from"),
    (_endless, PLAIN, "answers with a body of more than 64 MiB|answer not complete after 4.0 s"),
    (_says(b"\0\1\2garbage\r\n\r\n"), PLAIN, "answers with no HTTP"),
    (_says(b"220 mail.example.org ESMTP\r\n"), ODD, "TLS handshake with"),
    (_says(b""), PLAIN, "no data received by"),
    (_resetting, PLAIN, "connection reset by"),
    (_says(_SHORT), PLAIN, "was cut off after 1 bytes by"),
    (_silent, SECURED, "read timeout after 1.0 s from"),
    (_dripping, SECURED, "answer not complete after 4.0 s from"),
    (_endless, SECURED, "answers with a body of more than 64 MiB|answer not complete after 4.0 s"),
    (_says(b"garbage\r\n\r\n"), SECURED, "answers with no HTTP"),
    (_says(_SHORT), SECURED, "was cut off after 1 bytes by"),
    (_cutting, SECURED, "the connection ended within the header by"),
]


@contextlib.contextmanager
def serving(body: Callable[[socket.socket], None], context: ssl.SSLContext | None) -> Iterator[int]:
    """The port of a server that treats every client like this."""
    listener = socket.create_server((HOST, 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=speak, args=(connection,), daemon=True).start()

    def speak(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if context is None:
                body(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as secured:
                    body(secured)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    certificate = tmp_path_factory.mktemp("tls") / "certificate"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=x"
    subprocess.run(
        [*words.split(), "-keyout", certificate, "-out", certificate], check=True, capture_output=True
    )
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


@pytest.mark.parametrize(("body", "transport", "reason"), MISBEHAVIOUR)
def test_misbehaviour_has_its_reason_in_bounded_time(
    body: Callable[[socket.socket], None], transport: str, reason: str, context: ssl.SSLContext
) -> None:
    with serving(body, context if transport == SECURED else None) as port:
        check = http_check(port, tls=transport != PLAIN, connect_timeout=1.0)
        with CheckerProcess([virtual_server(check)]) as checker:
            verdict = checker.verdict()
    assert not verdict.up
    assert any(part in verdict.reason for part in reason.split("|")), verdict.reason


_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _resetting_at_the_end(connection: socket.socket) -> None:
    """End the connection by a reset, behind a complete answer that does not wait for an ACK."""
    connection.recv(65536)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(_WHOLE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _unread(connection: socket.socket) -> None:
    """Answer without a look at the request, as a program behind inetd does. The kernel sends a reset."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the reset discards the answer
    connection.sendall(_WHOLE)


def _staying(connection: socket.socket) -> None:
    """Keep the connection open behind a complete answer."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    connection.recv(65536)


@pytest.mark.parametrize("secured", [False, True])
def test_a_complete_answer_counts_however_the_connection_ends(secured: bool, context: ssl.SSLContext) -> None:
    """A TLS server that closes without saying so ends an answer without a length, too."""
    endings = [_resetting_at_the_end, _unread, _staying, _says(b"HTTP/1.0 200 OK\r\n\r\nok")]
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(serving(each, context if secured else None)) for each in endings]
        services = [virtual_server(http_check(port, tls=secured, connect_timeout=5.0)) for port in ports]
        checker = stack.enter_context(CheckerProcess(services))
        verdicts = [checker.verdict() for _ in services]
    assert [verdict.reason for verdict in verdicts if not verdict.up] == []


def _hinting(connection: socket.socket) -> None:
    """Send two interim answers, each in a segment of its own, and then the answer."""
    connection.recv(65536)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    connection.recv(65536)


@pytest.mark.parametrize("secured", [False, True])
def test_an_answer_counts_that_comes_after_interim_ones(secured: bool, context: ssl.SSLContext) -> None:
    with serving(_hinting, context if secured else None) as port:
        url = Url(digest=hashlib.md5(b"ok").hexdigest())
        check = http_check(port, url, tls=secured, version=HttpVersion.V1_1)
        with CheckerProcess([virtual_server(check)]) as checker:
            verdict = checker.verdict()
    assert verdict.up, verdict.reason


@pytest.mark.parametrize("secured", [False, True])
def test_endless_bodies_take_no_memory(secured: bool, context: ssl.SSLContext) -> None:
    """Five at once, of which an expression is to see the beginning."""
    with serving(_endless, context if secured else None) as port:
        checks = [
            http_check(
                port, Url(path=f"/{number}", pattern=Pattern(text="x")), tls=secured, connect_timeout=1.0
            )
            for number in range(5)
        ]
        with CheckerProcess([virtual_server(check) for check in checks]) as checker:
            assert not any(checker.verdict().up for _ in checks)
            status = Path(f"/proc/{checker.process.pid}/status").read_text()
    (most,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert most < 100 * 1024, f"{most} KiB"
