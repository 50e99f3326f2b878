# SPDX-License-Identifier: Apache-2.0
"""SSL_GET with tls_verify: which certificates are good, and what is said of the others."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.lab.checker_process import QUICK, verdicts

from pointsman.model.checks import HttpCheck, Url

HOST = "127.0.0.1"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process of another user"),
]
_CA = """
[ca]
default_ca = own
[own]
database = {directory}/index
serial = {directory}/serial
new_certs_dir = {directory}
default_md = sha256
policy = any
[any]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1
"""


class TlsServer:
    """Answers 200 over TLS; with `handshake` false it takes connections and says nothing."""

    def __init__(self, certificate: Path, handshake: bool = True) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._handshake = handshake
        self._held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(client)
            if self._handshake:
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(client, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        self._listener.close()
        for client in self._held:
            client.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`good` is for 127.0.0.1, `other` for another name, `expired` was good in 2020; all self-signed."""
    directory = tmp_path_factory.mktemp("certificates")
    directory.chmod(0o755)
    for folder in directory.parents:
        if not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o011)
    found = {}
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for name, names in (("good", f"IP:{HOST}"), ("other", "DNS:other.example")):
        found[name] = directory / f"{name}.pem"
        words = f"openssl req -x509 {key} -days 2 -subj /CN={name} -addext subjectAltName={names}"
        _run([*words.split(), "-keyout", str(found[name]), "-out", str(found[name])])
        found[name].chmod(0o644)
    (directory / "ca").write_text(_CA.format(directory=directory))
    (directory / "index").touch()
    (directory / "serial").write_text("01\n")
    private, request, signed = (directory / name for name in ("key", "request", "signed"))
    _run(
        [*f"openssl req -new {key} -subj /CN=expired".split(), "-keyout", str(private), "-out", str(request)]
    )
    dates = "-startdate 20200101000000Z -enddate 20200102000000Z -extensions names"
    files = ["-config", str(directory / "ca"), "-keyfile", str(private), "-in", str(request)]
    _run([*f"openssl ca -batch -notext -selfsign {dates}".split(), *files, "-out", str(signed)])
    found["expired"] = directory / "expired.pem"
    found["expired"].write_text(private.read_text() + signed.read_text())
    found["expired"].chmod(0o644)
    return found


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def servers(certificates: dict[str, Path]) -> Iterator[dict[str, int]]:
    """The port of a server for each certificate, and of one that never shakes hands."""
    made = {name: TlsServer(path) for name, path in certificates.items()}
    made["mute"] = TlsServer(certificates["good"], handshake=False)
    yield {name: server.port for name, server in made.items()}
    for server in made.values():
        server.close()


def check(port: int, **changes: Any) -> HttpCheck:
    timing = {**QUICK, "retry": 0, "connect_timeout": 2.0}
    return HttpCheck(
        connect_address=ip_address(HOST), connect_port=port, tls=True, urls=(Url(),), **{**timing, **changes}
    )


def test_certificates(certificates: dict[str, Path], servers: dict[str, int]) -> None:
    def trusting(name: str, **changes: Any) -> HttpCheck:
        return check(servers[name], verify=True, authority=str(certificates[name]), **changes)

    found = verdicts(
        trusting("good"),
        trusting("other", server_name="other.example"),
        trusting("other"),
        trusting("expired"),
        check(servers["good"], verify=True),
        check(servers["expired"]),
        check(servers["mute"], connect_timeout=3.0),
    )
    bad = f"bad certificate of {HOST}"
    assert [up for up, _ in found] == [True, True, False, False, False, True, False]
    reasons = [reason for _, reason in found]
    assert reasons[2].startswith(f"{bad}:{servers['other']}: IP address mismatch")
    assert reasons[3] == f"{bad}:{servers['expired']}: certificate has expired"
    assert reasons[4] == f"{bad}:{servers['good']}: self-signed certificate"
    assert reasons[6] == f"TLS handshake timeout after 3.0 s with {HOST}:{servers['mute']}"
