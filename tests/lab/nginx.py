# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx as a real server on loopback, for tests of checks."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path

from tests.support.until import until

HOST = "127.0.0.1"
PAGE = b"hello from nginx\n"


class Nginx:
    """Debian's nginx on loopback: plain, and with TLS under a certificate that is nobody's."""

    def __init__(self, directory: Path, more: str = "") -> None:
        """`more`: directives of its server."""
        self.directory = directory
        self.plain, self.tls = _free_port(), _free_port()
        (directory / "www").mkdir()
        (directory / "www" / "index.html").write_bytes(PAGE)
        words = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=nobody -keyout"
        subprocess.run(
            [*words.split(), directory / "key", "-out", directory / "cert"], check=True, capture_output=True
        )
        (directory / "conf").write_text(
            f"""daemon off; master_process off; pid {directory}/pid; error_log {directory}/error;
            events {{}} http {{ access_log {directory}/access; client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fcgi;
            uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
            log_format names "$ssl_server_name $host $server_protocol $request_uri";
            server {{ listen {HOST}:{self.plain}; listen {HOST}:{self.tls} ssl; root {directory}/www;
            access_log {directory}/names names;
            ssl_certificate {directory}/cert; ssl_certificate_key {directory}/key;
            {more} location /old {{ return 301 /; }} location /chunked {{ return 404; }} }} }}"""
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["nginx", "-c", self.directory / "conf", "-e", self.directory / "error"]
        )
        until("nginx listens", self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.tls), 1):
            return True
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])
